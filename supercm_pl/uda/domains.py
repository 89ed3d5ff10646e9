"""Sources and target, opened: which rows of which domain play which part, and with what labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
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
    first_input,
    is_iterable,
)
from supercm_pl.data.labels import check_class_range, labels_of
from supercm_pl.data.loading.iterable.reader import IterableSamples
from supercm_pl.data.sources.base import Source, SourceData
from supercm_pl.data.sources.image_reading import ImageFiles
from supercm_pl.data.sources.resized import Reshape, ReshapedData, common_reshape, reshaped
from supercm_pl.data.splits.shared_classes import check_same_classes, renumbered, union_of_classes
from supercm_pl.data.splits.split import Split
from supercm_pl.data.splits.stratified import make_split
from supercm_pl.seeding import derive_seed
from supercm_pl.uda.domain_samples import DomainSamples, joined
from supercm_pl.uda.target_split import Size, number_of, split_target


@dataclass(frozen=True)
class Domain:
    """One domain.

    Attributes:
        data: As its source gives them; ``train`` and ``unlabeled`` have the common shape.
        split: Which rows of the training data play which part.
        labels: ``(N,)`` numbers of the common classes. Of the target, 0 for all rows but the
            labeled ones.
        name: What messages call it.
    """

    data: SourceData
    split: Split
    labels: Indices
    name: str

    @property
    def labeled(self) -> Samples:
        """The labeled rows, with their labels."""
        rows = self.split.labeled
        return Samples(self.data.train, rows, self.labels[rows])


class Domains:
    """The data sets of all parts, of classes and shapes that agree.

    Args:
        sources: Of labeled samples.
        target: Of samples whose labels are dropped.
        resize: Height and width for images of all domains; ``None`` leaves their sizes.
        labels_per_class: As ``target_labels_per_class`` of
            :class:`~supercm_pl.uda.UDADataModule`; the following arguments likewise.
        num_labels: As ``num_target_labels``.
        labeled_indices: As ``labeled_target_indices``.
        source_val_size: Held out of each source.
        target_val_size: Held out of the target.
        oracle: Read labels of the target for validation.
        seed: Of the splits.

    Raises:
        ValueError: If the domains don't agree, or don't allow what is asked for.
    """

    def __init__(
        self,
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
    ) -> None:
        opened = {_source_name(i, len(sources)): source.load() for i, source in enumerate(sources)}
        for name, data in opened.items():
            if not _has_labels(data.train):
                raise ValueError(f"the {name} must have labels, and has none")
        target_data = target.load()
        self.classes = union_of_classes(data.classes for data in opened.values())
        if target_data.classes:  # else the target has no labels, and so no names of its own
            check_same_classes(self.classes, target_data.classes)
        self._target_classes = target_data.classes or self.classes
        trains = {name: data.train for name, data in opened.items()}
        self._reshape = common_reshape(trains, target_data.train, resize)
        self.oracle = oracle
        self.sources = tuple(
            self._source(data, name, source_val_size, derive_seed(seed, name))
            for name, data in opened.items()
        )
        self._check_every_class()
        self._is_labeled = _has_labels(target_data.train)
        self._validates_all = target_val_size == "all"
        own_val = target_data.val is not None and not self._validates_all
        if oracle and not own_val and not self._is_labeled:
            raise ValueError("oracle=True needs a target with labels, this one has none")
        held_out = target_data.val is None and not self._validates_all
        labels, split = split_target(
            target_data,
            self.classes,
            self._labels_of_rows,
            labels_per_class=labels_per_class,
            num_labels=num_labels,
            labeled_indices=labeled_indices,
            val_size=target_val_size if held_out else 0,
            seed=seed,
        )
        self.target = Domain(_fit(target_data, self._reshape), split, labels, "target")

    @property
    def is_transductive(self) -> bool:
        """Whether the target is tested on its training data, for want of a test set."""
        return self.target.data.test is None and self._is_labeled

    @property
    def num_test(self) -> int:
        """Number of samples with which the target is tested."""
        if self.target.data.test is not None:
            return dataset_length(self.target.data.test)
        return len(self._transductive_rows) if self._is_labeled else 0

    @property
    def num_source_val(self) -> int:
        """Number of source samples for validation."""
        return sum(_val_length(source) for source in self.sources)

    @property
    def num_target_val(self) -> int:
        """Number of target samples for validation."""
        return len(self._target_val_rows) if self._validates_all else _val_length(self.target)

    def source_samples(self) -> Samples:
        """Training rows of all sources ``(x, y)``; ``(x, y, domain)`` if there are several."""
        samples = [source.labeled for source in self.sources]
        if len(samples) == 1:
            return samples[0]
        numbers = np.repeat(np.arange(len(samples)), [len(part) for part in samples])
        return DomainSamples(joined(samples), numbers)

    @property
    def num_target(self) -> int | None:
        """Number of target samples that train; ``None`` for an ``IterableDataset``."""
        streamed = is_iterable(self.target.data.unlabeled)
        return None if streamed else len(self.target.split.unlabeled)

    def target_samples(self) -> Samples | IterableSamples:
        """Training rows of the target, without labels; those of an ``IterableDataset``, if any."""
        data = self.target.data
        if isinstance(data.unlabeled, IterableDataset):
            return IterableSamples(data.unlabeled, first_input(data.train, "target"))
        return Samples(self._target_inputs, self.target.split.unlabeled)

    def source_val(self) -> Samples:
        """Validation rows of all sources ``(x, y)``."""
        return joined([self._source_val(source) for source in self.sources])

    def target_val(self) -> Samples:
        """Validation rows of the target, ``x``; with ``oracle`` ``(x, y)``."""
        if self.target.data.val is not None and not self._validates_all:
            val = reshaped(self.target.data.val, self._reshape)
            rows = np.arange(dataset_length(val))
            return self._target_part(val, rows, self.oracle, "target validation")
        rows = self._target_val_rows
        return self._target_part(self._target_inputs, rows, self.oracle, "target")

    def test(self) -> Samples:
        """Test rows of the target ``(x, y)``.

        Raises:
            ValueError: If the target has no labels.
        """
        if self.target.data.test is not None:
            test = reshaped(self.target.data.test, self._reshape)
            return self._target_part(test, np.arange(dataset_length(test)), True, "target test")
        return self._target_part(self.target.data.train, self._transductive_rows, True, "target")

    def to_predict(self) -> Samples:
        """Test rows of the target, or all of its rows where it has no test set, without labels."""
        test = self.target.data.test
        return Samples(self._target_inputs if test is None else reshaped(test, self._reshape))

    @property
    def _target_inputs(self) -> Dataset[Any]:
        data = self.target.data
        if data.unlabeled is None or is_iterable(data.unlabeled):
            return data.train
        return JoinedData([data.train, data.unlabeled])

    @property
    def _target_val_rows(self) -> Indices:
        rows = self.target.split.unlabeled if self._validates_all else self.target.split.val
        # An own set of unlabeled samples, which comes after these, has nothing for the oracle.
        return rows[rows < len(self.target.labels)] if self.oracle else rows

    @property
    def _transductive_rows(self) -> Indices:
        return np.setdiff1d(np.arange(len(self.target.labels)), self.target.split.labeled)

    def _source(self, data: SourceData, name: str, val_size: Size, seed: int) -> Domain:
        labels = self._labels(data.train, data.classes, name)
        held_out = number_of(val_size, len(labels), f"source_val_size of the {name}")
        split = make_split(
            labels, self.classes, val_size=held_out if data.val is None else 0, seed=seed
        )
        return Domain(_fit(data, self._reshape), split, labels, name)

    def _check_every_class(self) -> None:
        train = np.concatenate([source.labels[source.split.labeled] for source in self.sources])
        counts = np.bincount(train, minlength=len(self.classes))
        if not counts.all():
            absent = ", ".join(repr(self.classes[k]) for k in np.flatnonzero(counts == 0)[:10])
            raise ValueError(f"there are no source samples to train on of the classes {absent}")

    def _source_val(self, source: Domain) -> Samples:
        if source.data.val is None:
            rows = source.split.val
            return Samples(source.data.train, rows, source.labels[rows])
        labels = self._labels(source.data.val, source.data.classes, f"{source.name} validation")
        return Samples(reshaped(source.data.val, self._reshape), targets=labels)

    def _target_part(
        self, dataset: Dataset[Any], rows: Indices, labeled: bool, name: str
    ) -> Samples:
        return Samples(
            dataset, rows, self._labels_of_rows(dataset, rows, name) if labeled else None
        )

    def _labels_of_rows(self, dataset: Dataset[Any], rows: Indices, name: str) -> Indices:
        """Labels of these rows of a set of the target; of no others."""
        if isinstance(dataset, JoinedData):
            dataset = dataset.datasets[0]
        if not _has_labels(dataset):
            raise ValueError(f"the {name} data have no labels")
        return self._labels(Subset(dataset, rows.tolist()), self._target_classes, name)

    def _labels(self, dataset: Dataset[Any], own: Sequence[str], name: str) -> Indices:
        labels = labels_of(dataset, name)
        check_class_range(labels, len(own), f"the {name} data")
        return renumbered(labels, own, self.classes)


def _source_name(index: int, count: int) -> str:
    return "source" if count == 1 else f"source {index}"


def _has_labels(dataset: Dataset[Any]) -> bool:
    """Whether there are labels, as far as is known without asking for one."""
    if isinstance(dataset, ReshapedData):
        return _has_labels(dataset.dataset)
    return not (isinstance(dataset, TensorData | ImageFiles) and dataset.targets is None)


def _fit(data: SourceData, reshape: Reshape) -> SourceData:
    """Training data in the common shape; sets for evaluation wait until they are asked for."""
    train = reshaped(data.train, reshape)
    if data.unlabeled is None or is_iterable(data.unlabeled):  # a stream has the shape already
        return replace(data, train=train)
    unlabeled = reshaped(data.unlabeled, reshape)
    check_alike(train, unlabeled)
    return replace(data, train=train, unlabeled=unlabeled)


def _val_length(domain: Domain) -> int:
    val = domain.data.val
    return len(domain.split.val) if val is None else dataset_length(val)
