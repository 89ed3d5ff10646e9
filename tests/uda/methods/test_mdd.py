"""MDD: agreement on the source, disagreement on the target, and the reversed gradient."""

import math

import pytest
import torch
from torch.nn import functional as F

from supercm_pl.uda.methods import DANN, MDD
from supercm_pl.uda.methods.mdd import complement_cross_entropy
from tests.support.adversarial import attach, build, case, fit, gradients


def small(**options) -> MDD:
    return MDD(**{"hidden_features": 6, "dropout": 0.0, **options})


def naive_loss(adapter, given, margin=4.0):
    """One row after the other, of the features as they are, without a reversal."""
    total = torch.zeros(())
    for i, features in enumerate(given.features):
        if i in (5, 6):
            continue  # labeled target rows
        predicted = int(given.head(features[None]).logits.argmax())
        probability = torch.softmax(adapter.classifier(features), dim=0)[predicted]
        if i < 5:
            total = total - margin * probability.log() / 5
        else:
            total = total - (1 - probability).log() / 7
    return total


@pytest.mark.parametrize("margin", [1.0, 4.0])
def test_the_loss_is_a_naive_loop(margin):
    given = case()
    adapter = attach(small(margin=margin), given)
    torch.testing.assert_close(adapter(given.step).loss, naive_loss(adapter, given, margin))


@pytest.mark.parametrize("progress", [0.0, 0.2, 1.0])
def test_features_get_the_gradient_times_minus_lambda_and_the_classifier_gets_it_whole(progress):
    given = case()
    adapter = attach(small(), given)
    factor = 0.1 * (2 / (1 + math.exp(-10 * progress)) - 1)
    plain = gradients(naive_loss(adapter, given), given.features, adapter.classifier)
    wanted = given.features, adapter.classifier, given.head
    found = gradients(adapter(given.at(progress)).loss, *wanted)
    torch.testing.assert_close(found[0], -factor * plain[0])
    torch.testing.assert_close(found[1], plain[1])
    assert plain[0].abs().max() > 0
    assert found[1].abs().max() > 0
    assert found[2].abs().max() == 0  # the head only says the classes


def test_the_auxiliary_classifier_learns_to_agree_on_the_source_and_not_on_the_target():
    given = case()
    adapter = attach(small(), given)
    optimizer = torch.optim.Adam(adapter.parameters(), lr=0.02)

    def agreement() -> tuple[float, float]:
        return tuple(
            adapter.classifier(rows.features)
            .softmax(dim=1)
            .gather(1, rows.logits.argmax(dim=1)[:, None])
            .mean()
            .item()
            for rows in (given.step.source, given.step.target)
        )

    source_before, target_before = agreement()
    for _ in range(100):
        optimizer.zero_grad()
        adapter(given.step).loss.backward(retain_graph=True)
        optimizer.step()
    source, target = agreement()
    assert source > source_before
    assert target < target_before


def test_the_complement_is_exact_where_the_softmax_is_not():
    logits = torch.tensor([[30.0, 0.0, -1.0]], requires_grad=True)
    loss = complement_cross_entropy(logits, torch.tensor([0]))
    z = logits.detach().double()
    others = F.log_softmax(z, dim=1)[0, 1:].logsumexp(dim=0)
    assert loss.item() == pytest.approx(-others.item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient[0, 0] == pytest.approx(1.0)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_it_trains_and_its_classifier_is_in_the_checkpoint(precision, tmp_path):
    module, path = build(small(dropout=0.5)), tmp_path / "end.ckpt"
    before = [p.clone() for p in module.methods[0].parameters()]
    logs = fit(module, precision=precision, save=path)
    assert all(math.isfinite(step["train/mdd"]) for step in logs.steps)
    after = list(module.methods[0].parameters())
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    resumed = build(small(dropout=0.5))
    resumed.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    for one, other in zip(after, resumed.methods[0].parameters(), strict=True):
        assert torch.equal(one, other)


def test_it_adds_up_with_dann():
    adapters = [small(weight=0.5), DANN(hidden_features=(6,))]
    logs = fit(build(adapters, cm_weight=0.0), steps=1).steps[0]
    total = logs["train/ce"] + 0.5 * logs["train/mdd"] + logs["train/dann"]
    assert logs["train/loss"] == pytest.approx(total, rel=1e-5)
