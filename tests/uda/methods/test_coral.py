"""Deep CORAL: the distance of covariances, and the method."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from supercm_pl.uda.methods import DeepCORAL
from supercm_pl.uda.methods.coral import coral
from tests.support.two_domains import DTYPES, random_step


def naive_coral(source: Tensor, target: Tensor) -> float:
    d = source.shape[1]
    covariances = []
    for rows in (source.double(), target.double()):
        mean = sum(rows) / len(rows)
        outer = sum(torch.outer(row - mean, row - mean) for row in rows)
        covariances.append(outer / (len(rows) - 1))
    gap = covariances[0] - covariances[1]
    return sum(gap[i, j].item() ** 2 for i in range(d) for j in range(d)) / (4 * d * d)


@pytest.mark.parametrize("sizes", [(5, 5), (3, 8)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_distance_is_that_of_a_loop(sizes, dtype):
    torch.manual_seed(0)
    # Far from 0, where covariances as a difference of raw moments would lose digits.
    source = (torch.randn(sizes[0], 4) + 50).to(dtype)
    target = (2 * torch.randn(sizes[1], 4) - 50).to(dtype)
    value = coral(source, target)
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert value.item() == pytest.approx(naive_coral(source, target), rel=1e-4)


def test_a_single_row_has_no_covariance_and_finite_gradients():
    source = torch.randn(1, 3, requires_grad=True)
    target = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    value = coral(source, target)
    assert value.item() == pytest.approx(4 / 36)
    value.backward()
    assert source.grad.isfinite().all()


def test_the_method_aligns_the_logits_or_what_it_is_given():
    step = random_step()
    logits = coral(step.source.logits, step.target.logits)
    features = coral(step.source.features, step.target.features)
    torch.testing.assert_close(DeepCORAL()(step).loss, logits)
    both = DeepCORAL(layers=("features", "logits"))(step).loss
    torch.testing.assert_close(both, features + logits)


@pytest.mark.bad_input
def test_bad_tensors_are_named():
    with pytest.raises(ValueError, match=r"target must have shape \(N_t, d=3\), got \(2, 4\)"):
        coral(torch.ones(2, 3), torch.ones(2, 4))
    with pytest.raises(TypeError, match="source must be a tensor, got list"):
        coral([[1.0]], torch.ones(2, 4))
