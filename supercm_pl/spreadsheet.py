"""CSV files that people open in a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def as_text(cell: Any) -> Any:
    """Put a quote before text that a spreadsheet would run as a formula, such as a file's name.

    Example:
        >>> as_text("=1+1.png"), as_text("a.png"), as_text(-1)
        ("'=1+1.png", 'a.png', -1)
    """
    is_formula = isinstance(cell, str) and cell.startswith(tuple("=+-@\t\r\n＝＋－＠"))
    return f"'{cell}" if is_formula else cell


def from_text(cell: str) -> str:
    """The text that :func:`as_text` was given.

    Example:
        >>> from_text("'=1+1.png"), from_text("'a.png")
        ('=1+1.png', "'a.png")
    """
    inner = cell.removeprefix("'")
    return inner if as_text(inner) == cell else cell


def write_rows(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file; its folder is created if needed."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with Path(path).open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([as_text(cell) for cell in row] for row in rows)
