"""Axes, colors and checks shared by all figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MISSING = "figures need matplotlib: pip install 'supercm-pl[plot]'"

WITHOUT_LABEL = "#bbbbbb"


def new_axes(**options: Any) -> Axes:
    """Return the axes of a new pyplot figure, which notebooks show automatically.

    Raises:
        ModuleNotFoundError: If matplotlib is missing.
    """
    try:
        from matplotlib import pyplot
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(_MISSING) from error
    ax: Axes = pyplot.subplots(layout="constrained", **options)[1]
    return ax


def new_figure(width: float, height: float) -> Figure:
    """Return a figure that is not registered with pyplot, so it is freed when unused; in inches.

    Raises:
        ModuleNotFoundError: If matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(_MISSING) from error
    return Figure(figsize=(width, height), layout="constrained")


def color(group: int) -> str:
    """Return the color of a group, one of matplotlib's ten in a cycle; gray for ``-1``."""
    return WITHOUT_LABEL if group < 0 else f"C{int(group) % 10}"


def plain(text: str) -> str:
    """Escape dollar signs, between which matplotlib would typeset a formula."""
    return text.replace("$", r"\$")


def class_names(names: Sequence[str] | None, count: int) -> list[str]:
    """Return one name per class, or class numbers if no names are given.

    Raises:
        ValueError: If there are not ``count`` names.
    """
    if names is None:
        return [str(k) for k in range(count)]
    if len(names) != count:
        raise ValueError(f"names must have {count} entries, one for each class, got {len(names)}")
    return [plain(name) for name in names]


def check_assignments(assignments: Tensor, labels: Tensor | None = None) -> None:
    """Check assignments ``(N, K)``, and labels ``(N,)`` in ``0..K-1`` if given.

    Raises:
        ValueError: If a shape or a label is wrong.
    """
    if assignments.ndim != 2 or not len(assignments):
        raise ValueError(
            f"assignments must have shape (N, K) with N of 1 or more, "
            f"got {tuple(assignments.shape)}"
        )
    if labels is None:
        return
    if labels.shape != assignments.shape[:1]:
        raise ValueError(
            f"labels must have shape ({len(assignments)},), one for each row of assignments, "
            f"got {tuple(labels.shape)}"
        )
    check_labels(labels, assignments.shape[1])


def check_labels(labels: Tensor, num_classes: int, name: str = "labels") -> None:
    """Check that labels are in ``0..num_classes-1``.

    Raises:
        ValueError: If a label is out of range.
    """
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(f"{name} must be integers, got {labels.dtype}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"{name} must lie in 0..{num_classes - 1}, got values from {low} to {high}"
        )
