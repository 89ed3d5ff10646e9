"""Features and centroids in the plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from supercm_pl.viz.axes import Values, as_tensor, color, new_axes, new_figure, plain
from supercm_pl.viz.projection import Points, Projection, project

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Embedding(NamedTuple):
    """One panel of :func:`plot_embeddings`; arguments as in :func:`plot_embedding`."""

    features: Values
    groups: Values
    centroids: Values | None = None
    names: Sequence[str] | None = None
    centroids_are_groups: bool = True


def plot_embedding(
    features: Values,
    groups: Values,
    centroids: Values | None = None,
    *,
    names: Sequence[str] | None = None,
    projection: Projection = "auto",
    title: str | None = None,
    seed: int = 0,
    centroids_are_groups: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Plot features and centroids, projected together to the plane and colored by group.

    Args:
        features: ``(N, d)``.
        groups: ``(N,)`` class, assignment or domain numbers; ``-1`` is unknown, in gray.
        centroids: ``(K, d)``, plotted as stars, or ``None``.
        names: Group names for the legend; ``None`` shows group numbers.
        projection: As in :func:`~supercm_pl.viz.project`.
        title: Title of the axes.
        seed: Seed of the projection.
        centroids_are_groups: Color centroid ``k`` like group ``k``. Use ``False`` if groups are
            domains; centroids are then white.
        ax: Axes to draw on; ``None`` creates a new figure.

    Raises:
        ValueError: If the shapes are inconsistent or there are fewer than two points.
        ModuleNotFoundError: If UMAP is requested and missing.
    """
    panel = Embedding(features, groups, centroids, names, centroids_are_groups)
    _check(panel)
    ax = new_axes() if ax is None else ax
    _draw(panel, _plane(panel, projection, seed), title, ax)
    return ax


def plot_embeddings(
    panels: Mapping[str, Embedding], *, projection: Projection = "auto", seed: int = 0
) -> Figure:
    """Plot embeddings side by side, for example before and after, or by class and by domain.

    Panels share a projection if they have the same feature and centroid tensors.

    Args:
        panels: Panels by title.
        projection: As in :func:`plot_embedding`.
        seed: Seed of the projections.

    Raises:
        ValueError: As in :func:`plot_embedding`, or if ``panels`` is empty.
        ModuleNotFoundError: If UMAP is requested and missing.

    Example:
        >>> features, labels, domains = torch.randn(6, 4), torch.arange(6) % 3, torch.arange(6) % 2
        >>> by = {"class": Embedding(features, labels), "domain": Embedding(features, domains)}
        >>> len(plot_embeddings(by, projection="pca").axes)
        2
    """
    if not panels:
        raise ValueError("panels must have at least one entry, got none")
    for panel in panels.values():
        _check(panel)
    figure = new_figure(5.2 * len(panels), 4.2)
    planes: dict[tuple[int, int], Points] = {}
    for number, (title, panel) in enumerate(panels.items(), start=1):
        key = (id(panel.features), id(panel.centroids))
        if key not in planes:
            planes[key] = _plane(panel, projection, seed)
        _draw(panel, planes[key], title, figure.add_subplot(1, len(panels), number))
    return figure


def _check(panel: Embedding) -> None:
    features, groups, centroids = panel.features, panel.groups, panel.centroids
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features must have shape (N, d) with N ≥ 2, got {tuple(features.shape)}")
    if groups.shape != features.shape[:1]:
        raise ValueError(
            f"groups must have shape ({len(features)},), one for each row of features, "
            f"got {tuple(groups.shape)}"
        )
    if centroids is not None and (centroids.ndim != 2 or centroids.shape[1] != features.shape[1]):
        raise ValueError(
            f"centroids must have shape (K, {features.shape[1]}), got {tuple(centroids.shape)}"
        )


def _plane(panel: Embedding, projection: Projection, seed: int) -> Points:
    parts = [panel.features] if panel.centroids is None else [panel.features, panel.centroids]
    stacked = torch.cat([as_tensor(part).double() for part in parts])
    return project(stacked.numpy(), projection, seed=seed)


def _draw(panel: Embedding, points: Points, title: str | None, ax: Axes) -> None:
    number = as_tensor(panel.groups).numpy()
    for group in np.unique(number):
        members = points[: len(number)][number == group]
        label, across, up = _label(int(group), panel.names), members[:, 0], members[:, 1]
        ax.scatter(across, up, s=10, color=color(group), label=label, linewidths=0)
    for group, (across, up) in enumerate(points[len(number) :]):
        face = color(group) if panel.centroids_are_groups else "white"
        ax.scatter(across, up, s=160, color=face, marker="*", edgecolors="black")
    place: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
    ax.legend(**place, frameon=False, fontsize="small", markerscale=1.8)
    ax.set(xticks=[], yticks=[], title=plain(title or ""))


def _label(group: int, names: Sequence[str] | None) -> str:
    if group < 0:
        return "unknown"
    return str(group) if names is None else plain(names[group])
