"""DANN: the discriminator's loss, the reversed gradient, and what a checkpoint brings back."""

import math

import pytest
import torch

from supercm_pl.training.ramps import LinearRampUp
from supercm_pl.uda.methods import DANN, MCC
from tests.support.adversarial import attach, build, case, fit, gradients


def small(**options) -> DANN:
    return DANN(**{"hidden_features": (6,), **options})


def naive_loss(adapter, given):
    """Of the features as they are, without a reversal, one row after the other."""
    logits = adapter.discriminator(torch.cat([given.source, given.target]))
    terms = [-torch.sigmoid(z).log() / 10 for z in logits[:5]]
    return sum(terms + [-(1 - torch.sigmoid(z)).log() / 14 for z in logits[5:]])


def test_the_loss_is_a_naive_loop_over_source_and_unlabeled_target_rows():
    given = case()
    adapter = attach(small(), given)
    torch.testing.assert_close(adapter(given.step).loss, naive_loss(adapter, given))


@pytest.mark.parametrize("progress", [0.0, 0.05, 0.5, 1.0])
def test_features_get_the_gradient_times_minus_lambda_and_the_discriminator_gets_it_whole(progress):
    given = case()
    adapter = attach(small(), given)
    factor = 2 / (1 + math.exp(-10 * progress)) - 1
    plain = gradients(naive_loss(adapter, given), given.features, adapter.discriminator)
    found = gradients(adapter(given.at(progress)).loss, given.features, adapter.discriminator)
    torch.testing.assert_close(found[0], -factor * plain[0])
    torch.testing.assert_close(found[1], plain[1])
    assert plain[0].abs().max() > 0
    assert found[1].abs().max() > 0


def test_lambda_follows_the_given_ramp_up_to_its_maximum():
    adapter = DANN(reversal=LinearRampUp(end=0.5), max_reversal=0.2)
    assert [adapter.reversal_at(p) for p in (0.0, 0.25, 1.0)] == pytest.approx([0.0, 0.1, 0.2])


def test_labeled_target_rows_get_no_gradient():
    given = case()
    (found,) = gradients(attach(small(), given)(given.step).loss, given.features)
    assert found.view_as(given.features)[5:7].abs().max() == 0


def test_the_accuracy_of_the_discriminator_is_logged():
    given = case()
    adapter = attach(small(), given)
    for parameter in adapter.discriminator.parameters():
        torch.nn.init.constant_(parameter, 0.0)
    torch.nn.init.constant_(adapter.discriminator.layers[-1].bias, 1.0)
    assert adapter(given.step).logs["accuracy"].item() == 0.5  # all of the source, none else


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_it_trains(precision):
    module = build(small())
    before = [p.clone() for p in module.methods[0].parameters()]
    logs = fit(module, precision=precision)
    assert all(math.isfinite(step["train/dann"]) for step in logs.steps)
    assert "train/dann_accuracy" in logs.steps[0]
    after = list(module.methods[0].parameters())
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_resumed_run_has_the_same_lambda_and_discriminator(tmp_path):
    whole, resumed, path = build(small()), build(small()), tmp_path / "half.ckpt"
    fit(whole, steps=4, max_epochs=2, save=path)
    torch.nn.init.zeros_(resumed.methods[0].discriminator.layers[0].weight)
    seen = []
    ramp = resumed.methods[0].reversal
    resumed.methods[0].reversal = lambda progress: seen.append(progress) or ramp(progress)
    fit(resumed, steps=4, max_epochs=2, resume=path)
    assert seen == [0.5, 0.625, 0.75, 0.875]
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0)


def test_it_adds_up_with_other_adapters():
    logs = fit(build([small(weight=0.5), MCC()], cm_weight=0.0), steps=1).steps[0]
    total = logs["train/ce"] + 0.5 * logs["train/dann"] + logs["train/mcc"]
    assert logs["train/loss"] == pytest.approx(total, rel=1e-5)
