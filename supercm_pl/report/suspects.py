"""Labeled samples whose label is probably wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from supercm_pl.graphs.label_graph import LabelGraph, numbers_in_class
from supercm_pl.report.baselines import as_vectors, logistic_regression
from supercm_pl.report.outputs import PartOutputs
from supercm_pl.report.snapshot import Array
from supercm_pl.spreadsheet import write_rows

_FOLDS = 5
_FEWEST = 3  # labels of a class: with fewer, hiding one hides the class
_LEAST_AGREEMENT = 0.7  # with the labels: below, disagreement means nothing
_MOST_NUMBERS = 20_000_000  # of samples, inputs and classes together

_Classifier = Callable[[Array, Array], Array]


class Suspect(NamedTuple):
    """A labeled sample that others contradict.

    Attributes:
        position: Position in the labeled samples.
        label: Its label.
        suggested: The class that most classifiers give it.
        share: Share of the classifiers that contradict the label, in ``(0, 1]``.
    """

    position: int
    label: int
    suggested: int
    share: float


def suspect_labels(parts: Sequence[PartOutputs], num_classes: int) -> list[Suspect]:
    """Find labels that classifiers contradict which have not seen them, most contradicted first.

    The label of each sample is hidden once, in five folds, from logistic regression and from label
    propagation on a graph of labeled and unlabeled samples, both on the network's features and on
    the inputs. A label is suspect if either one contradicts it on features, or both agree on
    another class on inputs. Classifiers whose answers equal less than 70 % of the labels have no
    say. Labels of classes with less than three are not tested.

    The network has learned the wrong labels as well: with few labels, its features agree with them,
    and only the inputs tell.

    Args:
        parts: The labeled samples first, and a part without labels if there is one.
        num_classes: ``K``.
    """
    labeled = parts[0]
    if not labeled.has_labels or len(labeled.rows) < len(labeled.labels):
        return []
    rest = next((part for part in parts if not part.has_labels), None)
    labels = labeled.labels.numpy()
    tested = np.bincount(labels, minlength=num_classes)[labels] >= _FEWEST
    if not tested.any():
        return []
    votes: list[Array] = []
    suspect = np.zeros(len(labels), dtype=bool)
    for column in ("features", "inputs"):
        unlabeled = None if rest is None else getattr(rest, column)
        found = _out_of_fold(getattr(labeled, column), labels, unlabeled, num_classes)
        votes += found
        opinions = found if column == "features" else _agreed(found)
        for opinion in opinions:
            given = tested & (opinion >= 0)
            if given.any() and (opinion == labels)[given].mean() >= _LEAST_AGREEMENT:
                suspect |= given & (opinion != labels)
    return sorted(_described(np.flatnonzero(suspect), labels, votes), key=lambda each: -each.share)


def write_suspects(
    path: str | Path, labeled: PartOutputs, suspects: Iterable[Suspect], classes: Sequence[str]
) -> None:
    """Write a CSV file with the columns file, label, suggested and share."""
    rows = (
        [labeled.ids[position], classes[label], classes[suggested], f"{share:.2f}"]
        for position, label, suggested, share in suspects
    )
    write_rows(path, ["file", "label", "suggested", "share"], rows)


def _described(positions: Array, labels: Array, votes: Sequence[Array]) -> Iterable[Suspect]:
    for i in positions:
        others = [int(vote[i]) for vote in votes if vote[i] not in (labels[i], -1)]
        if others:
            most = max(sorted(set(others)), key=others.count)
            yield Suspect(int(i), int(labels[i]), most, len(others) / len(votes))


def _out_of_fold(
    inputs: Tensor, labels: Array, unlabeled: Tensor | None, num_classes: int
) -> list[Array]:
    """Classes ``(n,)`` by label propagation and by logistic regression that miss the label."""
    x = as_vectors(inputs)
    x = (x - x.mean()) / max(float(x.std()), 1e-12)
    rest = as_vectors(inputs[:0] if unlabeled is None else unlabeled)
    both = np.concatenate([as_vectors(inputs), rest])
    if x.size * num_classes > _MOST_NUMBERS or both.size * len(both) > 1_000 * _MOST_NUMBERS:
        return []
    graph, rows = LabelGraph(both), np.arange(len(labels))

    def by_graph(train: Array, held: Array) -> Array:
        scores = graph.scores(rows[train], labels[train], num_classes)
        return np.asarray(scores[rows[held]].argmax(axis=1))

    def by_regression(train: Array, held: Array) -> Array:
        if len(np.unique(labels[train])) < 2:
            return np.full(int(held.sum()), -1)
        return logistic_regression(x[train], labels[train], x[held])

    return [_cross_validated(classify, labels) for classify in (by_graph, by_regression)]


def _cross_validated(classify: _Classifier, labels: Array) -> Array:
    fold = numbers_in_class(labels) % _FOLDS
    found = np.full(len(labels), -1)
    for number in range(fold.max() + 1):
        held = fold == number
        if held.any() and not held.all():
            found[held] = classify(~held, held)
    return found


def _agreed(votes: Sequence[Array]) -> list[Array]:
    """What both classifiers say, ``-1`` where they differ."""
    return [np.where(votes[0] == votes[1], votes[0], -1)] if votes else []
