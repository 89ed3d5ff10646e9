"""AFN: the stepwise and the hard feature norm, and the method."""

from __future__ import annotations

import math

import pytest
import torch

from supercm_pl.uda.methods import AFN
from supercm_pl.uda.methods.afn import hard_feature_norm, stepwise_feature_norm
from tests.support.two_domains import DTYPES, random_step


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_losses_are_those_of_a_loop(dtype):
    features = (3 * torch.randn(7, 4, generator=torch.Generator().manual_seed(0))).to(dtype)
    norms = [math.sqrt(sum(x * x for x in row)) for row in features.double().tolist()]
    wanted = torch.float64 if dtype == torch.float64 else torch.float32

    hard = hard_feature_norm(features, 5.0)
    assert hard.dtype == wanted
    assert hard.item() == pytest.approx((sum(norms) / 7 - 5) ** 2, rel=1e-5)

    stepwise = stepwise_feature_norm(features, 0.3)
    assert stepwise.dtype == wanted
    expected = sum((norm - (norm + 0.3)) ** 2 for norm in norms) / 7
    assert stepwise.item() == pytest.approx(expected, rel=1e-5)


def test_the_stepwise_gradient_pushes_each_norm_outward_by_the_same_amount():
    torch.manual_seed(0)
    features = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(stepwise_feature_norm(features, 0.5), features)
    directions = features.detach() / features.detach().norm(dim=1, keepdim=True)
    # It would be 0 if the radius were not taken as a constant.
    torch.testing.assert_close(gradient, -2 * 0.5 / 6 * directions)


def test_large_norms_still_get_their_step():
    value = stepwise_feature_norm(torch.full((2, 1), 1e9))
    assert value.item() == 1.0


def test_features_of_zero_and_none_at_all_have_finite_gradients():
    for loss in (stepwise_feature_norm, hard_feature_norm):
        features = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
        loss(features).backward()
        assert features.grad.isfinite().all()
        assert features.grad[0].tolist() == [0.0, 0.0]
        assert features.grad[1].abs().min() > 0


def test_the_method_adds_the_domains_and_logs_their_norms():
    step = random_step()
    assert AFN().weight == 0.05
    loss, logs, _ = AFN(step_size=0.5)(step)
    assert loss.item() == pytest.approx(2 * 0.5**2)
    torch.testing.assert_close(logs["source_norm"], step.source.features.norm(dim=1).mean())
    torch.testing.assert_close(logs["target_norm"], step.target.features.norm(dim=1).mean())
    hard = AFN(variant="hard", radius=3.0)(step).loss
    expected = (logs["source_norm"] - 3).square() + (logs["target_norm"] - 3).square()
    torch.testing.assert_close(hard, expected)


@pytest.mark.bad_input
def test_bad_tensors_are_named():
    with pytest.raises(ValueError, match=r"features must have shape \(N, d\), got \(3,\)"):
        stepwise_feature_norm(torch.ones(3))
