"""Data sets of Hugging Face ``datasets`` as a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from supercm_pl.checks import check_optional, check_size, is_missing
from supercm_pl.data.datasets import BatchedDataset, Indices, stacked
from supercm_pl.data.labels import as_labels, check_class_range, checked_classes, numbered_classes
from supercm_pl.data.sources.base import Source, SourceData
from supercm_pl.data.sources.image_folders import composed
from supercm_pl.data.sources.image_reading import converted
from supercm_pl.optional import import_optional

# Written by `Dataset.save_to_disk` and `DatasetDict.save_to_disk`.
_SAVED = ("state.json", "dataset_dict.json")
_UNLABELED = "put such rows into a split of their own, and name it as unlabeled=..."


class HuggingFaceSource(Source):
    """Map-style data sets of the package ``datasets``, with an input and a label in each row.

    Inputs are images, or vectors ``(D,)`` and images ``(H, W)``, ``(C, H, W)`` or ``(H, W, C)`` as
    lists of numbers, which become float32 without scaling. Labels are a ``ClassLabel``, integers
    from 0 on, or names.

    Args:
        dataset: A ``Dataset``, or a mapping from names of splits to them such as a ``DatasetDict``.
            In a configuration: the folder of a ``save_to_disk``, or an argument of
            ``load_dataset``: a name on the Hugging Face Hub, which is downloaded, or
            ``imagefolder`` and the like.
        options: Further arguments of ``load_dataset``, such as ``{"data_dir": "photos"}``.
        train: Name of the split to train on, for a mapping.
        test: Name of the split for the test; ``None`` for no test.
        val: Name of the split for validation; ``None`` lets the data module hold out some of
            ``train``.
        unlabeled: Name of a split without labels, or whose labels are to be dropped.
        input_column: Name of the column of inputs.
        label_column: Name of the column of labels; ``None`` for a target without labels.
        image_size: Side of the square in pixels that images are resized to; ``None`` keeps their
            sizes, which must be equal.
        grayscale: One channel instead of three.

    Raises:
        ImportError: If ``datasets`` is needed and not installed.
        ValueError: From :meth:`load`, if a split or a column is missing, or a label has no class.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        options: Mapping[str, Any] | None = None,
        train: str = "train",
        test: str | None = None,
        val: str | None = None,
        unlabeled: str | None = None,
        input_column: str = "image",
        label_column: str | None = "label",
        image_size: int | None = None,
        grayscale: bool = False,
    ) -> None:
        self._given = dataset
        self._options = dict(options or {})
        self._parts = {"train": train, "test": test, "val": val, "unlabeled": unlabeled}
        self.input_column = input_column
        self.label_column = label_column
        self.image_size = check_optional(check_size, "image_size", image_size)
        self.grayscale = grayscale

    def prepare(self) -> None:
        """Download, if ``dataset`` is a name on the Hub."""
        self._splits()

    def load(self) -> SourceData:
        """Open the splits, with labels as numbers; an image is decoded when it is used."""
        splits = self._splits()
        parts = {}
        for part, name in self._parts.items():
            if name is None:
                continue
            if not isinstance(name, str):
                raise TypeError(
                    f"{part} must be the name of a split, got an object of {type(name).__name__}: "
                    'write HuggingFaceSource({"train": train, "test": test}, test="test")'
                )
            if name not in splits:
                raise ValueError(f"there is no split {name!r}, only {', '.join(splits)}")
            if not hasattr(splits[name], "__len__"):
                raise TypeError(
                    f"split {name!r} must have a length, got {type(splits[name]).__name__}: load "
                    "it without streaming=True"
                )
            if (splits[name].format["type"] or "") == "custom":
                raise ValueError(
                    f"split {name!r} has a transform: write dataset.with_format(None), and pass "
                    "transforms to the data module as weak=... or preprocess=..."
                )
            labels = [] if part == "unlabeled" or not self.label_column else [self.label_column]
            columns = [self.input_column, *labels]
            missing = sorted(set(columns) - set(splits[name].column_names))
            if missing:
                raise ValueError(
                    f"split {name!r} has no column {missing[0]!r}, only "
                    f"{', '.join(splits[name].column_names)}: set input_column and label_column, "
                    "None for a target without labels"
                )
            parts[part] = splits[name].with_format(None).select_columns(columns)
        column = self.label_column
        classes = self._classes(parts["train"], column) if column else ()
        data = {}
        for part, rows in parts.items():
            hidden = part == "unlabeled" or not column
            targets = None if hidden else self._labels(rows, str(column), classes, part)
            data[part] = HuggingFaceRows(
                rows, self.input_column, targets, self.image_size, self.grayscale
            )
        return SourceData(data.pop("train"), classes, **data)

    def _splits(self) -> Mapping[str, Any]:
        given = self._given
        if isinstance(given, str | PathLike):
            datasets = import_optional("datasets", "HuggingFaceSource", "'supercm-pl[hf]'")
            if any(Path(given, file).is_file() for file in _SAVED):
                given = datasets.load_from_disk(given)
            else:
                given = datasets.load_dataset(str(given), **self._options)
            self._given = given
        return given if isinstance(given, Mapping) else {self._parts["train"] or "train": given}

    def _classes(self, rows: Any, column: str) -> tuple[str, ...]:
        names = getattr(rows.features[column], "names", None)
        if names is None:
            labels = _column(rows, column)
            missing = [row for row, label in enumerate(labels.tolist()) if is_missing(label)]
            if missing:
                raise ValueError(f"{column} has no label at sample {missing[0]}: {_UNLABELED}")
            hint = "number the classes from 0 on, or cast the column to a ClassLabel of all names"
            named = labels.dtype.kind in "UO"
            names = np.unique(labels) if named else numbered_classes(labels, column, hint)
        return checked_classes([str(name) for name in names])

    def _labels(self, rows: Any, column: str, classes: Sequence[str], part: str) -> Indices:
        split = self._parts[part]
        labels = _column(rows, column)
        own = [composed(name) for name in getattr(rows.features[column], "names", None) or classes]
        if own != [*classes]:  # each split numbers them by itself
            labels = np.array([own[k] if k >= 0 else "-1" for k in labels])
        if labels.dtype.kind in "UO":
            unknown = sorted(set(map(str, labels)) - set(classes))
            if unknown:
                raise ValueError(f"split {split!r} has labels that train lacks: {unknown[0]!r}")
            numbers = {name: number for number, name in enumerate(classes)}
            labels = np.array([numbers[str(label)] for label in labels])
        labels = as_labels(labels, column, len(rows), _UNLABELED)
        check_class_range(labels, len(classes), f"split {split!r}")
        return labels


