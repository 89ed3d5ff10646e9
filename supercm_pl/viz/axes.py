"""Axes, colors and checks shared by all figures."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supercm_pl.checks import check_labels, check_sums

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Values = Tensor | NDArray[np.generic]
"""A tensor or an array."""
WITHOUT_LABEL = "#bbbbbb"


def new_axes(**options: Any) -> Axes:
    """Return the axes of a new pyplot figure, which notebooks show automatically."""
    ax: Axes = _matplotlib("pyplot").subplots(layout="constrained", **options)[1]
    return ax


def new_figure(width: float, height: float) -> Figure:
    """Return a figure that is not registered with pyplot, so it is freed when unused; in inches."""
    size = (width, height)
    figure: Figure = _matplotlib("figure").Figure(figsize=size, layout="constrained")
    return figure


def _matplotlib(module: str) -> Any:
    try:
        return import_module(f"matplotlib.{module}")
    except ModuleNotFoundError as error:
        message = "figures require matplotlib: pip install 'supercm-pl[plot]'"
        raise ModuleNotFoundError(message) from error


def color(group: int) -> str:
    """Return the color of a group, one of matplotlib's ten in a cycle; gray for ``-1``."""
    return WITHOUT_LABEL if group < 0 else f"C{int(group) % 10}"


def plain(text: str) -> str:
    """Escape dollar signs, between which matplotlib would typeset a formula."""
    return text.replace("$", r"\$")


def class_names(names: Sequence[str] | None, count: int) -> list[str]:
    """Return one name per class, or class numbers if no names are given."""
    if names is None:
        return [str(k) for k in range(count)]
    if len(names) != count:
        raise ValueError(f"names must have {count} entries, one for each class, got {len(names)}")
    return [plain(name) for name in names]


def as_tensor(values: Values) -> Tensor:
    """Values as a tensor on the CPU, without gradients."""
    return torch.as_tensor(values).detach().cpu()


def checked_assignments(assignments: Values, *, probable: bool = True) -> Tensor:
    """Require ``(N, K)``, if ``probable`` with rows that sum to 1, and return it as a tensor."""
    assignments = as_tensor(assignments)
    if assignments.ndim != 2 or not len(assignments):
        raise ValueError(
            f"assignments must have shape (N, K) with N ≥ 1, got {tuple(assignments.shape)}"
        )
    if probable:
        check_sums(assignments)
    return assignments


def checked_labels(labels: Values, assignments: Tensor) -> Tensor:
    """Require labels ``(N,)`` in ``0..K-1`` of assignments ``(N, K)``; return them as a tensor."""
    labels = as_tensor(labels)
    check_labels(labels, *assignments.shape)
    return labels
