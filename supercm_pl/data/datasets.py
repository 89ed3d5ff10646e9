"""Data sets that return whole batches of inputs, and inputs from items of any data set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from supercm_pl.data.image_modes import eight_bit
from supercm_pl.seeding import isolated_rng

Indices = NDArray[np.int64]


class BatchedDataset(Dataset[Any], ABC):
    """A data set that fetches many inputs at once, and always the same ones.

    Attributes:
        targets: ``(N,)`` class labels, or ``None``.
    """

    targets: Any = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def fetch(self, indices: Indices) -> Tensor:
        """Inputs ``(B, ...)`` of the samples ``indices`` ``(B,)``."""

    def __getitem__(self, index: int) -> Any:
        inputs = self.fetch(np.asarray([index]))[0]
        return inputs if self.targets is None else (inputs, self.targets[index])


class TensorData(BatchedDataset):
    """Inputs in memory, with or without labels.

    Args:
        inputs: ``(N, ...)``; ``uint8`` stands for 0..255, which becomes ``[0, 1]`` on the device.
        targets: ``(N,)`` class labels, or ``None``.
    """

    def __init__(self, inputs: Tensor, targets: Tensor | None = None) -> None:
        self.inputs = inputs
        self.targets = targets

    def __len__(self) -> int:
        return len(self.inputs)

    def fetch(self, indices: Indices) -> Tensor:
        """One indexing operation."""
        return self.inputs[torch.from_numpy(indices)]


class JoinedData(Dataset[Tensor]):
    """Map-style data sets with inputs of one shape and type, concatenated without labels."""

    def __init__(self, datasets: Sequence[Dataset[Any]]) -> None:
        self.datasets = list(datasets)
        self._starts = np.cumsum([0, *(dataset_length(d) for d in self.datasets)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> Tensor:
        return self.fetch(np.asarray([index]))[0]

    def locate(self, index: int) -> tuple[Dataset[Any], int]:
        """The data set of a sample, and its index there."""
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self.datasets[part], index - int(self._starts[part])

    def fetch(self, indices: Indices) -> Tensor:
        """Inputs ``(B, ...)`` of the samples ``indices`` ``(B,)``."""
        part = np.searchsorted(self._starts, indices, side="right") - 1
        used = np.unique(part)
        batches = [
            fetch_inputs(self.datasets[p], indices[part == p] - self._starts[p]) for p in used
        ]
        if len(batches) == 1:
            return batches[0]
        check_kinds(batches)
        by_part = np.argsort(part, kind="stable")
        return torch.cat(batches)[torch.from_numpy(np.argsort(by_part))]


class Samples(Dataset[Any]):
    """Some samples of a data set, with these labels or none, never those of the data set.

    Args:
        dataset: Any map-style data set whose items are inputs or ``(input, label)``.
        rows: ``(n,)`` indices into it; ``None`` takes all.
        targets: ``(n,)`` int64 labels of these samples; ``None`` for no labels.
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
        # Returns a whole batch: loaders need `collate_fn=as_is`.
        return self.fetch(np.asarray(indices, dtype=np.int64))

    def fetch(self, positions: Indices) -> Tensor | tuple[Tensor, Tensor]:
        """Inputs ``(B, ...)``, with labels ``(B,)`` if any, at positions ``(B,)`` in ``rows``."""
        # Without `rows`, no index array is made: for a billion samples it would take 8 GB.
        rows = positions if self._rows is None else self._rows[positions]
        inputs = fetch_inputs(self.dataset, rows)
        if self.targets is None:
            return inputs
        return inputs, self.targets[torch.from_numpy(positions)]


