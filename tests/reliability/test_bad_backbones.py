"""Backbones whose features, or inputs, are not what they say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supercm_pl import SSLModule
from supercm_pl.backbones import MLP

pytestmark = pytest.mark.bad_input

BATCH = {"labeled": (torch.zeros(6, 4), torch.arange(6) % 3), "unlabeled": torch.zeros(8, 4)}


class Odd(nn.Module):
    """A backbone that does something to its features that it must not."""

    out_features = 8

    def __init__(self, spoil: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 8)
        self.spoil = spoil

    def forward(self, inputs: Tensor) -> Any:
        return self.spoil(self.layer(inputs))


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda f: f[:3], ValueError, "backbone must return a row .* of 14 inputs, got 3"),
        (lambda f: f[:, :5], ValueError, r"must have shape \(N, in_features=8\), got \(14, 5\)"),
        (lambda f: f[:, None], ValueError, r"\(N, in_features=8\), got \(14, 1, 8\)"),
        (lambda f: f.flatten(), ValueError, r"\(N, in_features=8\), got \(112,\)"),
        (lambda f: (f, f), TypeError, "features must be a tensor, got tuple"),
        (lambda f: {"features": f}, TypeError, "features must be a tensor, got dict"),
        (lambda f: f.long(), TypeError, "features must be a floating-point tensor, got torch.int"),
    ],
)
def test_features_of_a_backbone(spoil: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SSLModule(Odd(spoil), num_classes=3).training_step(BATCH)


@pytest.mark.parametrize("shape", [(2, 7), (2, 1, 5), (4,), (2, 0)])
def test_inputs_of_a_perceptron(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="inputs must have 4 values per sample, the in_features"):
        MLP(4, (8,))(torch.zeros(shape))
