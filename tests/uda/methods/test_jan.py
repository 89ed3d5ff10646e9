"""JAN: the joint maximum mean discrepancy, and the method."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from supercm_pl.uda.methods import JAN
from supercm_pl.uda.methods.dan import mmd
from supercm_pl.uda.methods.jan import jmmd
from tests.support.two_domains import DTYPES, random_step

MULTIPLES = (0.25, 0.5, 1.0, 2.0, 4.0)


def layers(count: int, seed: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(count, 4, generator=generator) + seed
    logits = 2 * torch.randn(count, 3, generator=generator)
    return [features.to(dtype), logits.softmax(dim=1).to(dtype)]


def naive_jmmd(source: list[Tensor], target: list[Tensor]) -> float:
    """Over all pairs of two rows, with the kernels that are the default."""
    s = list(zip(*(layer.double() for layer in source), strict=True))
    t = list(zip(*(layer.double() for layer in target), strict=True))
    points = [features for features, _ in s + t]
    pairs = [(x, y) for i, x in enumerate(points) for y in points[:i]]
    bandwidth = sum((x - y).square().sum().item() for x, y in pairs) / len(pairs)

    def kernel(x: tuple[Tensor, Tensor], y: tuple[Tensor, Tensor]) -> float:
        features, probabilities = ((a - b).square().sum().item() for a, b in zip(x, y, strict=True))
        of_features = sum(math.exp(-features / (m * bandwidth)) for m in MULTIPLES)
        return of_features * math.exp(-probabilities / 1.68)

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    return (
        mean([kernel(x, y) for i, x in enumerate(s) for j, y in enumerate(s) if i != j])
        + mean([kernel(x, y) for i, x in enumerate(t) for j, y in enumerate(t) if i != j])
        - 2 * mean([kernel(x, y) for x in s for y in t])
    )


@pytest.mark.parametrize("sizes", [(5, 5), (3, 6)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_discrepancy_is_that_of_a_loop(sizes, dtype):
    source, target = layers(sizes[0], 0, dtype), layers(sizes[1], 1, dtype)
    value = jmmd(source, target)
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert value.item() == pytest.approx(naive_jmmd(source, target), abs=2e-6)


@pytest.mark.parametrize("estimator", ["linear", "unbiased", "biased"])
def test_of_one_layer_it_is_the_plain_discrepancy(estimator):
    (source, _), (target, _) = layers(5, 0), layers(6, 1)
    options = {"multiples": [MULTIPLES], "bandwidths": [None], "estimator": estimator}
    joint = jmmd([source], [target], **options)
    torch.testing.assert_close(joint, mmd(source, target, estimator=estimator))


def test_it_sees_what_the_layers_one_by_one_do_not():
    # The same features and the same predictions in both domains, but paired the other way round.
    features, probabilities = torch.tensor([[0.0], [9.0]]).repeat(4, 1), torch.eye(2).repeat(4, 1)
    source, target = [features, probabilities], [features, probabilities.flip(0)]
    for one, other in zip(source, target, strict=True):
        assert abs(mmd(one, other, estimator="biased").item()) < 1e-6
    assert jmmd(source, target, estimator="biased").item() > 0.5
    assert abs(jmmd(source, source, estimator="biased").item()) < 1e-6


def test_the_method_joins_features_and_probabilities():
    step = random_step()
    source = [step.source.features, step.source.assignments]
    target = [step.target.features, step.target.assignments]
    torch.testing.assert_close(JAN()(step).loss, jmmd(source, target))
    linear = JAN(estimator="linear", multiples=(1.0,), probability_bandwidth=0.5)(step).loss
    options = {"multiples": [(1.0,), (1.0,)], "bandwidths": [None, 0.5], "estimator": "linear"}
    torch.testing.assert_close(linear, jmmd(source, target, **options))


@pytest.mark.bad_input
def test_bad_tensors_are_named():
    with pytest.raises(ValueError, match="multiples and bandwidths must have one entry for each"):
        jmmd(layers(2, 0), layers(2, 1), bandwidths=[None])
    with pytest.raises(ValueError, match="one entry for each layer, got 1, 2 and 2"):
        jmmd(layers(2, 0)[:1], layers(2, 1))
    with pytest.raises(ValueError, match=r"source must have shape \(N_s=3, d\), got \(2, 3\)"):
        jmmd([torch.ones(3, 4), torch.ones(2, 3)], layers(4, 0))
