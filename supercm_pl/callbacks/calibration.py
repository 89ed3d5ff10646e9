"""Probabilities that are about as high as the accuracy, and signs of wrong clusters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from supercm_pl.data.contract import Contract
from supercm_pl.graphs.image_descriptors import describe, views_of
from supercm_pl.graphs.label_graph import FEW, TRUSTED, Array, LabelGraph

_UNEQUAL = 3  # the largest predicted class over the smallest, from which they are


class Calibration(L.Callback):
    """Calibrates a network that was trained on few labels, and warns of doubtful clusters.

    Such a network fits every label, so there are none left to test it with. At the end of ``fit``,
    a classifier that has learned in another way judges the unlabeled samples: Poisson learning over
    a graph of the inputs (see :class:`~supercm_pl.ssl.methods.LabelPropagation`).

    Probabilities: the two classifiers agree on a share :math:`a`, and the graph has an accuracy
    :math:`g` on held-out labels. If they make the same errors, the network has the accuracy
    :math:`a`; if their errors are independent, about :math:`a / g`. A temperature (Guo et al., *On
    Calibration of Modern Neural Networks*, ICML 2017) brings the mean confidence to the middle of
    both. Where the graph is poor, the network has learned its errors: the mean confidence becomes
    :math:`g`. Classes do not change.

    With one or two labels per class a cluster can get the wrong class, and no label shows it.
    Unless the graph is poor, two signs are reported as warnings:

    - the samples of two classes form other groups than these classes
      (:meth:`~supercm_pl.graphs.label_graph.LabelGraph.doubtful_pairs`);
    - the largest class has three times as many samples as the smallest, which is an error only if
      classes are of similar size.

    The agreement is logged as ``train/agreement``. Images above 64 pixels are left as they are.
    """

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any, **__: Any
    ) -> None:
        """Set ``head.calibration`` after the last step, before a checkpoint is written."""
        module: Any = pl_module
        if module.progress < 1:
            return
        samples = module.training_features(describe)
        views, labels = views_of(samples.described), samples.labels
        if not views:
            return
        logits = samples.logits[len(labels) :].float() / module.head.temperature
        rows, num_classes = np.arange(len(labels)), logits.shape[1]
        graph = LabelGraph.fitted(views, rows, labels.numpy(), num_classes)
        found = graph.scores(rows, labels.numpy(), num_classes).argmax(axis=1)[len(labels) :]
        predicted = logits.argmax(dim=1).numpy()
        agreement = float((found == predicted).mean())
        trust = graph.trust(rows, labels.numpy(), num_classes)
        accuracy = 1.0 if trust is None else trust + (1 - trust) / num_classes
        expected = accuracy
        if trust is None or trust >= TRUSTED:
            expected = (agreement + min(1.0, agreement / accuracy)) / 2
            names = Contract.of(trainer).class_names(num_classes)
            # Another graph than the one that may have given the labels, as in LabelPropagation.
            for doubt in doubts(LabelGraph(*views[:2]), labels.numpy(), predicted, names):
                rank_zero_warn(doubt)
        temperature = temperature_for(logits, expected)
        module.head.calibration.fill_(temperature)
        module.log("train/agreement", agreement)
        rank_zero_info(
            f"The network agrees with label propagation on {agreement:.0%} of the unlabeled "
            f"samples. Its probabilities are those of {expected:.0%} accuracy."
        )


def doubts(
    graph: LabelGraph, labels: Array, predicted: Array, names: Sequence[str]
) -> Iterator[str]:
    """What speaks against predicted classes where labels are few, for the user.

    Args:
        graph: Of ``N_l`` labeled and ``N_u`` unlabeled samples.
        labels: ``(N_l,)``, ``0..K-1``.
        predicted: ``(N_u,)``, ``0..K-1``.
        names: Of the ``K`` classes.
    """
    count = len(names)
    if np.bincount(labels, minlength=count).min() > FEW:
        return
    advice = "Label a few more samples, such as those of `supercm suggest`"
    classes = np.concatenate([labels, predicted])
    for pair in graph.doubtful_pairs(classes, count):
        yield (
            f"The samples of {names[pair.one]} and {names[pair.other]} form other groups than "
            f"these classes: about {pair.changed:,} of them may be wrong. {advice}."
        )
    sizes = np.bincount(classes, minlength=count)
    smallest, largest = int(sizes.argmin()), int(sizes.argmax())
    if sizes[largest] >= _UNEQUAL * sizes[smallest]:
        yield (
            f"Predicted classes have from {sizes[smallest]:,} ({names[smallest]}) to "
            f"{sizes[largest]:,} samples ({names[largest]}). If they are of similar size, set "
            f"--model.alpha balanced. {advice}."
        )


def mean_confidence(logits: Tensor, temperature: float) -> float:
    """Mean of the largest probabilities of logits ``(N, K)`` divided by a temperature."""
    return float(torch.softmax(logits / temperature, dim=1).amax(dim=1).mean())


def temperature_for(logits: Tensor, confidence: float) -> float:
    """The temperature in ``[0.25, 100]`` that brings the mean confidence closest to a value.

    Args:
        logits: ``(N, K)``.
        confidence: Of all samples on average, in ``[0, 1]``.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0]])
        >>> round(mean_confidence(logits, temperature_for(logits, 0.7)), 3)
        0.7
    """
    lower, upper = math.log(0.25), math.log(100)
    for _ in range(40):
        middle = (lower + upper) / 2
        above = mean_confidence(logits, math.exp(middle)) > confidence
        lower, upper = (middle, upper) if above else (lower, middle)
    return math.exp(lower)
