"""Labeled, unlabeled and validation samples of a target, whose other labels are not read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from supercm_pl.checks import check_at_least
from supercm_pl.data.datasets import Indices, dataset_length, is_iterable
from supercm_pl.data.sources.base import SourceData
from supercm_pl.data.splits.split import Split, hash_labels
from supercm_pl.data.splits.stratified import make_split, parse_fraction, row_numbers
from supercm_pl.seeding import permutation

Size = int | float | str
"""A number of samples, or a share of them as a float or a percentage."""


def split_target(
    data: SourceData,
    classes: Sequence[str],
    read_labels: Callable[[Indices], Indices],
    *,
    labeled: Mapping[str, Any],
    val_size: Size,
    seed: int,
) -> tuple[Indices, Split]:
    """Choose labeled, unlabeled and validation rows of the target.

    Args:
        data: The target. The rows of ``unlabeled`` follow those of ``train``, unless it is an
            ``IterableDataset``.
        classes: Names of the shared classes.
        read_labels: Returns the labels of rows of ``train``. It is called with the rows of
            ``labeled_indices``, or with all rows to choose by class, or not at all.
        labeled: One of ``labels_per_class``, ``num_labels`` and ``labeled_indices`` of
            :func:`~supercm_pl.data.make_split`, or nothing.
        val_size: Rows of ``train`` held out at random.
        seed: 0 or more.

    Returns:
        Labels ``(N,)`` of ``train``, 0 except for the labeled rows, and the split.

    Raises:
        ValueError: If the requested samples are not available.
    """
    size, chosen = dataset_length(data.train), dict(labeled)
    rows = np.arange(size if chosen else 0)
    if "labeled_indices" in chosen:
        rows = row_numbers(chosen["labeled_indices"], size, "labeled_target_indices")
        chosen["labeled_indices"] = rows
    labels = np.zeros(size, dtype=np.int64)
    labeled_rows = np.zeros(0, dtype=np.int64)
    if chosen:
        labels[rows] = read_labels(rows)
        try:
            split = make_split(labels, classes, **chosen, val_size=0, seed=seed)
        except ValueError as error:
            raise ValueError(f"labeled samples of the target: {error}") from error
        labeled_rows = split.labeled
    hidden = np.ones(size, dtype=np.bool_)
    hidden[labeled_rows] = False
    labels[hidden] = 0  # labels that were read only to choose by class are dropped
    order = permutation(size, seed, "target", "val")
    order = order[hidden[order]]
    held_out = size_of(val_size, len(order), "target_val_size")
    endless = is_iterable(data.unlabeled)
    own = 0 if data.unlabeled is None or endless else dataset_length(data.unlabeled)
    unlabeled = np.concatenate([np.sort(order[held_out:]), size + np.arange(own)])
    if not len(unlabeled) and not endless:
        raise ValueError("no target samples without labels are left: label fewer")
    return labels, Split(
        labeled=labeled_rows,
        unlabeled=unlabeled,
        val=np.sort(order[:held_out]),
        num_samples=size + own,
        label_hash=hash_labels(labels, labeled_rows, labeled_rows[:0]),
    )


def check_held_out(name: str, value: Size) -> None:
    """Require a number of samples of 0 or more, or a share of them."""
    if isinstance(value, int):
        check_at_least(name, value, 0)
    elif value != 0.0:
        parse_fraction(value, name)


def size_of(value: Size, size: int, name: str) -> int:
    """Convert a size to a number of samples, fewer than ``size``."""
    share = not isinstance(value, int) and value != 0.0
    number = round(parse_fraction(value, name) * size) if share else int(value)
    if number and number >= size:
        raise ValueError(f"{name} asks for {number} of {size} samples, which leaves none to train")
    return number
