"""FlexMatch: thresholds that follow the learning status, and its table."""

from __future__ import annotations

import math

import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging

from supercm_pl.clustering import ClusteringHead
from supercm_pl.ssl.methods import FlexMatch
from tests.support.runs import data, digits_module, fit
from tests.support.steps import random_step, softmax, step_of_logits


def build(**options):
    method = FlexMatch(**{"threshold": 0.8, **options})
    method.build(torch.nn.Identity(), ClusteringHead(2, 3))
    return method


class Naive:
    def __init__(self, samples, threshold=0.8, warm_up=True):
        self.latest = [-1] * samples
        self.threshold = threshold
        self.warm_up = warm_up

    def thresholds(self):
        status = [self.latest.count(k) for k in range(3)]
        most = max([*status, self.latest.count(-1)] if self.warm_up else [*status, 1])
        fractions = [count / most for count in status]
        return [self.threshold * f / (2 - f) for f in fractions]

    def loss(self, step):
        thresholds, total = self.thresholds(), 0.0
        weak, strong = (step.unlabeled[view].logits.tolist() for view in ("weak", "strong"))
        for z, s, n in zip(weak, strong, step.index.tolist(), strict=True):
            q = softmax(z)
            label = q.index(max(q))
            if max(q) >= thresholds[label]:
                total -= math.log(softmax(s)[label])
            if max(q) >= self.threshold:
                self.latest[n] = label
        return total / len(weak)


@pytest.mark.parametrize("warm_up", [True, False])
def test_losses_and_table_of_a_run_are_the_papers(warm_up):
    method, naive = build(warm_up=warm_up), Naive(10, warm_up=warm_up)
    for seed in range(12):
        step = random_step(seed, classes=3)
        assert method(step).loss.item() == pytest.approx(naive.loss(step))
        assert method.memory.latest.tolist() == naive.latest
        assert method.memory.counts.tolist() == [naive.latest.count(k) for k in range(3)]
        assert method.class_thresholds().tolist() == pytest.approx(naive.thresholds())
    assert len(set(naive.latest)) > 2


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2]])
def test_a_sample_that_is_twice_in_a_batch_counts_once_whatever_the_order(order):
    method = build()
    sure = torch.tensor([[9.0, 0.0, 0.0], [0.0, 0.0, 9.0], [0.1, 0.0, 0.0]])[order]
    views = {"weak": sure, "strong": sure}
    for _ in range(2):
        method(step_of_logits(views, numbers=torch.full((3,), 7), num_unlabeled=8))
        assert method.memory.latest.tolist() == [-1] * 7 + [2]
        assert method.memory.counts.tolist() == [0, 0, 1]


def test_a_table_of_other_data_is_begun_anew():
    method = build()
    method(random_step(0, classes=3))
    method(random_step(1, classes=3, num_unlabeled=12))
    naive = Naive(12)
    naive.loss(random_step(1, classes=3))
    assert method.memory.latest.tolist() == naive.latest


def test_the_data_module_tells_the_size_of_the_table():
    module = digits_module(FlexMatch(threshold=0.15))
    fit(module, data("VAT"), max_steps=4)
    assert len(module.methods[0].memory.latest) == 1307
    assert module.methods[0].memory.counts.sum() > 0


def test_trains_with_averaged_weights():
    module = digits_module(FlexMatch(threshold=0.15))
    fit(module, data("VAT"), EMAWeightAveraging(decay=0.9), max_steps=4)
    assert module.methods[0].memory.counts.sum() > 0


def test_the_size_comes_from_the_argument_where_it_is_given():
    method = build(num_samples=10)
    method(random_step(0, classes=3, num_unlabeled=None))
    assert len(method.memory.latest) == 10


@pytest.mark.bad_input
def test_a_size_that_nobody_knows_or_that_is_too_small_is_named():
    with pytest.raises(ValueError, match="num_samples must be the size of the unlabeled part"):
        build()(random_step(0, classes=3, num_unlabeled=None))
    with pytest.raises(ValueError, match="got 3 and the sample 8"):
        build(num_samples=3)(random_step(0, classes=3))
    views = {"weak": torch.zeros(1, 3), "strong": torch.zeros(1, 3)}
    with pytest.raises(ValueError, match="write needs_index = True in the method"):
        build()(step_of_logits(views, num_unlabeled=3))
