"""Target domains of which nobody knows the labels, save perhaps those of a test set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from supercm_pl.data.datasets import TensorData
from supercm_pl.data.labels import as_labels, check_labels, checked_classes, numbered_classes
from supercm_pl.data.sources.base import Array, Source, SourceData, as_inputs
from supercm_pl.data.sources.folder import FolderSource, PathLike, image_folder


class UnlabeledArrays(Source):
    """A target domain in memory, whose samples have no labels.

    Args:
        x: Training inputs, as those of :class:`~supercm_pl.data.ArraySource`.
        x_test: Test inputs.
        y_test: Their labels ``(N,)``.
        classes: Names of the classes; ``None`` takes the numbers up to the largest label of
            ``y_test``.

    Raises:
        TypeError: If an input is not numeric, or labels are not integers.
        ValueError: If lengths differ, a label is outside ``0..K-1``, or a value is NaN or infinite.
    """

    def __init__(
        self,
        x: Array,
        x_test: Array | None = None,
        y_test: Array | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        if (x_test is None) != (y_test is None):
            raise ValueError(
                f"x_test and y_test go together, got only {'x' if y_test is None else 'y'}_test"
            )
        train = TensorData(as_inputs(x, "x of the target"))
        self._data = SourceData(train, tuple(classes or ()))
        if x_test is not None and y_test is not None:
            inputs = as_inputs(x_test, "x_test")
            labels = as_labels(y_test, "y_test", len(inputs))
            names = checked_classes(numbered_classes(labels) if classes is None else classes)
            check_labels(labels, len(names), "y_test")
            test = TensorData(inputs, torch.from_numpy(labels))
            self._data = SourceData(train, names, test=test)

    def load(self) -> SourceData:
        """The arrays as data sets."""
        return self._data


class UnlabeledFolder(Source):
    """A target domain whose images have no labels: all images under a folder, flat or nested.

    Args:
        folder: The images; names of subfolders mean nothing.
        test: Folder with a subfolder of images for each class, for the test.
        image_size: Side of the square in pixels that images are resized to.
        grayscale: One channel in place of three.

    Raises:
        ValueError: From :meth:`load`, if a folder is missing or has no images.
    """

    def __init__(
        self,
        folder: PathLike,
        test: PathLike | None = None,
        image_size: int = 256,
        grayscale: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.image_size = image_size
        self.grayscale = grayscale
        self.test = (
            None if test is None else FolderSource(test, image_size=image_size, grayscale=grayscale)
        )

    def load(self) -> SourceData:
        """List the files; without ``test``, the classes are unknown: an empty tuple."""
        size = (self.image_size, self.image_size)
        images = image_folder(self.folder, "target", size, self.grayscale)
        if self.test is None:
            return SourceData(images, ())
        test = self.test.load()
        return SourceData(images, test.classes, test=test.train)
