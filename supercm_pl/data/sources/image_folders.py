"""Images in folders; a ``ValueError`` names the folder by ``name`` and the missing files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

IMAGE_SUFFIXES = (
    *(".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg"),
    *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
_PARTS = {
    *("train", "training", "val", "valid", "validation", "test", "testing", "dev", "eval"),
    *("labeled", "labelled", "unlabeled", "unlabelled"),
}


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


def labeled_images(folder: Path, name: str, classes: Sequence[str]) -> tuple[list[Path], list[int]]:
    """Images in the class subfolders of the ``name`` folder, and their numbers in ``classes``."""
    found = class_folders(folder, name)
    unknown = sorted(set(found) - set(classes))
    if unknown:
        raise ValueError(
            f"{name} folder {folder} has classes that the labeled folder lacks: "
            f"{', '.join(unknown)}; its classes are {', '.join(classes)}"
        )
    if {name.lower() for name in found} <= _PARTS and not any(
        path.parent == folder / name for name in found for path in find_images(folder / name)
    ):
        raise ValueError(
            f"{name} folder {folder} has the parts {', '.join(found)} where classes are expected: "
            f"pass each part by itself, such as {folder / found[0]}"
        )
    paths: list[Path] = []
    targets: list[int] = []
    for class_name in found:
        images = find_images(folder / class_name)
        if not images:
            raise ValueError(f"class {class_name!r} of the {name} folder {folder} has no images")
        paths += images
        targets += [classes.index(class_name)] * len(images)
    return paths, targets


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


def other_files(folders: Sequence[Path]) -> str:
    """How many files of folders are left out as no images, and their suffixes; for messages."""
    suffixes = Counter(
        path.suffix.lower() or path.name
        for folder in folders
        for _, _, names in os.walk(folder)
        for path in map(Path, names)
        if path.suffix.lower() not in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
    if not suffixes:
        return ""
    kinds = first_three([suffix for suffix, _ in suffixes.most_common()])
    return f"{suffixes.total():,} files left out ({kinds})"


def class_folders(folder: Path, name: str) -> tuple[str, ...]:
    """Names of the class subfolders of the ``name`` folder, sorted."""
    _check_folder(folder, name)
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not names:
        raise ValueError(
            f"{name} folder {folder} has no class subfolders; expected {folder}/<class>/<image>, "
            f"found {listed(folder)}"
        )
    here = os.path.realpath(folder)
    for class_name in names:
        real = os.path.realpath(folder / class_name)
        if f"{here}{os.sep}".startswith(f"{real}{os.sep}"):
            raise ValueError(
                f"class {class_name!r} of the {name} folder {folder} is a link to {real}, which "
                "contains the other classes too"
            )
    return tuple(names)


def _check_folder(folder: Path, name: str) -> None:
    if not folder.is_dir():
        kind = "is not a folder" if folder.exists() else "does not exist"
        raise ValueError(f"{name} folder {folder} {kind}")


def listed(folder: Path) -> str:
    """The first names in a folder, for messages."""
    return first_three(sorted(path.name for path in folder.iterdir())) or "nothing"


def first_three(names: Sequence[object]) -> str:
    """Up to three names and the number of the others, for messages."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(str, names[:3])) + more
