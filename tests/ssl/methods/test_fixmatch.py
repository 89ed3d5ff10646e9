"""FixMatch: the loss of the paper, and where its gradient goes."""

from __future__ import annotations

import math

import pytest
import torch

from supercm_pl.ssl.methods import FixMatch
from tests.support.steps import STRONG, WEAK, softmax, step_of_logits


def naive(weak, strong, threshold, temperature=None):
    total = 0.0
    for z, s in zip(weak.tolist(), strong.tolist(), strict=True):
        q, p = softmax(z), softmax(s)
        if max(q) < threshold:
            continue
        if temperature is None:
            total -= math.log(p[q.index(max(q))])
        else:
            target = softmax([value / temperature for value in z])
            total -= sum(t * math.log(v) for t, v in zip(target, p, strict=True))
    return total / len(weak)


@pytest.mark.parametrize("temperature", [None, 0.5])
@pytest.mark.parametrize("threshold", [0.5, 0.9, 0.95])
def test_the_loss_is_the_papers(threshold, temperature):
    value = FixMatch(threshold=threshold, temperature=temperature)(
        step_of_logits({"weak": WEAK, "strong": STRONG})
    )
    assert value.loss.item() == pytest.approx(naive(WEAK, STRONG, threshold, temperature))


def test_rows_below_the_threshold_count_in_the_mean():
    method = FixMatch(threshold=0.9)
    confident = [0, 2]
    value = method(step_of_logits({"weak": WEAK, "strong": STRONG}))
    alone = method(step_of_logits({"weak": WEAK[confident], "strong": STRONG[confident]}))
    assert value.logs["used"].item() == 0.5
    torch.testing.assert_close(value.loss, alone.loss / 2)


def test_no_gradient_reaches_the_weak_view_nor_strong_rows_below_the_threshold():
    weak, strong = WEAK.clone().requires_grad_(), STRONG.clone().requires_grad_()
    value = FixMatch(threshold=0.9)(step_of_logits({"weak": weak, "strong": strong}))
    torch.autograd.backward(value.loss)
    assert weak.grad is None
    assert strong.grad.abs().sum(dim=1).gt(0).tolist() == [True, False, True, False]
