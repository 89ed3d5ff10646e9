"""Data sets as batches: tensors in memory, several sets as one, rows with labels or without."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from supercm_pl.seeding import isolated_rng

Indices = NDArray[np.int64]


class BatchedDataset(Dataset[Any], ABC):
    """A data set that gives the inputs of many rows at once, the same ones at every call."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def fetch(self, indices: Indices) -> Tensor:
        """Inputs ``(B, ...)`` of the rows ``indices`` ``(B,)``."""


class TensorData(BatchedDataset):
    """Inputs and, where there are any, labels that are held in memory.

    Args:
        inputs: ``(N, ...)``; ``uint8`` stands for 0..255, which becomes ``[0, 1]`` on the device.
        targets: ``(N,)`` class labels, or ``None``.
    """

    def __init__(self, inputs: Tensor, targets: Tensor | None = None) -> None:
        self.inputs = inputs
        self.targets = targets

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> Tensor | tuple[Tensor, Tensor]:
        inputs = self.inputs[index]
        return inputs if self.targets is None else (inputs, self.targets[index])

    def fetch(self, indices: Indices) -> Tensor:
        """Inputs ``(B, ...)`` of the rows ``indices`` ``(B,)``, by one index operation."""
        return self.inputs[torch.from_numpy(indices)]


