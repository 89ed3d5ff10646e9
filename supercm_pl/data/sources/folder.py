"""Sources of images in folders."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from supercm_pl.checks import check_choice, check_optional, check_path
from supercm_pl.data.datasets import IdentifiedSamples, Samples
from supercm_pl.data.labels import checked_classes
from supercm_pl.data.sources.base import SourceData
from supercm_pl.data.sources.image_folders import (
    all_images,
    check_separate,
    class_folders,
    find_images,
    labeled_images,
    listed,
    other_files,
    warn_of_test_images,
)
from supercm_pl.data.sources.image_reading import (
    Damaged,
    ImageFiles,
    ImageSource,
    damaged_files,
    warn_of_damaged,
)
from supercm_pl.data.sources.labels_csv import (
    added_labels,
    class_number,
    found_classes,
    labeled_files,
)

PathLike = str | Path


class FolderSource(ImageSource):
    """Images on disk: labeled ones in one subfolder per class, unlabeled ones in any folder.

    ::

        labeled/cat/1.png     unlabeled/a.jpg        test/cat/7.png
        labeled/dog/2.png     unlabeled/more/b.jpg   test/dog/8.png

    Classes are numbered in the alphabetic order of their folders. ``image_size``, ``grayscale`` and
    ``damaged`` are those of :class:`~supercm_pl.data.sources.image_reading.ImageSource`.

    Args:
        labeled: Folder with one subfolder of images per class, or a CSV file like ``labels``, whose
            rows with an empty label or -1 are unlabeled samples.
        unlabeled: Folder of images, flat or nested. If it is ``labeled`` itself, the images beside
            the class folders; with a CSV file, the images of the folder that have no label.
        test: Folder like ``labeled``, for the test.
        val: Folder like ``labeled``, for validation; ``None`` lets the data module hold out some of
            ``labeled``.
        classes: Names of the subfolders of ``labeled`` to use, in their order; ``None``: all.
        labels: CSV files with the columns ``file`` and ``label``. They add labels, such as those
            that ``supercm suggest`` asked for, and replace labels of files in ``labeled``.
        duplicates: What to do about equal files in two of the folders. ``"warn"``: warn if they
            are used for training and for the test or validation; ``"error"``: an error for any two
            folders; ``"allow"``: do not compare.

    Raises:
        ValueError: From :meth:`load`, if a folder is missing or has another layout, or for
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
        classes: Sequence[str] | None = None,
        damaged: Damaged = "skip",
        duplicates: Literal["warn", "error", "allow"] = "warn",
        labels: PathLike | list[PathLike] | None = None,
    ) -> None:
        super().__init__(image_size, grayscale, damaged)
        self.labels = _paths(labels)
        self.labeled = check_path("labeled", labeled)
        self.unlabeled = check_optional(check_path, "unlabeled", unlabeled)
        self.test = check_optional(check_path, "test", test)
        self.val = check_optional(check_path, "val", val)
        self.classes = None if classes is None else checked_classes(classes)
        self.duplicates = check_choice("duplicates", duplicates, ("warn", "error", "allow"))

    def load(self) -> SourceData:
        """List the files; an image is read when its sample is used."""
        classes = self.class_names()
        tested = {
            name: self._files(*labeled_images(folder, name, classes))
            for name, folder in (("test", self.test), ("val", self.val))
            if folder is not None
        }
        parts = {"labeled": self._files(*self._labeled_images(classes))}
        if self.unlabeled is not None or self._without_label():
            used = {path for part in (*parts.values(), *tested.values()) for path in part.paths}
            parts["unlabeled"] = self._files(self._unlabeled_images(used))
        self._add_labels(parts, classes)
        parts |= tested
        check_separate({name: images.paths for name, images in parts.items()})
        if self.unlabeled is not None:
            warn_of_test_images(self.unlabeled, "unlabeled", parts["unlabeled"].paths)
        folders = (self.labeled, self.unlabeled, self.test, self.val)
        parts = self._checked(parts, [folder for folder in folders if folder is not None])
        if self.duplicates != "allow":
            paths = {name: images.paths for name, images in parts.items()}
            _check_duplicates(paths, strict=self.duplicates == "error")
        return SourceData(parts.pop("labeled"), classes, **parts)

    def class_names(self) -> tuple[str, ...]:
        """``classes``, or the names of the subfolders of ``labeled`` or labels of its file."""
        if self.classes is not None:
            return self.classes
        if self.labeled.is_file():
            return found_classes(self.labeled)
        return tuple(class_folders(self.labeled, "labeled"))

    def _labeled_images(self, classes: tuple[str, ...]) -> tuple[list[Path], list[int]]:
        if not self.labeled.is_file():
            return labeled_images(self.labeled, "labeled", classes, only=self.classes)
        labels = {p: name for p, name in labeled_files(self.labeled).items() if name in classes}
        return list(labels), [classes.index(name) for name in labels.values()]

    def _without_label(self) -> list[Path]:
        """The images that the CSV file of labels names without one."""
        if not self.labeled.is_file():
            return []
        return [path for path, name in labeled_files(self.labeled).items() if not name]

    def _unlabeled_images(self, used: set[Path]) -> list[Path]:
        folder, named = self.unlabeled, self._without_label()
        images = [] if folder is None else all_images(folder, "unlabeled")
        if self.labeled.is_file():
            return [path for path in dict.fromkeys([*images, *named]) if path not in used]
        if folder == self.labeled:
            images = [path for path in images if path.parent == folder]
            if not images:
                raise ValueError(
                    f"unlabeled and labeled are the same folder {folder}, and it has no images "
                    "beside its class folders: omit unlabeled, and set labels_per_class=4"
                )
        return images

    def _add_labels(self, parts: dict[str, ImageFiles], classes: Sequence[str]) -> None:
        """Move files with a label in a CSV file to the labeled part."""
        folders = [folder for folder in (self.unlabeled, self.labeled) if folder is not None]
        added = added_labels(self.labels, folders)
        if not added:
            return
        for name, images in parts.items():
            rows = [i for i, p in enumerate(images.paths) if os.path.realpath(p) not in added]
            targets = images.targets and [images.targets[row] for row in rows]
            parts[name] = self._files([images.paths[row] for row in rows], targets)
        labeled = parts["labeled"]
        numbers = [class_number(label, classes, place) for place, label in added.values()]
        parts["labeled"] = self._files(
            [*labeled.paths, *(place for place, _ in added.values())],
            [*(labeled.targets or ()), *numbers],
        )


