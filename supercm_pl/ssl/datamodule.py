"""Data for semi-supervised learning: few labeled and many unlabeled samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader
from typing_extensions import Unpack

from supercm_pl.checks import (
    check_at_most_one,
    check_flag,
    check_object,
    check_optional,
    check_size,
)
from supercm_pl.data.datamodule import DataOptions, SuperCMDataModule, counted
from supercm_pl.data.datasets import Indices
from supercm_pl.data.domain import Domain, read_labels
from supercm_pl.data.labels import checked_classes
from supercm_pl.data.loading.steps import Part
from supercm_pl.data.sources.arrays import Array, ArraySource
from supercm_pl.data.sources.base import Source, load_source
from supercm_pl.data.sources.digits import Digits
from supercm_pl.data.sources.folder import FolderSource, PathLike
from supercm_pl.data.sources.given import as_source
from supercm_pl.data.splits.distortion import Distortion, new_numbers
from supercm_pl.data.splits.split import Split
from supercm_pl.data.splits.stratified import is_saved_split, make_split, parse_fraction
from supercm_pl.options import hands_options_to

_OTHERS = "x_unlabeled=... of from_arrays, or unlabeled=... of from_folder and DatasetSource"


class SSLDataOptions(DataOptions, total=False):
    """The options of :class:`SSLDataModule`, with its defaults."""

    labels_per_class: int | None
    num_labels: int | None
    labeled_fraction: float | str | None
    labeled_indices: list[int] | str | Path | None
    val_size: int | float | str
    unlabeled_includes_labeled: bool
    distortion: Distortion | None
    labeled_batch_size: int
    unlabeled_batch_size: int


@hands_options_to(SuperCMDataModule)
class SSLDataModule(SuperCMDataModule):
    """Paired batches ``{"labeled": (x, y), "unlabeled": x}`` of any ratio, from any source.

    Some training samples keep their labels, some are held out for validation, and the others are
    unlabeled: their labels are not part of a batch. An unlabeled data set of the source joins them;
    an ``IterableDataset`` replaces them and keeps its own order (see
    :class:`~supercm_pl.data.PairedLoader`). Only ``test``, and ``predict`` without a folder, read
    test data; with unknown classes, the test labels are counted before.

    Give exactly one of ``labels_per_class``, ``num_labels``, ``labeled_fraction`` and
    ``labeled_indices``; or none, if the source has an unlabeled data set, to label all the others.

    Args:
        source: Source of the samples, or a data set of PyTorch or Hugging Face; ``None``:
            :class:`~supercm_pl.data.Digits`.
        labels_per_class: Labeled samples of each class.
        num_labels: Labeled samples in all, spread over the classes as evenly as these allow.
        labeled_fraction: Share of the training samples that are labeled, such as ``0.01`` or
            ``"1%"``.
        labeled_indices: Rows of the training data that are labeled, or a text file; or a file from
            :meth:`save_split`, which also sets the unlabeled and validation rows.
        val_size: Samples held out of the training data for validation: a number, a share such as
            ``0.1`` or ``"10%"``, or ``"labels"``, as many as are labeled (none if all are). Not
            used if the source has a validation set.
        unlabeled_includes_labeled: Whether the labeled samples are unlabeled ones as well.
        distortion: Wrong labels, long tails or classes without labels in the training data, for
            experiments.
        labeled_batch_size: Labeled samples of a step on each device. A smaller set repeats within a
            batch; over a run, its samples are drawn equally often, within one.
        unlabeled_batch_size: Unlabeled samples of a step on each device; likewise.
        **options: Options of :class:`~supercm_pl.data.datamodule.SuperCMDataModule`.

    Raises:
        ValueError: If an argument is out of range; on loading, if the requested samples are not
            available.

    Example:
        >>> data = SSLDataModule(labels_per_class=2, seed=0)
        >>> data.setup("fit")
        >>> data.describe()
        '20 labeled · 1,307 unlabeled · 20 validation · 450 test, 10 classes'
    """

    def __init__(
        self,
        source: Source | None = None,
        *,
        labels_per_class: int | None = None,
        num_labels: int | None = None,
        labeled_fraction: float | str | None = None,
        labeled_indices: list[int] | str | Path | None = None,
        val_size: int | float | str = "labels",
        unlabeled_includes_labeled: bool = False,
        distortion: Distortion | None = None,
        labeled_batch_size: int = 32,
        unlabeled_batch_size: int = 128,
        **options: Unpack[DataOptions],
    ) -> None:
        self.source = Digits() if source is None else as_source("source", source)
        super().__init__([self.source], **options)
        choices = {
            "labels_per_class": labels_per_class,
            "num_labels": num_labels,
            "labeled_fraction": labeled_fraction,
            "labeled_indices": labeled_indices,
        }
        self._labeled = check_at_most_one(choices)
        for name in {"labels_per_class", "num_labels"} & self._labeled.keys():
            check_size(name, self._labeled[name])
        if labeled_fraction is not None:
            parse_fraction(labeled_fraction, "labeled_fraction")
        example = "Distortion(label_noise=0.2)"
        check_optional(check_object, "distortion", distortion, Distortion, example)
        self.val_size = val_size
        self.unlabeled_includes_labeled = check_flag(
            "unlabeled_includes_labeled", unlabeled_includes_labeled
        )
        self.distortion = distortion
        self.labeled_batch_size = check_size("labeled_batch_size", labeled_batch_size)
        self.unlabeled_batch_size = check_size("unlabeled_batch_size", unlabeled_batch_size)

    @classmethod
    def from_folder(
        cls,
        labeled: PathLike,
        unlabeled: PathLike | None = None,
        test: PathLike | None = None,
        val: PathLike | None = None,
        *,
        image_size: int = 32,
        grayscale: bool = False,
        **options: Unpack[SSLDataOptions],
    ) -> SSLDataModule:
        """Read folders of images; see :class:`~supercm_pl.data.FolderSource`.

        ``options`` are those of the class.
        """
        return cls(FolderSource(labeled, unlabeled, test, val, image_size, grayscale), **options)

    @classmethod
    def from_arrays(
        cls,
        x: Array,
        y: Array,
        x_test: Array | None = None,
        y_test: Array | None = None,
        x_unlabeled: Array | None = None,
        *,
        classes: Sequence[str] | None = None,
        x_val: Array | None = None,
        y_val: Array | None = None,
        **options: Unpack[SSLDataOptions],
    ) -> SSLDataModule:
        """Take arrays or tensors; see :class:`~supercm_pl.data.ArraySource`.

        ``options`` are those of the class.
        """
        source = ArraySource(x, y, x_test, y_test, x_unlabeled, classes, x_val, y_val)
        if source.num_without_label and options.get("labeled_indices") is not None:
            raise ValueError(
                f"labeled_indices and y, where {source.num_without_label} samples have no label, "
                "both choose the labeled samples: omit one of them"
            )
        return cls(source, **options)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that have labels; known before ``setup``."""
        if self._domains:
            return _known_classes(self._domains[0].data.classes, self.split.distortion)
        distortion, indices = self.distortion, self._labeled.get("labeled_indices")
        if indices is not None and is_saved_split(indices):
            distortion = Split.load(indices).distortion
        return _known_classes(self.source.class_names(), distortion)

    @property
    def split(self) -> Split:
        """The labeled, unlabeled and validation rows of the training data."""
        return self.domains[0].split

    def open_domains(self) -> tuple[Domain, ...]:
        """Open the source and choose the split."""
        data = load_source(self.source)
        labels = read_labels(data.train, len(data.classes), "training")
        if data.unlabeled is None and not self._labeled:
            raise ValueError(
                "choose the labeled samples by one of labels_per_class, num_labels, "
                "labeled_fraction, labeled_indices, such as labels_per_class=4; or pass samples "
                f"without a label by name, {_OTHERS}"
            )
        split = make_split(
            labels,
            data.classes,
            **self._labeled,
            val_size=self.val_size if data.val is None else 0,
            unlabeled_includes_labeled=self.unlabeled_includes_labeled,
            distortion=self.distortion,
            seed=self.run_seed,
        )
        known = (split.distortion or Distortion()).known_classes(data.classes)
        checked_classes([data.classes[k] for k in known])
        absent = np.setdiff1d(known, labels[split.labeled])
        _warn_of_absent("no samples are labeled in", absent, data.classes)
        if len(split.val) >= len(known):
            absent = np.setdiff1d(known, labels[split.val])
            _warn_of_absent("no samples are left to validate", absent, data.classes)
        numbers = new_numbers(known, len(data.classes))
        return (Domain(data, split, numbers[labels], numbers),)

    def parts(self) -> dict[str, Part]:
        """``labeled`` with labels and ``unlabeled`` without."""
        (domain,) = self.domains
        if domain.num_unlabeled == 0:
            raise ValueError(
                "no unlabeled samples are left: label fewer, set unlabeled_includes_labeled=True, "
                f"or pass others by name, {_OTHERS}"
            )
        return {
            "labeled": Part(domain.labeled, self.labeled_batch_size),
            "unlabeled": Part(domain.unlabeled, self.unlabeled_batch_size),
        }

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Validation batches ``(x, y)``; an empty list without validation samples."""
        return self.evaluation_loader(self.domains[0].val) if self.has_val_data else []

    def describe(self) -> str:
        """One line: ``20 labeled · 1,307 unlabeled · 20 validation · 450 test, 10 classes``."""
        (domain,) = self.domains
        return (
            f"{len(domain.split.labeled):,} labeled · {counted(domain.num_unlabeled)} unlabeled · "
            f"{len(domain.val):,} validation · {domain.num_test:,} test, "
            f"{self.classes_and_rest()}"
        )

    def save_split(self, path: str | Path) -> None:
        """Write the split to a file, which another run can take as ``labeled_indices``."""
        (domain,) = self.domains
        counts = {"labeled": len(domain.split.labeled), "val": len(domain.val)}
        if domain.num_unlabeled is not None:
            counts["unlabeled"] = domain.num_unlabeled
        self.split.save(path, counts)


def _known_classes(names: tuple[str, ...], distortion: Distortion | None) -> tuple[str, ...]:
    known = (distortion or Distortion()).known_classes(names)
    return tuple(names[k] for k in known)


def _warn_of_absent(what: str, classes: Indices, names: Sequence[str]) -> None:
    if len(classes):
        told = ", ".join(repr(names[k]) for k in classes[:10])
        more = " and more" if len(classes) > 10 else ""
        rank_zero_warn(f"{what} classes {told}{more}", category=RuntimeWarning)
