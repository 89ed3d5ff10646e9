"""MCC: the class confusion, and the method."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from supercm_pl.uda.methods import MCC
from supercm_pl.uda.methods.mcc import class_confusion
from tests.support.two_domains import DTYPES, random_step


def naive_confusion(logits: Tensor, temperature: float) -> float:
    """By the paper: weights, matrix of confusions, its rows normalised, its off-diagonal."""
    num_rows, num_classes = logits.shape
    p = (logits.double() / temperature).softmax(dim=1).tolist()
    certainty = [1 + math.exp(sum(q * math.log(q) for q in row)) for row in p]
    weights = [num_rows * c / sum(certainty) for c in certainty]
    confusion = 0.0
    for k in range(num_classes):
        row = [
            sum(w * q[k] * q[m] for w, q in zip(weights, p, strict=True))
            for m in range(num_classes)
        ]
        confusion += sum(row[m] for m in range(num_classes) if m != k) / sum(row)
    return confusion / num_classes


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_confusion_is_that_of_a_loop(temperature, dtype):
    logits = (3 * torch.randn(7, 4, generator=torch.Generator().manual_seed(0))).to(dtype)
    value = class_confusion(logits, temperature)
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert value.item() == pytest.approx(naive_confusion(logits, temperature), rel=1e-5)


def test_no_gradient_goes_through_the_weights():
    torch.manual_seed(0)
    logits = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(class_confusion(logits, 1.0), logits)

    p = logits.softmax(dim=1)
    weights = (1 + (p * p.log()).sum(dim=1, keepdim=True).exp()).detach()
    matrix = (weights * p).T @ p
    expected = 1 - (matrix.diagonal() / matrix.sum(dim=1)).mean()
    torch.testing.assert_close(gradient, *torch.autograd.grad(expected, logits))


@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_extreme_logits_have_finite_gradients(scale):
    logits = torch.tensor([[scale, 0.0, 0.0], [scale, 0.0, 0.0]], requires_grad=True)
    value = class_confusion(logits)
    value.backward()
    assert logits.grad.isfinite().all()
    # One class takes all: the two that no sample has a share of count as confused.
    assert value.item() == pytest.approx(2 / 3)


def test_the_method_looks_at_the_target_alone():
    step = random_step()
    expected = class_confusion(step.target.logits, 2.5)
    torch.testing.assert_close(MCC()(step).loss, expected)
    torch.testing.assert_close(
        MCC(temperature=1.0)(step).loss, class_confusion(step.target.logits, 1.0)
    )


@pytest.mark.bad_input
def test_bad_tensors_are_named():
    with pytest.raises(ValueError, match="temperature must be greater than 0, got -1"):
        class_confusion(torch.ones(2, 3), -1.0)
    with pytest.raises(ValueError, match=r"logits must have shape \(N, K\), got \(3,\)"):
        class_confusion(torch.ones(3))
