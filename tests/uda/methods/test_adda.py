"""ADDA: two stages in one run, the frozen encoder, inverted labels, and resuming in each stage."""

import math
from contextlib import contextmanager
from pathlib import Path

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from supercm_pl import UDADataModule, UDAModule
from supercm_pl.backbones import MLP
from supercm_pl.data import Digits, DigitsM, Resized
from supercm_pl.uda.methods import ADDA, MCC
from supercm_pl.uda.validators import IWCV, Entropy, SourceAccuracy
from tests.support.trainers import quiet_trainer
from tests.support.two_domains import Domains, case, fit, gradients, module_of


def small(**options) -> ADDA:
    return ADDA(**{"hidden_features": (6,), **options})


def adapting(given, **options) -> ADDA:
    """In its second stage, with a source encoder that differs from the model's."""
    method = small(**options)
    torch.manual_seed(0)
    method.build(nn.Linear(4, 4), given.head)
    method(given.at(0.5))
    method.after_step(nn.Linear(4, 4), given.head)
    return method


def naive_losses(method, given):
    """The discriminator's loss and the encoder's, one row after the other."""
    source = method.source_encoder(given.step.labeled_inputs["weak"][:5])
    logits = method.discriminator(torch.cat([source, given.target]))
    adversary = sum(-torch.sigmoid(z).log() / 10 for z in logits[:5])
    adversary = adversary + sum(-(1 - torch.sigmoid(z)).log() / 14 for z in logits[5:])
    return adversary, sum(-torch.sigmoid(z).log() / 14 for z in logits[5:])


@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_loss_is_that_of_the_discriminator_and_that_of_inverted_labels(batch_norm):
    given = case()
    method = adapting(given, batch_norm=batch_norm)
    value = method(given.step)
    adversary, mapping = naive_losses(method, given)
    torch.testing.assert_close(value.loss, adversary + mapping)
    torch.testing.assert_close(value.logs["discriminator"], adversary)
    torch.testing.assert_close(value.logs["mapping"], mapping)
    assert value.supervised.item() == 0.0


@pytest.mark.parametrize("batch_norm", [False, True])
def test_each_of_discriminator_and_encoder_learns_from_its_own_loss_alone(batch_norm):
    given = case()
    method = adapting(given, batch_norm=batch_norm)
    adversary, mapping = naive_losses(method, given)
    wanted = given.features, method.discriminator
    found = gradients(method(given.step).loss, *wanted)
    torch.testing.assert_close(found[0], gradients(mapping, given.features)[0])
    torch.testing.assert_close(found[1], gradients(adversary, method.discriminator)[0])
    assert all(gradient.abs().max() > 0 for gradient in found)
    assert found[0].view_as(given.features)[:7].abs().max() == 0  # no labeled row


def test_the_gradient_does_not_vanish_where_the_discriminator_wins():
    given = case()
    method = adapting(given)
    with torch.no_grad():
        method.discriminator.layers[-1].bias.fill_(-20.0)  # all are target, and surely
    (found,) = gradients(method(given.step).loss, given.features)
    # A reversed gradient would be weighed by the probability of being from the source, e^-20.
    assert found.abs().max() > 1e-3


def test_the_first_stage_is_plain_training_on_the_source():
    with_adda, plain = module_of(small(), cm_weight=0.0), module_of([], cm_weight=0.0)
    plain.train(), with_adda.train()
    batch = Domains(1).batches[0]
    source_only = {"source": batch["source"]}
    loss = with_adda.training_step(batch)
    torch.testing.assert_close(loss, plain.training_step(source_only))


class Watched(ADDA):
    """Writes down, after each step, its stage, whether the encoders are equal, and the head."""

    def after_step(self, backbone, head):
        super().after_step(backbone, head)
        mine, current = self.source_encoder.state_dict(), backbone.state_dict()
        same = all(torch.equal(mine[name], current[name]) for name in current)
        weights = {name: value.clone() for name, value in head.state_dict().items()}
        self.seen = [*getattr(self, "seen", []), (self.adapting, same, weights)]


