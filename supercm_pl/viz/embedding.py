"""Features and centroids in the plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Projection = Literal["tsne", "pca"]


def plot_embedding(
    features: Tensor,
    groups: Tensor,
    centroids: Tensor | None = None,
    *,
    names: Sequence[str] | None = None,
    projection: Projection = "tsne",
    title: str | None = None,
    seed: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """Draw features in the plane, coloured by group, with the centroids among them.

    Features and centroids are projected together, so that they share one plane.

    Args:
        features: ``(N, d)``.
        groups: ``(N,)`` integers by which points are coloured: classes, assignments or domains.
        centroids: ``(K, d)``, drawn as stars; ``None`` draws none. Row ``k`` has the colour of
            group ``k``.
        names: Of the groups, for the legend; ``None`` shows their numbers.
        projection: ``"tsne"`` keeps neighbourhoods, ``"pca"`` keeps distances and is quick.
        title: Above the axes.
        seed: Of t-SNE.
        ax: Axes to draw on; ``None`` makes a new figure.

    Returns:
        The axes drawn on.

    Raises:
        ValueError: If the shapes don't fit together or there are fewer than two points.
        ModuleNotFoundError: If matplotlib is missing.
    """
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(
            f"features must have shape (N, d) with N of 2 or more, got {tuple(features.shape)}"
        )
    if groups.shape != features.shape[:1]:
        raise ValueError(
            f"groups must have shape ({len(features)},), one for each row of features, "
            f"got {tuple(groups.shape)}"
        )
    if centroids is not None and (centroids.ndim != 2 or centroids.shape[1] != features.shape[1]):
        raise ValueError(
            f"centroids must have shape (K, {features.shape[1]}), got {tuple(centroids.shape)}"
        )
    ax = _new_axes() if ax is None else ax
    stacked = features if centroids is None else torch.cat([features, centroids])
    points = _project(stacked.detach().cpu().double().numpy(), projection, seed)
    number = groups.detach().cpu().numpy()
    for group in np.unique(number):
        label = str(group) if names is None else names[group]
        members = points[: len(features)][number == group]
        ax.scatter(
            members[:, 0], members[:, 1], s=6, color=_colour(group), label=label, linewidths=0
        )
    for group, (across, up) in enumerate(points[len(features) :]):
        ax.scatter(across, up, s=160, color=_colour(group), marker="*", edgecolors="black")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize="small")
    ax.set(xticks=[], yticks=[], title=title or "")
    return ax


def _colour(group: int) -> str:
    # Ten colours that matplotlib calls C0 to C9 come round again.
    return f"C{int(group) % 10}"


def _project(
    points: npt.NDArray[np.float64], projection: Projection, seed: int
) -> npt.NDArray[np.float64]:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if projection == "pca":
        plane = PCA(n_components=2).fit_transform(points)
    elif projection == "tsne":
        perplexity = min(30.0, (len(points) - 1) / 3)
        plane = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(points)
    else:
        raise ValueError(f'projection must be "tsne" or "pca", got {projection!r}')
    return np.asarray(plane, dtype=np.float64)


def _new_axes() -> Axes:
    try:
        from matplotlib import pyplot
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "pictures need matplotlib: pip install 'supercm-pl[plot]'"
        ) from error
    return pyplot.subplots(layout="constrained")[1]