class JoinedData(Dataset[Tensor]):
    """Several data sets one after the other, without labels: row ``i`` counts through all of them.

    Args:
        datasets: Map-style data sets whose inputs have the same shape and type.
    """

    def __init__(self, datasets: Sequence[Dataset[Any]]) -> None:
        self.datasets = list(datasets)
        self._starts = np.cumsum([0, *(dataset_length(d) for d in self.datasets)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> Tensor:
        return self.fetch(np.asarray([index]))[0]

    def fetch(self, indices: Indices) -> Tensor:
        """Inputs ``(B, ...)`` of the rows ``indices`` ``(B,)``."""
        part = np.searchsorted(self._starts, indices, side="right") - 1
        used = np.unique(part)
        batches = [
            fetch_inputs(self.datasets[p], indices[part == p] - self._starts[p]) for p in used
        ]
        if len(batches) == 1:
            return batches[0]
        check_kinds(batches)
        positions = np.concatenate([np.flatnonzero(part == p) for p in used])
        return torch.cat(batches)[torch.from_numpy(np.argsort(positions))]


class Samples(Dataset[Any]):
    """Rows of a data set, with the labels given here or none: never those of the data set itself.

    Args:
        dataset: Any map-style data set whose items are inputs or ``(input, label)``.
        rows: ``(n,)`` indices into it; ``None`` takes all.
        targets: ``(n,)`` int64 labels of these rows; ``None`` leaves them without.
    """

    def __init__(
        self, dataset: Dataset[Any], rows: Indices | None = None, targets: Indices | None = None
    ) -> None:
        self.dataset = dataset
        self._size = dataset_length(dataset) if rows is None else len(rows)
        self._rows = rows
        self.targets = None if targets is None else torch.from_numpy(targets)

    @property
    def rows(self) -> Indices:
        """``(n,)`` indices into the data set."""
        return np.arange(self._size) if self._rows is None else self._rows

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> Any:
        batch = self.fetch(np.asarray([index]))
        return batch[0] if isinstance(batch, Tensor) else tuple(part[0] for part in batch)

    def __getitems__(self, indices: Sequence[int]) -> Any:
        # A whole batch: loaders of these rows need `collate_fn=as_is`.
        return self.fetch(np.asarray(indices, dtype=np.int64))

    def fetch(self, positions: Indices) -> Tensor | tuple[Tensor, Tensor]:
        """Inputs ``(B, ...)``, with labels ``(B,)`` if any, at positions ``(B,)`` of the rows."""
        # All rows are not written down: at a billion they would take 8 GB.
        rows = positions if self._rows is None else self._rows[positions]
        inputs = fetch_inputs(self.dataset, rows)
        if self.targets is None:
            return inputs
        return inputs, self.targets[torch.from_numpy(positions)]


class IdentifiedSamples(Dataset[Any]):
    """Rows for prediction: ``{"inputs": (B, ...), "ids": [...]}``.

    Args:
        samples: The rows; labels they have are dropped.
        ids: One for each row; ``None`` numbers them as the data set does.
    """

    def __init__(self, samples: Samples, ids: Sequence[str] | None = None) -> None:
        self.samples = Samples(samples.dataset, samples.rows)
        self.ids = [str(row) for row in samples.rows] if ids is None else list(ids)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"inputs": self.samples[index], "ids": self.ids[index]}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        inputs = self.samples.__getitems__(indices)
        return {"inputs": inputs, "ids": [self.ids[i] for i in indices]}


def as_is(batch: Any) -> Any:
    """The ``collate_fn`` for data sets whose ``__getitems__`` gives a whole batch."""
    return batch


def dataset_length(dataset: Dataset[Any]) -> int:
    """Number of items of a map-style data set.

    Raises:
        TypeError: If it has no length or no items by index, as an ``IterableDataset``.
    """
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise TypeError(
            "a map-style Dataset with __len__ and __getitem__ is needed, "
            f"got {type(dataset).__name__}"
        )
    return len(dataset)


def is_deterministic(dataset: Dataset[Any]) -> bool:
    """Whether a row gives the same inputs at every call, as far as is known."""
    if isinstance(dataset, JoinedData):
        return all(is_deterministic(part) for part in dataset.datasets)
    return isinstance(dataset, BatchedDataset)


def fetch_inputs(dataset: Dataset[Any], indices: Indices) -> Tensor:
    """Inputs ``(B, ...)`` of the rows ``indices`` ``(B,)`` of a map-style data set, without labels.

    Raises:
        TypeError, ValueError: As :func:`stacked`.
    """
    if isinstance(dataset, BatchedDataset | JoinedData):
        return dataset.fetch(indices)
    return stacked(_items(dataset, indices), indices)


def stacked(items: Sequence[Any], indices: Indices) -> Tensor:
    """Inputs ``(B, ...)`` of items that are inputs or ``(input, label)``, without labels.

    Args:
        items: ``B`` of them.
        indices: ``(B,)`` numbers to name them by in messages.

    Raises:
        TypeError: If an item is neither an input nor a sequence that starts with one.
        ValueError: If inputs differ in shape, or have values that are NaN or infinite.
    """
    items = [_input_tensor(item, i) for item, i in zip(items, indices, strict=True)]
    shapes = {tuple(item.shape): int(i) for item, i in zip(items, indices, strict=True)}
    if len(shapes) > 1:
        (one, i), (other, j), *_ = shapes.items()
        raise ValueError(
            f"inputs must have one shape, but sample {i} has {one} and sample {j} has {other}: "
            "resize them in the dataset's transform"
        )
    inputs = torch.stack(items)
    check_finite(inputs, "inputs", indices)
    return inputs


def check_alike(labeled: Dataset[Any], unlabeled: Dataset[Any]) -> None:
    """Refuse two data sets whose first inputs differ in shape or type.

    Raises:
        ValueError: Naming both.
    """
    first = np.zeros(1, dtype=np.int64)
    with isolated_rng() as reseed:  # random transforms of the items must not disturb the run
        reseed(0)
        check_kinds([fetch_inputs(dataset, first) for dataset in (labeled, unlabeled)])


def check_finite(inputs: Tensor, name: str, rows: Indices | None = None) -> None:
    """Refuse NaN and infinite values.

    Args:
        inputs: ``(N, ...)`` on the CPU.
        name: What to call them in the message.
        rows: Numbers of the rows to name them by; ``None`` counts from 0.

    Raises:
        ValueError: Naming the first row at fault, and how many there are.
    """
    # A finite sum proves that every value is finite, at a fraction of the cost.
    if not inputs.is_floating_point() or bool(torch.isfinite(inputs.sum())):
        return
    bad = (~torch.isfinite(inputs)).flatten(1).any(1).nonzero()[:, 0]
    if len(bad):
        first = int(bad[0]) if rows is None else int(rows[int(bad[0])])
        raise ValueError(
            f"{name} must be finite, but {len(bad)} of {len(inputs)} samples hold NaN or infinity, "
            f"the first is sample {first}"
        )


def image_tensor(image: Image.Image) -> Tensor:
    """A PIL image as ``uint8`` ``(C, H, W)``: grayscale with one channel, all else as RGB."""
    array = np.array(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    tensor = torch.from_numpy(array)
    return tensor[None] if tensor.ndim == 2 else tensor.permute(2, 0, 1).contiguous()


def check_kinds(batches: Sequence[Tensor]) -> None:
    """Refuse batches ``(B, ...)`` of inputs that differ in shape or type.

    Raises:
        ValueError: Naming all of them.
    """
    kinds = {(tuple(batch.shape[1:]), batch.dtype) for batch in batches}
    if len(kinds) > 1:
        raise ValueError(
            "the labeled and the unlabeled data must have inputs of one shape and type, got "
            + " and ".join(f"{shape} {dtype}" for shape, dtype in sorted(kinds, key=str))
        )


def _items(dataset: Dataset[Any], indices: Indices) -> list[Any]:
    numbers = indices.tolist()
    if hasattr(dataset, "__getitems__"):
        return list(dataset.__getitems__(numbers))
    return [dataset[i] for i in numbers]


def _input_tensor(item: Any, index: int) -> Tensor:
    if isinstance(item, tuple | list) and len(item):
        item = item[0]
    if isinstance(item, Image.Image):
        return image_tensor(item)
    if isinstance(item, np.ndarray) and item.dtype.kind in "biuf":
        # Torch takes neither foreign byte orders nor negative strides.
        native = item.dtype.newbyteorder("=")
        item = torch.from_numpy(np.ascontiguousarray(item, native))
    if isinstance(item, Tensor) and (item.is_complex() or item.is_meta or item.ndim < 1):
        raise TypeError(
            f"an input must be a tensor of real numbers, but sample {index} is {item.dtype} of "
            f"shape {tuple(item.shape)} on {item.device}"
        )
    if not isinstance(item, Tensor):
        raise TypeError(
            "an item of a dataset must be an input or (input, label), with a tensor, an array or a "
            f"PIL image as input, but sample {index} is {type(item).__name__}"
        )
    return item if item.dtype == torch.uint8 else item.to(torch.float32)
