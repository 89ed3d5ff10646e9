"""Images brought to one size and number of channels, so that all domains fit one network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset, IterableDataset

from supercm_pl.checks import check_choice, check_object, check_size
from supercm_pl.data.datasets import (
    Indices,
    TensorData,
    as_float,
    as_input,
    dataset_length,
    first_input,
)
from supercm_pl.data.labels import labels_of
from supercm_pl.data.sources.base import Source, SourceData, load_source
from supercm_pl.data.sources.image_reading import ImageFiles

_CHUNK = 1024
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in Pillow's conversion to grayscale


class Resized(Source):
    """Another source with its images cropped, resized, and converted to grayscale or to RGB.

    Images are resized by bilinear interpolation, with antialiasing where they shrink. Images in
    memory are resized once, those of other data sets each time they are read.

    Args:
        source: Source of the images.
        size: Height and width in pixels, a number for a square; ``None`` keeps the size.
        crop: Height and width of the center that is cut out first; ``None`` keeps everything.
        channels: 1 for grayscale, 3 for RGB; ``None`` keeps the channels.

    Raises:
        TypeError: If a size is not an integer or a pair of them.
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
        self.source = check_object("source", source, Source, "Digits()")  # type: ignore[type-abstract]
        check_choice("channels", channels, (1, 3, None))
        self.reshape = Reshape(
            height_and_width(size, "size"), height_and_width(crop, "crop"), channels
        )

    def prepare(self) -> None:
        """Prepare the source."""
        self.source.prepare()

    def load(self) -> SourceData:
        """Open the source; images in memory are resized here."""
        data = load_source(self.source)
        parts: dict[str, Any] = {
            name: reshaped(dataset, self.reshape)
            for name, dataset in vars(data).items()
            if isinstance(dataset, Dataset)
        }
        return replace(data, **parts)

    def class_names(self) -> tuple[str, ...]:
        """Return the names of the source."""
        return self.source.class_names()


@dataclass(frozen=True)
class Reshape:
    """Changes to images, in the order crop, size, channels; ``None`` for no change.

    Attributes:
        size: Final height and width.
        crop: Height and width of the center that is cut out.
        channels: 1 or 3.
        floating: Turn ``uint8`` into float32 in ``[0, 1]``.
    """

    size: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    channels: int | None = None
    floating: bool = False

    def __call__(self, images: Tensor) -> Tensor:
        """Change images ``(B, C, H, W)``; ``uint8`` stays ``uint8`` unless ``floating``.

        Raises:
            ValueError: If they are not images, or smaller than the crop.
        """
        if self.floating:
            images = as_float(images)
        if self.size is None and self.crop is None and self.channels is None:
            return images
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ValueError(
                "only images of 1 or 3 channels, (C, H, W), can be resized, got inputs of shape "
                f"{tuple(images.shape[1:])}"
            )
        if self.crop is not None:
            images = _center(images, self.crop)
        dtype = images.dtype
        if self.size is not None and images.shape[2:] != self.size:
            images = F.interpolate(
                images.float(), self.size, mode="bilinear", align_corners=False, antialias=True
            )
        if self.channels == 3:
            images = images.expand(-1, 3, -1, -1)
        elif self.channels == 1 and images.shape[1] == 3:
            luma = images.new_tensor(_LUMA, dtype=torch.float32).view(3, 1, 1)
            images = (images * luma).sum(1, keepdim=True)
        if dtype == torch.uint8 and images.dtype != torch.uint8:
            return images.round().clamp_(0, 255).to(torch.uint8)
        return images.to(dtype).contiguous()


class ReshapedData(Dataset[Any]):
    """A map-style data set whose images are reshaped as they are read; labels are unchanged."""

    def __init__(self, dataset: Dataset[Any], reshape: Reshape) -> None:
        self.dataset = dataset
        self.reshape = reshape

    @property
    def targets(self) -> Indices:
        """Labels ``(N,)`` of the data set, read on first use."""
        return labels_of(self.dataset)

    def __len__(self) -> int:
        return dataset_length(self.dataset)

    def __getitem__(self, index: int) -> Any:
        item = self.dataset[index]
        image = self.reshape(as_input(item, index)[None])[0]
        return (image, *item[1:]) if isinstance(item, tuple | list) else image


def reshaped(dataset: Dataset[Any], reshape: Reshape) -> Dataset[Any]:
    """A map-style data set with its images reshaped: now if they are in memory, else on reading."""
    if reshape == Reshape():
        return dataset
    if isinstance(dataset, IterableDataset):
        raise TypeError("images of an IterableDataset can't be resized: do it in the data set")
    if isinstance(dataset, TensorData):
        chunks = [reshape(chunk) for chunk in torch.split(dataset.inputs, _CHUNK)]
        return TensorData(torch.cat(chunks), dataset.targets)
    if isinstance(dataset, ImageFiles):
        # Reading can do all of it, except these; a photo is then resized only once.
        colored = reshape.channels == 3 and dataset.grayscale
        if reshape.crop is None and not reshape.floating and not colored:
            grayscale = dataset.grayscale or reshape.channels == 1
            size = reshape.size or dataset.size
            return ImageFiles(dataset.paths, size, grayscale, dataset.targets)
    return ReshapedData(dataset, reshape)


def common_reshape(
    sources: Mapping[str, Dataset[Any]], target: Dataset[Any], size: tuple[int, int] | None
) -> Reshape:
    """Find the change that gives the inputs of all domains one shape, from their first samples.

    Images are resized to ``size``, height and width, if it is given. Grayscale images become RGB if
    another domain has RGB. Sources, which are joined, also get one type.

    Raises:
        ValueError: If shapes still differ; or if there is a size, and a domain has no images.
    """
    inputs = {name: first_input(data, name) for name, data in {**sources, "target": target}.items()}
    channels = {value.shape[1] if value.ndim == 4 else 0 for value in inputs.values()}
    floating = len({inputs[name].dtype for name in sources}) > 1
    reshape = Reshape(size, channels=3 if channels == {1, 3} else None, floating=floating)
    shapes = {name: tuple(reshape(value).shape[1:]) for name, value in inputs.items()}
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{name} has {shape}" for name, shape in shapes.items())
        images = all(len(shape) == 3 for shape in shapes.values())
        advice = ": bring them to one size by resize, such as resize=32" if images else ""
        raise ValueError(f"the domains must have inputs of one shape, but {told}{advice}")
    return reshape


def height_and_width(value: int | Sequence[int] | None, name: str) -> tuple[int, int] | None:
    """A size of 1 pixel or more as height and width; a number stands for a square."""
    if value is None:
        return None
    pair = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(pair) != 2:
        raise TypeError(f"{name} must be a number of pixels or (height, width), got {value!r}")
    return check_size(name, pair[0]), check_size(name, pair[1])


def _center(images: Tensor, crop: tuple[int, int]) -> Tensor:
    height, width = images.shape[2:]
    if height < crop[0] or width < crop[1]:
        raise ValueError(
            f"crop must be no larger than the images, got {crop} for images of {(height, width)}"
        )
    top, left = (height - crop[0]) // 2, (width - crop[1]) // 2
    return images[:, :, top : top + crop[0], left : left + crop[1]]
