"""Projected features with a slider over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from supercm_pl.report.charts import COLORS, escaped, look
from supercm_pl.report.snapshot import Array, Evaluation, Snapshot

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_UNKNOWN = "#bbbbbb"


def embedding_chart(snapshots: Sequence[Snapshot]) -> Figure:
    """Plot projected features, with a slider over the epochs and a choice of colors."""
    from plotly import graph_objects

    last = snapshots[-1]
    colorings = _colorings(last)
    traces = [
        graph_objects.Scatter(**trace, visible=number == 0)
        for number, by in enumerate(colorings)
        for trace in _points(last, by)
    ]
    traces.append(graph_objects.Scatter(**_stars(last)))
    frames = []
    for number, snapshot in enumerate(snapshots):
        moved = [*(trace for by in colorings for trace in _points(snapshot, by)), _stars(snapshot)]
        data = [
            graph_objects.Scatter(x=trace["x"], y=trace["y"], hovertext=trace["hovertext"])
            for trace in moved
        ]
        indices = list(range(len(traces)))
        frames.append(graph_objects.Frame(name=str(number), data=data, traces=indices))
    figure = graph_objects.Figure(data=traces, frames=frames)
    # A range fitted to the chart's first width would not change when the window is resized.
    axis = {"visible": False, "range": [-1.08, 1.08], "constrain": "domain"}
    figure.update_layout(
        **look(height=580),
        xaxis=axis,
        yaxis={**axis, "scaleanchor": "x"},
        sliders=[_slider(snapshots)],
        updatemenus=[_buttons(last, colorings)],
        margin={"t": 60, "l": 28, "r": 28, "b": 10},  # half a label of the slider
    )
    return figure


def _slider(snapshots: Sequence[Snapshot]) -> dict[str, Any]:
    several = len({snapshot.epoch for snapshot in snapshots}) < len(snapshots)
    options = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}}
    steps = [
        {
            "label": f"step {snapshot.step}" if several else f"epoch {snapshot.epoch}",
            "method": "animate",
            "args": [[str(number)], options],
        }
        for number, snapshot in enumerate(snapshots)
    ]
    # The last epoch is shown first; its name is above the slider.
    return {
        "steps": steps,
        "active": len(steps) - 1,
        "currentvalue": {"xanchor": "right"},
        "ticklen": 0,
        "pad": {"t": 0, "b": 10},
        "font": {"size": 11},
    }


def _buttons(last: Snapshot, colorings: Sequence[str]) -> dict[str, Any]:
    sizes = [len(_group_names(last, by)) for by in colorings]
    buttons = []
    for chosen, by in enumerate(colorings):
        visible = [number == chosen for number, size in enumerate(sizes) for _ in range(size)]
        # The centroids are the last trace and always present.
        change = {"visible": [*visible, True]}
        name = "part" if by == "domain" and isinstance(last, Evaluation) else by
        buttons.append({"label": f"by {name}", "method": "restyle", "args": [change]})
    place = {"x": 0.0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}
    return {"type": "buttons", "direction": "right", "buttons": buttons, **place}


def _placed(snapshot: Snapshot) -> tuple[Array, Array]:
    # The scale of a projection is arbitrary, and a change between epochs would look like movement.
    # Each projection is scaled to the square from -1 to 1, with its proportions.
    both = np.concatenate([snapshot.points, snapshot.centroids])
    low, high = both.min(axis=0), both.max(axis=0)
    placed = (both - (low + high) / 2) / max(float((high - low).max()) / 2, 1e-12)
    placed = placed.round(4)
    return placed[: len(snapshot.points)], placed[len(snapshot.points) :]


def _colorings(snapshot: Snapshot) -> list[str]:
    known = bool((snapshot.labels >= 0).any())
    several = len(snapshot.domain_names) > 1
    return [*(["class"] if known else []), "assignment", *(["domain"] if several else [])]


def _group_names(snapshot: Snapshot, by: str) -> Mapping[int, str]:
    names = snapshot.domain_names if by == "domain" else snapshot.classes
    known = {number: escaped(name) for number, name in enumerate(names)}
    return {**known, -1: "unknown"} if by == "class" else known


def _points(snapshot: Snapshot, by: str) -> list[dict[str, Any]]:
    # Frames refer to trace numbers, so empty groups have traces too.
    columns = {"class": "labels", "assignment": "predicted", "domain": "domains"}
    groups, hover = getattr(snapshot, columns[by]), _hover(snapshot)
    points, _ = _placed(snapshot)
    traces = []
    for group, name in _group_names(snapshot, by).items():
        members = np.flatnonzero(groups == group)
        traces.append(
            {
                "x": points[members, 0],
                "y": points[members, 1],
                "hovertext": [hover[i] for i in members],
                "hoverinfo": "text",
                "mode": "markers",
                "name": name,
                "showlegend": group >= 0 or bool(len(members)),
                "marker": {"size": 6, "color": _color(group)},
            }
        )
    return traces


def _stars(snapshot: Snapshot) -> dict[str, Any]:
    numbers, centroids = range(len(snapshot.centroids)), _placed(snapshot)[1]
    return {
        "x": centroids[:, 0],
        "y": centroids[:, 1],
        "hovertext": [f"centroid of {escaped(snapshot.classes[k])}" for k in numbers],
        "hoverinfo": "text",
        "mode": "markers",
        "name": "centroids",
        "showlegend": bool(numbers),
        "marker": {
            "size": 13,
            "opacity": 0.85,
            "symbol": "star",
            "color": [_color(k) for k in numbers],
            "line": {"color": "gray", "width": 1},
        },
    }


def _hover(snapshot: Snapshot) -> list[str]:
    classes = [*map(escaped, snapshot.classes), "unknown"]  # index -1
    domains = list(map(escaped, snapshot.domain_names))
    columns = (snapshot.domains, snapshot.rows, snapshot.labels, snapshot.predicted)
    return [
        f"{domains[domain]}, row {row}<br>class {classes[label]}"
        f"<br>assigned {classes[predicted]} ({confidence:.2f})"
        for domain, row, label, predicted, confidence in zip(
            *columns, snapshot.confidence, strict=True
        )
    ]


def _color(group: int) -> str:
    return _UNKNOWN if group < 0 else COLORS[group % len(COLORS)]
