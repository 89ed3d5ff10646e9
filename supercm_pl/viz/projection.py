"""Projection of features to the plane with UMAP, t-SNE or PCA."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from supercm_pl.checks import check_choice
from supercm_pl.optional import import_optional

Projection = Literal["auto", "umap", "tsne", "pca"]

Points = npt.NDArray[np.float64]

# Below, neighborhoods mean little and UMAP's spectral initialization fails.
_FEWEST_NEIGHBORS = 5


def project(
    points: Points, projection: Projection = "auto", *, seed: int = 0, start: Points | None = None
) -> Points:
    """Project points to the plane, without using the global random number generators.

    Args:
        points: ``(N, d)``, two or more, finite.
        projection: ``"umap"`` and ``"tsne"`` preserve neighborhoods; ``"pca"`` preserves distances
            and is fast. ``"auto"`` is UMAP if it is installed, otherwise t-SNE; PCA for fewer than
            six points.
        seed: Seed of UMAP and t-SNE.
        start: ``(N, 2)``, initial points of UMAP and t-SNE, for example those of an earlier epoch
            to move points little. ``None`` uses the first two principal components for t-SNE and a
            spectral initialization for UMAP.

    Returns:
        ``(N, 2)``.

    Raises:
        ValueError: If the projection is unknown or points are not finite.
        ModuleNotFoundError: If ``"umap"`` is requested and not installed.

    Example:
        >>> project(np.eye(3), "pca").shape
        (3, 2)
    """
    check_choice("projection", projection, get_args(Projection))
    if not np.isfinite(points).all():
        raise ValueError("points must be finite, got NaN or Inf")
    if projection == "auto":
        projection = _best_for(len(points))
    if projection == "pca" or np.ptp(points, axis=0).max(initial=0.0) == 0.0:
        return _principal_components(points)
    return (_umap if projection == "umap" else _tsne)(points, seed, start)


def _best_for(count: int) -> Projection:
    if count <= _FEWEST_NEIGHBORS:
        return "pca"
    return "tsne" if find_spec("umap") is None else "umap"


def _principal_components(points: Points) -> Points:
    centered = points - points.mean(axis=0)
    _, _, directions = np.linalg.svd(centered, full_matrices=False)
    # The sign of a direction is arbitrary; fix it, so that it is the same on every machine.
    largest = np.abs(directions).argmax(axis=1)
    signs = np.sign(directions[np.arange(len(directions)), largest])
    plane = np.zeros((len(points), 2))
    found = centered @ (directions * signs[:, None])[:2].T
    plane[:, : found.shape[1]] = found
    return plane


def _tsne(points: Points, seed: int, start: Points | None) -> Points:
    from sklearn.manifold import TSNE

    options: dict[str, float] = {}
    if start is None:
        plane = _principal_components(points)
        # Like scikit-learn's initialization by principal components, which needs two features.
        plane = plane / max(float(plane[:, 0].std()), 1e-12) * 1e-4
    else:
        # Exaggeration would scatter points that are already ordered.
        plane, options["early_exaggeration"] = start, 1.0
    perplexity = min(30.0, (len(points) - 1) / 3)
    init = plane.astype(np.float32)
    tsne = TSNE(perplexity=perplexity, init=init, random_state=seed, **options)
    return np.asarray(tsne.fit_transform(points), dtype=np.float64)


def _umap(points: Points, seed: int, start: Points | None) -> Points:
    umap = import_optional("umap", 'projection="umap"', "'supercm-pl[umap]', or use \"tsne\"")
    neighbors = min(15, len(points) - 1)
    init = "spectral" if start is None else start.astype(np.float32)
    reducer = umap.UMAP(n_neighbors=neighbors, init=init, random_state=seed, n_jobs=1)
    return np.asarray(reducer.fit_transform(points), dtype=np.float64)
