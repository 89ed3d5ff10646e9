"""Curves of logged values."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from supercm_pl.viz.axes import new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 3


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
        ValueError: If the file does not exist or has no column ``step``.
    """
    path = Path(path)
    path = path / "metrics.csv" if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"{path} does not exist; log the run with Lightning's CSVLogger")
    curves: dict[str, Curve] = {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if "step" not in (reader.fieldnames or ()):
            raise ValueError(f"{path} has no column step, so CSVLogger did not write it")
        for row in reader:
            step = _number(row.pop("step"))
            for name, cell in row.items():
                value = _number(cell)
                # csv collects cells without a header in a list.
                if name and name != "epoch" and step is not None and value is not None:
                    curve = curves.setdefault(name, Curve([], []))
                    curve.steps.append(int(step))
                    curve.values.append(value)
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


def _number(cell: object) -> float | None:
    try:
        value = float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None
