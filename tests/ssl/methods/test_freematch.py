"""FreeMatch: self-adaptive thresholds and fairness."""

from __future__ import annotations

import math

import pytest
import torch

from supercm_pl.clustering import ClusteringHead
from supercm_pl.ssl.methods import FreeMatch
from tests.support.steps import random_step, softmax, step_of_logits


def build(**options):
    method = FreeMatch(**{"momentum": 0.7, "fairness_weight": 0.3, **options})
    method.build(torch.nn.Identity(), ClusteringHead(2, 4))
    return method


class Naive:
    def __init__(self, momentum=0.7, weight=0.3):
        self.m, self.weight = momentum, weight
        self.threshold, self.p, self.h = 1 / 4, [1 / 4] * 4, [1 / 4] * 4

    def loss(self, step):
        q = [softmax(row) for row in step.unlabeled["weak"].logits.tolist()]
        strong = [softmax(row) for row in step.unlabeled["strong"].logits.tolist()]
        n, m = len(q), self.m
        labels = [row.index(max(row)) for row in q]
        self.threshold = m * self.threshold + (1 - m) * sum(map(max, q)) / n
        for k in range(4):
            self.p[k] = m * self.p[k] + (1 - m) * sum(row[k] for row in q) / n
            self.h[k] = m * self.h[k] + (1 - m) * labels.count(k) / n
        used = [max(q[i]) >= self.p[labels[i]] / max(self.p) * self.threshold for i in range(n)]
        consistency = sum(-math.log(strong[i][labels[i]]) for i in range(n) if used[i]) / n
        kept = [strong[i] for i in range(n) if used[i]]
        found = [row.index(max(row)) for row in kept]
        target = [p / h for p, h in zip(self.p, self.h, strict=True)]
        ratio = {k: sum(row[k] for row in kept) / found.count(k) for k in set(found)}
        fairness = sum(
            target[k] / sum(target) * math.log(ratio[k] / sum(ratio.values())) for k in ratio
        )
        return consistency + self.weight * fairness


def test_losses_and_averages_of_a_run_are_the_papers():
    method, naive = build(), Naive()
    for seed in range(10):
        step = random_step(seed)
        assert method(step).loss.item() == pytest.approx(naive.loss(step), abs=1e-5)
        assert method.threshold.item() == pytest.approx(naive.threshold)
        assert method.expectation.tolist() == pytest.approx(naive.p)
        assert method.histogram.tolist() == pytest.approx(naive.h)


def test_no_row_above_its_threshold_gives_no_loss_and_no_gradient():
    method = build()
    method.threshold.fill_(50.0)
    step = random_step(0)
    strong = step.unlabeled["strong"].logits.clone().requires_grad_()
    value = method(step_of_logits({"weak": step.unlabeled["weak"].logits, "strong": strong}))
    torch.autograd.backward(value.loss)
    assert value.loss.item() == 0.0
    assert strong.grad.abs().sum() == 0
