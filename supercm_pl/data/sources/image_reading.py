"""Reading images from files, of any kind and by anybody."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from supercm_pl.data.datasets import image_tensor

# A name says nothing of what a file is. Pillow has decoders for many more kinds, of old programs
# and cameras, which are where its faults are found; that of EPS starts another program.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def read_image(path: Path, size: tuple[int, int], grayscale: bool = False) -> Tensor:
    """One image as ``uint8`` ``(C, height, width)``, upright and resized.

    One of more pixels than ``PIL.Image.MAX_IMAGE_PIXELS``, 89 million, is refused: a small file can
    hold an image that fills the memory.

    Args:
        path: The file.
        size: Height and width in pixels.
        grayscale: One channel in place of three.

    Raises:
        ValueError: If the file can't be read as an image.
    """
    mode = "L" if grayscale else "RGB"
    height, width = size
    try:
        with _open(path) as file:
            # Lets JPEG decode at a fraction of a large photo's size.
            file.draft(mode, (width, height))
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I"):  # 16 bits a pixel, which convert() would clip to 255
                image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
            if image.mode in ("P", "PA"):  # palettes may have transparency that RGB can't hold
                image = image.convert("RGBA")
            return image_tensor(
                image.convert(mode).resize((width, height), Image.Resampling.BILINEAR)
            )
    except (OSError, SyntaxError, ValueError, *_BOMBS) as error:
        raise ValueError(f"can't read the image {path}: {error}") from error


def damage(path: Path, size: tuple[int, int], grayscale: bool = False) -> str | None:
    """What :func:`read_image` says of a file; ``None`` if it is a whole image."""
    try:
        read_image(path, size, grayscale)
    except ValueError as error:
        return str(error)
    return None


def check_image_size(value: object) -> None:
    """Refuse what is no number of pixels.

    Raises:
        TypeError: If it is not an ``int``.
        ValueError: If it is below 1.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"image_size must be a number of pixels, got {value!r}")
    if value < 1:
        raise ValueError(f"image_size must be 1 or more pixels, got {value}")


def refuse_duplicates(parts: Mapping[str, Sequence[Path]]) -> None:
    """Compare files of several folders byte by byte, those of the same size alone.

    Raises:
        ValueError: If a file is in two of ``parts``; it names both.
    """
    by_size: dict[int, list[tuple[str, Path]]] = {}
    for name, paths in parts.items():
        for path in paths:
            by_size.setdefault(path.stat().st_size, []).append((name, path))
    for alike in by_size.values():
        if len({name for name, _ in alike}) < 2:
            continue
        seen: dict[bytes, tuple[str, Path]] = {}
        for name, path in alike:
            digest = hashlib.sha256(path.read_bytes()).digest()
            first_name, first = seen.setdefault(digest, (name, path))
            if first_name != name:
                raise ValueError(
                    f"the same image is in the {first_name} and in the {name} folder: {first} "
                    f"and {path}; take one away, or set duplicates='allow'"
                )


def _open(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        # From one to two times the bound Pillow warns; beyond, it refuses by itself.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(path, formats=_FORMATS)
