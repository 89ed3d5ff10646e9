"""Charts of the report, drawn with Plotly.

Plotly interprets markup in text, so all text from data is passed through :func:`escaped`.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from supercm_pl.report.runs import Run
from supercm_pl.report.snapshot import Snapshot

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
    """Plot every metric with more than one value, all runs in each panel."""
    from plotly.graph_objects import Scatter
    from plotly.subplots import make_subplots

    logged = dict.fromkeys(
        name for run in runs for name, curve in run.curves.items() if len(curve.steps) > 1
    )
    names = sorted(logged, key=_importance)
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


def confusion_chart(snapshot: Snapshot, domain: int) -> Figure:
    """Plot the confusion matrix of a validation loader."""
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
        colorscale="Blues",
        hovertext=hover,
        hoverinfo="text",
        colorbar={"ticksuffix": " %", "thickness": 12},
    )
    figure = graph_objects.Figure(heatmap)
    axis: dict[str, Any] = {"showgrid": False, "constrain": "domain", "showticklabels": False}
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
    return {"template": "plotly_white", "height": height, "font": {"size": 12}}