@pytest.mark.parametrize("bottleneck", [None, 5])
@pytest.mark.parametrize("batch_norm", ["mixed", "separate"])
def test_the_encoder_is_copied_once_where_the_first_stage_ends(bottleneck, batch_norm):
    method = Watched(pretrain=0.5, hidden_features=(6,))
    module = module_of(method, cm_weight=0.0, bottleneck=bottleneck, batch_norm=batch_norm)
    logs = fit(module, steps=8)
    # Steps at 0, 1/8, ... 7/8 of the run: that at 4/8 is the first stage's last.
    assert [stage for stage, _, _ in method.seen] == 4 * [False] + 4 * [True]
    assert [same for _, same, _ in method.seen] == 4 * [False] + [True] + 3 * [False]
    assert [step["train/ce"] > 0 for step in logs] == 5 * [True] + 3 * [False]
    assert [step["train/watched"] > 0 for step in logs] == 5 * [False] + 3 * [True]
    assert all(math.isfinite(step["train/watched_accuracy"]) for step in logs[5:])
    assert not any(part.training for part in method.source_encoder.modules())
    assert not any(p.requires_grad for p in method.source_encoder.parameters())


def test_the_head_stays_as_it_is_in_the_second_stage_whatever_the_weight_decay():
    method = Watched(pretrain=0.5, hidden_features=(6,))
    optimizer = {"optimizer": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.5)}
    fit(module_of(method, cm_weight=0.0, **optimizer), steps=8)
    heads = [head for *_, head in method.seen]
    names = ("classifier.weight", "classifier.bias")
    assert all(torch.equal(heads[4][name], heads[-1][name]) for name in names)
    assert not torch.equal(heads[3][names[0]], heads[4][names[0]])


@pytest.mark.parametrize("pretrain", [0.3, 0.6])
def test_a_resumed_run_goes_on_in_its_stage(pretrain, tmp_path):
    whole, resumed = module_of(small(pretrain=pretrain)), module_of(small(pretrain=pretrain))
    path = tmp_path / "half.ckpt"
    fit(whole, steps=4, max_epochs=2, save=path)
    nn.init.zeros_(resumed.methods[0].discriminator.layers[0].weight)
    logs = fit(resumed, steps=4, max_epochs=2, resume=path)
    adversarial = [step["train/adda"] > 0 for step in logs]
    assert adversarial == (4 * [True] if pretrain == 0.3 else 2 * [False] + 2 * [True])
    for name, value in whole.state_dict().items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0)


def test_the_loader_brings_the_target_of_the_second_stage():
    torch.manual_seed(0)
    backbone = MLP(3 * 16 * 16, hidden_features=(8,))
    module = UDAModule(backbone, 10, ADDA(hidden_features=(8,)), cm_weight=0.0)
    trainer = quiet_trainer(max_epochs=1, limit_val_batches=0)
    source = Resized(Digits(), size=16, channels=3)
    trainer.fit(module, UDADataModule(source, DigitsM(), steps_per_epoch=4, seed=0))
    assert trainer.callback_metrics["train/ce"] == 0.0
    assert trainer.callback_metrics["train/adda_mapping"] > 0.0


class Settings(Watched):
    """Writes down the optimizer's settings in the step and after it."""

    @contextmanager
    def during_step(self, optimizer):
        (group,) = optimizer.param_groups
        with super().during_step(optimizer):
            inside = [group["lr"], group["weight_decay"], *group.get("betas", ())]
            yield
        after = [group["lr"], group["weight_decay"], *group.get("betas", ())]
        self.settings = [*getattr(self, "settings", []), (inside, after)]


