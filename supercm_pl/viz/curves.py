"""Curves of logged values."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

from supercm_pl.checks import shown
from supercm_pl.viz.axes import new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 3
# Bounds on files from strangers, far above those of real runs.
_LONGEST_LINE = 1_000_000
_MOST_METRICS = 1_000


class Curve(NamedTuple):
    """Values of one metric, and the optimizer steps at which they were logged."""

    steps: list[int]
    values: list[float]


def read_curves(path: str | Path) -> dict[str, Curve]:
    """Read the ``metrics.csv`` of Lightning's ``CSVLogger``.

    Args:
        path: The file, or its folder.

    Returns:
        One curve for each metric with finite values, in the order of the file.

    Raises:
        ValueError: If the file does not exist, is not such a file, or has lines of more than a
            million characters.
    """
    path = Path(path)
    path = path / "metrics.csv" if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"{path} does not exist; log the run with Lightning's CSVLogger")
    curves: dict[str, Curve] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.reader(_lines(file))
            names = next(rows, [])
            if "step" not in names:
                raise ValueError("it has no column step, so CSVLogger did not write it")
            if len(names) > _MOST_METRICS:
                raise ValueError(f"it has more than {_MOST_METRICS:,} columns")
            place = names.index("step")
            for row in rows:
                step = _number(row[place]) if place < len(row) else None
                if step is None:
                    continue
                for name, cell in zip(names, row, strict=False):
                    value = _number(cell) if name not in ("", "step", "epoch") else None
                    if value is not None:
                        curve = curves.setdefault(name, Curve([], []))
                        curve.steps.append(int(step))
                        curve.values.append(value)
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path} can't be read: {error}") from error
    return curves


def plot_curves(
    runs: str | Path | Mapping[str, str | Path | Mapping[str, Curve]],
    names: Sequence[str] | None = None,
) -> Figure:
    """Plot metrics over optimizer steps, one panel per metric, with all runs in each.

    Args:
        runs: A ``metrics.csv`` or its folder, several of them by name, or curves.
        names: Metrics; ``None`` selects all that start with ``train/``. Metrics that no run has
            are omitted.

    Raises:
        ValueError: If no run has any of the metrics, or a file cannot be read.
    """
    if not isinstance(runs, str | PathLike | Mapping):
        raise TypeError(
            f"runs must be a path, or several by name, got {shown(runs)}: write "
            '{"mine": "runs/mine", "other": "runs/other"}'
        )
    given = runs if isinstance(runs, Mapping) else {"": runs}
    read = {
        run: found if isinstance(found, Mapping) else read_curves(found)
        for run, found in given.items()
    }
    logged = list(dict.fromkeys(name for curves in read.values() for name in curves))
    if names is None:
        wanted = [name for name in logged if name.startswith("train/")]
    else:
        wanted = [name for name in names if name in logged]
    if not wanted:
        asked = "train/..." if names is None else ", ".join(names)
        raise ValueError(f"no run has logged {asked}; logged: {', '.join(logged) or 'none'}")
    columns = min(_COLUMNS, len(wanted))
    rows = math.ceil(len(wanted) / columns)
    figure = new_figure(3.6 * columns, 2.5 * rows)
    for number, name in enumerate(wanted, start=1):
        ax = figure.add_subplot(rows, columns, number)
        for run, curves in read.items():
            if name in curves:
                curve = curves[name]
                marker = "o" if len(curve.steps) == 1 else None
                ax.plot(curve.steps, curve.values, label=plain(run), marker=marker)
        ax.set(title=plain(name), xlabel="step")
        if len(read) > 1:
            ax.legend(frameon=False, fontsize="small")
    return figure


def _lines(file: TextIO) -> Iterator[str]:
    while line := file.readline(_LONGEST_LINE + 1):
        if len(line) > _LONGEST_LINE:
            raise ValueError(f"it has a line of more than {_LONGEST_LINE:,} characters")
        yield line


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
