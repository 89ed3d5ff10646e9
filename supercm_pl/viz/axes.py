"""Axes and colors that all pictures share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MISSING = "pictures need matplotlib: pip install 'supercm-pl[plot]'"

WITHOUT_LABEL = "#bbbbbb"


def new_axes(**options: Any) -> Axes:
    """Axes of a new figure of pyplot's, which a notebook shows by itself.

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
    """A figure in inches that pyplot does not know: it is freed when nobody holds it.

    Raises:
        ModuleNotFoundError: If matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(_MISSING) from error
    return Figure(figsize=(width, height), layout="constrained")


def color(group: int) -> str:
    """Of a group: one of matplotlib's ten, which come round again; gray for ``-1``."""
    return WITHOUT_LABEL if group < 0 else f"C{int(group) % 10}"


def plain(text: str) -> str:
    """Text as it is: matplotlib would read what stands between dollars as a formula."""
    return text.replace("$", r"\$")


def class_names(names: Sequence[str] | None, count: int) -> list[str]:
    """One name for each class, their numbers where no names are given.

    Raises:
        ValueError: If there are not ``count`` of them.
    """
    if names is None:
        return [str(k) for k in range(count)]
    if len(names) != count:
        raise ValueError(f"names must have {count} entries, one for each class, got {len(names)}")
    return [plain(name) for name in names]


def check_assignments(assignments: Tensor, labels: Tensor | None = None) -> None:
    """Refuse what are not assignments ``(N, K)``, with labels ``(N,)`` in ``0..K-1``.

    Raises:
        ValueError: If they are not.
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
    """Refuse labels outside ``0..num_classes-1``.

    Raises:
        ValueError: If there are any.
    """
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(f"{name} must be integers, got {labels.dtype}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"{name} must lie in 0..{num_classes - 1}, got values from {low} to {high}"
        )
