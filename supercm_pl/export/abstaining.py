"""The confidence below which a prediction is left to a person."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from supercm_pl.checks import check_interval

FEWEST = 50
"""Labeled samples from which a threshold is chosen at least."""


class Threshold(NamedTuple):
    """A smallest confidence, and what it does on the samples that it was chosen on.

    Attributes:
        confidence: The threshold.
        precision: Share of right predictions among the samples at or above it.
        kept: Number of these samples.
        total: Number of all samples.
    """

    confidence: float
    precision: float
    kept: int
    total: int


def threshold_for(precision: float, assignments: Tensor, labels: Tensor) -> Threshold:
    """Find the smallest confidence from which predictions have a precision.

    Args:
        precision: Share of right predictions, between 0 and 1.
        assignments: ``(N, K)`` of samples that were not trained on.
        labels: ``(N,)``.

    Raises:
        ValueError: If there are less than ``FEWEST`` samples, or the precision is not reached.

    Example:
        >>> sure = torch.linspace(0.5, 1, 100)
        >>> labels = (sure < 0.6).long()  # wrong below 0.6
        >>> threshold_for(1.0, torch.stack([sure, 1 - sure], dim=1), labels).kept
        80
    """
    check_interval("precision", precision, "(0, 1]")
    if len(labels) < FEWEST:
        raise ValueError(
            f"a precision requires {FEWEST} labeled samples that were not trained on, "
            f"got {len(labels)}"
        )
    confidence, predicted = assignments.double().max(dim=1)
    order = confidence.argsort(descending=True, stable=True)
    sorted_confidence = confidence[order]
    right = (predicted == labels)[order].double().cumsum(0)
    shares = right / torch.arange(1, len(order) + 1)
    last_of_equal = torch.cat(
        [sorted_confidence[1:] < sorted_confidence[:-1], torch.tensor([True])]
    )
    reached = (last_of_equal & (shares >= precision - 1e-12)).nonzero()[:, 0]
    if not len(reached):
        raise ValueError(
            f"no confidence gives a precision of {precision:g} on {len(labels)} samples, of which "
            f"{float(shares[-1]):.2f} are right"
        )
    last = int(reached[-1])
    return Threshold(float(sorted_confidence[last]), float(shares[last]), last + 1, len(order))
