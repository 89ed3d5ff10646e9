"""Images in folders; a ``ValueError`` names the folder by ``name`` and the missing files."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_warn

from supercm_pl.names import first_of

# Of the formats that `image_reading` decodes.
IMAGE_SUFFIXES = (
    *(".apng", ".avif", ".avifs", ".bmp", ".dib", ".gif", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc"),
    *(".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".pbm", ".pfm", ".pgm", ".png", ".pnm", ".ppm"),
    *(".tif", ".tiff", ".webp"),
)
_PARTS = {
    *("train", "training", "val", "valid", "validation", "test", "testing", "dev", "eval"),
    *("labeled", "labelled", "unlabeled", "unlabelled"),
}
_HELD_OUT = _PARTS - {"train", "training", "labeled", "labelled", "unlabeled", "unlabelled"}


def find_images(folder: Path) -> list[Path]:
    """Image files at any depth under a folder, by suffix, in the same order on every machine.

    Links to a folder above are not followed: they would bring in images of other classes.
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


def all_images(folder: Path, name: str) -> list[Path]:
    """All images under the ``name`` folder, flat or nested."""
    _check_folder(folder, name)
    paths = find_images(folder)
    if not paths:
        suffixes = ", ".join(IMAGE_SUFFIXES)
        raise ValueError(
            f"{name} folder {folder} has no images ({suffixes}), found {listed(folder)}"
        )
    return paths


def warn_of_test_images(folder: Path, name: str, paths: Sequence[Path]) -> None:
    """Warn if images of a folder that trains without labels seem to be for the test."""
    below = [path for path in paths if path.is_relative_to(folder)]
    above = Counter(path.relative_to(folder).parts[0] for path in below)
    for part in sorted(part for part in above if part.lower() in _HELD_OUT):
        rank_zero_warn(
            f"the {name} folder {folder} has a folder {part}, whose {above[part]:,} images are "
            "trained on as well: move it if they are for the test",
            category=RuntimeWarning,
        )


def labeled_images(
    folder: Path, name: str, classes: Sequence[str], only: Sequence[str] | None = None
) -> tuple[list[Path], list[int]]:
    """Images in the class subfolders of the ``name`` folder, and their numbers in ``classes``.

    ``only`` names the subfolders to use; ``None`` uses all.
    """
    folders = class_folders(folder, name)
    if only is not None:
        folders = {each: folders.get(each, [folder / each]) for each in only}
    unknown = sorted(set(folders) - set(classes))
    if unknown:
        raise ValueError(
            f"{name} folder {folder} has classes that the labeled folder lacks: "
            f"{', '.join(unknown)}; its classes are {', '.join(classes)}"
        )
    images = {
        class_name: [path for place in places for path in find_images(place)]
        for class_name, places in folders.items()
    }
    _check_depth(folder, name, folders, images)
    for class_name, found in images.items():
        if not found:
            raise ValueError(
                f"class {class_name!r} of the {name} folder {folder} has no images: remove the "
                "folder, or put images in it"
            )
    targets = [classes.index(name) for name, found in images.items() for _ in found]
    return [path for found in images.values() for path in found], targets


def _check_depth(
    folder: Path,
    name: str,
    folders: Mapping[str, Sequence[Path]],
    images: Mapping[str, Sequence[Path]],
) -> None:
    """Notice folders of parts or domains where those of classes are expected."""
    names = list(folders)
    flat = {each for each in names for path in images[each] if path.parent in folders[each]}
    parts = [each for each in names if each.lower() in _PARTS]
    if len(parts) > 1 - (parts == names) and not flat.issuperset(parts):
        raise ValueError(
            f"{name} folder {folder} has the parts {', '.join(parts)} where classes are expected: "
            f"pass each part by itself, such as {folder / parts[0]}"
        )
    if flat:
        return
    below = [
        {
            path.relative_to(place).parts[0]
            for path in images[each]
            for place in folders[each]
            if path.is_relative_to(place)
        }
        for each in names
    ]
    shared = sorted(set.intersection(*below)) if below else []
    if len(names) > 1 and len(shared) > 1:
        rank_zero_warn(
            f"the folders {first_of(names)} of the {name} folder {folder} are taken for the "
            f"classes, and have no images but folders with the same names ({first_of(shared)}): "
            f"if those are the classes, pass a folder such as {folder / names[0]}",
            category=RuntimeWarning,
        )


def check_separate(parts: Mapping[str, Sequence[Path]]) -> None:
    """Require that no file is in two parts; links to folders are followed.

    One folder may serve validation and test, which both see a model that they did not train.
    """
    folders: dict[Path, str] = {}
    seen: dict[str, str] = {}
    for name, paths in parts.items():
        for path in paths:
            if path.parent not in folders:
                folders[path.parent] = os.path.realpath(path.parent)
            first = seen.setdefault(os.path.join(folders[path.parent], path.name), name)
            if first != name and {first, name} != {"test", "val"}:
                raise ValueError(
                    f"{path} is in the {first} and in the {name} part: keep their folders apart, "
                    "or omit one of them"
                )


def other_files(paths: Sequence[Path]) -> str:
    """How many files below folders are no images, and their suffixes; for messages.

    A path of a file among ``paths`` is not counted.
    """
    found = {
        Path(folder, name)
        for top in paths
        for folder, _, names in os.walk(top)
        for name in names
        if not name.startswith(".") and not name.lower().endswith(IMAGE_SUFFIXES)
    }
    used = sorted(found.difference(paths))
    suffixes = Counter(path.suffix.lower() or path.name for path in used)
    if not suffixes:
        return ""
    kinds = first_of([suffix for suffix, _ in suffixes.most_common()])
    return f"{len(used):,} {'file' if len(used) == 1 else 'files'} left out ({kinds})"


def class_folders(folder: Path, name: str) -> dict[str, list[Path]]:
    """The class subfolders of the ``name`` folder by class, sorted.

    Class names are in Unicode's form NFC: systems differ in how they store accents.
    """
    _check_folder(folder, name)
    found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if not found:
        raise ValueError(
            f"{name} folder {folder} has no class subfolders; expected {folder}/<class>/<image>, "
            f"found {listed(folder)}"
        )
    here = os.path.realpath(folder)
    folders: dict[str, list[Path]] = {}
    for path in sorted(found, key=lambda path: (composed(path.name), path.name)):
        real = os.path.realpath(path)
        if f"{here}{os.sep}".startswith(f"{real}{os.sep}"):
            raise ValueError(
                f"class {path.name!r} of the {name} folder {folder} is a link to {real}, which "
                "contains the other classes too"
            )
        folders.setdefault(composed(path.name), []).append(path)
    twice = [each for each, count in Counter(map(str.strip, folders)).items() if count > 1]
    if twice:
        raise ValueError(
            f"{name} folder {folder} has several folders {twice[0]!r} that differ in blanks only: "
            "rename or merge them"
        )
    return folders


def composed(name: str) -> str:
    """Text in Unicode's form NFC, in which names are compared."""
    return unicodedata.normalize("NFC", name)


def _check_folder(folder: Path, name: str) -> None:
    if not folder.is_dir():
        kind = "is not a folder" if folder.exists() else "does not exist"
        raise ValueError(f"{name} folder {folder} {kind}")


def is_below(path: Path, folder: Path) -> bool:
    """Whether a path names something in a folder; links in the folder may lead anywhere."""
    return os.path.abspath(path).startswith(os.path.join(os.path.abspath(folder), ""))


def listed(folder: Path) -> str:
    """The first names in a folder, for messages."""
    return first_of(sorted(path.name for path in folder.iterdir())) or "nothing"
