"""EntropyMinimization: the loss, where its gradient leads, and a short training."""

from __future__ import annotations

import math

import pytest
import torch

from supercm_pl.ssl.methods import EntropyMinimization
from tests.support.steps import step_of_logits


def entropy_of(logits):
    return EntropyMinimization()(step_of_logits({"weak": logits})).loss


def test_is_the_mean_entropy():
    probabilities = [[0.5, 0.25, 0.25], [0.7, 0.2, 0.1]]
    expected = sum(-p * math.log(p) for row in probabilities for p in row) / 2
    loss = entropy_of(torch.tensor(probabilities).log() - 2.0)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_certain_predictions_give_zero_and_no_nan():
    logits = torch.tensor([[1000.0, 0.0, -1000.0]], requires_grad=True)
    loss = entropy_of(logits)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad.isfinite().all()
