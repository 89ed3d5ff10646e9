"""A graph of nearest neighbors, and class labels that spread over it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# Smallest sizes of a class, as fractions of equal sizes, from which `LabelGraph.classes` chooses.
_BALANCES = (0.0, 0.55, 0.7, 0.85, 0.95)
# What the modularity has to gain. On ten digits it mostly gains 0.01 where classes are of equal
# size, and less than 0.006 where they are not.
_GAIN = 0.006
# With one label per class of digits and MNIST, right classes reach 0.81, wrong ones at most 0.66.
_SMALLER = 0.75
_OTHERS = 0.15  # the share of samples that change sides; a few always do
# Half is chance. In digits and MNIST with one label per class, corrections of a third of the
# samples were right, those of a fifth mostly wrong.
_CLEARLY_OTHERS = 0.3
_WALK = 8  # steps
_PAIRS = 4
_SMALLEST = 20  # samples of two classes
_TEST_ROUNDS = 100  # of the diffusion; 300 find the same classes of nearly all samples
FEW = 2
"""Labels of a class up to which its cluster may be the wrong one."""
TRUSTED = 0.6
"""Trust from which a graph can show errors of a network."""
CLEAR = 0.8
"""Trust from which classes are the clusters of a graph."""


@dataclass(frozen=True)
class Division:
    """Two classes whose samples the graph divides in another way.

    Attributes:
        one: The first class.
        other: The second class.
        rows: ``(M,)`` int64, the samples of both.
        side: ``(M,)`` bool, the part of each; most of class ``one`` are in the part that is True.
        changed: Number of samples whose class changes if the parts are the classes.
    """

    one: int
    other: int
    rows: Array
    side: Array
    changed: int


class LabelGraph:
    """The graph that joins every sample to its nearest neighbors by the angle of their features.

    Edges weigh ``exp(-4 d² / d_k²)`` with the distance ``d`` and that of the sample's last
    neighbor, as in Calder et al. (2020). The graphs of several kinds of features are added.

    Args:
        features: ``(N, d)``, float, or several of them.
        neighbors: Neighbors of a sample; fewer if there are not as many samples.
    """

    def __init__(self, *features: Array, neighbors: int = 10) -> None:
        self._join(sum(_neighbors(view, neighbors) for view in features))

    def _join(self, weights: Any) -> None:
        from scipy import sparse

        self.weights = weights
        self.degrees = np.asarray(weights.sum(axis=1)).ravel()
        self.step = sparse.diags(1 / self.degrees) @ weights

    @classmethod
    def _of(cls, weights: Any) -> LabelGraph:
        graph = cls.__new__(cls)
        graph._join(weights)
        return graph

    @classmethod
    def fitted(
        cls,
        views: Sequence[Array],
        rows: Array,
        labels: Array,
        num_classes: int,
        *,
        neighbors: int = 10,
        learned: Array | None = None,
    ) -> LabelGraph:
        r"""The graph of several kinds of features, weighed by how well they predict the labels.

        Errors of several kinds differ, so that a sum can be better than each of them, but a kind
        that says nothing of the classes spoils it. Every combination of views is therefore tested
        by :meth:`trust`. The means of these graphs are added with weights

        .. math::
            w_c \propto \exp\big(-\sqrt{8 M}\,(\max_{c'} t_{c'} - t_c)\big),

        so that a difference counts that ``M`` labels can show.

        Args:
            views: At least one, each ``(N, d)``, float. Without a label that can be held out, the
                first one is used.
            rows: ``(M,)``, the samples with labels.
            labels: ``(M,)``, ``0..K-1``.
            num_classes: ``K``.
            neighbors: Neighbors of a sample.
            learned: ``(N, d)``, features of a network that was trained on these labels, which
                therefore can't test them. They count half as much as all views together.
        """
        graphs = [_neighbors(view, neighbors) for view in views]
        numbers = range(len(graphs))
        parts = [list(part) for size in numbers for part in combinations(numbers, size + 1)]
        trusts = [
            cls._of(sum(graphs[view] for view in part)).trust(rows, labels, num_classes)
            for part in (parts if len(parts) > 1 else ())
        ]
        found = np.array([trust for trust in trusts if trust is not None])
        shares = np.eye(len(graphs))[0]
        if len(found):
            weights = np.exp((found - found.max()) * math.sqrt(8 * len(rows)))
            means = [np.isin(numbers, part) / len(part) for part in parts]
            shares = np.average(means, axis=0, weights=weights)
        joined = sum(share * graph for share, graph in zip(shares, graphs, strict=True))
        return cls._of(joined if learned is None else joined + 0.5 * _neighbors(learned, neighbors))

    def scores(self, rows: Array, labels: Array, num_classes: int, rounds: int = 300) -> Array:
        """Poisson learning from rows ``(M,)`` with labels: ``(N, K)``, the largest is the class.

        Calder, Cook, Thorpe, Slepčev, *Poisson Learning: Graph Based Semi-Supervised Learning at
        Very Low Label Rates* (ICML 2020), algorithm 1, with ``rounds`` steps of the diffusion.
        """
        return self._diffused([(rows, labels)], num_classes, rounds)

    def _diffused(
        self, given: Sequence[tuple[Array, Array]], num_classes: int, rounds: int
    ) -> Array:
        """Scores from several sets of rows and labels, ``(N, K)`` each, side by side."""
        source = np.zeros((len(self.degrees), len(given) * num_classes), dtype=np.float32)
        for number, (rows, labels) in enumerate(given):
            part = source[:, number * num_classes : (number + 1) * num_classes]
            part[rows, labels] = 1
            part[rows] -= np.bincount(labels, minlength=num_classes) / len(rows)
        source /= self.degrees[:, None]
        step, scores = self.step.astype(np.float32), np.zeros_like(source)
        for _ in range(rounds):
            scores = source + step @ scores
        return np.asarray(scores)

    def classes(self, rows: Array, labels: Array, num_classes: int, trust: float = 1.0) -> Array:
        """The class ``(N,)`` of every sample.

        Poisson learning, and from a `trust` of 0.8 on also PoissonMBO (algorithm 2 of the same
        paper), in which every class has a smallest and a largest size. These sizes are not known,
        so several are tried. They are used if two measures agree that the parts of the graph become
        denser: modularity (Newman, 2006), which by itself would split large classes, and normalized
        cut (Shi and Malik, 2000).
        """
        scores = self.scores(rows, labels, num_classes)
        if trust < CLEAR:
            found: Array = scores.argmax(axis=1)
            found[rows] = labels
            return found
        partitions = [self._partition(scores, rows, labels, b / num_classes) for b in _BALANCES]
        measures = [self._density(found, num_classes) for found in partitions]
        best, (best_modularity, free_cut) = partitions[0], measures[0]
        best_modularity += _GAIN
        for found, (modularity, cut) in zip(partitions, measures, strict=True):
            if modularity > best_modularity and cut <= free_cut:
                best, best_modularity = found, modularity
        return best

    def trust(self, rows: Array, labels: Array, num_classes: int) -> float | None:
        """Accuracy of Poisson learning on held-out labels, corrected for chance.

        ``(accuracy - 1/K) / (1 - 1/K)``, at least 0, by cross-validation. The only label of a class
        is never held out. ``None`` if every class has only one.
        """
        counts = np.bincount(labels, minlength=num_classes)
        fold = np.where(counts[labels] > 1, numbers_in_class(labels) % 5, -1)
        held, folds = fold >= 0, range(fold.max() + 1)
        if not folds:
            return None
        kept = [(rows[fold != number], labels[fold != number]) for number in folds]
        scores = self._diffused(kept, num_classes, _TEST_ROUNDS)[rows[held]]
        blocks = scores.reshape(-1, len(folds), num_classes)
        found = blocks[np.arange(len(blocks)), fold[held]].argmax(axis=1)
        accuracy = float((found == labels[held]).mean())
        return max(0.0, (accuracy * num_classes - 1) / (num_classes - 1))

    def doubtful_pairs(self, classes: Array, num_classes: int) -> Iterator[Division]:
        """Yield pairs of classes whose samples the graph divides in another way.

        Of the pairs of classes with the most edges between them, the samples of both are divided
        into two parts by normalized cut (Shi and Malik, 2000). If this cut is much smaller than the
        one between the classes, and the parts are others, the classes probably cross the clusters.

        Args:
            classes: ``(N,)``, ``0..K-1``.
            num_classes: ``K``.
        """
        members = np.eye(num_classes)[classes]
        between = members.T @ (self.weights @ members)
        volume = between.sum(axis=1)
        cuts = between / np.maximum(np.minimum(volume[:, None], volume), 1e-12)
        first, second = np.triu_indices(num_classes, 1)
        for pair in cuts[first, second].argsort()[::-1][:_PAIRS]:
            one, other = int(first[pair]), int(second[pair])
            rows = np.flatnonzero((classes == one) | (classes == other))
            if len(rows) < _SMALLEST:
                continue
            weights = self.weights[rows][:, rows]
            cut, side = _bisected(weights)
            given = classes[rows] == one
            changed = int((given != side).sum())
            if changed > len(rows) // 2:
                side, changed = ~side, len(rows) - changed
            if cut < _SMALLER * _normalized_cut(weights, given) and changed > _OTHERS * len(rows):
                yield Division(one, other, rows, side, changed)

    def corrected(self, classes: Array, rows: Array, labels: Array, num_classes: int) -> Array:
        """Classes ``(N,)``, in which clearly wrong pairs are divided as the graph divides them.

        These are the doubtful pairs of which three in ten samples change. Both labels may be in the
        same part. Random walks of eight steps start from the labels (``labels`` of the samples
        ``rows``, both ``(M,)``), and the class with the larger share of its walks in a part gets
        this part. One pair is divided at a time, and the next one is looked for in the result.
        """
        found: Array = classes.copy()
        for _ in range(_PAIRS):
            pairs = self.doubtful_pairs(found, num_classes)
            pair = next((p for p in pairs if p.changed > _CLEARLY_OTHERS * len(p.rows)), None)
            if pair is None:
                break
            starts = [rows[labels == k] for k in (pair.one, pair.other)]
            shares = [self._share_of_walks(pair, start) for start in starts]
            found[pair.rows] = np.where(pair.side == (shares[0] >= shares[1]), pair.one, pair.other)
            found[rows] = labels
        return found

    def _share_of_walks(self, pair: Division, start: Array) -> float:
        weights = self.weights[pair.rows][:, pair.rows]
        degrees = np.maximum(np.asarray(weights.sum(axis=1)).ravel(), 1e-12)
        mass = np.isin(pair.rows, start) / len(start)
        for _ in range(_WALK):
            mass = weights.T @ (mass / degrees)
        return float(mass[pair.side].sum())

    def _partition(
        self, scores: Array, rows: Array, labels: Array, smallest: float, rounds: int = 20
    ) -> Array:
        num_classes = scores.shape[1]
        positive = scores - scores.min(axis=1, keepdims=True)
        offsets = np.zeros(num_classes)
        found = _within_sizes(positive, smallest, offsets)
        for _ in range(rounds):
            spread = np.eye(num_classes)[found]
            spread[rows] = np.eye(num_classes)[labels]
            for _ in range(rounds):
                spread = self.step @ spread
                spread[rows] = np.eye(num_classes)[labels]
            before, found = found, _within_sizes(spread, smallest, offsets)
            found[rows] = labels
            if (before == found).all():
                break
        return found

    def _density(self, classes: Array, num_classes: int) -> tuple[float, float]:
        members = np.eye(num_classes)[classes]
        inside = (members * (self.weights @ members)).sum(axis=0)
        volume = members.T @ self.degrees
        total = self.degrees.sum()
        modularity = inside.sum() / total - ((volume / total) ** 2).sum()
        return float(modularity), float((1 - inside / np.maximum(volume, 1e-12)).sum())


def numbers_in_class(labels: Array) -> Array:
    """Number the samples of each class from 0, ``(N,)``; modulo F, they are stratified folds."""
    order, counts = np.argsort(labels, kind="stable"), np.bincount(labels)
    numbers: Array = np.empty(len(labels), dtype=int)
    numbers[order] = np.arange(len(labels)) - (np.cumsum(counts) - counts)[labels[order]]
    return numbers


def _neighbors(features: Array, neighbors: int) -> Any:
    from sklearn.neighbors import kneighbors_graph

    # Two divisions, because squares of large numbers overflow.
    unit = features / np.maximum(np.abs(features).max(axis=1, keepdims=True), 1e-12)
    unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    count = min(neighbors, len(features) - 1)
    graph = kneighbors_graph(unit, count, mode="distance")
    squared = graph.data.reshape(-1, count) ** 2
    scale = np.maximum(squared.max(axis=1, keepdims=True), 1e-12)
    graph.data = np.exp(-4 * squared / scale).ravel()
    weights = graph.maximum(graph.T).tocsr()
    return weights / (weights.sum() / len(features))


def _normalized_cut(weights: Any, side: Array) -> float:
    degrees = np.asarray(weights.sum(axis=1)).ravel()
    between = weights[side][:, ~side].sum()
    return float(sum(between / max(degrees[part].sum(), 1e-12) for part in (side, ~side)))


def _bisected(weights: Any) -> tuple[float, Array]:
    """The smallest normalized cut by a threshold on one of two eigenvectors, and one side."""
    from scipy import sparse
    from scipy.sparse.linalg import eigsh

    scale = 1 / np.sqrt(np.maximum(np.asarray(weights.sum(axis=1)).ravel(), 1e-12))
    normalized = sparse.diags(scale) @ weights @ sparse.diags(scale)
    start = np.random.default_rng(0).standard_normal(len(scale))
    _, vectors = eigsh(normalized, k=3, which="LA", v0=start)
    best, division = np.inf, np.zeros(len(scale), dtype=bool)
    for vector in vectors.T[:-1]:  # the last one separates nothing
        for share in np.linspace(0.3, 0.7, 17):  # neither class is much smaller
            side = vector * scale > np.quantile(vector * scale, share)
            cut = _normalized_cut(weights, side)
            if cut < best:
                best, division = cut, side
    return best, division


def _within_sizes(scores: Array, smallest: float, offsets: Array, rounds: int = 60) -> Array:
    """The best class by ``scores`` times a factor per class, such that sizes are in range.

    A size is a fraction of all samples, between ``smallest`` and ``1 / (K² smallest)``. The factors
    are found by steps as of a dual ascent; if they are not, the last ones are used. Their
    logarithms, ``offsets``, are changed in place: those of similar scores are a good start.
    """
    count, num_classes = scores.shape
    logs = np.log(np.maximum(scores, 1e-12))
    found: Array = (logs + offsets).argmax(axis=1)
    if not smallest:
        return found
    largest = 1 / (smallest * num_classes**2)
    for step in range(rounds):
        sizes = np.bincount(found, minlength=num_classes) / count
        lacking = np.maximum(smallest - sizes, 0) - np.maximum(sizes - largest, 0)
        if np.abs(lacking).sum() < 1e-9:
            break
        offsets += num_classes / (1 + step / 15) * lacking
        found = (logs + offsets).argmax(axis=1)
    return found
