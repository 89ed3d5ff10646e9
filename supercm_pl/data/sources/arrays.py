"""Sources of arrays in memory and of any data sets."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from supercm_pl.data.datasets import (
    JoinedData,
    TensorData,
    channels_first,
    check_finite,
    dataset_length,
    is_iterable,
)
from supercm_pl.data.labels import (
    as_names,
    checked_classes,
    labels_of,
    named_labels,
    numbered_classes,
)
from supercm_pl.data.sources.base import Source, SourceData
from supercm_pl.names import first_of
from supercm_pl.seeding import isolated_rng

Array = NDArray[Any] | Tensor


class ArraySource(Source):
    """NumPy arrays or tensors in memory.

    Inputs are vectors ``(N, D)``, grayscale images ``(N, H, W)`` or images ``(N, C, H, W)``;
    channels-last images ``(N, H, W, C)`` with C of 1 or 3 are transposed. ``uint8`` is kept and
    stands for 0..255, which becomes ``[0, 1]`` on the device; any other type becomes float32
    without scaling. Samples whose label is -1, ``"-1"``, ``""``, ``None`` or NaN join the unlabeled
    ones; row numbers then count the others.

    Args:
        x: Training inputs.
        y: Their labels ``(N,)``, integers from 0 on or names; ``None``, or no label at all, in a
            target of adaptation.
        x_test: Test inputs.
        y_test: Their labels; if those of ``y`` are names, so are these, numbers too.
        x_unlabeled: More training inputs, without labels.
        classes: Names of the classes; ``None`` takes the names in ``y``, sorted, or its numbers.
        x_val: Validation inputs; ``None`` lets the data module hold out some of ``x``.
        y_val: Their labels.

    Attributes:
        num_without_label: Number of samples of ``x`` without a label.

    Raises:
        TypeError: If an input is not numeric, or labels are neither integers nor names.
        ValueError: If lengths or shapes differ, a label is outside ``0..K-1``, or a value is NaN or
            infinite.
    """

    def __init__(
        self,
        x: Array,
        y: Array | None = None,
        x_test: Array | None = None,
        y_test: Array | None = None,
        x_unlabeled: Array | None = None,
        classes: Sequence[str] | None = None,
        x_val: Array | None = None,
        y_val: Array | None = None,
    ) -> None:
        inputs = as_inputs(x, "x")
        y = np.full(len(inputs), -1) if y is None else y
        labels, names = named_labels(y, "y", len(inputs), classes)
        known = labels >= 0
        self.num_without_label = int((~known).sum())
        unlabeled = [] if known.all() else [inputs[torch.from_numpy(~known)]]
        if x_unlabeled is not None:
            unlabeled.append(as_inputs(x_unlabeled, "x_unlabeled", inputs))
        if not known.all() and known.any():
            inputs, labels = inputs[torch.from_numpy(known)], labels[known]
        train = TensorData(inputs, torch.from_numpy(labels))
        y_test, y_val = (None if each is None else as_names(each, y) for each in (y_test, y_val))
        test, names = _labeled("test", x_test, y_test, names or None, inputs) or (None, names)
        val, names = _labeled("val", x_val, y_val, names or None, inputs) or (None, names)
        if test is not None:
            self.left_out = _overlap(torch.cat([inputs, *unlabeled]), test.inputs)
        rest = TensorData(torch.cat(unlabeled)) if unlabeled else None
        if rest is not None and not known.any():
            train, rest = rest, None
        self._data = SourceData(train, names, test=test, val=val, unlabeled=rest)

    def load(self) -> SourceData:
        """The arrays as data sets."""
        return self._data


class DatasetSource(Source):
    """Any map-style data sets, for example torchvision's.

    Items are ``(input, label)``, or inputs alone in ``unlabeled``. An input is a tensor, an array
    or a PIL image, ``(C, H, W)`` or ``(H, W, C)`` with C of 1 or 3; all have one size. Labels are
    read from ``targets`` or ``labels`` if the data set has them.

    Args:
        train: Labeled samples, and those whose labels a split hides; as a target of adaptation,
            its items may be inputs alone.
        test: Labeled samples for the test.
        unlabeled: More training samples; their labels, if any, are dropped. An
            ``IterableDataset``, such as LitData's, replaces the unlabeled samples of ``train``.
        val: Labeled samples for validation; ``None`` lets the data module hold out some of
            ``train``.
        classes: Names of the classes; ``None`` takes ``train.classes``, else the numbers up to the
            largest label.

    Raises:
        TypeError: If a data set is not map-style, or its labels are not integers.
    """

    # From `Dataset[Any]`, jsonargparse would not find the arguments of a data set's constructor.
    def __init__(
        self,
        train: Dataset,  # type: ignore[type-arg]
        test: Dataset | None = None,  # type: ignore[type-arg]
        unlabeled: Dataset | None = None,  # type: ignore[type-arg]
        val: Dataset | None = None,  # type: ignore[type-arg]
        classes: Sequence[str] | None = None,
    ) -> None:
        given: Any = train
        if not isinstance(given, Dataset):
            hint = ": pass its dataset" if isinstance(given, DataLoader) else ""
            if isinstance(given, list | tuple) or hasattr(given, "shape"):
                hint = ": write SSLDataModule.from_arrays(x, y)"
            raise TypeError(f"train must be a map-style Dataset, got {type(given).__name__}{hint}")
        for dataset in (train, test, unlabeled, val):
            if dataset is not None and not (dataset is unlabeled and is_iterable(dataset)):
                dataset_length(dataset)
        self._data = SourceData(train, (), test=test, val=val, unlabeled=unlabeled)
        self._names = getattr(train, "classes", None) if classes is None else classes

    def load(self) -> SourceData:
        """The data sets, with the classes found in the labels of ``train``, if it has some."""
        names, train = self._names, self._data.train
        if self._data.classes or isinstance(train, JoinedData):
            return self._data
        labeled = _has_labels(train)
        if labeled and names is None:
            labels = labels_of(train)
            labeled = not len(labels) or bool((labels >= 0).any())
            names = numbered_classes(labels, "train")
        if labeled:
            classes: Any = names or ()
            self._data = replace(self._data, classes=checked_classes(classes))
            for part in ("test", "val"):
                own: Any = getattr(getattr(self._data, part), "classes", None)
                theirs = isinstance(own, list) and classes is getattr(train, "classes", None)
                if theirs and own != list(classes):
                    raise ValueError(
                        f"{part} must have the classes of train, {first_of(classes)}, in their "
                        f"order, got {first_of(own)}"
                    )
        else:
            self._data = replace(self._data, train=JoinedData([train]))
        return self._data


def _has_labels(dataset: Dataset[Any]) -> bool:
    """Whether the first item of a data set is more than an input alone."""
    with isolated_rng() as reseed:  # random transforms of the items must not disturb the run
        reseed(0)
        item: Any = dataset[0] if dataset_length(dataset) else None
    item = item[0] if isinstance(item, tuple | list) and len(item) == 1 else item
    return not isinstance(item, Tensor | np.ndarray | Image.Image)


def as_inputs(values: Array, name: str, like: Tensor | None = None) -> Tensor:
    """Inputs in memory as float32 or ``uint8``, with the checks of :class:`ArraySource`.

    They must have the shape and type of the samples of ``like``, if given.
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
        if array.dtype != np.uint8:
            with np.errstate(over="ignore"):  # what overflows is infinite, and rejected below
                array = array.astype(np.float32, copy=False)
        if any(stride < 0 for stride in array.strides):
            array = array.copy()  # torch has no negative strides
        with warnings.catch_warnings():  # of memory that can't be written: it is only read
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            inputs = torch.from_numpy(array)
    if inputs.dtype != torch.uint8:
        inputs = inputs.to(torch.float32)
    if inputs.ndim not in (2, 3, 4) or 0 in inputs.shape:
        raise ValueError(
            f"{name} must be vectors (N, D) or images (N, H, W) or (N, C, H, W), "
            f"got shape {tuple(inputs.shape)}"
        )
    check_finite(inputs, name)
    if inputs.ndim == 3:
        inputs = inputs[:, None]
    elif inputs.ndim == 4:
        inputs = channels_first(inputs)
    if like is not None and (inputs.shape[1:], inputs.dtype) != (like.shape[1:], like.dtype):
        raise ValueError(
            f"{name} must have samples like those of x, {tuple(like.shape[1:])} {like.dtype}, "
            f"got {tuple(inputs.shape[1:])} {inputs.dtype}"
        )
    return inputs


