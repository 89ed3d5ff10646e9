"""Sources and target of an adaptation, opened with the same classes and input shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from supercm_pl.data.datasets import Indices, Samples, is_iterable
from supercm_pl.data.domain import Domain, TargetDomain, has_labels, joined, read_labels
from supercm_pl.data.labels import checked_classes
from supercm_pl.data.sources.base import Source, SourceData, load_source
from supercm_pl.data.sources.image_folders import check_separate
from supercm_pl.data.sources.image_reading import ImageFiles
from supercm_pl.data.sources.labels_csv import class_number
from supercm_pl.data.sources.resized import Reshape, ReshapedData, common_reshape, reshaped
from supercm_pl.data.splits.shared_classes import check_same_classes, union_of_classes
from supercm_pl.data.splits.stratified import make_split
from supercm_pl.data.splits.target_split import Size, size_of, split_target
from supercm_pl.seeding import derive_seed


def open_domains(
    sources: Sequence[Source],
    target: Source,
    *,
    resize: tuple[int, int] | None,
    labeled: Mapping[str, Any],
    source_val_size: Size,
    target_val_size: Size,
    oracle: bool,
    seed: int,
) -> tuple[Domain, ...]:
    """Open all domains and choose their splits: the sources, then a ``TargetDomain``.

    Args:
        sources: Sources of labeled samples.
        target: Source of the target, whose labels are hidden.
        resize: Height and width for the images of all domains; ``None`` keeps their sizes.
        labeled: The labeled samples of the target, as in
            :func:`~supercm_pl.data.splits.target_split.split_target`.
        source_val_size: Samples held out of each source.
        target_val_size: Samples held out of the target, or ``"all"`` unlabeled ones.
        oracle: Validate the target with labels.
        seed: Seed of the splits.

    Raises:
        ValueError: If domains do not match, or the requested samples are not available.
    """
    opened = {
        "source" if len(sources) == 1 else f"source {i}": load_source(source)
        for i, source in enumerate(sources)
    }
    for name, data in opened.items():
        if not has_labels(data.train):
            raise ValueError(f"the {name} data have no labels")
    data = load_source(target)
    classes = union_of_classes(source.classes for source in opened.values())
    checked_classes(classes)
    if data.classes:  # without labels, it has no class names either
        check_same_classes(classes, data.classes)
    _check_folders(opened, data)
    trains = {name: source.train for name, source in opened.items()}
    reshape = common_reshape(trains, data.train, resize)
    domains = []
    for name, source in opened.items():
        numbers = _numbers(source.classes, classes)
        labels = numbers[read_labels(source.train, len(numbers), name)]
        held_out = size_of(source_val_size, len(labels), f"source_val_size of the {name}")
        val_size = held_out if source.val is None else 0
        split = make_split(labels, classes, val_size=val_size, seed=derive_seed(seed, name))
        domains.append(Domain(_fit(source, reshape), split, labels, numbers, name, reshape))
    _check_every_class(domains, classes)
    target_domain = _target_domain(data, classes, labeled, target_val_size, oracle, reshape, seed)
    return *domains, target_domain


def _target_domain(
    data: SourceData,
    classes: Sequence[str],
    labeled: Mapping[str, Any],
    val_size: Size,
    oracle: bool,
    reshape: Reshape,
    seed: int,
) -> TargetDomain:
    validate_all = val_size == "all"
    if validate_all:
        data = replace(data, val=None)
    if oracle and data.val is None and not has_labels(data.train):
        raise ValueError("oracle=True needs a target with labels, this one has none")
    numbers = _numbers(data.classes or classes, classes)
    names = data.train.names if isinstance(data.train, ImageFiles) else {}
    labels, split = split_target(
        data,
        classes,
        lambda rows: _target_labels(data.train, classes, numbers, rows),
        labeled={"labeled_indices": sorted(names)} if names else labeled,
        val_size=0 if validate_all or data.val is not None else val_size,
        seed=seed,
    )
    fit = _fit(data, reshape)
    return TargetDomain(fit, split, labels, numbers, "target", reshape, oracle, validate_all)


def _target_labels(
    train: Dataset[Any], classes: Sequence[str], numbers: Indices, rows: Indices
) -> Indices:
    if isinstance(train, ImageFiles) and train.names:
        names, files = train.names, train.paths
        return np.array([class_number(names[row], classes, files[row]) for row in rows.tolist()])
    return numbers[read_labels(train, len(numbers), "target", rows)]


def labeled_by_domain(sources: Sequence[Domain]) -> Samples:
    """Labeled samples ``(x, y)`` of all sources; ``(x, y, domain)`` if there are several."""
    samples = [source.labeled for source in sources]
    if len(samples) == 1:
        return samples[0]
    numbers = np.repeat(np.arange(len(samples)), [len(part) for part in samples])
    return DomainSamples(joined(samples), numbers)


class DomainSamples(Samples):
    """Labeled samples with the number ``(n,)`` of their domain: batches ``(x, y, domain)``."""

    def __init__(self, samples: Samples, domains: Indices) -> None:
        super().__init__(samples.dataset, samples.rows)
        self.targets = samples.targets
        self.domains = torch.from_numpy(domains)

    def fetch(self, positions: Indices) -> Any:
        """Inputs ``(B, ...)``, labels ``(B,)`` and domains ``(B,)`` at positions ``(B,)``."""
        return *super().fetch(positions), self.domains[torch.from_numpy(positions)]


def _numbers(own: Sequence[str], shared: Sequence[str]) -> Indices:
    """Return the number of each own class among the shared classes, ``(K,)``."""
    return np.array([shared.index(name) for name in own], dtype=np.int64)


def _fit(data: SourceData, reshape: Reshape) -> SourceData:
    """Training data in the common shape; evaluation sets follow when they are used."""
    unlabeled = data.unlabeled
    if unlabeled is not None and not is_iterable(unlabeled):  # iterable data have the shape
        unlabeled = reshaped(unlabeled, reshape)
    return replace(data, train=reshaped(data.train, reshape), unlabeled=unlabeled)


def _check_folders(sources: Mapping[str, SourceData], target: SourceData) -> None:
    """Require that no image is in two domains; a target may be tested on what trains."""
    files = {name: _paths(source.train) for name, source in sources.items()}
    check_separate({**files, "target": _paths(target.train, target.unlabeled)})
    check_separate({**files, "test": _paths(target.test, target.val)})


def _paths(*parts: Any) -> list[Path]:
    inner = [part.dataset if isinstance(part, ReshapedData) else part for part in parts]
    return [path for part in inner if isinstance(part, ImageFiles) for path in part.paths]


def _check_every_class(sources: Sequence[Domain], classes: Sequence[str]) -> None:
    train = np.concatenate([source.labels[source.split.labeled] for source in sources])
    absent = [repr(name) for k, name in enumerate(classes) if not (train == k).any()]
    if absent:
        told = ", ".join(absent[:10])
        raise ValueError(f"there are no source samples to train on for the classes {told}")