@pytest.mark.parametrize(
    ("kind", "given", "adapted"),
    [
        (torch.optim.Adam, [0.1, 0.01, 0.9, 0.99], [0.01, 0.0, 0.5, 0.99]),
        (torch.optim.SGD, [0.1, 0.01], [0.01, 0.0]),
    ],
)
def test_the_second_stage_has_settings_of_its_own_and_gives_them_back(kind, given, adapted):
    method = Settings(learning_rate=0.01, hidden_features=(6,))
    betas = {"betas": (0.9, 0.99)} if kind is torch.optim.Adam else {}
    maker = {"optimizer": lambda p: kind(p, lr=0.1, weight_decay=0.01, **betas)}
    fit(module_of(method, cm_weight=0.0, **maker))
    first = [given, given]
    second = [pytest.approx(adapted), given]
    assert [list(step) for step in method.settings] == 5 * [first] + 3 * [second]


def test_the_source_is_validated_by_its_own_encoder(tmp_path):
    method = small()
    module = module_of(method, cm_weight=0.0, validators=[SourceAccuracy(), IWCV()])
    fit(module)
    data = Domains()
    with torch.no_grad():
        for parameter in module.backbone.parameters():
            parameter.zero_()  # the target's encoder knows nothing
    source, labels = data.source
    features = method.source_encoder(source)
    expected = (module.head(features).logits.argmax(1) == labels).float().mean()
    (logged,) = quiet_trainer().validate(module, data.validation(), verbose=False)[:1]
    assert logged["val/source_acc"] == pytest.approx(expected.item())
    assert logged["val/source_accuracy"] == pytest.approx(expected.item())
    assert (module(source).argmax(1) == labels).float().mean() < expected


def test_no_checkpoint_of_the_first_stage_is_chosen(tmp_path):
    chosen = ModelCheckpoint(tmp_path, monitor="val/entropy", mode="max", filename="{epoch}")
    seen = []

    class Values(L.Callback):
        def on_train_epoch_end(self, trainer, module):
            seen.append(trainer.callback_metrics["val/entropy"].item())

    module = module_of(small(), cm_weight=0.0, validators=[Entropy()])
    options = {"enable_checkpointing": True, "num_sanity_val_steps": 0}
    trainer = quiet_trainer(max_epochs=4, callbacks=[chosen, Values()], **options)
    trainer.fit(module, Domains(4), Domains().validation())
    # The first stage ends with the first step of the third epoch.
    assert [math.isnan(value) for value in seen] == [True, True, False, False]
    assert Path(chosen.best_model_path).stem in ("epoch=2", "epoch=3")
    assert chosen.best_model_score.item() == max(seen[2:])


def test_a_monitor_that_prefers_the_first_stage_is_rejected(tmp_path):
    chosen = ModelCheckpoint(tmp_path, monitor="val/source_acc", mode="max")
    trainer = quiet_trainer(callbacks=[chosen], enable_checkpointing=True, num_sanity_val_steps=0)
    with pytest.raises(ValueError, match="val/source_acc, which may be best before ADDA begins"):
        trainer.fit(module_of(small()), Domains(4), Domains().validation())


def test_another_fit_begins_with_the_first_stage_again():
    module = module_of(small(), cm_weight=0.0)
    assert fit(module)[-1]["train/ce"] == 0.0
    again = [step["train/ce"] > 0 for step in fit(module)]
    assert again == [False] + 4 * [True] + 3 * [False]  # the stage is set after a step


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_it_trains_with_supercm_and_other_adapters(precision):
    logs = fit(module_of([small(weight=0.5), MCC()]), precision=precision)
    for step in logs:
        assert all(math.isfinite(value) for value in step.values())
    last = logs[-1]
    total = 0.1 * last["train/cm"] + 0.5 * last["train/adda"] + last["train/mcc"]
    assert last["train/loss"] == pytest.approx(
        total, rel=1e-2 if precision == "bf16-mixed" else 1e-5
    )
