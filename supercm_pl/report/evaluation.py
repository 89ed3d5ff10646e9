"""Evaluation of a trained model for the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from supercm_pl.clustering import ClusteringHead
from supercm_pl.data.datamodule import SuperCMDataModule
from supercm_pl.report.baselines import baseline_accuracies
from supercm_pl.report.outputs import PartOutputs, outputs_of_parts
from supercm_pl.report.snapshot import FOLDER, KINDS, Array, Evaluation
from supercm_pl.report.suspects import Suspect, suspect_labels, write_suspects
from supercm_pl.report.thumbnails import thumbnails
from supercm_pl.training.network import ClusteringNetwork
from supercm_pl.viz.classification import confusion_counts, reliability
from supercm_pl.viz.projection import project

_BINS = 15
_POINTS = 300  # a projection of these takes less than a second
_MOST_SHOWN = 12  # images of a kind


def save_evaluation(
    folder: str | Path,
    module: ClusteringNetwork,
    data: SuperCMDataModule,
    *,
    step: int,
    epoch: int,
    most: int = 2_000,
    seconds: float | None = None,
    baselines: bool = True,
) -> Evaluation:
    """Evaluate a model on samples of every part of its data, and save it in a run's folder.

    Labels that may be wrong are also written to ``report/suspects.csv``.

    Args:
        folder: The run's folder.
        module: The model.
        data: The data, opened.
        step: Optimizer steps taken.
        epoch: Epoch, from 0.
        most: Samples of a part.
        seconds: Time for the samples of a part; ``None``: no limit.
        baselines: Also fit simple classifiers; see
            :func:`~supercm_pl.report.baselines.baseline_accuracies`.
    """
    parts = outputs_of_parts(module, data, most=most, seconds=seconds)
    suspects = suspect_labels(parts, len(data.classes))
    scores = _compare(parts) if baselines else {}
    found = evaluation(parts, suspects, scores, module.head, data.classes, step, epoch)
    found.save(Path(folder) / FOLDER)
    if suspects:
        write_suspects(Path(folder) / FOLDER / "suspects.csv", parts[0], suspects, data.classes)
    return found


def evaluation(
    parts: Sequence[PartOutputs],
    suspects: Sequence[Suspect],
    scores: Mapping[str, float],
    head: ClusteringHead,
    classes: Sequence[str],
    step: int,
    epoch: int,
) -> Evaluation:
    """The record of a model's outputs; arguments are those of :func:`save_evaluation`."""
    points, centroids, drawn = _plane(parts, head)
    shown = _shown(parts, suspects)
    return Evaluation(
        epoch=epoch,
        step=step,
        points=points,
        centroids=centroids,
        labels=_drawn([part.labels for part in parts], drawn).astype(np.int32),
        predicted=_drawn([part.predicted for part in parts], drawn).astype(np.int32),
        confidence=_drawn([part.assignments.amax(dim=1) for part in parts], drawn),
        domains=np.repeat(np.arange(len(parts)), list(map(len, drawn))).astype(np.int32),
        rows=_drawn([torch.from_numpy(part.rows) for part in parts], drawn),
        classes=np.asarray(classes),
        domain_names=np.asarray([part.name for part in parts]),
        confusion=np.stack([_confusion(part, len(classes)) for part in parts]),
        images=thumbnails([parts[each.part].inputs[each.position] for each in shown]),
        mistaken=np.asarray([_numbers(parts, each) for each in shown], np.int64).reshape(-1, 4),
        mistake_confidence=np.asarray([each.score for each in shown], dtype=np.float32),
        sizes=np.asarray([(len(part.rows), part.size) for part in parts]),
        calibration=np.stack([_calibration(part) for part in parts]),
        kinds=np.asarray([KINDS.index(each.kind) for each in shown], dtype=np.int64),
        ids=np.asarray([parts[each.part].ids[each.position] for each in shown], dtype=str),
        baselines=np.asarray(list(scores), dtype=str),
        baseline_accuracy=np.asarray(list(scores.values())),
        prior_minimum=np.asarray(_prior_minimum(head)),
    )


