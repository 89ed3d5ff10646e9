"""Labels of image files in a CSV file."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from supercm_pl.data.labels import check_no_missing
from supercm_pl.data.sources.image_folders import IMAGE_SUFFIXES, composed, is_below
from supercm_pl.spreadsheet import from_text
from supercm_pl.text_files import read_text

_FILE = ("file", "filename", "path", "image", "id")
_LABEL = ("label", "class", "category")


def read_labels_csv(path: Path) -> list[tuple[str, str]]:
    """Files and labels of a CSV file, as written; an empty label or -1 is that of no class.

    The columns are those named ``file`` and ``label``, among others; without such names in the
    first line, the first two columns. Commas, semicolons or tabs separate them.

    Raises:
        ValueError: If the file can't be read, a row has no second column, or a file has two labels.
    """
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise ValueError(f"{path} is an image: pass a folder, or a CSV file with file and label")
    try:
        text = read_text(path, errors="surrogateescape")
        head = text.partition("\n")[0]
        # Names may contain any sign that Python takes for the end of a line.
        lines = io.StringIO(text, newline="")
        rows = list(csv.reader(lines, delimiter=max(",;\t", key=head.count)))
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"can't read the labels {path}: {error}") from error
    names = [cell.strip().lower() for cell in rows[0]] if rows else []
    file = next((names.index(name) for name in _FILE if name in names), None)
    label = next((names.index(name) for name in _LABEL if name in names), None)
    first = 0 if file is None or label is None else 1
    file, label = (0, 1) if file is None or label is None else (file, label)
    found: list[tuple[str, str]] = []
    labels: dict[str, str] = {}
    for number, row in enumerate(rows[first:], start=first + 1):
        if not any(map(str.strip, row)):
            continue
        if len(row) <= max(file, label):
            raise ValueError(f"{path}, line {number}: expected a file and a label, found {row}")
        name, given = (from_text(row[column].strip()) for column in (file, label))
        given = "" if given == "-1" else composed(given)
        before = labels.get(os.path.normpath(name), "")
        if given and before not in ("", given):
            raise ValueError(
                f"{path}, line {number}: {name} is labeled {given}, and {before} before: keep one "
                "of the lines"
            )
        labels[os.path.normpath(name)] = given or before
        found.append((name, given))
    return found


def found_classes(path: Path) -> tuple[str, ...]:
    """Class names of a CSV file, sorted; the text of a missing value is a ``ValueError``."""
    names = sorted({*labeled_files(path).values()} - {""})
    check_no_missing(names, f"{path}", "leave the label empty where an image has none")
    return tuple(names)


def labeled_files(path: Path) -> dict[Path, str]:
    """Class name of each image of a CSV file, empty for none; paths start from its folder.

    Raises:
        ValueError: If an image is missing or not below that folder, or there are fewer than two
            classes.
    """
    rows = read_labels_csv(path)
    labels = {path.parent / name: label for name, label in rows if label}
    labels |= {path.parent / name: "" for name, _ in rows if path.parent / name not in labels}
    for file in labels:
        if not is_below(file, path.parent):
            raise ValueError(f"{path}: {file} is not in the folder of the labels or below")
        if not file.is_file():
            raise ValueError(f"{path}: there is no file {file}")
    classes = sorted({*labels.values()} - {""})
    if len(classes) < 2:
        raise ValueError(
            f"{path} must label images of two classes or more in lines file,label, found "
            f"{', '.join(classes) or 'no label'}"
        )
    return labels


def added_labels(paths: Sequence[Path], folders: Sequence[Path]) -> dict[str, tuple[Path, str]]:
    """Labels of CSV files: path and class name by the image's real path; later files win.

    Relative paths may start from ``folders``, the current folder and that of the file. A missing
    file is a ``ValueError``.
    """
    found: dict[str, tuple[Path, str]] = {}
    for path in paths:
        for name, label in (row for row in read_labels_csv(path) if row[1]):
            places = [Path(name), *(folder / name for folder in (path.parent, *folders))]
            place = next((place for place in places if place.is_file()), None)
            if place is None:
                raise ValueError(f"{path}: there is no file {name}")
            found[os.path.realpath(place)] = (place, label)
    return found


def class_number(label: str, classes: Sequence[str], file: Path) -> int:
    """The number of the class of a file; an unknown class is a ``ValueError``."""
    if label not in classes:
        near = get_close_matches(label, classes, n=1)
        hint = f"did you mean {near[0]}?" if near else f"they are {', '.join(classes)}"
        raise ValueError(f"{file} has the label {label}, which is no class; {hint}")
    return classes.index(label)
