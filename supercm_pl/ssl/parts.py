"""The parts of the data: which samples are labeled, unlabeled, for validation and for the test."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import Dataset, IterableDataset

from supercm_pl.data.datasets import (
    Indices,
    JoinedData,
    Samples,
    check_alike,
    dataset_length,
    first_input,
    is_iterable,
)
from supercm_pl.data.labels import check_class_range, labels_of
from supercm_pl.data.loading.iterable.reader import IterableSamples
from supercm_pl.data.sources.base import SourceData
from supercm_pl.data.splits.distortion import Distortion, new_numbers
from supercm_pl.data.splits.split import Split


@dataclass(frozen=True, eq=False)
class Parts:
    """A source's data, and the split of its training rows.

    Labels are numbered as in :attr:`classes`, which lacks the unknown classes of a distortion.

    Args:
        data: What the source has.
        labels: ``(N,)`` labels of ``data.train``, as the source numbers them.
        split: Which of these rows play which part.

    Raises:
        ValueError: From a part, if its labels are outside ``0..K-1``.
    """

    data: SourceData
    labels: Indices
    split: Split

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that there are labels of."""
        return known_names(self.data.classes, self.split.distortion)

    @property
    def labeled(self) -> Samples:
        """The labeled rows, some with wrong labels where the split says so."""
        rows, noisy = self.split.labeled, self.split.noisy_labels
        own = self.labels[rows] if noisy is None else noisy
        return Samples(self.data.train, rows, self._numbers[own])

    @property
    def num_unlabeled(self) -> int | None:
        """Samples of :attr:`unlabeled`; ``None`` for an ``IterableDataset``."""
        if is_iterable(self.data.unlabeled):
            return None
        own = 0 if self.data.unlabeled is None else dataset_length(self.data.unlabeled)
        return len(self.split.unlabeled) + own

    @property
    def unlabeled(self) -> Samples | IterableSamples:
        """The unlabeled rows, then all unlabeled samples of the source's own.

        If these come from an ``IterableDataset``, they alone.

        Raises:
            ValueError: If the two have inputs of different shapes or types.
        """
        if self.data.unlabeled is None:
            return Samples(self.data.train, self.split.unlabeled)
        if isinstance(self.data.unlabeled, IterableDataset):
            return IterableSamples(self.data.unlabeled, first_input(self.data.train, "training"))
        check_alike(self.data.train, self.data.unlabeled)
        own = len(self.labels) + np.arange(dataset_length(self.data.unlabeled))
        rows = np.concatenate([self.split.unlabeled, own])
        return Samples(JoinedData([self.data.train, self.data.unlabeled]), rows)

    @property
    def has_val(self) -> bool:
        """Whether samples are held out, or the source has a validation set."""
        return self.data.val is not None or len(self.split.val) > 0

    @cached_property
    def val(self) -> Samples:
        """The validation set of the source, else the rows that are held out."""
        if self.data.val is not None:
            return self._of_known_classes(self.data.val, "val")
        rows = self.split.val
        return Samples(self.data.train, rows, self._numbers[self.labels[rows]])

    @cached_property
    def test(self) -> Samples:
        """The test set.

        Raises:
            ValueError: If the source has none.
        """
        if self.data.test is None:
            raise ValueError("the source has no test data")
        return self._of_known_classes(self.data.test, "test")

    def describe(self) -> str:
        """One line on how many samples play which part."""
        val = self._size("val") if self.has_val else 0
        test = 0 if self.data.test is None else self._size("test")
        unlabeled = "endless" if self.num_unlabeled is None else f"{self.num_unlabeled:,}"
        return (
            f"{len(self.split.labeled):,} labeled · {unlabeled} unlabeled · "
            f"{val:,} validation · {test:,} test, {len(self.classes):,} classes"
        )

    @cached_property
    def _numbers(self) -> Indices:
        classes, distortion = self.data.classes, self.split.distortion
        known = (distortion or Distortion()).known_classes(classes)
        return new_numbers(known, len(classes))

    def _size(self, name: str) -> int:
        # Labels are looked at only to leave out unknown classes.
        dataset: Dataset[Any] | None = getattr(self.data, name)
        if dataset is not None and len(self.classes) == len(self.data.classes):
            return dataset_length(dataset)
        samples: Samples = getattr(self, name)
        return len(samples)

    def _of_known_classes(self, dataset: Dataset[Any], name: str) -> Samples:
        labels = labels_of(dataset, name)
        check_class_range(labels, len(self.data.classes), f"the {name} data")
        numbers = self._numbers[labels]
        rows = np.flatnonzero(numbers >= 0)
        return Samples(dataset, rows, numbers[rows])


def warn_of_absent(parts: Parts) -> None:
    """Warn of classes of which no sample is labeled: nothing can be learned of them."""
    present = np.unique(parts.labels[parts.split.labeled])
    names = [name for k, name in enumerate(parts.data.classes) if k not in present]
    absent = [name for name in names if name in parts.classes]
    if absent:
        told = ", ".join(map(repr, absent[:10])) + (" and more" if len(absent) > 10 else "")
        rank_zero_warn(f"no sample is labeled of the classes {told}", category=RuntimeWarning)


def known_names(classes: tuple[str, ...], distortion: Distortion | None) -> tuple[str, ...]:
    """The names without the unknown classes of a distortion."""
    known = (distortion or Distortion()).known_classes(classes)
    return tuple(classes[k] for k in known)
