"""Reading of image files, which may be untrusted."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor

from supercm_pl.checks import check_size
from supercm_pl.data.datasets import BatchedDataset, Indices, image_tensor
from supercm_pl.data.image_modes import eight_bit
from supercm_pl.data.sources.base import Source

# A file's suffix does not prove its format. Pillow decodes many more formats, of old programs and
# cameras, which is where its vulnerabilities are found; its EPS decoder starts another program.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)


class ImageSource(Source):
    """Base of the sources of image files.

    Every image is rotated by its EXIF data, converted to RGB or grayscale, and resized to a square.
    Transparent images are put on white, and deeper ones are scaled to 8 bits.

    Args:
        image_size: Side of the square in pixels.
        grayscale: One channel instead of three.
    """

    def __init__(self, image_size: int, grayscale: bool) -> None:
        check_size("image_size", image_size)
        self.image_size = image_size
        self.grayscale = grayscale

    def _files(self, paths: Sequence[Path], targets: Sequence[int] | None = None) -> ImageFiles:
        return ImageFiles(paths, (self.image_size, self.image_size), self.grayscale, targets)


class ImageFiles(BatchedDataset):
    """Images read from files, each as ``uint8`` ``(C, height, width)``.

    Args:
        paths: The files.
        size: Height and width to resize to, in pixels.
        grayscale: One channel instead of three.
        targets: Label of each file; ``None`` for no labels.

    Raises:
        ValueError: On reading a file that is not a whole image.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        size: tuple[int, int],
        grayscale: bool = False,
        targets: Sequence[int] | None = None,
    ) -> None:
        self.paths = list(paths)
        self.size = size
        self.grayscale = grayscale
        self.targets = targets

    def __len__(self) -> int:
        return len(self.paths)

    def fetch(self, indices: Indices) -> Tensor:
        """Images ``(B, C, height, width)`` of the files ``indices``."""
        return torch.stack([read_image(self.paths[i], self.size, self.grayscale) for i in indices])


def read_image(path: Path, size: tuple[int, int], grayscale: bool = False) -> Tensor:
    """One image as ``uint8`` ``(C, height, width)``, rotated by its EXIF data and resized.

    Raises:
        ValueError: If the file can't be read as an image, or has more than
            ``PIL.Image.MAX_IMAGE_PIXELS``, 89 million: a small file can fill the memory.
    """
    height, width = size
    try:
        with _open(path) as file:
            # Lets JPEG decode at a fraction of a large photo's size.
            file.draft("L" if grayscale else "RGB", (width, height))
            image = ImageOps.exif_transpose(file)
            return converted(image, size, grayscale)
    except (OSError, SyntaxError, ValueError, *_BOMBS) as error:
        raise ValueError(f"can't read the image {path}: {error}") from error


def converted(image: Image.Image, size: tuple[int, int] | None, grayscale: bool) -> Tensor:
    """A PIL image as ``uint8`` ``(C, height, width)``, RGB or grayscale, resized if ``size``."""
    image = eight_bit(image).convert("L" if grayscale else "RGB")
    if size is not None:
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return image_tensor(image)


def _open(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        # Pillow warns from one to two times the limit, and raises beyond.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(path, formats=_FORMATS)
