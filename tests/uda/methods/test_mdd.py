"""MDD: agreement on the source, disagreement on the target, and the reversed gradient."""

import pytest
import torch
from torch.nn import functional as F

from supercm_pl.uda.methods import MDD
from supercm_pl.uda.methods.mdd import complement_cross_entropy
from tests.support.two_domains import assert_reversed, built, case, gradients


def small(**options) -> MDD:
    return MDD(**{"hidden_features": 6, "dropout": 0.0, **options})


def naive_loss(method, given, margin=4.0):
    """One row after the other, of the features as they are, without a reversal."""
    total = torch.zeros(())
    for i, features in enumerate(given.features):
        if i in (5, 6):
            continue  # labeled target rows
        predicted = int(given.head(features[None]).logits.argmax())
        probability = torch.softmax(method.classifier(features), dim=0)[predicted]
        if i < 5:
            total = total - margin * probability.log() / 5
        else:
            total = total - (1 - probability).log() / 7
    return total


@pytest.mark.parametrize("margin", [1.0, 4.0])
def test_the_loss_is_a_naive_loop(margin):
    given = case()
    method = built(small(margin=margin), given)
    torch.testing.assert_close(method(given.step).loss, naive_loss(method, given, margin))


@pytest.mark.parametrize("progress", [0.0, 0.2, 1.0])
def test_features_get_the_gradient_times_minus_lambda_and_the_classifier_gets_it_whole(progress):
    given = case()
    method = built(small(), given)
    loss = naive_loss(method, given)
    assert_reversed(method, given, progress, loss, method.classifier, most=0.1)
    (of_head,) = gradients(method(given.at(progress)).loss, given.head)
    assert of_head.abs().max() == 0  # the head only says the classes


def test_the_complement_is_exact_where_the_softmax_is_not():
    logits = torch.tensor([[30.0, 0.0, -1.0]], requires_grad=True)
    loss = complement_cross_entropy(logits, torch.tensor([0]))
    z = logits.detach().double()
    others = F.log_softmax(z, dim=1)[0, 1:].logsumexp(dim=0)
    assert loss.item() == pytest.approx(-others.item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient[0, 0] == pytest.approx(1.0)
    assert gradient.isfinite().all()
