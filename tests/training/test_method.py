"""The base class of methods: weight, ramp and the name in logs."""

from typing import Any

import pytest
import torch

from supercm_pl import SSLModule
from supercm_pl.backbones import MLP
from supercm_pl.training.method import Method, MethodLoss
from supercm_pl.training.ramps import LinearRampUp


class FixMatch(Method):
    def forward(self, step: object) -> MethodLoss:
        return MethodLoss(torch.zeros(()))


class VAT(FixMatch):
    pass


class CDANWithEntropy(FixMatch):
    pass


def test_the_weight_follows_the_ramp():
    method = FixMatch(weight=4.0, ramp=LinearRampUp(end=0.5))
    assert [method.weight_at(p) for p in (0.0, 0.25, 0.5, 1.0)] == [0.0, 2.0, 4.0, 4.0]
    assert FixMatch(weight=4.0).weight_at(0.0) == 4.0


def test_the_name_is_the_class_name_in_snake_case():
    names = [kind().name for kind in (FixMatch, VAT, CDANWithEntropy)]
    assert names == ["fix_match", "vat", "cdan_with_entropy"]


BATCH = {
    "labeled": (torch.zeros(4, 5), torch.arange(4) % 2),
    "unlabeled": {"weak": torch.ones(3, 5), "strong": torch.ones(3, 5)},
}


ZERO = torch.zeros(())


def method(forward: Any, **attributes: Any) -> Any:
    return type("Mine", (Method,), {"forward": forward, **attributes})


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: method(lambda self, step: torch.zeros(())),
            r"must return MethodLoss\(loss\), got T",
        ),
        (
            lambda: method(lambda self, step: MethodLoss(step.unlabeled["weak"].logits)),
            r"loss of Mine must be a scalar tensor, got shape \(3, 2\)",
        ),
        (lambda: method(lambda self, step: MethodLoss(0.5)), "must be a scalar tensor, got 0.5"),
        (
            lambda: method(lambda self, step: MethodLoss(step.unlabeled["strong"].logits.mean())),
            r'Mine.forward uses the view "strong", .* views = \("weak", "strong"\)',
        ),
        (
            lambda: method(lambda self, step: MethodLoss(ZERO, supervised=ZERO)),
            r"Mine has replaces_supervised = False and a MethodLoss\(supervised=...\): write True",
        ),
        (
            lambda: method(lambda self, step: MethodLoss(ZERO), replaces_supervised=True),
            r"has replaces_supervised = True and no MethodLoss\(supervised=...\): return it",
        ),
        (lambda: method(None, views="weak"), r'write views = \("weak",\), a tuple'),
        (
            lambda: method(lambda self, step: 0, __init__=lambda self: None),
            r"Mine.__init__ must call super\(\).__init__\(weight=weight, ramp=ramp\)",
        ),
    ],
)
def test_a_method_of_ones_own_with_a_mistake(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        SSLModule(MLP(5, (4,)), 2, make()()).training_step(BATCH)


class Confident(SSLModule):
    def objective(self, step: Any) -> torch.Tensor:
        self.log_training({"number": 0.5})
        seen = [step.labeled["weak"], step.unlabeled["weak"], step.unlabeled["strong"]]
        return sum(outputs.assignments.amax() for outputs in seen)


def test_an_objective_of_ones_own_gets_the_views_that_it_declares() -> None:
    with pytest.raises(ValueError, match=r'Confident.objective uses the view "strong", which its'):
        Confident(MLP(5, (4,)), 2, cm_weight=0).training_step(BATCH)
    both = type("Both", (Confident,), {"views": ("weak", "strong")})
    module = both(MLP(5, (4,)), 2, cm_weight=0)
    assert module.training_step(BATCH).requires_grad
    assert module.step_values["number"] == 0.5
    assert module.required_views["unlabeled"]["strong"] == ("objective",)