class DomainFolder(ImageSource):
    """One domain of a data set in the layout ``root/domain/class/image``.

    ::

        root/amazon/images/mug/1.jpg     Office-31: the folder "images" is skipped
        root/Real World/Mug/1.jpg        Office-Home
        root/validation/bus/1.jpg        VisDA-2017
        root/sketch/mug/1.png            DomainNet

    There is no test set: a target domain is tested on all of its images. ``image_size``,
    ``grayscale`` and ``damaged`` are those of
    :class:`~supercm_pl.data.sources.image_reading.ImageSource`.

    Args:
        root: Folder of the data set.
        domain: Name of the domain's folder.

    Raises:
        ValueError: From :meth:`load`, if a folder is missing, empty or has another layout.
    """

    def __init__(
        self,
        root: PathLike,
        domain: str,
        image_size: int = 256,
        grayscale: bool = False,
        damaged: Damaged = "skip",
    ) -> None:
        super().__init__(image_size, grayscale, damaged)
        self.root = Path(root)
        self.domain = domain

    def load(self) -> SourceData:
        """List the files; an image is read when its sample is used."""
        folder, classes = self._folder(), self.class_names()
        folders = class_folders(folder, f"{self.domain!r} domain")
        for place in (place for places in folders.values() for place in places):
            below = find_images(place)
            if below and all(path.parent != place for path in below):
                raise ValueError(
                    f"expected {folder}/<class>/<image>, found {below[0]}: "
                    "give the folder above the domains as root, and the folder of classes as domain"
                )
        images = self._files(*labeled_images(folder, f"{self.domain!r} domain", classes))
        return SourceData(self._checked({self.domain: images}, [folder])[self.domain], classes)

    def class_names(self) -> tuple[str, ...]:
        """Names of the class folders, sorted."""
        return tuple(class_folders(self._folder(), f"{self.domain!r} domain"))

    def _folder(self) -> Path:
        folder = self.root / self.domain
        if not folder.is_dir():
            found = listed(self.root) if self.root.is_dir() else "no folder there"
            raise ValueError(
                f"{self.root} has no domain {self.domain!r}: expected "
                f"{self.root}/{self.domain}/<class>/<image>, found {found}"
            )
        inner = folder / "images"
        alone = [path.name for path in folder.iterdir() if path.is_dir()] == ["images"]
        return inner if alone and any(path.is_dir() for path in inner.iterdir()) else folder


