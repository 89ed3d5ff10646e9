"""The parts of a domain: its labeled, unlabeled, validation and test samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch.utils.data import Dataset, IterableDataset, Subset

from supercm_pl.data.datasets import (
    BatchedDataset,
    Indices,
    JoinedData,
    Samples,
    check_alike,
    dataset_length,
    first_input,
    is_iterable,
)
from supercm_pl.data.labels import check_class_range, labels_of
from supercm_pl.data.sources.base import SourceData
from supercm_pl.data.sources.resized import Reshape, ReshapedData, reshaped
from supercm_pl.data.splits.split import Split


@dataclass(frozen=True, eq=False)
class Domain:
    """The data of one source, and which of its samples belong to which part.

    Attributes:
        data: ``train`` and ``unlabeled`` have the run's input shape.
        split: Rows of ``train``; those from ``split.num_samples`` on are unlabeled as well.
        labels: ``(N,)`` labels of ``train``, in the run's numbering.
        numbers: ``(K,)`` the run's number of each class of the source; -1 for an unknown class,
            which validation and test leave out.
        name: For messages.
        reshape: Brings inputs to the run's shape.
    """

    data: SourceData
    split: Split
    labels: Indices
    numbers: Indices
    name: str = ""
    reshape: Reshape = Reshape()  # noqa: RUF009 - it is immutable

    @property
    def labeled(self) -> Samples:
        """The labeled samples, some with wrong labels if the split has label noise."""
        rows, noisy = self.split.labeled, self.split.noisy_labels
        labels = self.labels[rows] if noisy is None else self.numbers[noisy]
        return Samples(self.data.train, rows, labels)

    @property
    def unlabeled(self) -> Samples | IterableDataset[Any]:
        """The split's and then the source's own; an ``IterableDataset`` replaces both."""
        if isinstance(self.data.unlabeled, IterableDataset):
            # The only way from here to `loading/iterable/`.
            from supercm_pl.data.loading.iterable.reader import IterableSamples

            like = first_input(self.data.train, self.name or "training")
            return IterableSamples(self.data.unlabeled, like)
        return Samples(self.inputs, self._unlabeled_rows)

    @property
    def num_unlabeled(self) -> int | None:
        """Number of unlabeled samples; ``None`` for an ``IterableDataset``."""
        return None if is_iterable(self.data.unlabeled) else len(self._unlabeled_rows)

    @cached_property
    def val(self) -> Samples:
        """The source's validation set, else the samples that the split holds out."""
        if self.data.val is not None:
            return self._evaluated(self.data.val, "validation")
        rows = self.split.val
        return Samples(self.data.train, rows, self.labels[rows])

    @cached_property
    def test(self) -> Samples:
        """The test set; an error without one."""
        if self.data.test is None:
            raise ValueError(
                "the source has no test data: pass x_test and y_test to from_arrays, test to "
                "from_folder, or write DatasetSource(train, test)"
            )
        return self._evaluated(self.data.test, "test")

    @property
    def num_test(self) -> int:
        """Number of test samples. Labels are read only to leave out unknown classes."""
        if self.data.test is None:
            return 0
        return len(self.test) if (self.numbers < 0).any() else dataset_length(self.data.test)

    @property
    def to_predict(self) -> Samples:
        """The test samples without labels; an error without any."""
        if self.data.test is None:
            raise ValueError(
                "predict needs predict_path, a folder of images, or a source with test data"
            )
        return Samples(reshaped(self.data.test, self.reshape))

    @property
    def is_transductive(self) -> bool:
        """Whether the test data are training data."""
        return False

    @cached_property
    def inputs(self) -> Dataset[Any]:
        """The training samples, then the source's own unlabeled data set, which must be alike."""
        own = self.data.unlabeled
        if own is None or is_iterable(own):
            return self.data.train
        check_alike(self.data.train, own)
        return JoinedData([self.data.train, own])

    @property
    def _unlabeled_rows(self) -> Indices:
        own = self.data.unlabeled
        size = len(self.labels) + (0 if own is None or is_iterable(own) else dataset_length(own))
        return np.concatenate([self.split.unlabeled, np.arange(self.split.num_samples, size)])

    def _evaluated(self, dataset: Dataset[Any], part: str) -> Samples:
        name = f"{self.name} {part}".strip()
        labels = self.numbers[read_labels(dataset, len(self.numbers), name)]
        rows = np.flatnonzero(labels >= 0)
        return Samples(reshaped(dataset, self.reshape), rows, labels[rows])


