"""The parts of a domain: its labeled, unlabeled, validation and test samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch.utils.data import Dataset, IterableDataset, Subset

from supercm_pl.data.datasets import (
    Indices,
    JoinedData,
    Samples,
    TensorData,
    check_alike,
    dataset_length,
    is_iterable,
)
from supercm_pl.data.labels import check_labels, labels_of
from supercm_pl.data.sources.base import SourceData
from supercm_pl.data.sources.folder import ImageFiles
from supercm_pl.data.sources.resized import Reshape, ReshapedData, first_input, reshaped
from supercm_pl.data.splits.split import Split


@dataclass(frozen=True, eq=False)
class Domain:
    """The data of one source, and which of its samples belong to which part.

    Attributes:
        data: The data sets of the source; ``train`` and ``unlabeled`` have the run's input shape.
        split: The labeled, unlabeled and validation rows. Any rows beyond ``split.num_samples`` are
            unlabeled.
        labels: ``(N,)`` labels of ``data.train``, in the numbering of the run's classes.
        numbers: ``(K,)`` the run's number of each class of the source; -1 for an unknown class,
            which has no labels and is left out of validation and test.
        name: Name of the domain in messages.
        reshape: Brings inputs to the run's shape.
    """

    data: SourceData
    split: Split
    labels: Indices
    numbers: Indices
    name: str = ""
    reshape: Reshape = Reshape()  # noqa: RUF009 - it is frozen

    @property
    def labeled(self) -> Samples:
        """The labeled samples, some with wrong labels if the split has label noise."""
        rows, noisy = self.split.labeled, self.split.noisy_labels
        labels = self.labels[rows] if noisy is None else self.numbers[noisy]
        return Samples(self.data.train, rows, labels)

    @property
    def unlabeled(self) -> Samples | IterableDataset[Any]:
        """The unlabeled samples: those of the split, then the source's own unlabeled data set.

        An ``IterableDataset`` of the source takes the place of both.

        Raises:
            ValueError: If inputs of the two differ in shape or type.
        """
        own = self.data.unlabeled
        if isinstance(own, IterableDataset):
            # The only way from here to `loading.iterable`.
            from supercm_pl.data.loading.iterable.reader import IterableSamples

            return IterableSamples(own, first_input(self.data.train, self.name or "training"))
        return Samples(self.inputs, self._unlabeled_rows)

    @property
    def num_unlabeled(self) -> int | None:
        """Number of unlabeled samples; ``None`` for an ``IterableDataset``."""
        return None if is_iterable(self.data.unlabeled) else len(self._unlabeled_rows)

    @cached_property
    def val(self) -> Samples:
        """The validation set of the source, else the samples that the split holds out."""
        if self.data.val is not None:
            return self._evaluated(self.data.val, "validation")
        rows = self.split.val
        return Samples(self.data.train, rows, self.labels[rows])

    @cached_property
    def test(self) -> Samples:
        """The test set.

        Raises:
            ValueError: If the source has none.
        """
        if self.data.test is None:
            raise ValueError("the source has no test data")
        return self._evaluated(self.data.test, "test")

    @property
    def num_val(self) -> int:
        """Number of validation samples."""
        return len(self.split.val) if self.data.val is None else self._size("val")

    @property
    def num_test(self) -> int:
        """Number of test samples."""
        return 0 if self.data.test is None else self._size("test")

    @cached_property
    def inputs(self) -> Dataset[Any]:
        """The training samples, then those of the source's own unlabeled data set."""
        own = self.data.unlabeled
        if own is None or is_iterable(own):
            return self.data.train
        check_alike(self.data.train, own)
        return JoinedData([self.data.train, own])

    @property
    def _unlabeled_rows(self) -> Indices:
        size, own = len(self.labels), self.data.unlabeled
        if own is not None and not is_iterable(own):
            size += dataset_length(own)
        return np.concatenate([self.split.unlabeled, np.arange(self.split.num_samples, size)])

    def _size(self, part: str) -> int:
        # Labels are read only to leave out unknown classes.
        if (self.numbers < 0).any():
            samples: Samples = getattr(self, part)
            return len(samples)
        return dataset_length(getattr(self.data, part))

    def _evaluated(self, dataset: Dataset[Any], part: str) -> Samples:
        """The samples of known classes of a data set, reshaped."""
        labels = self._read_labels(dataset, f"{self.name} {part}".strip())
        dataset = reshaped(dataset, self.reshape)
        if (labels >= 0).all():
            return Samples(dataset, targets=labels)
        rows = np.flatnonzero(labels >= 0)
        return Samples(dataset, rows, labels[rows])

    def _read_labels(
        self, dataset: Dataset[Any], name: str, rows: Indices | None = None
    ) -> Indices:
        return self.numbers[read_labels(dataset, len(self.numbers), name, rows)]


