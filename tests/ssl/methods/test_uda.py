"""UDA: the loss of the paper, and training signal annealing."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from supercm_pl.ssl.methods import UDA
from tests.support.steps import STRONG, WEAK, softmax, step_of_logits


def naive(weak, strong, threshold, temperature):
    total = 0.0
    for z, s in zip(weak.tolist(), strong.tolist(), strict=True):
        if max(softmax(z)) > threshold:
            target, p = softmax([value / temperature for value in z]), softmax(s)
            total += sum(t * math.log(t / v) for t, v in zip(target, p, strict=True))
    return total / len(weak)


@pytest.mark.parametrize("temperature", [0.4, 1.0])
@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.93])
def test_the_loss_is_the_papers(threshold, temperature):
    value = UDA(threshold=threshold, temperature=temperature)(
        step_of_logits({"weak": WEAK, "strong": STRONG})
    )
    assert value.loss.item() == pytest.approx(naive(WEAK, STRONG, threshold, temperature))
    assert value.supervised is None


@pytest.mark.parametrize(
    ("tsa", "fraction"), [("linear", 0.25), ("log", 1 - math.exp(-1.25)), ("exp", math.exp(-3.75))]
)
def test_annealing_leaves_out_labeled_rows_that_are_known_too_well(tsa, fraction):
    labels = torch.tensor([0, 0, 1, 2])
    threshold = fraction * (1 - 1 / 3) + 1 / 3
    own = [softmax(row)[label] for row, label in zip(STRONG.tolist(), labels.tolist(), strict=True)]
    losses = [-math.log(p) for p in own if p <= threshold]
    assert 0 < len(losses) < 4 or tsa == "log"
    value = UDA(tsa=tsa)(
        step_of_logits({"weak": WEAK, "strong": STRONG}, {"weak": STRONG}, labels, progress=0.25)
    )
    assert value.supervised.item() == pytest.approx(sum(losses) / len(losses))
    assert value.logs["tsa_used"].item() == pytest.approx(len(losses) / 4)


def test_annealing_with_no_row_left_gives_zero_and_at_the_end_plain_cross_entropy():
    labels, sure = torch.tensor([0, 1]), torch.tensor([[9.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    views = {"weak": WEAK, "strong": STRONG}
    method = UDA(tsa="linear")
    assert method(step_of_logits(views, {"weak": sure}, labels, progress=0.0)).supervised == 0.0
    value = method(step_of_logits(views, {"weak": sure}, labels, progress=1.0))
    torch.testing.assert_close(value.supervised, F.cross_entropy(sure, labels))


def test_only_annealing_takes_the_place_of_the_supervised_loss():
    assert not UDA().replaces_supervised
    assert UDA(tsa="log").replaces_supervised
    assert not UDA.replaces_supervised
