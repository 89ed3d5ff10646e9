"""DANN: the discriminator's loss, the reversed gradient, and what a checkpoint brings back."""

import math
from dataclasses import replace

import pytest
import torch

from supercm_pl.training.ramps import LinearRampUp
from supercm_pl.uda.methods import DANN
from tests.support.two_domains import assert_reversed, built, case, gradients


def small(**options) -> DANN:
    return DANN(**{"hidden_features": (6,), **options})


def naive_loss(method, given):
    """Of the features as they are, without a reversal, one row after the other."""
    logits = method.discriminator(torch.cat([given.source, given.target]))
    losses = [-torch.sigmoid(z).log() / 10 for z in logits[:5]]
    return sum(losses + [-(1 - torch.sigmoid(z)).log() / 14 for z in logits[5:]])


def test_the_loss_is_a_naive_loop_over_source_and_unlabeled_target_rows():
    given = case()
    method = built(small(), given)
    torch.testing.assert_close(method(given.step).loss, naive_loss(method, given))


@pytest.mark.parametrize("progress", [0.0, 0.05, 0.5, 1.0])
def test_features_get_the_gradient_times_minus_lambda_and_the_discriminator_gets_it_whole(progress):
    given = case()
    method = built(small(), given)
    assert_reversed(method, given, progress, naive_loss(method, given), method.discriminator)


def test_lambda_follows_the_given_ramp_up_to_its_maximum():
    method = DANN(reversal=LinearRampUp(end=0.5), max_reversal=0.2)
    steps = [replace(case().step, progress=p) for p in (0.0, 0.25, 1.0)]
    assert [method.reversal_at(step) for step in steps] == pytest.approx([0.0, 0.1, 0.2])


def test_lambda_in_steps_does_not_depend_on_the_length_of_the_run():
    method = DANN(reversal=1000, max_reversal=0.2)
    steps = [replace(case().step, progress=p, steps_taken=1000) for p in (0.1, math.nan)]
    # tllib's WarmStartGradientReverseLayer with max_iters=1000 and hi=0.2, at its step 1000.
    assert [method.reversal_at(step) for step in steps] == pytest.approx([0.0924234] * 2)
    assert not method.needs_progress
    assert DANN().needs_progress


def test_labeled_target_rows_get_no_gradient():
    given = case()
    (found,) = gradients(built(small(), given)(given.step).loss, given.features)
    assert found.view_as(given.features)[5:7].abs().max() == 0


def test_the_accuracy_of_the_discriminator_is_logged():
    given = case()
    method = built(small(), given)
    for parameter in method.discriminator.parameters():
        torch.nn.init.constant_(parameter, 0.0)
    torch.nn.init.constant_(method.discriminator.layers[-1].bias, 1.0)
    assert method(given.step).logs["accuracy"].item() == 0.5  # all of the source, none else