class HuggingFaceRows(BatchedDataset):
    """Rows of a ``datasets.Dataset``: images as ``uint8`` ``(C, H, W)``, numbers as float32.

    Args:
        rows: The data set.
        input_column: As in :class:`HuggingFaceSource`, like ``image_size`` and ``grayscale``.
        targets: ``(N,)`` labels; ``None`` for no labels.
    """

    def __init__(
        self,
        rows: Any,
        input_column: str,
        targets: Indices | None = None,
        image_size: int | None = None,
        grayscale: bool = False,
    ) -> None:
        self.rows = rows.select_columns([input_column])
        self.input_column = input_column
        self.targets = targets
        self.size = None if image_size is None else (image_size, image_size)
        self.grayscale = grayscale

    def __len__(self) -> int:
        return len(self.rows)

    def fetch(self, indices: Indices) -> Tensor:
        """Inputs ``(B, ...)`` of the rows ``indices`` ``(B,)``."""
        values = self.rows[np.asarray(indices).tolist()][self.input_column]
        return stacked([self._input(value) for value in values], indices)

    def _input(self, value: Any) -> Tensor:
        if isinstance(value, Image.Image):
            return converted(value, self.size, self.grayscale)
        inputs = torch.as_tensor(np.asarray(value), dtype=torch.float32)
        return inputs[None] if inputs.ndim == 2 else inputs  # a grayscale image


def _column(rows: Any, name: str) -> np.ndarray[Any, Any]:
    # Other columns, such as images, would be decoded.
    return np.asarray(rows.select_columns([name])[:][name])
