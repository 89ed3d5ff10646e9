"""PiModel: the loss, its gradient, and a short training."""

from __future__ import annotations

import pytest
import torch

from supercm_pl.ssl.methods import PiModel
from supercm_pl.training.ramps import LinearRampUp, SigmoidRampUp
from tests.support.steps import step_of_logits


def two_views():
    torch.manual_seed(0)
    weak, again = torch.randn(5, 3), torch.randn(5, 3)
    return {"weak": weak.requires_grad_(), "weak_2": again.requires_grad_()}


def test_is_the_squared_difference_of_probabilities_over_samples_and_classes():
    views = two_views()
    loss = PiModel()(step_of_logits(views)).loss

    expected = 0.0
    for first, second in zip(views["weak"].tolist(), views["weak_2"].tolist(), strict=True):
        p, q = torch.tensor(first).softmax(0), torch.tensor(second).softmax(0)
        for k in range(3):
            expected += (p[k] - q[k]).item() ** 2 / (5 * 3)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_gradient_flows_through_both_views_alike():
    views = two_views()
    PiModel()(step_of_logits(views)).loss.backward()
    assert views["weak"].grad.abs().min() > 0
    assert views["weak_2"].grad.abs().min() > 0


def test_the_ramp_is_a_number_or_any_ramp():
    assert isinstance(PiModel().ramp, SigmoidRampUp)
    assert PiModel(weight=2.0, ramp=0.5).weight_at(0.5) == 2.0
    assert PiModel(weight=2.0, ramp=LinearRampUp(1.0)).weight_at(0.25) == 0.5
    assert PiModel(weight=2.0, ramp=None).weight_at(0.0) == 2.0
