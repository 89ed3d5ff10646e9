"""Which unlabeled samples to label next."""

from __future__ import annotations

import warnings
from typing import Literal, NamedTuple

import numpy as np
from torch import Tensor

from supercm_pl.checks import check_choice, check_size
from supercm_pl.report.snapshot import Array
from supercm_pl.viz.axes import Values, as_tensor, checked_assignments

By = Literal["uncertain", "diverse", "both"]
"""How samples are chosen: ``"uncertain"`` by margin, ``"diverse"`` by clusters."""

_MOST = 5_000  # samples that are clustered
_NEIGHBORS = 20


class Suggestion(NamedTuple):
    """The position of a sample to label, and whether it is ``"uncertain"`` or ``"diverse"``."""

    position: int
    why: str


def suggest(
    assignments: Values,
    features: Values,
    labeled_features: Values,
    number: int,
    by: By = "both",
) -> list[Suggestion]:
    """Choose samples to label, the most useful first.

    ``"uncertain"`` takes the smallest margins between the two most probable classes. ``"diverse"``
    clusters all samples into as many clusters as there will be labels, and takes the most typical
    sample of the largest clusters without a label: TypiClust (Hacohen, Dekel, Weinshall, ICML
    2022). ``"both"`` takes the one and the other in turn.

    Args:
        assignments: ``(N, K)`` of the candidates.
        features: ``(N, d)``.
        labeled_features: ``(M, d)`` of the samples that have labels.
        number: Samples to choose, at most N.
        by: How to choose.
    """
    check_size("number", number)
    check_choice("by", by, ("uncertain", "diverse", "both"))
    assignments = checked_assignments(assignments)
    features, labeled_features = as_tensor(features), as_tensor(labeled_features)
    number = min(number, len(assignments))
    orders: dict[str, list[int]] = {}
    if by != "diverse":
        orders["uncertain"] = _margins(assignments).argsort(kind="stable").tolist()
    if by != "uncertain":
        orders["diverse"] = _typical(features, labeled_features, number)
    found: dict[int, str] = {}
    for turn in range(len(assignments)):
        for why, order in orders.items():
            if turn < len(order) and len(found) < number:
                found.setdefault(order[turn], why)
    return [Suggestion(position, why) for position, why in found.items()]


def _margins(assignments: Tensor) -> Array:
    best = assignments.topk(min(2, assignments.shape[1]), dim=1).values.numpy()
    return np.asarray(best[:, 0] - best[:, -1])


def _typical(features: Tensor, labeled: Tensor, number: int) -> list[int]:
    from sklearn.cluster import KMeans
    from sklearn.neighbors import NearestNeighbors

    rows = np.random.default_rng(0).permutation(len(features))[:_MOST]
    x = np.concatenate([_normalized(labeled), _normalized(features)[rows]])
    count = len(labeled)
    clusters = min(count + number, len(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # equal samples make fewer clusters
        found = KMeans(clusters, n_init=1, random_state=0, max_iter=50).fit(x).labels_
    sizes = np.bincount(found, minlength=clusters)
    sizes[found[:count]] = 0  # a label covers the cluster
    largest = np.argsort(-sizes, kind="stable")[: min(number, int((sizes > 0).sum()))]
    chosen = []
    for cluster in largest:
        members = np.flatnonzero(found == cluster)
        near = NearestNeighbors(n_neighbors=min(_NEIGHBORS, len(members))).fit(x[members])
        distances = near.kneighbors(x[members])[0].mean(axis=1)
        chosen.append(int(rows[members[distances.argmin()] - count]))
    return chosen


def _normalized(features: Tensor) -> Array:
    x = features.double().numpy()
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))
