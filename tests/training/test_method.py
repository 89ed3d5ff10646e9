"""The base class of methods: weight, ramp and the name in logs."""

import torch

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
