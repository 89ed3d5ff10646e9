"""DAN: the estimators of the maximum mean discrepancy, and the method."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from supercm_pl.uda.methods import DAN
from supercm_pl.uda.methods.dan import mmd
from tests.support.two_domains import DTYPES, outputs, random_step, step_of

MULTIPLES = (0.25, 0.5, 1.0, 2.0, 4.0)


def mean_squared_distance(points: list[Tensor]) -> float:
    pairs = [(i, j) for i in range(len(points)) for j in range(len(points)) if i != j]
    return sum((points[i] - points[j]).square().sum().item() for i, j in pairs) / len(pairs)


def naive_mmd(source: Tensor, target: Tensor, estimator: str) -> float:
    s, t = list(source.double()), list(target.double())
    bandwidth = mean_squared_distance(s + t)

    def kernel(x: Tensor, y: Tensor) -> float:
        distance = (x - y).square().sum().item()
        return sum(math.exp(-distance / (m * bandwidth)) for m in MULTIPLES)

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    if estimator == "linear":
        n, m = len(s), len(t)
        return mean(
            [
                kernel(s[i % n], s[(i + 1) % n])
                + kernel(t[i % m], t[(i + 1) % m])
                - kernel(s[i % n], t[(i + 1) % m])
                - kernel(s[(i + 1) % n], t[i % m])
                for i in range(max(n, m))
            ]
        )
    own = estimator == "biased"
    return (
        mean([kernel(x, y) for i, x in enumerate(s) for j, y in enumerate(s) if own or i != j])
        + mean([kernel(x, y) for i, x in enumerate(t) for j, y in enumerate(t) if own or i != j])
        - 2 * mean([kernel(x, y) for x in s for y in t])
    )


@pytest.mark.parametrize("estimator", ["linear", "unbiased", "biased"])
@pytest.mark.parametrize("sizes", [(5, 5), (4, 7), (6, 2)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_estimate_is_that_of_a_loop(estimator, sizes, dtype):
    torch.manual_seed(0)
    # Far from 0, where distances by a matrix product would lose digits.
    source = (torch.randn(sizes[0], 3) + 50).to(dtype)
    target = (torch.randn(sizes[1], 3) + 51).to(dtype)
    value = mmd(source, target, estimator=estimator)
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert value.item() == pytest.approx(naive_mmd(source, target, estimator), abs=2e-6)


def test_the_biased_estimate_is_zero_for_the_same_rows_and_the_unbiased_negative():
    source = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    assert abs(mmd(source, source.flip(0), estimator="biased").item()) < 1e-6
    assert mmd(source, source, estimator="unbiased").item() < -0.1


def test_the_unbiased_estimates_have_mean_zero_in_one_distribution():
    torch.manual_seed(0)
    values = {name: [] for name in ("linear", "unbiased", "biased")}
    for _ in range(400):
        source, target = torch.randn(6, 2), torch.randn(9, 2)
        for name, found in values.items():
            found.append(mmd(source, target, bandwidth=2.0, estimator=name))
    for name, found in values.items():
        mean, error = torch.stack(found).mean(), torch.stack(found).std() / 20
        assert (abs(mean) < 4 * error) == (name != "biased")


def test_no_gradient_goes_through_the_bandwidth():
    torch.manual_seed(0)
    source = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    target = torch.randn(4, 3, dtype=torch.float64) + 1
    bandwidth = mean_squared_distance([*source.detach(), *target])
    for estimator in ("linear", "unbiased", "biased"):
        (follows,) = torch.autograd.grad(mmd(source, target, estimator=estimator), source)
        fixed = mmd(source, target, bandwidth=bandwidth, estimator=estimator)
        torch.testing.assert_close(follows, *torch.autograd.grad(fixed, source))


@pytest.mark.parametrize("estimator", ["linear", "unbiased", "biased"])
def test_rows_that_are_one_point_have_finite_gradients(estimator):
    source = torch.full((4, 3), 0.1, requires_grad=True)
    mmd(source, torch.full((5, 3), 0.1), estimator=estimator).backward()
    assert source.grad.isfinite().all()


def test_the_method_sums_the_layers_that_it_is_given():
    step = random_step()
    features = mmd(step.source.features, step.target.features)
    logits = mmd(step.source.logits, step.target.logits)
    torch.testing.assert_close(DAN()(step).loss, features)
    torch.testing.assert_close(DAN(layers=["logits", "features"])(step).loss, features + logits)
    unbiased = mmd(step.source.features, step.target.features, estimator="unbiased")
    torch.testing.assert_close(DAN(estimator="unbiased")(step).loss, unbiased)


@pytest.mark.bad_input
def test_bad_tensors_are_named():
    with pytest.raises(ValueError, match="bandwidth must be greater than 0, got 0"):
        mmd(torch.ones(2, 3), torch.ones(2, 3), bandwidth=0.0)
    with pytest.raises(ValueError, match=r"target must have shape \(N_t=2, d=3\), got \(2, 4\)"):
        mmd(torch.ones(2, 3), torch.ones(2, 4))
    with pytest.raises(TypeError, match="source must be a floating-point tensor"):
        mmd(torch.ones(2, 3, dtype=torch.long), torch.ones(2, 3))
    one = outputs(torch.ones(1, 2), torch.ones(1, 2))
    with pytest.raises(
        ValueError, match=r'source must have at least 2 samples .* "unbiased", got 1'
    ):
        DAN()(step_of(one, one))
