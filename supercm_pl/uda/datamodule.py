"""Data for domain adaptation: labeled sources beside a target whose labels are dropped."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader
from typing_extensions import Unpack

from supercm_pl.checks import check_at_least, check_flag, check_object
from supercm_pl.data.datamodule import DataOptions, SuperCMDataModule
from supercm_pl.data.datasets import IdentifiedSamples, first_input
from supercm_pl.data.loading.loader import Stream
from supercm_pl.data.sources.arrays import Array, ArraySource, UnlabeledArrays
from supercm_pl.data.sources.base import Source
from supercm_pl.data.sources.digits import Digits, DigitsM
from supercm_pl.data.sources.folder import (
    FolderSource,
    PathLike,
    UnlabeledFolder,
    images_to_predict,
)
from supercm_pl.data.sources.resized import Resized, height_and_width
from supercm_pl.data.splits.shared_classes import union_of_classes
from supercm_pl.data.splits.split import Split
from supercm_pl.options import hands_options_to
from supercm_pl.uda.domains import Domains
from supercm_pl.uda.target_split import check_held_out

_CHOICES = ("target_labels_per_class", "num_target_labels", "labeled_target_indices")


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

    Several sources are joined, and batches are then ``(x, y, domain)``, with numbers of the domains
    ``(B,)`` in their order. Source and target must have the same classes by name; labels are
    numbered as in the (first) source. Their inputs must have one shape after ``resize``.

    The labels of the target are dropped before training, and nothing in training or validation
    reads them, save by ``oracle``. In semi-supervised domain adaptation a few target samples keep
    theirs: give one of ``target_labels_per_class``, ``num_target_labels`` and
    ``labeled_target_indices``, and batches have a part ``"labeled_target": (x, y)``; these samples
    are in no other part. To choose them by class takes one look at all target labels; by index,
    at theirs alone.

    Validation has two loaders: labeled samples held out of the source, then target samples held out
    without their labels, for validators that need none. A validation set that a source has of its
    own is used in place of held-out samples. Test data are those of the target: its test set, or,
    where it has none, all of its images (without the labeled ones), as published tables do; the
    description says so. Unlabeled samples that the target has of its own join it; an
    ``IterableDataset`` of them takes the place of its training rows, in its own order and with
    inputs that have the common shape already.

    Args:
        source: Where the labeled samples come from, one source or several; ``None``:
            :class:`~supercm_pl.data.Digits` at 16×16.
        target: Where the samples of the target come from; ``None``:
            :class:`~supercm_pl.data.DigitsM`.
        target_labels_per_class: Target samples of each class that keep their labels.
        num_target_labels: Target samples that keep their labels in all, spread over the classes.
        labeled_target_indices: Rows of the target's training data that keep their labels; or a text
            file that names them.
        source_val_size: Samples held out of each source, stratified: a number, or a share such as
            ``0.1`` or ``"10%"``.
        target_val_size: Samples held out of the target at random; or ``"all"``: validate on the
            target samples of the training, which are without labels there as well.
        oracle: Validate the target with labels: for study, not for the choice of a model.
        resize: Height and width that images of all domains are resized to, a number for a square;
            ``None`` leaves their sizes. Where one domain has RGB, all become RGB.
        source_batch_size: Source samples of a step on each device.
        target_batch_size: Target samples of a step on each device.
        labeled_target_batch_size: Labeled target samples of a step on each device.
        **options: Those of :class:`~supercm_pl.data.datamodule.SuperCMDataModule`.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If an argument is out of range, or the data don't allow what is asked for; where
            that takes a look at the data, when they are loaded.

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
        super().__init__(**options)
        choices = (target_labels_per_class, num_target_labels, labeled_target_indices)
        given = [name for name, value in zip(_CHOICES, choices, strict=True) if value is not None]
        if len(given) > 1:
            raise ValueError(
                f"only one of {', '.join(_CHOICES)} may be given, got {' and '.join(given)}"
            )
        if target_labels_per_class is not None:
            check_at_least("target_labels_per_class", target_labels_per_class, 1)
        if num_target_labels is not None:
            check_at_least("num_target_labels", num_target_labels, 1)
        check_held_out("source_val_size", source_val_size)
        if target_val_size != "all":
            check_held_out("target_val_size", target_val_size)
        check_at_least("source_batch_size", source_batch_size, 1)
        check_at_least("target_batch_size", target_batch_size, 1)
        check_at_least("labeled_target_batch_size", labeled_target_batch_size, 1)
        check_flag("oracle", oracle)
        if target is not None:
            check_object("target", target, Source, "DigitsM()")
        self.sources = _as_sources(source)
        self.target = DigitsM() if target is None else target
        self.target_labels_per_class = target_labels_per_class
        self.num_target_labels = num_target_labels
        self.labeled_target_indices = labeled_target_indices
        self.source_val_size = source_val_size
        self.target_val_size = target_val_size
        self.oracle = oracle
        self.resize = height_and_width(resize, "resize")
        self.source_batch_size = source_batch_size
        self.target_batch_size = target_batch_size
        self.labeled_target_batch_size = labeled_target_batch_size
        self._loaded: Domains | None = None

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
        """Of a source folder, or several, with a subfolder for each class, and a target folder.

        The target's subfolders are its classes if they have names of the source's; its labels are
        then used by ``test`` alone. Else it is a folder of unlabeled images, flat or nested.
        ``test`` is a folder like the source's. ``options`` are those of the class.
        """
        look: dict[str, Any] = {"image_size": image_size, "grayscale": grayscale}
        folders = [source] if isinstance(source, str | Path) else source
        sources = [FolderSource(folder, **look) for folder in folders]
        names = {name for folder in sources for name in folder.class_names()}
        labeled = any((Path(target) / name).is_dir() for name in names)
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
        """Of arrays or tensors: a labeled source, a target without labels, a test set of its own.

        Shapes and types are those of :class:`~supercm_pl.data.ArraySource`. ``options`` are those
        of the class.
        """
        source = ArraySource(x, y, classes=classes)
        target = UnlabeledArrays(x_target, x_test, y_test, source.class_names())
        return cls(source, target, **options)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; known before ``setup``."""
        if self._loaded is not None:
            return self._loaded.classes
        return union_of_classes(source.class_names() for source in self.sources)

    @property
    def num_classes(self) -> int:
        """``K``."""
        return len(self.classes)

    @property
    def source_splits(self) -> tuple[Split, ...]:
        """Of each source, which rows train (``labeled``) and which are held out (``val``)."""
        return tuple(part.split for part in self._domains.sources)

    @property
    def target_split(self) -> Split:
        """Which rows of the target play which part."""
        return self._domains.target.split

    @property
    def num_source(self) -> int:
        """Source samples that train."""
        return sum(len(split.labeled) for split in self.source_splits)

    @property
    def num_target(self) -> int | None:
        """Target samples that train without labels; ``None`` for an ``IterableDataset``."""
        return self._domains.num_target

    @property
    def num_unlabeled(self) -> int | None:
        """The same, as a semi-supervised base method asks for it."""
        return self.num_target

    @property
    def has_val_data(self) -> bool:
        """Whether there is a sample of source or target to validate on."""
        return self._domains.num_source_val + self._domains.num_target_val > 0

    @property
    def has_test_data(self) -> bool:
        """Whether the target has labels to test with."""
        return self._domains.num_test > 0

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input of any domain without the batch, ``(C, H, W)`` or ``(D,)``."""
        return tuple(first_input(self._domains.target.data.train, "target").shape[1:])

    def prepare_data(self) -> None:
        """Download what the sources need; Lightning calls it on one process of each machine."""
        for source in (*self.sources, self.target):
            source.prepare()

    def load(self) -> None:
        """Open the domains and choose the splits, once."""
        if self._loaded is None:
            self._loaded = Domains(
                self.sources,
                self.target,
                resize=self.resize,
                labels_per_class=self.target_labels_per_class,
                num_labels=self.num_target_labels,
                labeled_indices=self.labeled_target_indices,
                source_val_size=self.source_val_size,
                target_val_size=self.target_val_size,
                oracle=self.oracle,
                seed=self.run_seed,
            )

    def streams(self) -> dict[str, Stream]:
        """``source`` with labels, ``target`` without, ``labeled_target`` where it is asked for."""
        domains = self._domains
        streams = {
            "source": Stream(domains.source_samples(), self.source_batch_size),
            "target": Stream(domains.target_samples(), self.target_batch_size),
        }
        if len(self.target_split.labeled):
            streams["labeled_target"] = Stream(
                domains.target.labeled, self.labeled_target_batch_size
            )
        return streams

    def val_dataloader(self) -> list[DataLoader[Any]]:
        """Source batches ``(x, y)``, then target batches ``x``; with ``oracle`` ``(x, y)`` too.

        There are always these two, in this order, save that a list without any validation samples
        is empty.
        """
        if not self.has_val_data:
            return []
        parts = self._domains.source_val(), self._domains.target_val()
        return [self.evaluation_loader(part) for part in parts]

    def test_dataloader(self) -> DataLoader[Any]:
        """Batches ``(x, y)`` of the target's test data; those of the source are not looked at."""
        return self.evaluation_loader(self._domains.test())

    def predict_dataloader(self) -> DataLoader[Any]:
        """Batches ``{"inputs": x, "ids": [...]}``; ids are paths, or rows of the target's data."""
        if self.predict_path is not None:
            return self.evaluation_loader(images_to_predict(self.predict_path, self.input_shape))
        return self.evaluation_loader(IdentifiedSamples(self._domains.to_predict()))

    def describe(self) -> str:
        """One line on how many samples of which domain play which part, and on their labels."""
        domains = self._domains
        source, labeled = f"{self.num_source:,} source", len(self.target_split.labeled)
        if len(self.sources) > 1:
            source += f" of {len(self.sources)} domains"
        val = f"{domains.num_source_val:,} source and {domains.num_target_val:,} target validation"
        if self.target_val_size == "all":
            val += " (on what trains)"
        if self.oracle:
            val += " (oracle: with target labels)"
        test = f"{domains.num_test:,} test"
        if domains.is_transductive:
            test += " (all target samples but the labeled)" if labeled else " (all target samples)"
        target = "endless" if self.num_target is None else f"{self.num_target:,}"
        parts = [source, f"{target} target", val, test]
        if labeled:
            parts.insert(1, f"{labeled:,} labeled target")
        return " · ".join(parts) + f", {self.num_classes:,} classes"

    def fingerprint(self) -> str:
        """A digest of the splits of all domains."""
        splits = (*self.source_splits, self.target_split)
        return hashlib.sha256(" ".join(split.digest for split in splits).encode()).hexdigest()

    @property
    def _domains(self) -> Domains:
        self.load()
        assert self._loaded is not None
        return self._loaded


def _as_sources(source: Source | Sequence[Source] | None) -> tuple[Source, ...]:
    if source is None:
        return (Resized(Digits(), size=16),)
    sources = tuple(source) if isinstance(source, (list, tuple)) else (source,)
    if not sources:
        raise ValueError("source must be a source or a list of at least one, got an empty list")
    for one in sources:
        check_object("source", one, Source, "Digits()")
    return sources
