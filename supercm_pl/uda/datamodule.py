"""Data for domain adaptation: labeled sources and a target whose labels are hidden."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader
from typing_extensions import Unpack

from supercm_pl.checks import check_at_most_one, check_flag, check_path, check_size
from supercm_pl.data.datamodule import DataOptions, SuperCMDataModule, counted
from supercm_pl.data.domain import Domain, joined
from supercm_pl.data.labels import as_names
from supercm_pl.data.loading.steps import Part
from supercm_pl.data.sources.arrays import Array, ArraySource, as_inputs
from supercm_pl.data.sources.base import Source
from supercm_pl.data.sources.digits import Digits, DigitsM
from supercm_pl.data.sources.folder import FolderSource, PathLike, UnlabeledFolder
from supercm_pl.data.sources.given import as_source
from supercm_pl.data.sources.image_folders import composed
from supercm_pl.data.sources.resized import Resized, height_and_width
from supercm_pl.data.splits.shared_classes import union_of_classes
from supercm_pl.data.splits.split import Split
from supercm_pl.data.splits.target_split import check_held_out
from supercm_pl.options import hands_options_to
from supercm_pl.uda.domains import labeled_by_domain, open_domains


class UDADataOptions(DataOptions, total=False):
    """The options of :class:`UDADataModule`, with its defaults."""

    target_labels_per_class: int | None
    num_target_labels: int | None
    labeled_target_indices: list[int] | str | Path | None
    source_val_size: int | float | str
    target_val_size: int | float | str
    oracle: bool
    resize: int | tuple[int, int] | None
    source_batch_size: int
    target_batch_size: int
    labeled_target_batch_size: int


@hands_options_to(SuperCMDataModule)
class UDADataModule(SuperCMDataModule):
    """Paired batches ``{"source": (x, y), "target": x}`` of any ratio, from any two sources.

    Several sources are joined; batches are then ``(x, y, domain)``, with the number of the domain
    ``(B,)``. Source and target must have the same classes by name, numbered as in the first source,
    and inputs of one shape after ``resize``.

    Target labels are dropped before training; only ``oracle`` reads them in validation. For
    semi-supervised adaptation, give one of ``target_labels_per_class``, ``num_target_labels`` and
    ``labeled_target_indices``. Batches then have a part ``"labeled_target": (x, y)``, whose samples
    are in no other part. Choosing them by class reads all target labels, by index only their own.

    Validation has two loaders: samples held out of the source with labels, and of the target
    without, for validators that need none. A validation set of a source replaces held-out samples.
    Without a test set, the target is tested on all its training samples but the labeled ones, as in
    published tables. Its unlabeled data set joins its training samples; an ``IterableDataset``
    replaces them, keeps its own order, and must already have the common shape.

    Args:
        source: One or several sources of labeled samples; ``None``:
            :class:`~supercm_pl.data.Digits` at 16×16.
        target: Source of the target samples; ``None``: :class:`~supercm_pl.data.DigitsM`.
        target_labels_per_class: Target samples of each class that keep their labels.
        num_target_labels: Target samples in all that keep their labels, spread over the classes.
        labeled_target_indices: Rows of its training data that keep their labels, or a text file.
        source_val_size: Samples held out of each source, stratified: a number, or a share such as
            ``0.1`` or ``"10%"``.
        target_val_size: Samples held out of the target at random; ``"all"``: validate on its
            unlabeled training samples.
        oracle: Validate the target with labels: for analysis, not for model selection.
        resize: Height and width of all images, a number for a square; ``None`` keeps their sizes.
            If one domain has RGB, all become RGB.
        source_batch_size: Source samples of a step on each device.
        target_batch_size: Target samples of a step on each device.
        labeled_target_batch_size: Labeled target samples of a step on each device.
        **options: Options of :class:`~supercm_pl.data.datamodule.SuperCMDataModule`.

    Raises:
        ValueError: If an argument is out of range; on loading, if the requested samples are not
            available.

    Example:
        >>> data = UDADataModule(seed=0)
        >>> data.describe()
        '1,212 source · 1,212 target · 135 source and 135 target validation · 450 test, 10 classes'
    """

    def __init__(
        self,
        source: Source | list[Source] | None = None,
        target: Source | None = None,
        *,
        target_labels_per_class: int | None = None,
        num_target_labels: int | None = None,
        labeled_target_indices: list[int] | str | Path | None = None,
        source_val_size: int | float | str = 0.1,
        target_val_size: int | float | str = 0.1,
        oracle: bool = False,
        resize: int | tuple[int, int] | None = None,
        source_batch_size: int = 64,
        target_batch_size: int = 64,
        labeled_target_batch_size: int = 32,
        **options: Unpack[DataOptions],
    ) -> None:
        self.sources = _as_sources(source)
        self.target = DigitsM() if target is None else as_source("target", target)
        super().__init__([*self.sources, self.target], **options)
        choices = {
            "target_labels_per_class": target_labels_per_class,
            "num_target_labels": num_target_labels,
            "labeled_target_indices": labeled_target_indices,
        }
        self._labeled = check_at_most_one(choices)
        for name in {"target_labels_per_class", "num_target_labels"} & self._labeled.keys():
            check_size(name, self._labeled[name])
        check_held_out("source_val_size", source_val_size)
        if target_val_size != "all":
            check_held_out("target_val_size", target_val_size)
        self.source_val_size = source_val_size
        self.target_val_size = target_val_size
        self.oracle = check_flag("oracle", oracle)
        self.resize = height_and_width(resize, "resize")
        self.source_batch_size = check_size("source_batch_size", source_batch_size)
        self.target_batch_size = check_size("target_batch_size", target_batch_size)
        self.labeled_target_batch_size = check_size(
            "labeled_target_batch_size", labeled_target_batch_size
        )

    @classmethod
    def from_folders(
        cls,
        source: PathLike | Sequence[PathLike],
        target: PathLike,
        test: PathLike | None = None,
        *,
        image_size: int = 32,
        grayscale: bool = False,
        **options: Unpack[UDADataOptions],
    ) -> UDADataModule:
        """Read one source folder or several, with a subfolder for each class, and a target folder.

        If target subfolders have names of source classes, they are its classes, whose labels only
        ``test`` uses. Otherwise it is a folder of unlabeled images, flat or nested. ``test`` is a
        folder like the source. ``options`` are those of the class.
        """
        check_path("target", target)
        look: dict[str, Any] = {"image_size": image_size, "grayscale": grayscale}
        folders = [source] if isinstance(source, str | Path) else source
        sources = [FolderSource(folder, **look) for folder in folders]
        names = {name for folder in sources for name in folder.class_names()}
        below = Path(target).iterdir() if Path(target).is_dir() else ()
        labeled = any(composed(path.name) in names and path.is_dir() for path in below)
        kind = FolderSource if labeled else UnlabeledFolder
        return cls(list(sources), kind(target, test=test, **look), **options)

    @classmethod
    def from_arrays(
        cls,
        x: Array,
        y: Array,
        x_target: Array,
        x_test: Array | None = None,
        y_test: Array | None = None,
        *,
        classes: Sequence[str] | None = None,
        **options: Unpack[UDADataOptions],
    ) -> UDADataModule:
        """Take arrays or tensors: a labeled source, an unlabeled target, and its test set.

        Shapes and types are those of :class:`~supercm_pl.data.ArraySource`. To test on a target
        whose labels are known, or to train on a few of them, write
        ``UDADataModule(ArraySource(x, y), ArraySource(x_target, y_target))``. ``options`` are those
        of the class.
        """
        if x_test is not None and y_test is None and np.ndim(x_test) == 1:
            raise TypeError(
                "x_test must be inputs, got labels: with labels of the target, write "
                "UDADataModule(ArraySource(x, y), ArraySource(x_target, y_target))"
            )
        source = ArraySource(x, y, classes=classes)
        if source.num_without_label:
            raise ValueError(
                f"y must have a label for each sample of the source, got {source.num_without_label}"
                " without: leave these out"
            )
        names = source.class_names()
        y_test = None if y_test is None else as_names(y_test, y)
        inputs = as_inputs(x_target, "x_target")
        target = ArraySource(inputs, x_test=x_test, y_test=y_test, classes=names)
        return cls(source, target, **options)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; known before ``setup``."""
        if self._domains:
            return union_of_classes(domain.data.classes for domain in self._domains[:-1])
        return union_of_classes(source.class_names() for source in self.sources)

    @property
    def source_splits(self) -> tuple[Split, ...]:
        """Of each source, the rows that train (``labeled``) and that are held out (``val``)."""
        return tuple(source.split for source in self.domains[:-1])

    @property
    def target_split(self) -> Split:
        """The labeled, unlabeled and validation rows of the target."""
        return self.domains[-1].split

    @property
    def num_source(self) -> int:
        """Number of source samples that train."""
        return sum(len(split.labeled) for split in self.source_splits)

    @property
    def num_target(self) -> int | None:
        """Number of unlabeled target samples; ``None`` for an ``IterableDataset``."""
        return self.num_unlabeled

    def open_domains(self) -> tuple[Domain, ...]:
        """Open the sources, then the target, and choose their splits."""
        return open_domains(
            self.sources,
            self.target,
            resize=self.resize,
            # Without "target_", they are the arguments of make_split.
            labeled={n.replace("target_", ""): value for n, value in self._labeled.items()},
            source_val_size=self.source_val_size,
            target_val_size=self.target_val_size,
            oracle=self.oracle,
            seed=self.run_seed,
        )

    def parts(self) -> dict[str, Part]:
        """``source`` with labels, ``target`` without, and ``labeled_target`` if there is one."""
        *sources, target = self.domains
        parts = {
            "source": Part(labeled_by_domain(sources), self.source_batch_size),
            "target": Part(target.unlabeled, self.target_batch_size),
        }
        if len(target.split.labeled):
            parts["labeled_target"] = Part(target.labeled, self.labeled_target_batch_size)
        return parts

    def val_dataloader(self) -> list[DataLoader[Any]]:
        """Source batches ``(x, y)``, then target batches ``x``; with ``oracle`` ``(x, y)``.

        Without validation samples, the list is empty.
        """
        if not self.has_val_data:
            return []
        *sources, target = self.domains
        parts = joined([source.val for source in sources]), target.val
        return [self.evaluation_loader(part) for part in parts]

    def describe(self) -> str:
        """One line with the number of samples of each domain in each part."""
        *sources, target = self.domains
        source, labeled = f"{self.num_source:,} source", len(target.split.labeled)
        if len(sources) > 1:
            source += f" of {len(sources)} domains"
        num_val = sum(len(source.val) for source in sources)
        val = f"{num_val:,} source and {len(target.val):,} target validation"
        if self.target_val_size == "all":
            val += " (on what trains)"
        if self.oracle:
            val += " (oracle: with target labels)"
        test = f"{target.num_test:,} test"
        if target.is_transductive:
            test += " (all target samples but the labeled)" if labeled else " (all target samples)"
        parts = [source, f"{counted(self.num_target)} target", val, test]
        if labeled:
            parts.insert(1, f"{labeled:,} labeled target")
        return " · ".join(parts) + f", {self.classes_and_rest()}"


def _as_sources(source: Source | Sequence[Source] | None) -> list[Source]:
    given = Resized(Digits(), size=16) if source is None else source
    sources = list(given) if isinstance(given, list | tuple) else [given]
    if not sources:
        raise TypeError(f"source must be a source or a list of at least one, got {given!r}")
    return [as_source("source", each) for each in sources]
