"""Folders of images as a source, and images read from files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from supercm_pl.data.datasets import (
    BatchedDataset,
    IdentifiedSamples,
    Indices,
    Samples,
)
from supercm_pl.data.sources.base import Source, SourceData
from supercm_pl.data.sources.image_reading import (
    check_image_size,
    damage,
    read_image,
    refuse_duplicates,
)

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

PathLike = str | Path


class FolderSource(Source):
    """Images on disk: labeled ones in a subfolder for each class, unlabeled ones in any folder.

    ::

        labeled/cat/1.png     unlabeled/a.jpg        test/cat/7.png
        labeled/dog/2.png     unlabeled/more/b.jpg   test/dog/8.png

    Every image is turned as its EXIF data say, converted to RGB or grayscale, and resized to a
    square. Classes are numbered by the alphabetic order of their folders.

    Args:
        labeled: Folder with a subfolder of images for each class.
        unlabeled: Folder of images, flat or nested.
        test: Folder like ``labeled``, for the test.
        val: Folder like ``labeled``, for validation; ``None`` lets the data module take some of
            ``labeled``.
        image_size: Side of the square in pixels.
        grayscale: One channel in place of three.
        damaged: What to do about files that can't be read as images. ``"error"``: whoever reads one
            gets an error that names it. ``"skip"``: :meth:`load` reads every image once, leaves
            them out and warns of their number.
        duplicates: Whether the same file may be in two of the folders, where it would be trained on
            and tested on: ``"allow"`` does not look, ``"error"`` makes :meth:`load` compare.

    Attributes:
        skipped: Files that :meth:`load` left out.

    Raises:
        ValueError: From :meth:`load`, if a folder is missing or laid out otherwise, or for
            duplicates.
    """

    def __init__(
        self,
        labeled: PathLike,
        unlabeled: PathLike | None = None,
        test: PathLike | None = None,
        val: PathLike | None = None,
        image_size: int = 32,
        grayscale: bool = False,
        damaged: Literal["error", "skip"] = "error",
        duplicates: Literal["allow", "error"] = "allow",
    ) -> None:
        check_image_size(image_size)
        if damaged not in ("error", "skip"):
            raise ValueError(f"damaged must be 'error' or 'skip', got {damaged!r}")
        if duplicates not in ("allow", "error"):
            raise ValueError(f"duplicates must be 'allow' or 'error', got {duplicates!r}")
        self.labeled = Path(labeled)
        self.unlabeled = None if unlabeled is None else Path(unlabeled)
        self.test = None if test is None else Path(test)
        self.val = None if val is None else Path(val)
        self.image_size = image_size
        self.grayscale = grayscale
        self.damaged = damaged
        self.duplicates = duplicates
        self.skipped: tuple[Path, ...] = ()

    def load(self) -> SourceData:
        """List the files; images are read when they are asked for."""
        classes = self.class_names()
        parts = {"labeled": self._labeled_images(self.labeled, "labeled", classes)}
        if self.unlabeled is not None:
            parts["unlabeled"] = image_folder(
                self.unlabeled, "unlabeled", self._size, self.grayscale
            )
        for name, folder in (("test", self.test), ("val", self.val)):
            if folder is not None:
                parts[name] = self._labeled_images(folder, name, classes)
        if self.damaged == "skip":
            self._leave_out_damaged(parts)
        if self.duplicates == "error":
            refuse_duplicates({name: images.paths for name, images in parts.items()})
        return SourceData(
            train=parts["labeled"],
            test=parts.get("test"),
            val=parts.get("val"),
            unlabeled=parts.get("unlabeled"),
            classes=classes,
        )

    def _leave_out_damaged(self, parts: dict[str, ImageFiles]) -> None:
        skipped: list[Path] = []
        for name, images in parts.items():
            errors = [damage(path, self._size, self.grayscale) for path in images.paths]
            bad = [path for path, error in zip(images.paths, errors, strict=True) if error]
            whole = [row for row, error in enumerate(errors) if not error]
            if not whole:
                raise ValueError(f"no image of the {name} folder can be read: {errors[0]}")
            parts[name] = images.subset(whole)
            skipped += bad
        self.skipped = tuple(skipped)
        if skipped:
            names = ", ".join(map(str, skipped[:3]))
            more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
            warnings.warn(
                f"{len(skipped)} damaged images are left out: {names}{more}",
                RuntimeWarning,
                stacklevel=2,
            )

    def class_names(self) -> tuple[str, ...]:
        """Names of the subfolders of ``labeled``, sorted."""
        return _class_folders(self.labeled, "labeled")

    def _labeled_images(self, folder: Path, name: str, classes: Sequence[str]) -> ImageFiles:
        found = _class_folders(folder, name)
        unknown = sorted(set(found) - set(classes))
        if unknown:
            raise ValueError(
                f"{name} folder {folder} has classes that the labeled folder lacks: "
                f"{', '.join(unknown)}; its classes are {', '.join(classes)}"
            )
        paths: list[Path] = []
        targets: list[int] = []
        for class_name in found:
            images = find_images(folder / class_name)
            if not images:
                raise ValueError(
                    f"class {class_name!r} of the {name} folder {folder} has no images"
                )
            paths += images
            targets += [classes.index(class_name)] * len(images)
        return ImageFiles(paths, self._size, self.grayscale, targets)

    @property
    def _size(self) -> tuple[int, int]:
        return self.image_size, self.image_size


class ImageFiles(BatchedDataset):
    """Images read from files, each as ``uint8`` ``(C, height, width)``.

    Args:
        paths: The files.
        size: Height and width to resize to, in pixels.
        grayscale: One channel in place of three.
        targets: Label of each file; ``None`` where there are none.

    Raises:
        ValueError: On reading a file that is not a whole image; it names the file.
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

    def subset(self, rows: Sequence[int]) -> ImageFiles:
        """The files ``rows`` alone."""
        targets = None if self.targets is None else [self.targets[row] for row in rows]
        return ImageFiles([self.paths[row] for row in rows], self.size, self.grayscale, targets)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor | tuple[Tensor, int]:
        image = read_image(self.paths[index], self.size, self.grayscale)
        return image if self.targets is None else (image, self.targets[index])

    def fetch(self, indices: Indices) -> Tensor:
        """Images ``(B, C, height, width)`` of the files ``indices``."""
        return torch.stack([read_image(self.paths[i], self.size, self.grayscale) for i in indices])


