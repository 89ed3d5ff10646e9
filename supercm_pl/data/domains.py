"""The domains of an adaptation, opened: their classes and input shapes brought together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from supercm_pl.data.datasets import Indices, Samples, check_alike, is_iterable
from supercm_pl.data.parts import Domain, TargetDomain, has_labels, joined, read_labels
from supercm_pl.data.sources.base import Source, SourceData
from supercm_pl.data.sources.resized import Reshape, reshaped
from supercm_pl.data.splits.selection import make_split
from supercm_pl.data.splits.shared_classes import (
    check_same_classes,
    common_reshape,
    union_of_classes,
)
from supercm_pl.data.splits.target_split import Size, size_of, split_target
from supercm_pl.seeding import derive_seed


class Domains(NamedTuple):
    """Sources and target that share classes and input shape."""

    classes: tuple[str, ...]
    sources: tuple[Domain, ...]
    target: TargetDomain

    @property
    def source(self) -> Samples:
        """Labeled samples of all sources ``(x, y)``; ``(x, y, domain)`` if there are several."""
        samples = [source.labeled for source in self.sources]
        if len(samples) == 1:
            return samples[0]
        numbers = np.repeat(np.arange(len(samples)), [len(part) for part in samples])
        return DomainSamples(joined(samples), numbers)

    @property
    def source_val(self) -> Samples:
        """Validation samples of all sources ``(x, y)``."""
        return joined([source.val for source in self.sources])


class DomainSamples(Samples):
    """Labeled samples with the number of their domain: batches ``(x, y, domain)``.

    Args:
        samples: With labels.
        domains: ``(n,)`` int64.
    """

    def __init__(self, samples: Samples, domains: Indices) -> None:
        super().__init__(samples.dataset, samples.rows)
        self.targets = samples.targets
        self.domains = torch.from_numpy(domains)

    def fetch(self, positions: Indices) -> Any:
        """Inputs ``(B, ...)``, labels ``(B,)`` and domains ``(B,)`` at positions ``(B,)``."""
        return *super().fetch(positions), self.domains[torch.from_numpy(positions)]


def open_domains(
    sources: Sequence[Source],
    target: Source,
    *,
    resize: tuple[int, int] | None,
    labels_per_class: int | None,
    num_labels: int | None,
    labeled_indices: Sequence[int] | str | Path | None,
    source_val_size: Size,
    target_val_size: Size,
    oracle: bool,
    seed: int,
) -> Domains:
    """Open all domains and choose their splits.

    Args:
        sources: Of labeled samples.
        target: Whose labels are hidden.
        resize: Height and width for the images of all domains; ``None`` keeps their sizes.
        labels_per_class: As ``target_labels_per_class`` of
            :class:`~supercm_pl.uda.UDADataModule`.
        num_labels: As ``num_target_labels``.
        labeled_indices: As ``labeled_target_indices``.
        source_val_size: Held out of each source.
        target_val_size: Held out of the target.
        oracle: Validate the target with labels.
        seed: Of the splits.

    Raises:
        ValueError: If the domains do not match, or do not allow what is asked for.
    """
    several = len(sources) > 1
    opened = {
        f"source {i}" if several else "source": source.load() for i, source in enumerate(sources)
    }
    for name, data in opened.items():
        if not has_labels(data.train):
            raise ValueError(f"the {name} must have labels, and has none")
    target_data = target.load()
    classes = union_of_classes(data.classes for data in opened.values())
    if target_data.classes:  # without labels, it has no class names either
        check_same_classes(classes, target_data.classes)
    trains = {name: data.train for name, data in opened.items()}
    reshape = common_reshape(trains, target_data.train, resize)
    domains = tuple(
        _open_source(data, name, classes, reshape, source_val_size, derive_seed(seed, name))
        for name, data in opened.items()
    )
    _check_every_class(domains, classes)
    validate_all = target_val_size == "all"
    own_val = target_data.val is not None
    if oracle and not (own_val and not validate_all) and not has_labels(target_data.train):
        raise ValueError("oracle=True needs a target with labels, this one has none")
    numbers = _numbers(target_data.classes or classes, classes)
    labels, split = split_target(
        target_data,
        classes,
        lambda rows: numbers[read_labels(target_data.train, len(numbers), "target", rows)],
        labels_per_class=labels_per_class,
        num_labels=num_labels,
        labeled_indices=labeled_indices,
        val_size=0 if own_val or validate_all else target_val_size,
        seed=seed,
    )
    fitted = _reshaped(target_data, reshape)
    return Domains(
        classes,
        domains,
        TargetDomain(fitted, split, labels, numbers, "target", reshape, oracle, validate_all),
    )


def _open_source(
    data: SourceData,
    name: str,
    classes: tuple[str, ...],
    reshape: Reshape,
    val_size: Size,
    seed: int,
) -> Domain:
    numbers = _numbers(data.classes, classes)
    labels = numbers[read_labels(data.train, len(numbers), name)]
    held_out = size_of(val_size, len(labels), f"source_val_size of the {name}")
    split = make_split(labels, classes, val_size=held_out if data.val is None else 0, seed=seed)
    return Domain(_reshaped(data, reshape), split, labels, numbers, name, reshape)


def _numbers(own: Sequence[str], shared: Sequence[str]) -> Indices:
    """The number of each own class among the shared ones."""
    return np.array([shared.index(name) for name in own], dtype=np.int64)


def _reshaped(data: SourceData, reshape: Reshape) -> SourceData:
    """Training data in the common shape; evaluation sets follow when they are used."""
    train = reshaped(data.train, reshape)
    if data.unlabeled is None or is_iterable(data.unlabeled):  # which has the shape already
        return replace(data, train=train)
    unlabeled = reshaped(data.unlabeled, reshape)
    check_alike(train, unlabeled)
    return replace(data, train=train, unlabeled=unlabeled)


def _check_every_class(sources: Sequence[Domain], classes: Sequence[str]) -> None:
    train = np.concatenate([source.labels[source.split.labeled] for source in sources])
    counts = np.bincount(train, minlength=len(classes))
    if not counts.all():
        absent = ", ".join(repr(classes[k]) for k in np.flatnonzero(counts == 0)[:10])
        raise ValueError(f"there are no source samples to train on of the classes {absent}")
