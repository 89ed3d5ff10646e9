"""MCD: classifiers that disagree on the target, features that learn that they agree."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from supercm_pl.uda.methods import DANN, MCD
from supercm_pl.uda.methods.mcd import discrepancy
from tests.support.two_domains import assert_reversed, built, case, fit, module_of


def naive_loss(method, given):
    """One row after the other, of the features as they are, without a reversal."""
    total = torch.zeros(())
    for features in given.target:
        first = torch.softmax(given.head(features[None]).logits[0], dim=0)
        second = torch.softmax(method.classifier(features), dim=0)
        total = total - sum((first[k] - second[k]).abs() / 3 for k in range(3)) / 7
    return total


def test_the_loss_is_minus_the_discrepancy_of_a_naive_loop():
    given = case()
    method = built(MCD(), given)
    torch.testing.assert_close(method(given.step).loss, naive_loss(method, given))


@pytest.mark.parametrize("progress", [0.0, 0.2, 1.0])
def test_features_get_the_gradient_times_minus_lambda_and_both_classifiers_get_it_whole(progress):
    given = case()
    method = built(MCD(), given)
    both = given.head.classifier, method.classifier
    assert_reversed(method, given, progress, naive_loss(method, given), *both)


@pytest.mark.parametrize("bias", [True, False])
def test_the_reversal_holds_after_the_head_has_moved(bias):
    given = case()
    if not bias:
        given.head.classifier.bias = None
    method = built(MCD(), given)
    with torch.no_grad():
        for parameter in given.head.classifier.parameters():
            parameter.add_(torch.randn_like(parameter))
    method.after_step(nn.Identity(), given.head)
    assert_reversed(method, given, 1.0, naive_loss(method, given))


def test_both_classifiers_learn_all_labeled_rows():
    given = case()
    method = built(MCD(), given)
    features, labels = given.features[:7], given.step.labels
    expected = F.cross_entropy(given.head(features).logits, labels)
    expected = expected + F.cross_entropy(method.classifier(features), labels)
    torch.testing.assert_close(method(given.step).supervised, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_the_discrepancy_is_a_mean_over_rows_and_classes(dtype):
    far = torch.tensor([[50.0, 0.0, 0.0, 0.0]], dtype=dtype)
    assert discrepancy(far, far.roll(1, dims=1)).item() == 2 / 4
    assert discrepancy(far, far).item() == 0.0


def test_its_copy_of_the_head_is_up_to_date():
    module = module_of(MCD())
    fit(module)
    method = module.methods[0]
    assert torch.equal(method.head_weight, module.head.classifier.weight)
    assert torch.equal(method.head_bias, module.head.classifier.bias)


def test_it_adds_up_with_dann_and_its_weight_is_that_of_the_discrepancy_alone():
    methods = [MCD(weight=10.0), DANN(hidden_features=(6,))]
    logs = fit(module_of(methods, cm_weight=0.0), steps=1)[0]
    total = logs["train/ce"] + 10 * logs["train/mcd"] + logs["train/dann"]
    assert logs["train/loss"] == pytest.approx(total, rel=1e-5)
