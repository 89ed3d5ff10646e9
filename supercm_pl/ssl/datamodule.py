"""Data for semi-supervised learning: few labeled samples beside many unlabeled ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader
from typing_extensions import Unpack

from supercm_pl.checks import check_at_least, check_flag, check_object
from supercm_pl.data.datamodule import DataOptions, SuperCMDataModule
from supercm_pl.data.datasets import IdentifiedSamples, Samples, fetch_inputs
from supercm_pl.data.labels import check_class_range, labels_of
from supercm_pl.data.loading.loader import Stream
from supercm_pl.data.sources.arrays import Array, ArraySource
from supercm_pl.data.sources.base import Source
from supercm_pl.data.sources.digits import Digits
from supercm_pl.data.sources.folder import FolderSource, PathLike, images_to_predict
from supercm_pl.data.splits.distortion import Distortion
from supercm_pl.data.splits.split import Split
from supercm_pl.data.splits.stratified import is_saved_split, make_split, parse_fraction
from supercm_pl.options import hands_options_to
from supercm_pl.ssl.parts import Parts, known_names, warn_of_absent

_CHOICES = ("labels_per_class", "num_labels", "labeled_fraction", "labeled_indices")


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

    Of the training data some rows keep their labels, some are held out for validation, and the
    others are unlabeled: their labels are not in the stream at all. A set of unlabeled samples that
    the source has of its own joins them; an ``IterableDataset`` takes their place, in its own order
    (see :class:`~supercm_pl.data.PairedLoader`). Test data are looked at by ``test``, and by
    ``predict`` where no folder is given, alone; of those with unknown classes, the labels are
    counted.

    Exactly one of ``labels_per_class``, ``num_labels``, ``labeled_fraction`` and
    ``labeled_indices`` says which rows keep their labels. Only where the source has unlabeled
    samples of its own, none of them is needed: all labeled samples are then used.

    Args:
        source: Where the samples come from; ``None``: :class:`~supercm_pl.data.Digits`.
        labels_per_class: Labeled samples of each class.
        num_labels: Labeled samples in all, spread over the classes as evenly as these allow.
        labeled_fraction: Share of the training samples that are labeled, such as ``0.01`` or
            ``"1%"``.
        labeled_indices: Rows of the training data that are labeled; or a file that names them, as
            text or as written by :meth:`save_split`, which settles unlabeled and validation rows as
            well.
        val_size: Samples held out of the training data for validation: a number, a share such as
            ``0.1`` or ``"10%"``, or ``"labels"``, as many as are labeled (none where all are). Not
            used where the source has a validation set.
        unlabeled_includes_labeled: Let the labeled samples be in the unlabeled stream as well.
        distortion: Makes the training data worse, for experiments: wrong labels, long tails,
            classes without labels.
        labeled_batch_size: Labeled samples of a step on each device. A set that is smaller repeats
            within a batch; at any time of a run, its samples were drawn equally often, up to one.
        unlabeled_batch_size: Unlabeled samples of a step on each device; the same holds of it.
        **options: Those of :class:`~supercm_pl.data.datamodule.SuperCMDataModule`.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If an argument is out of range, or the data don't allow what is asked for; where
            that takes a look at the data, when they are loaded.

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
        super().__init__(**options)
        choices = (labels_per_class, num_labels, labeled_fraction, labeled_indices)
        given = [name for name, value in zip(_CHOICES, choices, strict=True) if value is not None]
        if len(given) > 1:
            raise ValueError(
                f"only one of {', '.join(_CHOICES)} may be given, got {' and '.join(given)}"
            )
        if labels_per_class is not None:
            check_at_least("labels_per_class", labels_per_class, 1)
        if num_labels is not None:
            check_at_least("num_labels", num_labels, 1)
        if labeled_fraction is not None:
            parse_fraction(labeled_fraction, "labeled_fraction")
        check_at_least("labeled_batch_size", labeled_batch_size, 1)
        check_at_least("unlabeled_batch_size", unlabeled_batch_size, 1)
        check_flag("unlabeled_includes_labeled", unlabeled_includes_labeled)
        if source is not None:
            check_object("source", source, Source, "Digits()")
        if distortion is not None:
            check_object("distortion", distortion, Distortion, "Distortion(label_noise=0.2)")
        self.source = Digits() if source is None else source
        self.labels_per_class = labels_per_class
        self.num_labels = num_labels
        self.labeled_fraction = labeled_fraction
        self.labeled_indices = labeled_indices
        self.val_size = val_size
        self.unlabeled_includes_labeled = unlabeled_includes_labeled
        self.distortion = distortion
        self.labeled_batch_size = labeled_batch_size
        self.unlabeled_batch_size = unlabeled_batch_size
        self._chosen = bool(given)
        self._loaded: Parts | None = None

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
        """Of folders of images, as in :class:`~supercm_pl.data.FolderSource`.

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
        **options: Unpack[SSLDataOptions],
    ) -> SSLDataModule:
        """Of arrays or tensors, as in :class:`~supercm_pl.data.ArraySource`.

        ``options`` are those of the class.
        """
        return cls(ArraySource(x, y, x_test, y_test, x_unlabeled, classes), **options)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that there are labels of; known before ``setup``."""
        if self._loaded is not None:
            return self._loaded.classes
        distortion, indices = self.distortion, self.labeled_indices
        if isinstance(indices, str | Path) and is_saved_split(indices):
            distortion = Split.load(indices).distortion
        return known_names(self.source.class_names(), distortion)

    @property
    def num_classes(self) -> int:
        """``K``; known before ``setup``."""
        return len(self.classes)

    @property
    def split(self) -> Split:
        """Which rows of the training data play which part."""
        return self._parts.split

    @property
    def num_unlabeled(self) -> int | None:
        """Samples of the unlabeled stream; ``None`` for an ``IterableDataset``."""
        return self._parts.num_unlabeled

    @property
    def has_val_data(self) -> bool:
        """Whether samples are held out, or the source has a validation set."""
        return self._parts.has_val

    @property
    def has_test_data(self) -> bool:
        """Whether the source has a labeled test set."""
        return self._parts.data.test is not None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input without the batch, ``(C, H, W)`` or ``(D,)``."""
        inputs = fetch_inputs(self._parts.data.train, np.zeros(1, dtype=np.int64))
        return tuple(inputs.shape[1:])

    def prepare_data(self) -> None:
        """Download what the source needs; Lightning calls it on one process of each machine."""
        self.source.prepare()

    def load(self) -> None:
        """Open the source and choose the split, once."""
        if self._loaded is not None:
            return
        data = self.source.load()
        if not self._chosen and data.unlabeled is None:
            raise ValueError(
                f"say which samples are labeled, by one of {', '.join(_CHOICES)}, "
                "such as labels_per_class=4"
            )
        labels = labels_of(data.train)
        check_class_range(labels, len(data.classes), "the training data")
        split = make_split(
            labels,
            data.classes,
            labels_per_class=self.labels_per_class,
            num_labels=self.num_labels,
            labeled_fraction=self.labeled_fraction,
            labeled_indices=self.labeled_indices,
            val_size=self.val_size if data.val is None else 0,
            unlabeled_includes_labeled=self.unlabeled_includes_labeled,
            distortion=self.distortion,
            seed=self.run_seed,
        )
        self._loaded = Parts(data, labels, split)
        warn_of_absent(self._loaded)

    def streams(self) -> dict[str, Stream]:
        """``labeled`` with labels and ``unlabeled`` without."""
        parts = self._parts
        if parts.num_unlabeled == 0:
            raise ValueError(
                "no unlabeled samples are left: label fewer, or set unlabeled_includes_labeled=True"
            )
        return {
            "labeled": Stream(parts.labeled, self.labeled_batch_size),
            "unlabeled": Stream(parts.unlabeled, self.unlabeled_batch_size),
        }

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Batches ``(x, y)`` for validation; an empty list where there are no samples for it."""
        return self.evaluation_loader(self._parts.val) if self.has_val_data else []

    def test_dataloader(self) -> DataLoader[Any]:
        """Batches ``(x, y)`` of the test data."""
        return self.evaluation_loader(self._parts.test)

    def predict_dataloader(self) -> DataLoader[Any]:
        """Batches ``{"inputs": x, "ids": [...]}``; ids are paths, or rows of the test data."""
        if self.predict_path is not None:
            return self.evaluation_loader(images_to_predict(self.predict_path, self.input_shape))
        test = self._parts.data.test
        if test is None:
            raise ValueError(
                "predict needs predict_path, a folder of images, or a source with test data"
            )
        return self.evaluation_loader(IdentifiedSamples(Samples(test)))

    def describe(self) -> str:
        """One line: ``20 labeled · 1,307 unlabeled · 20 validation · 450 test, 10 classes``."""
        return self._parts.describe()

    def save_split(self, path: str | Path) -> None:
        """Write the split to a file that ``labeled_indices`` of another run can name."""
        self.split.save(path)

    def fingerprint(self) -> str:
        """The digest of the split."""
        return self.split.digest

    @property
    def _parts(self) -> Parts:
        self.load()
        assert self._loaded is not None
        return self._loaded
