"""MixMatch: guesses, mixtures and both losses of the paper."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from supercm_pl.ssl.components.mix_up import mix_up, own_shares
from supercm_pl.ssl.methods import MixMatch
from tests.support.runs import data, digits_module, fit
from tests.support.steps import step_of_inputs


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Linear(4, 3)


def make_step(model):
    torch.manual_seed(1)
    inputs = {"weak": torch.randn(5, 4), "weak_2": torch.randn(5, 4)}
    labeled, labels = {"weak": torch.randn(3, 4)}, torch.tensor([2, 0, 1])
    return step_of_inputs(model, inputs, labeled, labels)


def naive(model, step, seed, temperature=0.5, alpha=0.75):
    views = [step.unlabeled_inputs["weak"], step.unlabeled_inputs["weak_2"]]
    rows, targets = [], []
    for x, y in zip(step.labeled_inputs["weak"], step.labels, strict=True):
        rows.append(x)
        targets.append(torch.eye(3)[y])
    for view in views:
        for i in range(len(view)):
            mean = sum(model(other[i]).softmax(0) for other in views).detach() / 2
            rows.append(view[i])
            targets.append(mean ** (1 / temperature) / (mean ** (1 / temperature)).sum())
    torch.manual_seed(seed)
    n = len(rows)
    shares = own_shares(n, alpha, torch.device("cpu")).tolist()
    others = torch.randperm(n).tolist()
    cross_entropies, squares = [], []
    for i in range(n):
        share = shares[i]
        x = share * rows[i] + (1 - share) * rows[others[i]]
        p = share * targets[i] + (1 - share) * targets[others[i]]
        predicted = model(x).softmax(0)
        if i < len(step.labels):
            cross_entropies.append(-(p * predicted.log()).sum())
        else:
            squares += list((p - predicted) ** 2)
    return sum(squares) / len(squares), sum(cross_entropies) / len(cross_entropies)


@pytest.mark.parametrize("forwarded", [True, False])
def test_both_losses_are_the_papers(model, forwarded):
    step = make_step(model)
    if not forwarded:
        step = replace(step, unlabeled={})
    unlabeled, labeled = naive(model, step, seed=7)
    torch.manual_seed(7)
    value = MixMatch()(step)
    torch.testing.assert_close(value.loss, unlabeled)
    torch.testing.assert_close(value.supervised, labeled)


def test_every_mixture_is_closer_to_its_first_parent():
    torch.manual_seed(0)
    # The target says how much of each parent there is.
    _, targets = mix_up(torch.randn(500, 4), torch.eye(500), alpha=0.75)
    assert (targets.diagonal() >= 0.5).all()
    assert (targets.diagonal() < 0.9).float().mean() > 0.3


@pytest.mark.parametrize("alpha", [0.05, 0.75, 3.0])
def test_shares_are_the_greater_parts_of_a_beta_distribution(alpha):
    torch.manual_seed(0)
    drawn = torch.distributions.Beta(alpha, alpha).sample((40_000,))
    shares = own_shares(40_000, alpha, torch.device("cpu"))
    assert ((shares >= 0.5) & (shares <= 1.0)).all()
    grid = torch.linspace(0.5, 1.0, 41)[:-1, None]
    expected = (torch.maximum(drawn, 1 - drawn) <= grid).float().mean(dim=1)
    # A distance that two samples of this size have in one of a thousand cases.
    assert ((shares <= grid).float().mean(dim=1) - expected).abs().max() < 0.0138


def test_guesses_are_constants(model):
    step = make_step(model)
    assert not MixMatch().guess(step).requires_grad
    torch.testing.assert_close(MixMatch().guess(step).sum(dim=1), torch.ones(5))


def test_the_running_statistics_of_batch_norm_are_trained_without_supercm():
    module = digits_module(MixMatch(), cm_weight=0.0)
    fit(module, data("VAT"), max_steps=4)
    norm = next(layer for layer in module.backbone.modules() if isinstance(layer, nn.BatchNorm1d))
    assert norm.running_mean.abs().sum() > 0


def test_the_weight_ramps_up_as_published():
    method = MixMatch()
    assert [method.weight_at(p) for p in (0.0, 1 / 128, 1 / 64, 1.0)] == [0.0, 37.5, 75.0, 75.0]
    assert MixMatch(ramp=None).weight_at(0.0) == 75.0
