"""SoftMatch: the truncated Gaussian and uniform alignment."""

from __future__ import annotations

import math
import statistics

import pytest
import torch

from supercm_pl.clustering import ClusteringHead
from supercm_pl.ssl.methods import SoftMatch
from tests.support.steps import random_step, softmax


def build(**options):
    method = SoftMatch(**{"momentum": 0.7, **options})
    method.build(torch.nn.Identity(), ClusteringHead(2, 4))
    return method


class Naive:
    def __init__(self, aligned, num_sigmas, momentum=0.7):
        self.aligned, self.n, self.m = aligned, num_sigmas, momentum
        self.mean, self.variance, self.p = 1 / 4, 1.0, None

    def loss(self, step):
        q = [softmax(row) for row in step.unlabeled["weak"].logits.tolist()]
        strong = [softmax(row) for row in step.unlabeled["strong"].logits.tolist()]
        batch = [sum(row[k] for row in q) / len(q) for k in range(4)]
        if self.p is None:
            self.p = batch
        else:
            self.p = [self.m * a + (1 - self.m) * b for a, b in zip(self.p, batch, strict=True)]
        confidence = []
        for row in q:
            scaled = [v / 4 / p for v, p in zip(row, self.p, strict=True)]
            confidence.append(max(scaled) / sum(scaled) if self.aligned else max(row))
        self.mean = self.m * self.mean + (1 - self.m) * statistics.mean(confidence)
        self.variance = self.m * self.variance + (1 - self.m) * statistics.variance(confidence)
        total = 0.0
        for row, other, sure in zip(q, strong, confidence, strict=True):
            below = min(sure - self.mean, 0.0)
            weight = math.exp(-(below**2) / (2 * self.variance / self.n**2))
            total -= weight * math.log(other[row.index(max(row))])
        return total / len(q)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("num_sigmas", [1.0, 2.0])
def test_losses_and_averages_of_a_run_are_the_papers(aligned, num_sigmas):
    method = build(uniform_alignment=aligned, num_sigmas=num_sigmas)
    naive = Naive(aligned, num_sigmas)
    for seed in range(8):
        step = random_step(seed)
        assert method(step).loss.item() == pytest.approx(naive.loss(step), rel=1e-4)
        assert method.mean.item() == pytest.approx(naive.mean, rel=1e-4)
        assert method.variance.item() == pytest.approx(naive.variance, rel=1e-4)