def _overlap(train: Tensor, test: Tensor) -> str:
    """A note on test samples that are training samples, if most of up to 500 are."""
    known = {hash(row.tobytes()) for row in train.numpy()}
    looked_at = test[np.linspace(0, len(test) - 1, 500).astype(int)] if len(test) > 500 else test
    shared = sum(hash(row.tobytes()) in known for row in looked_at.numpy())
    if 2 * shared <= len(looked_at):
        return ""
    return f"{shared / len(looked_at):.0%} of the test samples are training samples too"


def _as_array(values: Any, name: str) -> NDArray[Any]:
    if isinstance(values, DataLoader | Dataset):
        inner = "dataset.dataset" if isinstance(values, DataLoader) else "dataset"
        raise TypeError(
            f"{name} must be an array, got an object of {type(values).__name__}: write "
            f"SSLDataModule(DatasetSource({inner}), labels_per_class=4)"
        )
    if hasattr(values, "toarray"):
        raise TypeError(f"{name} must be dense, got a sparse array: write {name}.toarray()")
    if np.ma.is_masked(values):
        raise ValueError(f"{name} must have no masked values: fill them, or leave out their rows")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must have rows of one length: {error}") from error
    if array.dtype.kind not in "biuf" and hasattr(values, "columns"):
        others = [str(column) for column, kind in values.dtypes.items() if kind.kind not in "biuf"]
        if not others:  # types such as bool and float, or nullable ones
            return np.asarray(values.astype("float32"))
        raise TypeError(
            f"{name} must hold numbers, but its columns {first_of(others)} do not: write "
            f"{name}.drop(columns=[...])"
        )
    if array.dtype.kind not in "biuf":
        first, hint = next(iter(array.flat), None), ""
        if isinstance(first, str) and re.fullmatch(r"\s*[-+.\d]+\S*", first):
            hint = f": write {name}.astype(float)"
        elif isinstance(first, str):
            hint = (
                f" such as {str(first)!r:.40}: for files, write file and label of each into "
                'labels.csv, and SSLDataModule.from_folder("labels.csv")'
            )
        elif array.dtype.kind == "c":
            hint = f": write np.abs({name}), or np.hstack([{name}.real, {name}.imag])"
        elif isinstance(first, Real):
            hint = f": write {name}.astype(float)"
        elif hasattr(first, "shape"):
            hint = f": write np.stack({name})"
        raise TypeError(f"{name} must hold numbers, got an array of {array.dtype}{hint}")
    return array


def _labeled(
    part: str,
    x: Array | None,
    y: Array | None,
    classes: Sequence[str] | None,
    like: Tensor | None = None,
) -> tuple[TensorData, tuple[str, ...]] | None:
    """The arrays ``x_<part>`` and ``y_<part>`` as a data set, and the names of its classes."""
    if x is None and y is None:
        return None
    if x is None or y is None:
        only, other = ("x", "y") if y is None else ("y", "x")
        raise ValueError(
            f"x_{part} and y_{part} go together, got only {only}_{part}: write {other}_{part}=..."
        )
    inputs = as_inputs(x, f"x_{part}", like)
    labels, names = named_labels(y, f"y_{part}", len(inputs), classes)
    if (labels < 0).any():
        raise ValueError(
            f"y_{part} must have a label for each sample, got none at sample {labels.argmin()}: "
            "leave such samples out"
        )
    return TensorData(inputs, torch.from_numpy(labels)), names
