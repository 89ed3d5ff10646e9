"""The discriminator: one logit, both domains in one batch norm, each one half of the loss."""

import math

import pytest
import torch
from torch import nn

from supercm_pl.uda.components import discriminator
from supercm_pl.uda.components.discriminator import Discriminator, domain_accuracy, domain_loss


def built(in_features, *options, **named):
    discriminator = Discriminator(*options, **named)
    discriminator.build(in_features)
    return discriminator


def naive_loss(source, target, source_weights=None, target_weights=None):
    total = 0.0
    for logits, weights, is_source in (
        (source, source_weights, True),
        (target, target_weights, False),
    ):
        shares = [1.0] * len(logits) if weights is None else weights.tolist()
        parts = 0.0
        for z, w in zip(logits.tolist(), shares, strict=True):
            probability = 1 / (1 + math.exp(-z))
            parts -= w * math.log(probability if is_source else 1 - probability)
        total += 0.5 * parts / sum(shares)
    return total


def test_the_loss_is_a_naive_loop():
    source, target = torch.randn(5), torch.randn(9)
    assert domain_loss(source, target).item() == pytest.approx(naive_loss(source, target), rel=1e-5)
    weights = torch.rand(5) + 1, torch.rand(9) + 1
    expected = naive_loss(source, target, *weights)
    assert domain_loss(source, target, *weights).item() == pytest.approx(expected, rel=1e-5)


def test_the_mean_of_the_ranks_losses_is_the_loss_of_all_rows(monkeypatch):
    ranks = [(torch.randn(3), torch.randn(4), torch.rand(3) + 1, torch.rand(4) + 1) for _ in "ab"]
    whole = domain_loss(*map(torch.cat, zip(*ranks, strict=True)))
    told = []
    monkeypatch.setattr(discriminator, "sum_over_ranks", lambda t: told.append(t) or t)
    for rank in ranks:
        domain_loss(*rank)
    monkeypatch.setattr(discriminator, "sum_over_ranks", lambda t: sum(told))
    torch.testing.assert_close(sum(domain_loss(*rank) for rank in ranks) / 2, whole)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_loss_of_certain_logits_is_finite_and_no_less_than_single_precision(dtype):
    sure = torch.full((3,), 200.0, dtype=dtype)
    loss = domain_loss(-sure, sure)
    assert loss.item() == 200.0
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_the_default_is_three_layers_of_1024_and_one_logit():
    network = built(16)
    shapes = [tuple(m.weight.shape) for m in network.modules() if isinstance(m, nn.Linear)]
    assert shapes == [(1024, 16), (1024, 1024), (1, 1024)]
    assert sum(isinstance(m, nn.BatchNorm1d) for m in network.modules()) == 2
    logits = network(torch.randn(6, 16))
    # A softmax over one output would be 1 for every row, and teach nothing.
    assert logits.shape == (6,)
    assert logits.std() > 0


def test_without_batch_norm_samples_are_read_one_by_one():
    rows = torch.randn(6, 4)
    alone = built(4, (8,), batch_norm=False)
    torch.testing.assert_close(alone(rows)[:3], alone(rows[:3]))
    together = built(4, (8,))
    assert not torch.allclose(together(rows)[:3], together(rows[:3]))


def test_accuracy_counts_each_domain_one_half():
    source, target = torch.tensor([1.0, -1.0]), torch.tensor([-1.0, -2.0, -3.0, 4.0])
    assert domain_accuracy(source, target).item() == 0.5 * (1 / 2 + 3 / 4)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, (8,)), "in_features must be at least 1, got 0"),
        ((4, (8, 0)), r"hidden_features must be at least 1, got 0"),
    ],
)
def test_a_layer_of_no_units_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        built(*arguments)