class UnlabeledFolder(ImageSource):
    """A target domain whose images have no labels: all images under a folder, flat or nested.

    ``image_size``, ``grayscale`` and ``damaged`` are those of
    :class:`~supercm_pl.data.sources.image_reading.ImageSource`.

    Args:
        folder: The images; names of subfolders are ignored.
        test: Folder with one subfolder of images per class, for the test. Test images below
            ``folder`` are not trained on, unless all are there: then all are trained on, without
            their labels, and tested.
        labels: CSV files with the columns ``file`` and ``label``, as for :class:`FolderSource`:
            these images are the labeled target samples.

    Raises:
        ValueError: From :meth:`load`, if a folder is missing or has no images, or a file of
            ``labels`` is not among them.
    """

    def __init__(
        self,
        folder: PathLike,
        test: PathLike | None = None,
        image_size: int = 256,
        grayscale: bool = False,
        damaged: Damaged = "skip",
        labels: PathLike | list[PathLike] | None = None,
    ) -> None:
        super().__init__(image_size, grayscale, damaged)
        self.labels = _paths(labels)
        self.folder = check_path("folder", folder)
        self.test = check_optional(check_path, "test", test)

    def load(self) -> SourceData:
        """List the files; without ``test``, the classes are unknown: an empty tuple."""
        paths = all_images(self.folder, "target")
        if self.test not in (None, self.folder):  # a folder below, or anywhere else
            paths = [path for path in paths if self.test not in path.parents] or paths
        parts = {"target": self._files(paths)}
        classes: tuple[str, ...] = ()
        if self.test is not None:
            classes = tuple(class_folders(self.test, "test"))
            parts["test"] = self._files(*labeled_images(self.test, "test", classes))
        else:  # a target may be tested on the images that it trains on
            warn_of_test_images(self.folder, "target", parts["target"].paths)
        folders = [self.folder] if self.test is None else [self.folder, self.test]
        parts = self._checked(parts, folders)
        parts["target"].names = self._names(parts["target"].paths)
        return SourceData(parts["target"], classes, test=parts.get("test"))

    def _names(self, paths: Sequence[Path]) -> dict[int, str]:
        rows = {os.path.realpath(path): row for row, path in enumerate(paths)}
        added = added_labels(self.labels, [self.folder])
        for path in map(os.path.realpath, self.skipped):
            added.pop(path, None)
        strange = next((place for real, (place, _) in added.items() if real not in rows), None)
        if strange is not None:
            raise ValueError(f"{strange} has a label, but is no training image of {self.folder}")
        return {rows[real]: label for real, (_, label) in added.items()}


def _paths(given: PathLike | list[PathLike] | None) -> list[Path]:
    return [Path(path) for path in ([given] if isinstance(given, str | Path) else given or [])]


def images_to_predict(
    images: Path | Sequence[PathLike | os.PathLike[str]], input_shape: tuple[int, ...]
) -> IdentifiedSamples:
    """Images under a folder, or in files, in a model's input shape, with their paths as ids.

    Damaged files of a folder are left out with a warning.

    Raises:
        ValueError: If the folder contains no image, or the shape is not ``(C, H, W)`` with ``C`` of
            1 or 3.
    """
    if len(input_shape) != 3 or input_shape[0] not in (1, 3):
        raise ValueError(
            "only models with inputs (C, H, W) of 1 or 3 channels predict images in files, this "
            f"one takes {input_shape}"
        )
    channels, height, width = input_shape
    if isinstance(images, Path):
        paths = all_images(images, "predict_path")
        faults = damaged_files(paths)
        if len(faults) == len(paths):
            raise ValueError(f"no image of the folder {images} can be read: {faults[paths[0]]}")
        if faults:
            warn_of_damaged(faults)
            paths = [path for path in paths if path not in faults]
        others = other_files([images])
        if others:
            rank_zero_info(f"{images}: {others}")
        ids = [path.relative_to(images).as_posix() for path in paths]
    else:
        paths, ids = [Path(path) for path in images], [str(path) for path in images]
    return IdentifiedSamples(Samples(ImageFiles(paths, (height, width), channels == 1)), ids)


def _check_duplicates(parts: Mapping[str, Sequence[Path]], strict: bool) -> None:
    """Find files that are in two parts; only files that share their size are read."""
    parts = {name: [path for path in paths if path.is_file()] for name, paths in parts.items()}
    sizes = Counter(path.stat().st_size for paths in parts.values() for path in paths)
    seen: dict[bytes, tuple[str, Path]] = {}
    found: list[tuple[str, Path, str, Path]] = []
    for name, paths in parts.items():
        for path in paths:
            if sizes[path.stat().st_size] == 1:
                continue
            digest = hashlib.sha256(path.read_bytes()).digest()
            first_name, first = seen.setdefault(digest, (name, path))
            if first_name != name and (strict or name in ("test", "val")):
                found.append((first_name, first, name, path))
    for first_name, first, name, path in found[:1]:
        if strict:
            raise ValueError(
                f"the same image is in the {first_name} and in the {name} folder: {first} "
                f"and {path}; remove one, or set duplicates='allow'"
            )
        if {first_name, name} != {"test", "val"}:
            rank_zero_warn(
                f"{len(found):,} images of the {name} folder are in the {first_name} folder too, "
                f"so that the model has seen them: {path} is {first}",
                category=RuntimeWarning,
            )
