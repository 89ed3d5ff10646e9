"""Batch norm treats the views that a method compares alike."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supercm_pl import SSLModule, UDAModule
from supercm_pl.ssl.methods import (
    VAT,
    AdaMatch,
    EntropyMinimization,
    FixMatch,
    MeanTeacher,
    MixMatch,
    PiModel,
)
from supercm_pl.training.module import SuperCMModule

POLICIES = [(SSLModule, "labeled"), (SSLModule, "all")]
POLICIES += [(UDAModule, policy) for policy in ("mixed", "separate", "domain")]


def module_of(kind: type[SuperCMModule], policy: str, methods: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh())
    return kind(backbone, 3, methods, feature_size=6, batch_norm=policy, **options)


def batch_of(module: SuperCMModule, more: dict[str, Any] | None = None) -> dict[str, Any]:
    """The same inputs in all views, far from the labeled ones, which come in one view."""
    labeled, unlabeled = torch.randn(6, 4) + 3, torch.randn(8, 4)
    views = dict.fromkeys(("weak", "strong", "weak_2"), unlabeled)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    return {
        module.labeled_part: ({"weak": labeled, "strong": labeled}, labels),
        module.unlabeled_part: views,
        **(more or {}),
    }


@pytest.mark.parametrize(("kind", "policy"), POLICIES)
@pytest.mark.parametrize("beside", [[], [FixMatch()]], ids=["alone", "with FixMatch"])
@pytest.mark.parametrize("method", [PiModel, MeanTeacher])
def test_views_that_are_the_same_have_no_difference(kind, policy, beside, method):
    module = module_of(kind, policy, [method(), *beside], cm_weight=0.3).double()
    more = {"labeled_target": (torch.randn(4, 4).double(), torch.tensor([0, 1, 2, 0]))}
    batch = batch_of(module, more if kind is UDAModule and not beside else None)
    module.training_step(_double(batch))
    name = module.methods[0].name
    assert module.step_values[name].item() < 1e-20


def _double(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, dict):
        return {name: _double(part) for name, part in value.items()}
    return tuple(_double(part) for part in value)


@pytest.mark.parametrize(("kind", "policy"), POLICIES)
def test_samples_of_vat_are_normalized_without_the_labeled_ones(kind, policy):
    seen: list[int] = []
    module = module_of(kind, policy, [VAT(), EntropyMinimization()], cm_weight=0.0)
    module.backbone[1].register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    module.training_step(batch_of(module))
    joint = policy in ("all", "mixed")
    assert seen == ([14] if joint else [6, 8]) + [8, 8, 8]


@pytest.mark.parametrize("cm_weight", [0.0, 0.3])
@pytest.mark.parametrize(("kind", "policy"), [(SSLModule, "all"), (UDAModule, "mixed")])
def test_views_of_a_guess_of_mixmatch_are_normalized_alike(kind, policy, cm_weight):
    module = module_of(kind, policy, MixMatch(temperature=1.0), cm_weight=cm_weight).double()
    batch = _double(batch_of(module))
    step = module.forward_step(module.parse_batch(batch))
    expected = module.forward_frozen_bn(batch[module.unlabeled_part]["weak"]).logits.softmax(1)
    torch.testing.assert_close(module.methods[0].guess(step), expected)


@pytest.mark.parametrize("beside", [[], [EntropyMinimization()]], ids=["SuperCM", "entropy"])
@pytest.mark.parametrize(("kind", "policy"), POLICIES[:4])
def test_samples_of_vat_do_not_move_the_statistics_beside_another_pass(kind, policy, beside):
    cm_weight = 0.0 if beside else 0.3
    module = module_of(kind, policy, [VAT(epsilon=100.0), *beside], cm_weight=cm_weight)
    batch = batch_of(module)
    linear = module.backbone[0]
    labeled = linear(batch[module.labeled_part][0]["weak"])
    unlabeled = linear(batch[module.unlabeled_part]["weak"])
    expected = {
        "labeled": 0.1 * labeled.mean(0),
        "separate": 0.09 * labeled.mean(0) + 0.1 * unlabeled.mean(0),
    }.get(policy, 0.1 * torch.cat([labeled, unlabeled]).mean(0))
    module.training_step(batch)
    torch.testing.assert_close(module.backbone[1].running_mean, expected)


def test_adamatch_interpolates_between_logits_that_differ():
    found = []

    class Watched(AdaMatch):
        def _interpolated(self, step: Any) -> Tensor:
            together = torch.cat([step.labeled[view].logits for view in self.labeled_views])
            inputs = torch.cat([step.labeled_inputs[view] for view in self.labeled_views])
            found.append((together - step.forward_frozen_bn(inputs).logits).abs().max().item())
            return super()._interpolated(step)

    for kind, policy in ((SSLModule, None), (SSLModule, "all"), (UDAModule, "mixed")):
        module = module_of(kind, policy, Watched())
        module.training_step(batch_of(module))
    assert min(found) > 0.1


@pytest.mark.parametrize(("kind", "policy"), POLICIES)
@pytest.mark.parametrize("method", [AdaMatch, MixMatch])
def test_a_method_that_needs_a_joint_pass_rejects_separate_ones(kind, policy, method):
    build = lambda: module_of(kind, policy, method())  # noqa: E731
    joint = "all" if kind is SSLModule else "mixed"
    if policy == joint:
        assert build().batch_norm == joint
    else:
        with pytest.raises(ValueError, match=f'batch_norm must be "{joint}" with .*got \'{policy}'):
            build()
