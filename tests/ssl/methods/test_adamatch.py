"""AdaMatch: interpolation, alignment and the relative threshold."""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F

from supercm_pl.clustering import ClusteringHead
from supercm_pl.ssl.methods import AdaMatch
from tests.support.digits import check_fit, digits_module
from tests.support.steps import rows_of, softmax, step_of_logits

LABELS = torch.tensor([0, 2, 1, 1])


def build(**options):
    term = AdaMatch(**{"momentum": 0.7, "window": 3, **options})
    term.build(torch.nn.Identity(), ClusteringHead(2, 3))
    return term


def make_step(seed, alone=rows_of):
    """A step whose second pass gives other logits than the first, as with batch norm."""
    generator = torch.Generator().manual_seed(seed)
    weak, strong = 2 * torch.randn(2, 7, 3, generator=generator)
    labeled = dict(
        zip(("weak", "strong"), 2 * torch.randn(2, 4, 3, generator=generator), strict=True)
    )
    return step_of_logits(
        {"weak": weak, "strong": strong},
        labeled,
        LABELS,
        labeled_inputs=labeled,
        extra_forward=alone,
        forward_frozen_bn=alone,
    )


class Naive:
    def __init__(self, threshold=0.9, momentum=0.7, window=3):
        self.tau, self.m = threshold, momentum
        self.labeled = [1 / 3] * 3
        self.recent = [[1 / 3] * 3] * window

    def losses(self, step, shares):
        both = torch.cat([step.labeled["weak"].logits, step.labeled["strong"].logits])
        alone = step.extra_forward(both).logits
        z = [
            [u * a + (1 - u) * b for u, a, b in zip(*row, strict=True)]
            for row in zip(shares.tolist(), both.tolist(), alone.tolist(), strict=True)
        ]
        labels = [*LABELS.tolist(), *LABELS.tolist()]
        supervised = sum(-math.log(softmax(r)[y]) for r, y in zip(z, labels, strict=True)) / 8
        known = [softmax(row) for row in z[:4]]
        q = [softmax(row) for row in step.unlabeled["weak"].logits.tolist()]
        p = [softmax(row) for row in step.unlabeled["strong"].logits.tolist()]
        for k in range(3):
            mean = sum(row[k] for row in known) / 4
            self.labeled[k] = self.m * self.labeled[k] + (1 - self.m) * mean
        self.recent = [*self.recent[1:], [sum(row[k] for row in q) / 7 for k in range(3)]]
        expected = [sum(row[k] for row in self.recent) / len(self.recent) for k in range(3)]
        threshold = self.tau * sum(map(max, known)) / 4
        total = 0.0
        for row, other in zip(q, p, strict=True):
            scaled = [v * a / b for v, a, b in zip(row, self.labeled, expected, strict=True)]
            if max(scaled) / sum(scaled) >= threshold:
                total -= math.log(other[scaled.index(max(scaled))])
        return total / 7, supervised


def test_losses_and_expectations_of_a_run_are_the_papers():
    term, naive = build(), Naive()
    for seed in range(8):
        step = make_step(seed, alone=lambda inputs: rows_of(1.5 * inputs - 0.2))
        torch.manual_seed(seed)
        shares = torch.rand(8, 3)
        torch.manual_seed(seed)
        value = term(step)
        loss, supervised = naive.losses(step, shares)
        assert value.loss.item() == pytest.approx(loss, rel=1e-4)
        assert value.supervised.item() == pytest.approx(supervised, rel=1e-4)
        assert term.labeled_mean.tolist() == pytest.approx(naive.labeled, rel=1e-4)


def test_the_threshold_rises_with_the_confidence_on_labeled_rows():
    thresholds = []
    for scale in (0.0, 1.0, 3.0, 20.0):
        step = make_step(0)
        labeled = {view: scale * F.one_hot(LABELS, 3).float() for view in ("weak", "strong")}
        views = {view: rows.logits for view, rows in step.unlabeled.items()}
        value = build()(step_of_logits(views, labeled, LABELS, labeled_inputs=labeled))
        thresholds.append(value.logs["threshold"].item())
    assert thresholds == sorted(thresholds)
    assert thresholds[0] == pytest.approx(0.9 / 3)
    assert thresholds[-1] == pytest.approx(0.9)


def test_alignment_turns_predictions_to_classes_that_are_predicted_too_rarely():
    # All unlabeled rows lean to class 0, the last one least; the labels are balanced.
    weak = torch.tensor([[3.0, 0.0, 0.0]] * 6 + [[1.0, 0.9, 0.0]])
    strong = torch.zeros(7, 3, requires_grad=True)
    labeled = {"weak": 0.1 * torch.eye(3)[LABELS], "strong": torch.zeros(4, 3)}
    step = step_of_logits({"weak": weak, "strong": strong}, labeled, LABELS, labeled_inputs=labeled)
    torch.autograd.backward(build(window=1)(step).loss)
    assert strong.grad[6].argmin() == 1


def test_the_unlabeled_loss_has_a_gradient_on_the_strong_view_alone():
    step = make_step(1)
    leaves = {
        (part, view): rows.logits.clone().requires_grad_()
        for part, views in (("labeled", step.labeled), ("unlabeled", step.unlabeled))
        for view, rows in views.items()
    }
    views = [
        {view: leaves[part, view] for view in ("weak", "strong")}
        for part in ("unlabeled", "labeled")
    ]
    value = build(threshold=0.1)(step_of_logits(*views, LABELS, labeled_inputs=views[1]))
    torch.autograd.backward(value.loss)
    assert [key for key, leaf in leaves.items() if leaf.grad is not None] == [
        ("unlabeled", "strong")
    ]


def test_the_labeled_rows_alone_go_through_one_further_pass():
    passes = []
    module = digits_module(AdaMatch(), cm_weight=0.5)
    whole = module.forward_outputs
    module.forward_outputs = lambda inputs: passes.append(len(inputs)) or whole(inputs)
    views = {"weak": torch.rand(12, 1, 8, 8), "strong": torch.rand(12, 1, 8, 8)}
    labeled = {"weak": torch.rand(5, 1, 8, 8), "strong": torch.rand(5, 1, 8, 8)}
    module.training_step({"labeled": (labeled, torch.arange(5)), "unlabeled": views})
    assert passes == [2 * 5 + 2 * 12, 2 * 5]


def test_a_saved_term_goes_on_as_if_nothing_had_happened():
    term, other = build(), build()
    for seed in range(5):
        term(make_step(seed))
    other.load_state_dict(deepcopy(term.state_dict()))
    losses = []
    for one in (term, other):
        torch.manual_seed(0)
        losses.append(one(make_step(5)).loss)
    torch.testing.assert_close(*losses, rtol=0, atol=0)
    torch.testing.assert_close(other.state_dict(), term.state_dict(), rtol=0, atol=0)
    assert set(term.state_dict()) == {"labeled_mean", "unlabeled_means", "num_batches"}


def test_trains_on_digits():
    term = check_fit(AdaMatch(), "ada_match_used", "ada_match_threshold").methods[0]
    assert term.num_batches == 4


def test_the_weight_ramps_up_as_published():
    term = AdaMatch(weight=2.0)
    assert [round(term.weight_at(p), 6) for p in (0.0, 0.25, 0.5, 1.0)] == [0.0, 1.0, 2.0, 2.0]
    assert AdaMatch(ramp=None).weight_at(0.0) == 1.0
