"""Probabilities that are about as high as the accuracy, from unlabeled samples."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from supercm_pl.graphs.image_descriptors import describe, views_of
from supercm_pl.graphs.label_graph import TRUSTED, LabelGraph
from supercm_pl.training.modes import evaluation_mode


class Calibration(L.Callback):
    """Softens the probabilities of a network that was trained on few labels.

    Such a network fits every label, so there are none left to calibrate it with. At the end of
    ``fit``, a classifier that has learned in another way judges the unlabeled samples: Poisson
    learning over a graph of the inputs (see :class:`~supercm_pl.ssl.methods.LabelPropagation`).
    Where it has little to say, two classifiers agree about as often as the network is right, and
    where it is good, the accuracy lies between this agreement and the network's mean confidence. A
    temperature (Guo et al., *On Calibration of Modern Neural Networks*, ICML 2017) brings the mean
    confidence there; it is never below 1. Classes do not change.

    The agreement is logged as ``train/agreement``. Images above 64 pixels are left as they are.
    """

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any, **__: Any
    ) -> None:
        """Set ``head.calibration`` after the last step, before a checkpoint is written."""
        module: Any = pl_module
        if module.progress < 1:
            return
        _, labels, unlabeled, described = module.training_features(describe)
        views = views_of(described)
        if not views:
            return
        with torch.no_grad(), evaluation_mode(module):
            logits = module.head(unlabeled.to(module.device)).logits.float().cpu()
        logits = logits / module.head.temperature
        graph, rows, num_classes = LabelGraph(*views), np.arange(len(labels)), logits.shape[1]
        found = graph.scores(rows, labels.numpy(), num_classes).argmax(axis=1)[len(labels) :]
        agreement = float((found == logits.argmax(dim=1).numpy()).mean())
        trust = graph.trust(rows, labels.numpy(), num_classes)
        expected = agreement
        if trust is None or trust >= TRUSTED:  # then the network is good, too
            expected = (agreement + mean_confidence(logits, 1.0)) / 2
        temperature = temperature_for(logits, expected)
        module.head.calibration.fill_(temperature)
        module.log("train/agreement", agreement)
        rank_zero_info(
            f"The network agrees with label propagation on {agreement:.0%} of the unlabeled "
            f"samples. Its probabilities are those of {expected:.0%} accuracy."
        )


def mean_confidence(logits: Tensor, temperature: float) -> float:
    """Mean of the largest probabilities of logits ``(N, K)`` divided by a temperature."""
    return float(torch.softmax(logits / temperature, dim=1).amax(dim=1).mean())


def temperature_for(logits: Tensor, confidence: float) -> float:
    """The temperature in ``[1, 100]`` that brings the mean confidence down to a value.

    Args:
        logits: ``(N, K)``.
        confidence: Of all samples on average, in ``[0, 1]``.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0]])
        >>> round(mean_confidence(logits, temperature_for(logits, 0.7)), 3)
        0.7
        >>> temperature_for(logits, 0.99)
        1.0
    """
    lower, upper = 0.0, math.log(100)
    if mean_confidence(logits, 1.0) <= confidence:
        return 1.0
    for _ in range(40):
        middle = (lower + upper) / 2
        above = mean_confidence(logits, math.exp(middle)) > confidence
        lower, upper = (middle, upper) if above else (lower, middle)
    return math.exp(lower)
