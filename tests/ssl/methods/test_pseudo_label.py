"""PseudoLabel: the loss, what the threshold leaves out, and a short training."""

from __future__ import annotations

import math

import pytest
import torch

from supercm_pl.ssl.methods import PseudoLabel
from tests.support.steps import step_of_logits

# Largest probabilities 0.98, 0.6 and 0.97.
PROBABILITIES = [[0.98, 0.01, 0.01], [0.3, 0.6, 0.1], [0.01, 0.02, 0.97]]


def logits():
    # A shift of all logits of a row changes nothing.
    return (torch.tensor(PROBABILITIES).log() + 3.0).requires_grad_()


def test_is_the_cross_entropy_of_confident_samples_over_all_samples():
    value = PseudoLabel(threshold=0.95)(step_of_logits({"weak": logits()}))
    expected = (-math.log(0.98) - math.log(0.97)) / 3
    assert value.loss.item() == pytest.approx(expected, rel=1e-4)
    assert value.logs["mask"].item() == pytest.approx(2 / 3)


def test_below_the_threshold_there_is_neither_loss_nor_gradient():
    weak = logits()
    PseudoLabel(threshold=0.95)(step_of_logits({"weak": weak})).loss.backward()
    assert weak.grad[1].tolist() == [0.0, 0.0, 0.0]
    # Of the others it is that of cross-entropy with a constant label: (p - onehot) / N.
    expected = (torch.tensor(PROBABILITIES[0]) - torch.tensor([1.0, 0.0, 0.0])) / 3
    torch.testing.assert_close(weak.grad[0], expected, rtol=1e-4, atol=1e-6)


def test_with_no_confident_sample_the_loss_is_zero():
    value = PseudoLabel(threshold=0.99)(step_of_logits({"weak": logits()}))
    assert (value.loss.item(), value.logs["mask"].item()) == (0.0, 0.0)