@dataclass(frozen=True, eq=False)
class TargetDomain(Domain):
    """A domain with hidden labels, read only for labeled samples, the test, and the oracle.

    Attributes:
        oracle: Validate with labels.
        validate_all: Validate on the unlabeled training samples.
    """

    oracle: bool = False
    validate_all: bool = False

    @cached_property
    def val(self) -> Samples:
        """The validation samples; with labels for the oracle."""
        if self.data.val is not None:
            return super().val if self.oracle else Samples(reshaped(self.data.val, self.reshape))
        rows = self.split.unlabeled if self.validate_all else self.split.val
        if not self.oracle:
            return Samples(self.inputs, rows)
        return self._with_labels(rows[rows < len(self.labels)])

    @cached_property
    def test(self) -> Samples:
        """The test set; without one, all training samples but the labeled ones."""
        if self.data.test is None and not self.is_transductive:
            raise ValueError(
                "the target data have no labels to test with: pass x_test and y_test to "
                "from_arrays, or test to from_folders"
            )
        return super().test if self.data.test is not None else self._with_labels(self._rest)

    @property
    def num_test(self) -> int:
        """Number of test samples; 0 if there are no labels."""
        return len(self._rest) if self.is_transductive else super().num_test

    @property
    def is_transductive(self) -> bool:
        """Whether the test data are training data."""
        return self.data.test is None and has_labels(self.data.train)

    @property
    def to_predict(self) -> Samples:
        """The test samples, or all training samples if there are none; without labels."""
        return Samples(self.inputs) if self.data.test is None else super().to_predict

    @property
    def _rest(self) -> Indices:
        return np.setdiff1d(np.arange(len(self.labels)), self.split.labeled)

    def _with_labels(self, rows: Indices) -> Samples:
        labels = read_labels(self.data.train, len(self.numbers), self.name, rows)
        return Samples(self.data.train, rows, self.numbers[labels])


def read_labels(
    dataset: Dataset[Any], num_classes: int, name: str, rows: Indices | None = None
) -> Indices:
    """Labels ``(n,)`` of a data set, or of some of its rows; ``name`` is for messages.

    Raises:
        TypeError: If a label is not an integer.
        ValueError: If there are no labels, or one is not in ``0..num_classes-1``.
    """
    name = f"the {name} data"
    if not has_labels(dataset):
        hint = "items must be (input, label)"
        if not isinstance(dataset, JoinedData):  # arrays, images or rows: label some of them
            hint = "at least two classes need a labeled sample"
        raise ValueError(f"{name} have no labels: {hint}")
    labels = labels_of(dataset if rows is None else Subset(dataset, rows.tolist()), name)
    check_class_range(labels, num_classes, name)
    return labels


def has_labels(dataset: Dataset[Any]) -> bool:
    """Whether a data set has labels, as far as is known without reading one."""
    if isinstance(dataset, ReshapedData):
        return has_labels(dataset.dataset)
    hidden = isinstance(dataset, BatchedDataset) and dataset.targets is None
    return not (hidden or isinstance(dataset, JoinedData))


def joined(samples: Sequence[Samples]) -> Samples:
    """Labeled samples of several data sets, one after the other."""
    if len(samples) == 1:
        return samples[0]
    starts = np.cumsum([0, *(dataset_length(part.dataset) for part in samples)])
    rows = [part.rows + start for part, start in zip(samples, starts, strict=False)]
    labels = [part.targets.numpy() for part in samples if part.targets is not None]
    datasets = JoinedData([part.dataset for part in samples])
    return Samples(datasets, np.concatenate(rows), np.concatenate(labels))
