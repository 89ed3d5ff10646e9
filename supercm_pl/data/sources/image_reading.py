"""Reading of image files, which may be untrusted."""

from __future__ import annotations

import os
import stat
import struct
import warnings
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import torch
from lightning.pytorch.utilities import rank_zero_warn
from PIL import Image, ImageOps
from torch import Tensor

from supercm_pl.checks import check_choice, check_size
from supercm_pl.data.datasets import BatchedDataset, Indices, image_tensor
from supercm_pl.data.image_modes import eight_bit
from supercm_pl.data.sources.base import Source
from supercm_pl.data.sources.file_check import find_faults
from supercm_pl.data.sources.image_folders import other_files
from supercm_pl.distributed import gather_objects, rank, world_size
from supercm_pl.names import first_of

# A file's suffix does not prove its format. Pillow decodes many more formats, of old programs and
# cameras, which is where its vulnerabilities are found; its EPS decoder starts another program.
_FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
Damaged = Literal["skip", "error", "unchecked"]
"""What to do about files that can't be read as images."""
# What Pillow and its decoders raise for damaged files.
_ERRORS = (
    *(OSError, SyntaxError, ValueError, RuntimeError, EOFError, LookupError, ArithmeticError),
    *(struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning),
)


class ImageSource(Source):
    """Base of the sources of image files.

    Every image is rotated by its EXIF data, converted to RGB or grayscale, and resized to a square.
    Transparent images are put on white, and deeper ones are scaled to 8 bits.

    Args:
        image_size: Side of the square in pixels.
        grayscale: One channel instead of three.
        damaged: What to do about files that can't be read as images. ``load`` reads every file
            once; ``"skip"`` leaves out damaged ones and warns, ``"error"`` raises an error that
            names them. ``"unchecked"``: reading one raises an error, which saves the time of the
            check.

    Attributes:
        skipped: Files that ``load`` left out.
    """

    def __init__(self, image_size: int, grayscale: bool, damaged: Damaged = "skip") -> None:
        check_size("image_size", image_size)
        self.image_size = image_size
        self.grayscale = grayscale
        self.damaged = check_choice("damaged", damaged, get_args(Damaged))
        self.skipped: tuple[Path, ...] = ()

    def _files(self, paths: Sequence[Path], targets: Sequence[int] | None = None) -> ImageFiles:
        return ImageFiles(paths, (self.image_size, self.image_size), self.grayscale, targets)

    def _checked(
        self, parts: Mapping[str, ImageFiles], folders: Sequence[Path]
    ) -> dict[str, ImageFiles]:
        """Treat the damaged files of all parts, and describe in ``left_out`` what is not read."""
        kept = dict(parts)
        if self.damaged != "unchecked":
            paths = dict.fromkeys(path for part in parts.values() for path in part.paths)
            faults = damaged_files(list(paths))
            if faults and self.damaged == "error":
                raise ValueError(f"{_told(faults)}; damaged='skip' leaves them out")
            kept = {name: _without(part, faults, name) for name, part in parts.items()}
            self.skipped = tuple(faults)
            if faults:
                warn_of_damaged(faults)
        damaged = f"{len(self.skipped):,} damaged" if self.skipped else ""
        self.left_out = " · ".join(filter(None, [other_files(folders), damaged]))
        return kept


class ImageFiles(BatchedDataset):
    """Images read from files, each as ``uint8`` ``(C, height, width)``.

    Args:
        paths: The files.
        size: Height and width to resize to, in pixels.
        grayscale: One channel instead of three.
        targets: Label of each file; ``None`` for no labels.

    Attributes:
        names: Class names of the few labeled files of a target, by position; it has no targets.

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
        self.names: Mapping[int, str] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def fetch(self, indices: Indices) -> Tensor:
        """Images ``(B, C, height, width)`` of the files ``indices``."""
        return torch.stack([read_image(self.paths[i], self.size, self.grayscale) for i in indices])


def _without(images: ImageFiles, faults: Mapping[Path, str], name: str) -> ImageFiles:
    rows = [row for row, path in enumerate(images.paths) if path not in faults]
    if images.paths and not rows:
        first = faults[images.paths[0]]
        raise ValueError(f"no image of the {name} folder can be read: {first}")
    targets = images.targets and [images.targets[row] for row in rows]
    return ImageFiles([images.paths[row] for row in rows], images.size, images.grayscale, targets)


def damaged_files(paths: Sequence[Path]) -> dict[Path, str]:
    """Read images in threads; the files that can't be read, in order, and why.

    Each rank of a distributed run reads a share of the files; all must call this.
    """
    with warnings.catch_warnings():
        # Here, since threads share the filters. What is unusual in an image is said on reading it.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        found = gather_objects(find_faults(paths[rank() :: world_size()], _fault))
    faults = {path: fault for part in found for path, fault in part.items()}
    return {path: faults[path] for path in paths if path in faults}


def warn_of_damaged(faults: Mapping[Path, str]) -> None:
    """Warn that damaged files are left out."""
    rank_zero_warn(f"{_told(faults)}: left out", category=RuntimeWarning)


def _told(faults: Mapping[Path, str]) -> str:
    count = "1 image is" if len(faults) == 1 else f"{len(faults):,} images are"
    return f"{count} damaged ({first_of(list(faults))})"


def _fault(path: Path) -> str:
    try:
        # JPEG is decoded at an eighth of its size, which still reads all of the file.
        _read(path, (8, 8), grayscale=False)
    except ValueError as error:
        return str(error)
    return ""


def read_image(path: Path, size: tuple[int, int], grayscale: bool = False) -> Tensor:
    """One image as ``uint8`` ``(C, height, width)``, rotated by its EXIF data and resized.

    Raises:
        ValueError: If the file can't be read as an image, or has more than
            ``PIL.Image.MAX_IMAGE_PIXELS``, 89 million: a small file can fill the memory.
    """
    with warnings.catch_warnings():
        # Pillow warns from one to two times the limit, and raises beyond.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return _read(path, size, grayscale)


def _read(path: Path, size: tuple[int, int], grayscale: bool) -> Tensor:
    height, width = size
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # reading a pipe or a device may never end
            raise OSError("it is not a regular file")
        with Image.open(path, formats=image_formats()) as file:
            # Lets JPEG decode at a fraction of a large photo's size.
            file.draft("L" if grayscale else "RGB", (width, height))
            image = ImageOps.exif_transpose(file)
            return converted(image, size, grayscale)
    except _ERRORS as error:
        raise ValueError(f"can't read the image {path}: {error}") from error


def converted(image: Image.Image, size: tuple[int, int] | None, grayscale: bool) -> Tensor:
    """A PIL image as ``uint8`` ``(C, height, width)``, RGB or grayscale, resized if ``size``."""
    image = eight_bit(image).convert("L" if grayscale else "RGB")
    if size is not None:
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return image_tensor(image)


@cache
def image_formats() -> list[str]:
    """Pillow's names of the formats to open; a suffix does not prove a format."""
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]  # AVIF depends on how it was built