def _plane(parts: Sequence[PartOutputs], head: ClusteringHead) -> tuple[Array, Array, list[Array]]:
    """Projected features of samples, projected centroids, and the positions of the samples."""
    share = max(_POINTS // len(parts), 2)
    drawn = [np.unique(np.linspace(0, len(p.rows) - 1, share).astype(np.int64)) for p in parts]
    features = _drawn([part.features for part in parts], drawn)
    known = bool(head.centroid_counts.sum() > 0)
    centroids = head.centroids.detach().float().cpu().numpy()[: None if known else 0]
    both = np.concatenate([features, centroids]).astype(np.float64)
    if not np.isfinite(both).all() or len(both) < 2:
        return np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32), [d[:0] for d in drawn]
    plane = project(both, "pca" if len(both) < 6 else "tsne").astype(np.float32)
    return plane[: len(features)], plane[len(features) :], drawn


def _drawn(columns: Sequence[Tensor], drawn: Sequence[Array]) -> Array:
    pairs = zip(columns, drawn, strict=True)
    return np.concatenate([column.numpy()[positions] for column, positions in pairs])


def _confusion(part: PartOutputs, num_classes: int) -> Array:
    known = part.labels >= 0
    counts = confusion_counts(part.predicted[known], part.labels[known], num_classes)
    return np.asarray(counts.numpy())


def _calibration(part: PartOutputs) -> Array:
    if not part.has_labels:
        return np.zeros((_BINS, 3))
    found = reliability(part.assignments, part.labels, _BINS)
    columns = [found.counts.double(), found.confidence, found.accuracy]
    return np.asarray(torch.stack(columns, dim=1).nan_to_num().numpy())


class _Shown(NamedTuple):
    part: int
    position: int
    kind: str
    predicted: int
    score: float


def _shown(parts: Sequence[PartOutputs], suspects: Sequence[Suspect]) -> list[_Shown]:
    """The images to show: mistakes, samples of little confidence, and suspect labels."""
    found = []
    last = parts[-1]
    if last.name == "test" or last.name.endswith("validation"):
        wrong = (last.predicted != last.labels) & (last.labels >= 0)
        found += _extreme(parts, len(parts) - 1, "mistake", wrong.numpy(), sign=-1)
    unlabeled = next((n for n, part in enumerate(parts) if not part.has_labels), None)
    if unlabeled is not None:
        everyone = np.ones(len(parts[unlabeled].rows), dtype=bool)
        found += _extreme(parts, unlabeled, "doubtful", everyone, sign=1)
    for each in suspects[:_MOST_SHOWN]:
        found.append(_Shown(0, each.position, "suspect", each.suggested, each.share))
    return found


def _extreme(
    parts: Sequence[PartOutputs], number: int, kind: str, members: Array, sign: int
) -> list[_Shown]:
    """The members with the smallest confidence times ``sign``."""
    part = parts[number]
    confidence = part.assignments.amax(dim=1).numpy()
    rows = np.flatnonzero(members)
    order = rows[np.argsort(sign * confidence[rows], kind="stable")][:_MOST_SHOWN]
    predicted = part.predicted.numpy()
    return [_Shown(number, int(i), kind, int(predicted[i]), float(confidence[i])) for i in order]


def _numbers(parts: Sequence[PartOutputs], shown: _Shown) -> tuple[int, int, int, int]:
    """Label, predicted class, part and row."""
    part = parts[shown.part]
    label, row = int(part.labels[shown.position]), int(part.rows[shown.position])
    return label, shown.predicted, shown.part, row


def _compare(parts: Sequence[PartOutputs]) -> dict[str, float]:
    labeled, test = parts[0], parts[-1]
    # With a part of the labels, the classifiers would be at a disadvantage.
    if test.name != "test" or not labeled.has_labels or len(labeled.rows) < labeled.size:
        return {}
    rest = next((part for part in parts if not part.has_labels), None)
    found: dict[str, float] = {}
    columns = {"inputs": "pixels" if test.inputs.ndim == 4 else "inputs", "features": "features"}
    for column, name in columns.items():
        x, x_test = getattr(labeled, column), getattr(test, column)
        others = x[:0] if rest is None else getattr(rest, column)
        scores = baseline_accuracies(x, labeled.labels, others, x_test, test.labels)
        found |= {f"{classifier} on {name}": score for classifier, score in scores.items()}
    return found


def _prior_minimum(head: ClusteringHead) -> float:
    """``min_p Σ_k (1 − α_k) log p_k``, at ``p_k ∝ α_k − 1``; 0 if there is none."""
    alpha = torch.as_tensor(head.alpha, dtype=torch.double).cpu().expand(head.num_classes)
    excess = alpha - 1
    total = float(excess.sum())
    if bool((excess < 0).any()) or total == 0:
        return 0.0
    shares = (excess / total)[excess > 0]
    return -total * math.fsum(float(share * share.log()) for share in shares)