class IdentifiedSamples(Dataset[Any]):
    """Samples for prediction without labels: ``{"inputs": (B, ...), "ids": [...]}``.

    There is one id per sample; ``None`` takes their indices in the data set.
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


def as_tuple(batch: Any) -> tuple[Tensor, ...]:
    """Return a batch ``x`` or ``(x, y)`` as a tuple, which starts with the inputs."""
    return (batch,) if isinstance(batch, Tensor) else tuple(batch)


def as_is(batch: Any) -> Any:
    """The ``collate_fn`` for data sets whose ``__getitems__`` returns a whole batch."""
    return batch


def is_iterable(dataset: Dataset[Any] | None) -> bool:
    """Whether a data set can only be iterated over."""
    return isinstance(dataset, IterableDataset)


def is_deterministic(dataset: Dataset[Any]) -> bool:
    """Whether a data set is known to return the same inputs at every call."""
    if isinstance(dataset, JoinedData):
        return all(is_deterministic(part) for part in dataset.datasets)
    return isinstance(dataset, BatchedDataset)


def dataset_length(dataset: Dataset[Any]) -> int:
    """Return the number of items of a map-style data set; a ``TypeError`` for any other."""
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise TypeError(
            "a map-style Dataset with __len__ and __getitem__ is needed, "
            f"got {type(dataset).__name__}"
        )
    return len(dataset)


def fetch_inputs(dataset: Dataset[Any], indices: Indices) -> Tensor:
    """Inputs ``(B, ...)`` of the samples ``indices`` ``(B,)`` of a map-style data set."""
    if isinstance(dataset, BatchedDataset | JoinedData):
        return dataset.fetch(indices)
    numbers = indices.tolist()
    if hasattr(dataset, "__getitems__"):
        return stacked(list(dataset.__getitems__(numbers)), indices)
    return stacked([dataset[i] for i in numbers], indices)


def first_input(dataset: Dataset[Any], name: str) -> Tensor:
    """The first input ``(1, ...)`` of a map-style data set that must not be empty."""
    if not dataset_length(dataset):
        raise ValueError(f"the {name} data are empty")
    with isolated_rng() as reseed:  # random transforms of the items must not disturb the run
        reseed(0)
        return fetch_inputs(dataset, np.zeros(1, dtype=np.int64))


def stacked(items: Sequence[Any], indices: Indices) -> Tensor:
    """Inputs ``(B, ...)`` of the items at ``indices``, which are inputs or ``(input, label)``.

    Raises:
        TypeError: If an item is neither an input nor a sequence that starts with one.
        ValueError: If inputs differ in shape or contain NaN or infinity.
    """
    items = [as_input(item, i) for item, i in zip(items, indices, strict=True)]
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


def as_input(item: Any, index: int) -> Tensor:
    """The input of an item, ``uint8`` or float32.

    Raises:
        TypeError: If the item is not a tensor, array or PIL image of real numbers, nor a sequence
            that starts with one.
    """
    if isinstance(item, tuple | list) and len(item):
        item = item[0]
    if isinstance(item, Image.Image):
        return image_tensor(item)
    if isinstance(item, np.ndarray) and item.dtype.kind in "biuf":
        # Torch supports neither foreign byte orders nor negative strides.
        native = item.dtype.newbyteorder("=")
        item = torch.from_numpy(np.ascontiguousarray(item, native))
    if not isinstance(item, Tensor):
        raise TypeError(
            "an item of a dataset must be an input or (input, label), with a tensor, an array or a "
            f"PIL image as input, but sample {index} is {type(item).__name__}"
        )
    if item.is_complex() or item.is_meta or item.ndim < 1:
        raise TypeError(
            f"an input must be a tensor of real numbers, but sample {index} is {item.dtype} of "
            f"shape {tuple(item.shape)} on {item.device}"
        )
    image: Tensor = channels_first(item) if item.ndim == 3 else item
    return image if image.dtype == torch.uint8 else image.to(torch.float32)


def channels_first(images: Tensor) -> Tensor:
    """Images ``(..., C, H, W)``, also of ``(..., H, W, C)`` where only that has C of 1 or 3."""
    if images.shape[-1] in (1, 3) and images.shape[-3] not in (1, 3):
        images = images.movedim(-1, -3).contiguous()
    return images


def image_tensor(image: Image.Image) -> Tensor:
    """A PIL image as ``uint8`` ``(C, H, W)``: one channel for grayscale, RGB for anything else."""
    tensor = torch.from_numpy(np.array(eight_bit(image)))
    return tensor[None] if tensor.ndim == 2 else tensor.permute(2, 0, 1).contiguous()


def as_float(inputs: Tensor) -> Tensor:
    """``uint8`` 0..255 as float32 in ``[0, 1]``; any other type unchanged."""
    return inputs.float().div_(255.0) if inputs.dtype == torch.uint8 else inputs


def check_alike(labeled: Dataset[Any], unlabeled: Dataset[Any]) -> None:
    """Require data sets whose first inputs have one shape and type, else a ``ValueError``."""
    check_kinds([first_input(labeled, "labeled"), first_input(unlabeled, "unlabeled")])


def check_kinds(batches: Sequence[Tensor]) -> None:
    """Require batches ``(B, ...)`` of inputs of one shape and type, else a ``ValueError``."""
    kinds = {(tuple(batch.shape[1:]), batch.dtype) for batch in batches}
    if len(kinds) > 1:
        raise ValueError(
            "the labeled and the unlabeled data must have inputs of one shape and type, got "
            + " and ".join(f"{shape} {dtype}" for shape, dtype in sorted(kinds, key=str))
        )


def check_finite(inputs: Tensor, name: str, indices: Indices | None = None) -> None:
    """Require inputs ``(N, ...)`` on the CPU without NaN and infinity, else a ``ValueError``.

    The message names the first sample at fault, by its number in ``indices`` ``(N,)`` if given.
    """
    # A finite sum proves that every value is finite, at a fraction of the cost.
    if not inputs.is_floating_point() or bool(torch.isfinite(inputs.sum())):
        return
    bad = (~torch.isfinite(inputs)).flatten(1).any(1).nonzero()[:, 0]
    if len(bad):
        first = int(bad[0]) if indices is None else int(indices[int(bad[0])])
        raise ValueError(
            f"{name} must be finite, but {len(bad)} of {len(inputs)} samples hold NaN or infinity, "
            f"the first is sample {first}"
        )
