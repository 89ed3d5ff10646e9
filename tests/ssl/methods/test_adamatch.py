"""AdaMatch: interpolation, alignment and the relative threshold."""

from __future__ import annotations

import math

import pytest
import torch

from supercm_pl.clustering import ClusteringHead
from supercm_pl.ssl.methods import AdaMatch
from tests.support.runs import digits_module
from tests.support.steps import outputs_of, random_step, softmax


def build(**options):
    method = AdaMatch(**{"momentum": 0.7, "window": 3, **options})
    method.build(torch.nn.Identity(), ClusteringHead(2, 4))
    return method


class Naive:
    def __init__(self, threshold=0.9, momentum=0.7, window=3):
        self.tau, self.m = threshold, momentum
        self.labeled = [1 / 4] * 4
        self.recent = [[1 / 4] * 4] * window

    def losses(self, step, shares):
        both = torch.cat([step.labeled["weak"].logits, step.labeled["strong"].logits])
        alone = step.extra_forward(both).logits
        z = [
            [u * a + (1 - u) * b for u, a, b in zip(*row, strict=True)]
            for row in zip(shares.tolist(), both.tolist(), alone.tolist(), strict=True)
        ]
        labels = [*step.labels.tolist(), *step.labels.tolist()]
        supervised = sum(-math.log(softmax(r)[y]) for r, y in zip(z, labels, strict=True)) / 8
        known = [softmax(row) for row in z[:4]]
        q = [softmax(row) for row in step.unlabeled["weak"].logits.tolist()]
        p = [softmax(row) for row in step.unlabeled["strong"].logits.tolist()]
        for k in range(4):
            mean = sum(row[k] for row in known) / 4
            self.labeled[k] = self.m * self.labeled[k] + (1 - self.m) * mean
        self.recent = [*self.recent[1:], [sum(row[k] for row in q) / 8 for k in range(4)]]
        expected = [sum(row[k] for row in self.recent) / len(self.recent) for k in range(4)]
        threshold = self.tau * sum(map(max, known)) / 4
        total = 0.0
        for row, other in zip(q, p, strict=True):
            scaled = [v * a / b for v, a, b in zip(row, self.labeled, expected, strict=True)]
            if max(scaled) / sum(scaled) >= threshold:
                total -= math.log(other[scaled.index(max(scaled))])
        return total / 8, supervised


def test_losses_and_expectations_of_a_run_are_the_papers():
    method, naive = build(), Naive()

    def alone(inputs):  # other logits than in the first pass, as with batch norm
        return outputs_of(1.5 * inputs - 0.2)

    for seed in range(8):
        step = random_step(seed, extra_forward=alone, forward_frozen_bn=alone)
        torch.manual_seed(seed)
        shares = torch.rand(8, 4)
        torch.manual_seed(seed)
        value = method(step)
        loss, supervised = naive.losses(step, shares)
        assert value.loss.item() == pytest.approx(loss, rel=1e-4)
        assert value.supervised.item() == pytest.approx(supervised, rel=1e-4)
        assert method.labeled_mean.tolist() == pytest.approx(naive.labeled, rel=1e-4)


def test_the_labeled_rows_alone_go_through_one_further_pass():
    passes = []
    module = digits_module(AdaMatch(), cm_weight=0.5)
    whole = module.forward_outputs
    module.forward_outputs = lambda inputs: passes.append(len(inputs)) or whole(inputs)
    views = {"weak": torch.rand(12, 1, 8, 8), "strong": torch.rand(12, 1, 8, 8)}
    labeled = {"weak": torch.rand(5, 1, 8, 8), "strong": torch.rand(5, 1, 8, 8)}
    module.training_step({"labeled": (labeled, torch.arange(5)), "unlabeled": views})
    assert passes == [2 * 5 + 2 * 12, 2 * 5]


def test_the_weight_ramps_up_as_published():
    method = AdaMatch(weight=2.0)
    assert [round(method.weight_at(p), 6) for p in (0.0, 0.25, 0.5, 1.0)] == [0.0, 1.0, 2.0, 2.0]
    assert AdaMatch(ramp=None).weight_at(0.0) == 1.0