@dataclass(frozen=True, eq=False)
class TargetDomain(Domain):
    """A domain whose labels are hidden.

    Labels are read only for the labeled samples, for the test, and for validation with ``oracle``.

    Attributes:
        oracle: Validate with labels.
        validate_all: Validate on the unlabeled training samples.
    """

    oracle: bool = False
    validate_all: bool = False

    @cached_property
    def val(self) -> Samples:
        """The validation samples; with labels if ``oracle``."""
        if self._own_val is not None:
            if self.oracle:
                return self._evaluated(self._own_val, "validation")
            return Samples(reshaped(self._own_val, self.reshape))
        rows = self._val_rows
        if self.oracle:
            return self._with_labels(rows)
        return Samples(self.inputs, rows)

    @cached_property
    def test(self) -> Samples:
        """The test set; without one, all training samples but the labeled ones.

        Raises:
            ValueError: If there are no labels.
        """
        if self.data.test is not None:
            return self._evaluated(self.data.test, "test")
        return self._with_labels(self._transductive_rows)

    @property
    def num_val(self) -> int:
        """Number of validation samples."""
        own = self._own_val
        return len(self._val_rows) if own is None else dataset_length(own)

    @property
    def num_test(self) -> int:
        """Number of test samples; 0 if there are no labels."""
        if self.data.test is not None:
            return dataset_length(self.data.test)
        return len(self._transductive_rows) if self.is_transductive else 0

    @property
    def is_transductive(self) -> bool:
        """Whether the test data are the training data."""
        return self.data.test is None and has_labels(self.data.train)

    @property
    def to_predict(self) -> Samples:
        """The test inputs, or all training inputs if there is no test set."""
        test = self.data.test
        return Samples(self.inputs if test is None else reshaped(test, self.reshape))

    @property
    def _own_val(self) -> Dataset[Any] | None:
        return None if self.validate_all else self.data.val

    @property
    def _val_rows(self) -> Indices:
        rows = self.split.unlabeled if self.validate_all else self.split.val
        # The source's own unlabeled samples, which come last, have no labels for the oracle.
        return rows[rows < len(self.labels)] if self.oracle else rows

    @property
    def _transductive_rows(self) -> Indices:
        return np.setdiff1d(np.arange(len(self.labels)), self.split.labeled)

    def _with_labels(self, rows: Indices) -> Samples:
        return Samples(self.data.train, rows, self._read_labels(self.data.train, self.name, rows))


def read_labels(
    dataset: Dataset[Any], num_classes: int, name: str, rows: Indices | None = None
) -> Indices:
    """Labels ``(n,)`` of a data set.

    Args:
        dataset: Its items are ``(input, label)``.
        num_classes: Labels must be below it.
        name: Name of the data in messages.
        rows: The rows whose labels are read; ``None`` reads all.

    Raises:
        TypeError: If a label is not an integer.
        ValueError: If there are no labels, or one is out of range.
    """
    name = f"the {name} data"
    if not has_labels(dataset):
        raise ValueError(f"{name} have no labels")
    if rows is not None:
        dataset = Subset(dataset, rows.tolist())
    labels = labels_of(dataset, name)
    check_labels(labels, num_classes, name)
    return labels


def has_labels(dataset: Dataset[Any]) -> bool:
    """Whether a data set has labels, as far as is known without reading one."""
    if isinstance(dataset, ReshapedData):
        return has_labels(dataset.dataset)
    return not (isinstance(dataset, TensorData | ImageFiles) and dataset.targets is None)


def joined(samples: Sequence[Samples]) -> Samples:
    """Labeled samples of several data sets, one after the other."""
    if len(samples) == 1:
        return samples[0]
    starts = np.cumsum([0, *(dataset_length(part.dataset) for part in samples)])
    rows = [part.rows + start for part, start in zip(samples, starts, strict=False)]
    labels = [part.targets.numpy() for part in samples if part.targets is not None]
    datasets = JoinedData([part.dataset for part in samples])
    return Samples(datasets, np.concatenate(rows), np.concatenate(labels))
