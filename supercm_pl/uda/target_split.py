"""Which rows of the target keep their labels, and which are held out, by labels read for these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from supercm_pl.checks import check_at_least
from supercm_pl.data.datasets import Indices, dataset_length, is_iterable
from supercm_pl.data.sources.base import SourceData
from supercm_pl.data.splits.split import Split, hash_labels
from supercm_pl.data.splits.stratified import make_split, parse_fraction, row_numbers
from supercm_pl.seeding import permutation

Size = int | float | str


def split_target(
    data: SourceData,
    classes: Sequence[str],
    labels_of_rows: Callable[[Dataset[Any], Indices, str], Indices],
    *,
    labels_per_class: int | None,
    num_labels: int | None,
    labeled_indices: Sequence[int] | str | Path | None,
    val_size: Size,
    seed: int,
) -> tuple[Indices, Split]:
    """Choose labeled, unlabeled and validation rows of the target, the last without any label.

    Args:
        data: The target; rows of ``unlabeled`` count on after those of ``train``, unless it is an
            ``IterableDataset``, which has none.
        classes: Names of the common classes.
        labels_of_rows: Gives the labels, as numbers of these classes, of rows of a data set; the
            third argument is what messages call it. It is asked for the rows of ``labeled_indices``
            alone, for all rows to choose by class, and for none where no label is wanted.
        labels_per_class: As in :func:`~supercm_pl.data.make_split`.
        num_labels: As there.
        labeled_indices: As there, save that it can't be a saved split.
        val_size: Rows of ``train`` held out at random, as a number or a share.
        seed: 0 or more.

    Returns:
        Labels ``(N,)`` of ``train``, 0 for all but the labeled rows, and the split.

    Raises:
        ValueError: If the data don't allow what is asked for.
    """
    size = dataset_length(data.train)
    options = {"labels_per_class": labels_per_class, "num_labels": num_labels}
    chosen: dict[str, Any] = {name: n for name, n in options.items() if n is not None}
    rows = np.arange(size if chosen else 0)
    if labeled_indices is not None:
        rows = row_numbers(labeled_indices, size, "labeled_target_indices")
        chosen["labeled_indices"] = rows
    labels = np.zeros(size, dtype=np.int64)
    labeled = np.zeros(0, dtype=np.int64)
    if chosen:
        labels[rows] = labels_of_rows(data.train, rows, "target")
        try:
            labeled = make_split(labels, classes, **chosen, val_size=0, seed=seed).labeled
        except ValueError as error:
            raise ValueError(f"labeled samples of the target: {error}") from error
    hidden = np.ones(size, dtype=np.bool_)
    hidden[labeled] = False
    labels[hidden] = 0  # what was read to choose by class is forgotten
    order = permutation(size, seed, "target", "val")
    order = order[hidden[order]]
    held_out = number_of(val_size, len(order), "target_val_size")
    streamed = is_iterable(data.unlabeled)
    own = 0 if data.unlabeled is None or streamed else dataset_length(data.unlabeled)
    unlabeled = np.concatenate([np.sort(order[held_out:]), size + np.arange(own)])
    if not len(unlabeled) and not streamed:
        raise ValueError("no target samples without labels are left: label fewer")
    return labels, Split(
        labeled=labeled,
        unlabeled=unlabeled,
        val=np.sort(order[:held_out]),
        num_samples=size + own,
        label_hash=hash_labels(labels, labeled, labeled[:0]),
    )


def check_held_out(name: str, value: Size) -> None:
    """Refuse what is neither a number of samples of 0 or more nor a share of them.

    Raises:
        TypeError: If it is of another type.
        ValueError: If it is out of range.
    """
    if isinstance(value, int):
        check_at_least(name, value, 0)
    elif value != 0.0:
        parse_fraction(value, name)


def number_of(value: Size, size: int, name: str) -> int:
    """How many of ``size`` samples that is.

    Raises:
        ValueError: If it is all of them or more.
    """
    share = not isinstance(value, int) and value != 0.0
    number = round(parse_fraction(value, name) * size) if share else int(value)
    if number and number >= size:
        raise ValueError(f"{name} asks for {number} of {size} samples, which leaves none to train")
    return number