def image_folder(folder: Path, name: str, size: tuple[int, int], grayscale: bool) -> ImageFiles:
    """Every image under a folder, flat or nested, without labels.

    Args:
        folder: Where to look.
        name: What to call the folder in a message.
        size: Height and width in pixels.
        grayscale: One channel in place of three.

    Raises:
        ValueError: If the folder is missing or holds no image.
    """
    _check_folder(folder, name)
    paths = find_images(folder)
    if not paths:
        raise ValueError(
            f"{name} folder {folder} has no images ({', '.join(IMAGE_SUFFIXES)}), "
            f"found {_listing(folder)}"
        )
    return ImageFiles(paths, size, grayscale)


def images_to_predict(folder: Path, input_shape: tuple[int, ...]) -> IdentifiedSamples:
    """Images under a folder in the shape that a model was trained on, with their paths below it.

    Args:
        folder: Where to look.
        input_shape: ``(C, H, W)`` with ``C`` of 1 or 3.

    Raises:
        ValueError: If the folder holds no image, or the shape is none of images.
    """
    if len(input_shape) != 3 or input_shape[0] not in (1, 3):
        raise ValueError(
            "predict_path is for sources of images with 1 or 3 channels, this one has inputs of "
            f"shape {input_shape}"
        )
    channels, height, width = input_shape
    images = image_folder(folder, "predict_path", (height, width), grayscale=channels == 1)
    ids = [path.relative_to(folder).as_posix() for path in images.paths]
    return IdentifiedSamples(Samples(images), ids)


def find_images(folder: Path) -> list[Path]:
    """Image files at any depth under a folder, by suffix, in an order that is the same anywhere.

    Links to a folder above are not followed: they would bring other classes' images.
    """
    above = set(map(str, Path(os.path.realpath(folder)).parents))
    return sorted(_walk(folder, above), key=lambda path: path.relative_to(folder).as_posix())


def _walk(folder: Path, seen: set[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in seen:  # a loop of symbolic links
        return
    seen.add(real)
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path, seen)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            yield path


def _class_folders(folder: Path, name: str) -> tuple[str, ...]:
    _check_folder(folder, name)
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not names:
        raise ValueError(
            f"{name} folder {folder} has no class subfolders; expected {folder}/<class>/<image>, "
            f"found {_listing(folder)}"
        )
    here = os.path.realpath(folder)
    for class_name in names:
        real = os.path.realpath(folder / class_name)
        if f"{here}{os.sep}".startswith(f"{real}{os.sep}"):
            raise ValueError(
                f"class {class_name!r} of the {name} folder {folder} is a link to {real}, which "
                "holds the other classes too"
            )
    return tuple(names)


def _check_folder(folder: Path, name: str) -> None:
    if not folder.is_dir():
        kind = "is not a folder" if folder.exists() else "does not exist"
        raise ValueError(f"{name} folder {folder} {kind}")


def _listing(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    shown = ", ".join(names[:3]) or "nothing"
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
