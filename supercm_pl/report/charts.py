"""Charts of the report, drawn with Plotly.

Plotly interprets markup in text, so all text from data is passed through :func:`escaped`.
"""

from __future__ import annotations

import html
import math
from collections.abc import Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from supercm_pl.report.runs import Run
from supercm_pl.report.snapshot import Array, Snapshot

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# Tableau's colors; the first ten are matplotlib's too.
COLORS = (
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f"),
    *("#bcbd22", "#17becf", "#aec7e8", "#ffbb78", "#98df8a", "#ff9896", "#c5b0d5", "#c49c94"),
    *("#f7b6d2", "#c7c7c7", "#dbdb8d", "#9edae5"),
)
_COLUMNS = 3
# Above these numbers of classes, names at an axis and numbers in cells are unreadable.
_MOST_NAMES = 40
_MOST_NUMBERS = 20


def escaped(text: object) -> str:
    """Escape text for HTML and for Plotly's labels."""
    # File names may contain invalid UTF-8.
    readable = str(text).replace("\x00", "").encode("utf-8", "replace").decode()
    # Plotly would typeset text between dollar signs.
    return html.escape(readable).replace("$", "&#36;")


def curves_chart(runs: Sequence[Run]) -> Figure | None:
    """Plot every metric that changes, all runs in each panel; no terms of the loss."""
    from plotly.graph_objects import Scatter
    from plotly.subplots import make_subplots

    logged = _logged_twice(runs)
    # The sums are of no use where they have a large constant, and their terms have a chart.
    of_loss = {"train/loss", *(name for terms in loss_terms(logged).values() for name in terms)}
    names = sorted(filter(partial(_changes, runs), logged - of_loss), key=_importance)
    if not names:
        return None
    columns = min(_COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    spacing = {"vertical_spacing": 0.32 / rows, "horizontal_spacing": 0.07}
    titles = list(map(escaped, names))
    figure = make_subplots(rows=rows, cols=columns, subplot_titles=titles, **spacing)
    in_legend: set[int] = set()
    for place, name in enumerate(names):
        for number, run in enumerate(runs):
            if name not in run.curves:
                continue
            curve = run.curves[name]
            trace = Scatter(
                x=curve.steps,
                y=curve.values,
                mode="lines+markers" if len(curve.steps) < 50 else "lines",
                marker={"size": 4},
                name=escaped(run.name),
                legendgroup=str(number),
                showlegend=len(runs) > 1 and number not in in_legend,
                line={"color": COLORS[number % len(COLORS)], "width": 1.5},
                hovertemplate="step %{x}: %{y:.4g}<extra>%{fullData.name}</extra>",
            )
            in_legend.add(number)
            figure.add_trace(trace, row=place // columns + 1, col=place % columns + 1)
    figure.update_annotations(font_size=13)
    figure.update_layout(
        **look(height=230 * rows + 60),
        legend={"orientation": "h", "y": 1.0, "yanchor": "top", "yref": "container"},
        margin={"t": 70, "l": 50, "r": 10, "b": 40},
    )
    return figure


def _changes(runs: Sequence[Run], name: str) -> bool:
    curves = [run.curves[name].values for run in runs if name in run.curves]
    return len({value for values in curves for value in values}) > 1


def loss_terms(logged: Collection[str]) -> dict[str, list[str]]:
    """The terms of the loss, and of the clustering loss, among the logged metrics, by title.

    Example:
        >>> loss_terms({"train/ce", "train/cm", "train/cm_prior", "train/fix", "train/fix_used"})
        {'terms': ['train/ce', 'train/cm', 'train/fix'], 'clustering loss': ['train/cm_prior']}
    """
    names = [name for name in sorted(logged) if name.startswith("train/") and name != "train/loss"]
    values = {name for name in names if any(name.startswith(f"{other}_") for other in names)}
    parts = [name for name in names if name.startswith("train/cm_")]
    return {"terms": [name for name in names if name not in values], "clustering loss": parts}


def loss_chart(runs: Sequence[Run]) -> Figure | None:
    """Plot the terms of the loss in one panel, and those of the clustering loss in another.

    They are not yet weighted. The smallest value of the Dirichlet prior, a constant, is subtracted.
    """
    from plotly.graph_objects import Scatter
    from plotly.subplots import make_subplots

    panels = {title: names for title, names in loss_terms(_logged_twice(runs)).items() if names}
    if not panels:
        return None
    figure = make_subplots(rows=1, cols=len(panels), subplot_titles=list(panels))
    for column, names in enumerate(panels.values(), start=1):
        for color, name in enumerate(names):
            for number, run in enumerate(run for run in runs if name in run.curves):
                curve = run.curves[name]
                constant = run.prior_minimum if name in ("train/cm", "train/cm_prior") else 0.0
                term = name.removeprefix("train/").removeprefix("cm_")
                trace = Scatter(
                    x=curve.steps,
                    y=[value - constant for value in curve.values],
                    mode="lines",
                    name=escaped(f"{run.name}: {term}" if len(runs) > 1 else term),
                    line={
                        "color": COLORS[(color + 5 * (column - 1)) % len(COLORS)],
                        "dash": ("solid", "dash", "dot", "dashdot")[number % 4],
                        "width": 1.5,
                    },
                    hovertemplate="step %{x}: %{y:.4g}<extra>%{fullData.name}</extra>",
                )
                figure.add_trace(trace, row=1, col=column)
    figure.update_annotations(font_size=13)
    figure.update_layout(
        **look(height=320),
        legend={"orientation": "h", "y": -0.15, "yanchor": "top"},
        margin={"t": 40, "l": 50, "r": 10, "b": 80},
    )
    return figure


def calibration_chart(bins: Array) -> Figure:
    """Plot accuracy by confidence, from ``(B, 3)`` counts, mean confidences and accuracies."""
    from plotly import graph_objects

    width = 1 / len(bins)
    filled = np.flatnonzero(bins[:, 0])
    counts, confidence, accuracy = bins[filled].T
    bars = graph_objects.Bar(
        x=(filled + 0.5) * width,
        y=accuracy,
        width=width * 0.92,
        marker={"color": COLORS[0]},
        hovertext=[
            f"{int(n):,} samples<br>confidence {sure:.2f}<br>accuracy {right:.2f}"
            for n, sure, right in zip(counts, confidence, accuracy, strict=True)
        ],
        hoverinfo="text",
    )
    line = graph_objects.Scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": COLORS[7], "dash": "dash"},
        hoverinfo="skip",
    )
    figure = graph_objects.Figure([bars, line])
    figure.update_layout(
        **look(height=320),
        showlegend=False,
        xaxis={"title": "confidence", "range": [0, 1.01]},
        yaxis={"title": "accuracy", "range": [0, 1.01]},
        margin={"t": 10, "l": 50, "r": 10, "b": 40},
    )
    return figure


def _logged_twice(runs: Sequence[Run]) -> set[str]:
    return {name for run in runs for name, curve in run.curves.items() if len(curve.steps) > 1}


def confusion_chart(snapshot: Snapshot, domain: int) -> Figure:
    """Plot the confusion matrix of a part of the data."""
    from plotly import graph_objects

    counts = snapshot.confusion[domain]
    names = [escaped(name) for name in snapshot.classes]
    shares = 100.0 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cell = "{} taken for {}: {} ({:.0f} %)".format
    hover = [
        [cell(name, *column) for column in zip(names, counts[row], shares[row], strict=True)]
        for row, name in enumerate(names)
    ]
    written = [[f"{share:.0f}" if share else "" for share in row] for row in shares]
    heatmap = graph_objects.Heatmap(
        z=shares,
        text=written if len(names) <= _MOST_NUMBERS else None,
        texttemplate="%{text}",
        textfont={"size": 10},
        zmin=0.0,
        zmax=100.0,
        # Nothing is transparent, on a light page and on a dark one.
        colorscale=[[0, "rgba(31, 119, 180, 0)"], [1, "rgba(31, 119, 180, 1)"]],
        hovertext=hover,
        hoverinfo="text",
        colorbar={"ticksuffix": " %", "thickness": 12},
    )
    figure = graph_objects.Figure(heatmap)
    axis: dict[str, Any] = {
        **dict.fromkeys(("showgrid", "zeroline", "showticklabels"), False),
        "constrain": "domain",
    }
    if len(names) <= _MOST_NAMES:
        axis |= {"tickvals": list(range(len(names))), "ticktext": names, "showticklabels": True}
    figure.update_layout(
        **look(height=460),
        xaxis={**axis, "title": "assigned (% of class)"},
        yaxis={**axis, "title": "class", "autorange": "reversed", "scaleanchor": "x"},
        margin={"t": 20, "l": 60, "r": 10, "b": 50},
    )
    return figure


def _importance(name: str) -> tuple[int, str]:
    stage = name.partition("/")[0]
    return ({"val": 0, "test": 1, "train": 2}.get(stage, 3), name)


def look(height: int) -> dict[str, Any]:
    """Return the layout that all charts share."""
    clear = "rgba(0, 0, 0, 0)"  # the page's color, which depends on the reader's settings
    colors = {"paper_bgcolor": clear, "plot_bgcolor": clear}
    return {"template": "plotly_white", "height": height, "font": {"size": 12}, **colors}
