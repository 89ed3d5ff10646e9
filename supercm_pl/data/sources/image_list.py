"""Images named by list files, with a path and a label in each line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from supercm_pl.checks import check_optional, check_path
from supercm_pl.data.labels import checked_classes, numbered_classes
from supercm_pl.data.sources.base import SourceData
from supercm_pl.data.sources.folder import PathLike
from supercm_pl.data.sources.image_folders import check_separate, is_below
from supercm_pl.data.sources.image_reading import Damaged, ImageFiles, ImageSource
from supercm_pl.text_files import read_text

_LONGEST_LABEL = 6
_Line = tuple[int, str, int]  # number, path as written, label


class ImageList(ImageSource):
    """Images named by a list file, ``path label`` in each line, labels from 0 on.

    ::

        clipart/aircraft_carrier/1.jpg 0     DomainNet, with clipart_train.txt and clipart_test.txt
        aeroplane/1.png 0                    VisDA-2017: train/image_list.txt
        Real World/Mug/1.jpg 38              Office-Home; paths may contain spaces
        b/1.jpg 4                            ImageCLEF-DA, which has no class folders

    ``image_size``, ``grayscale`` and ``damaged`` are those of
    :class:`~supercm_pl.data.sources.image_reading.ImageSource`.

    Args:
        list_file: The list of the training images.
        root: Folder that its paths start from, and that must contain every image; ``None`` is the
            folder of the list. For a list of absolute paths, a folder above all of them.
        test_list: List of the test images; without it, a target is tested on all of its images.
        classes: Names of the classes; ``None`` takes the names of the folders if each class has
            its own, else the numbers up to the largest label. Name them if not even the number of
            classes may be learned from a target's labels.

    Raises:
        ValueError: From :meth:`load`, if a list is missing or empty, or a line has no label, a
            label without a class, or a file that is missing or outside ``root``.
    """

    def __init__(
        self,
        list_file: PathLike,
        root: PathLike | None = None,
        test_list: PathLike | None = None,
        classes: Sequence[str] | None = None,
        image_size: int = 256,
        grayscale: bool = False,
        damaged: Damaged = "skip",
    ) -> None:
        super().__init__(image_size, grayscale, damaged)
        self.list_file = check_path("list_file", list_file)
        self.root = self.list_file.parent if root is None else check_path("root", root)
        self.test_list = check_optional(check_path, "test_list", test_list)
        self.classes = None if classes is None else checked_classes(classes)

    def load(self) -> SourceData:
        """Read the lists and check the files; an image is read again when it is used."""
        lines = _read(self.list_file)
        names = _names(lines, self.list_file) if self.classes is None else self.classes
        classes = checked_classes(names)
        parts = {"training": self._images(self.list_file, lines, len(classes))}
        if self.test_list is not None:
            parts["test"] = self._images(self.test_list, _read(self.test_list), len(classes))
        check_separate({name: images.paths for name, images in parts.items()})
        parts = self._checked(parts, [])
        return SourceData(parts["training"], classes, test=parts.get("test"))

    def _images(self, file: Path, lines: list[_Line], num_classes: int) -> ImageFiles:
        for number, path, label in lines:
            if label >= num_classes:
                raise ValueError(
                    f"{file}, line {number}: labels must be in 0..{num_classes - 1}, "
                    f"got {path} {label}"
                )
        paths = [self.root / path for _, path, _ in lines]
        below = [is_below(path, self.root) for path in paths]
        # Each folder is listed once: asking for every file is slow on a network disk.
        parents = {path.parent for path, is_below in zip(paths, below, strict=True) if is_below}
        there = {folder: _files_in(folder) for folder in parents}
        named = zip(lines, paths, strict=True)
        missing = [line for line, path in named if path.name not in there.get(path.parent, ())]
        if missing:
            number, written, _ = missing[0]
            raise ValueError(
                f"{file}: {len(missing)} of {len(lines)} lines name a file that is not below "
                f"{self.root}, first line {number}: {written}; give the folder that the paths "
                "start from as root"
            )
        return self._files(paths, [label for _, _, label in lines])


def _read(file: Path) -> list[_Line]:
    try:
        texts = read_text(file).splitlines()
    except (OSError, ValueError) as error:
        raise ValueError(f"can't read the list of images {file}: {error}") from error
    lines = []
    for number, text in enumerate(map(str.strip, texts), 1):
        path, _, label = text.replace("\t", " ").rpartition(" ")
        if path and label.isascii() and label.isdigit() and len(label) <= _LONGEST_LABEL:
            lines.append((number, path.strip(), int(label)))
        elif text:
            raise ValueError(
                f"{file}, line {number}: expected '<path> <label>' with a label from 0 to 999,999, "
                f"found {text!r:.200}"
            )
    if not lines:
        raise ValueError(f"the list of images {file} is empty; expected lines '<path> <label>'")
    return lines


def _names(lines: list[_Line], file: Path) -> list[str]:
    """Folder names if each label has its own folder, else numbers."""
    size = max(label for _, _, label in lines) + 1
    folders = {(label, Path(path).parent.name) for _, path, label in lines}
    names = dict(sorted(folders))
    if len(folders) == len(names) == size == len(set(names.values())) and all(names.values()):
        return list(names.values())
    return numbered_classes(np.array([label for _, _, label in lines]), str(file))


def _files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
