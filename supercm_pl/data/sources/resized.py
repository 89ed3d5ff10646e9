"""Images brought to one size and number of channels, so that domains fit one network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset, IterableDataset

from supercm_pl.data.datasets import (
    Indices,
    TensorData,
    _input_tensor,
    dataset_length,
    fetch_inputs,
)
from supercm_pl.data.labels import labels_of
from supercm_pl.data.sources.base import Source, SourceData
from supercm_pl.data.sources.folder import ImageFiles
from supercm_pl.seeding import isolated_rng

_CHUNK = 1024
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's conversion to grayscale


class Resized(Source):
    """Another source with its images cropped, resized, and turned to grayscale or to RGB.

    Sizes change by bilinear interpolation, with antialiasing where images shrink. Images in memory
    are resized once, those of other data sets each time that they are read.

    Args:
        source: Where the images come from.
        size: Height and width in pixels, a number for a square; ``None`` leaves the size.
        crop: Height and width of the center that is cut out first; ``None`` takes all.
        channels: 1 for grayscale, 3 for RGB; ``None`` leaves the channels.

    Raises:
        TypeError: If a size is not a whole number or a pair of them.
        ValueError: If a number is out of range; from :meth:`load`, if the samples are not images,
            or smaller than the crop.

    Example:
        >>> from supercm_pl.data import Digits
        >>> Resized(Digits(), size=16, channels=3).load().train.inputs.shape
        torch.Size([1347, 3, 16, 16])
    """

    def __init__(
        self,
        source: Source,
        size: int | tuple[int, int] | None = None,
        crop: int | tuple[int, int] | None = None,
        channels: int | None = None,
    ) -> None:
        if not isinstance(source, Source):
            raise TypeError(f"source must be an object such as Digits(), got {source!r}")
        if channels not in (None, 1, 3):
            raise ValueError(f"channels must be 1, 3 or None, got {channels!r}")
        self.source = source
        self.reshape = Reshape(
            height_and_width(size, "size"), height_and_width(crop, "crop"), channels
        )

    def prepare(self) -> None:
        """As the source."""
        self.source.prepare()

    def load(self) -> SourceData:
        """Open the source; images in memory are resized here."""
        data = self.source.load()
        return replace(
            data,
            train=reshaped(data.train, self.reshape),
            test=None if data.test is None else reshaped(data.test, self.reshape),
            val=None if data.val is None else reshaped(data.val, self.reshape),
            unlabeled=None if data.unlabeled is None else reshaped(data.unlabeled, self.reshape),
        )

    def class_names(self) -> tuple[str, ...]:
        """Those of the source."""
        return self.source.class_names()


@dataclass(frozen=True)
class Reshape:
    """What is done to images, in this order; ``None`` leaves them as they are.

    Attributes:
        size: Height and width after all.
        crop: Height and width of the center that is cut out first.
        channels: 1 or 3.
        floating: Turn ``uint8`` into float32 in ``[0, 1]``.
    """

    size: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    channels: int | None = None
    floating: bool = False

    def __call__(self, images: Tensor) -> Tensor:
        """Images ``(B, C, H, W)`` as asked for; ``uint8`` stays ``uint8`` unless ``floating``.

        Raises:
            ValueError: If they are not images, or smaller than the crop.
        """
        if self.floating and images.dtype == torch.uint8:
            images = images.float().div_(255.0)
        if self.size is None and self.crop is None and self.channels is None:
            return images
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ValueError(
                "only images of 1 or 3 channels, (C, H, W), can be resized, got inputs of shape "
                f"{tuple(images.shape[1:])}"
            )
        if self.crop is not None:
            images = _center(images, self.crop)
        held = images.dtype
        if self.size is not None and images.shape[2:] != self.size:
            images = F.interpolate(
                images.float(), self.size, mode="bilinear", align_corners=False, antialias=True
            )
        if self.channels == 3:
            images = images.expand(-1, 3, -1, -1)
        elif self.channels == 1 and images.shape[1] == 3:
            images = (images * images.new_tensor(_LUMA, dtype=torch.float32).view(3, 1, 1)).sum(
                1, keepdim=True
            )
        if held == torch.uint8 and images.dtype != torch.uint8:
            return images.round().clamp_(0, 255).to(torch.uint8)
        return images.to(held).contiguous()


class ReshapedData(Dataset[Any]):
    """A data set whose images are reshaped as they are read; labels stay as they are.

    Args:
        dataset: Any map-style data set; its images may differ in size where ``reshape`` has one.
        reshape: What is done to each image.
    """

    def __init__(self, dataset: Dataset[Any], reshape: Reshape) -> None:
        self.dataset = dataset
        self.reshape = reshape

    @property
    def targets(self) -> Indices:
        """Labels ``(N,)`` of the data set, read when they are asked for."""
        return labels_of(self.dataset)

    def __len__(self) -> int:
        return dataset_length(self.dataset)

    def __getitem__(self, index: int) -> Any:
        item = self.dataset[index]
        image = self.reshape(_input_tensor(item, index)[None])[0]
        return (image, *item[1:]) if isinstance(item, tuple | list) else image


def reshaped(dataset: Dataset[Any], reshape: Reshape) -> Dataset[Any]:
    """A data set with its images reshaped: at once if they are in memory, else as they are read.

    Args:
        dataset: Any map-style data set.
        reshape: What is done to each image.

    Raises:
        TypeError: If there is something to do to an ``IterableDataset``.
    """
    if reshape == Reshape():
        return dataset
    if isinstance(dataset, IterableDataset):
        raise TypeError(
            "images of an IterableDataset are not resized, cropped or recolored: let it give them "
            "as they are to be"
        )
    if isinstance(dataset, TensorData):
        starts = range(0, len(dataset), _CHUNK)
        chunks = [reshape(dataset.inputs[start : start + _CHUNK]) for start in starts]
        return TensorData(torch.cat(chunks), dataset.targets)
    if isinstance(dataset, ImageFiles) and _while_reading(dataset, reshape):
        size = dataset.size if reshape.size is None else reshape.size
        grayscale = dataset.grayscale or reshape.channels == 1
        return ImageFiles(dataset.paths, size, grayscale, dataset.targets)
    return ReshapedData(dataset, reshape)


def height_and_width(value: int | Sequence[int] | None, name: str) -> tuple[int, int] | None:
    """A size in pixels as height and width; a number stands for a square.

    Raises:
        TypeError: If it is neither a whole number nor two of them.
        ValueError: If one is less than 1.
    """
    if value is None:
        return None
    pair = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(pair) != 2 or any(isinstance(n, bool) or not isinstance(n, int) for n in pair):
        raise TypeError(f"{name} must be a number of pixels or (height, width), got {value!r}")
    if min(pair) < 1:
        raise ValueError(f"{name} must be 1 pixel or more, got {value!r}")
    return pair[0], pair[1]


def first_input(dataset: Dataset[Any], name: str) -> Tensor:
    """The first input of a data set, ``(1, ...)``.

    Args:
        dataset: Any map-style data set.
        name: What to call it in a message.

    Raises:
        ValueError: If it is empty.
    """
    if not dataset_length(dataset):
        raise ValueError(f"the {name} data are empty")
    with isolated_rng() as reseed:  # random transforms of the items must not disturb the run
        reseed(0)
        return fetch_inputs(dataset, np.zeros(1, dtype=np.int64))


def _while_reading(files: ImageFiles, reshape: Reshape) -> bool:
    """Whether reading the files can do all of it, so that a photo is resized only once."""
    colored = reshape.channels == 3 and files.grayscale
    return reshape.crop is None and not reshape.floating and not colored


def _center(images: Tensor, crop: tuple[int, int]) -> Tensor:
    height, width = images.shape[2:]
    if height < crop[0] or width < crop[1]:
        raise ValueError(
            f"crop must be no larger than the images, got {crop} for images of {(height, width)}"
        )
    top, left = (height - crop[0]) // 2, (width - crop[1]) // 2
    return images[:, :, top : top + crop[0], left : left + crop[1]]
