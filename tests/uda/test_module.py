"""UDAModule: the objective, batch norm across domains, validation without target labels."""

from __future__ import annotations

import lightning.pytorch as L
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from supercm_pl import UDAModule
from supercm_pl.backbones import MLP
from supercm_pl.clustering.functional import clustering_loss
from supercm_pl.training.method import MethodLoss
from supercm_pl.training.optim import InverseDecayLR
from supercm_pl.uda.methods import Method, UDAStep
from supercm_pl.uda.validators import Entropy, SourceAccuracy
from tests.support.trainers import quiet_trainer
from tests.support.two_domains import Domains, Plain


class Normalised(nn.Sequential):
    """A backbone with batch norm."""

    out_features = 8

    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())


def build(backbone: type[nn.Module] | None = None, **options) -> UDAModule:
    torch.manual_seed(0)
    return UDAModule(MLP(4, (8,)) if backbone is None else backbone(), 3, **options)


def trainer(**options) -> L.Trainer:
    return quiet_trainer(num_sanity_val_steps=0, **{"max_epochs": 1, **options})


class Gap(Method):
    """Distance of the mean features: simple enough to check by hand."""

    def forward(self, step: UDAStep) -> MethodLoss:
        gap = step.source.features.mean(0) - step.target.features.mean(0)
        return MethodLoss(gap.square().sum())


class Keeper(Method):
    """Keeps the step."""

    def forward(self, step: UDAStep) -> MethodLoss:
        self.step = step
        return MethodLoss(step.source.logits.sum() * 0)


def test_the_loss_is_cross_entropy_plus_cm_of_both_domains_plus_the_adapter():
    batch = Domains().batches[0]
    (x, y), u = batch["source"], batch["target"]
    loss = build(cm_weight=0.7, methods=Gap(weight=3.0)).training_step(batch)

    twin = build()
    features = twin.backbone(torch.cat([x, u]))
    logits, assignments = twin.head(features)
    centroids = torch.stack([features[:6][y == k].mean(0) for k in range(3)]).detach()
    expected = F.cross_entropy(logits[:6], y)
    expected = expected + 0.7 * clustering_loss(features, assignments, centroids).total
    expected = expected + 3 * (features[:6].mean(0) - features[6:].mean(0)).square().sum()
    torch.testing.assert_close(loss, expected)


def test_source_only_does_not_look_at_the_target():
    module, batch = build(cm_weight=0.0), Domains().batches[0]
    loss = module.training_step(batch)
    poisoned = {**batch, "target": torch.full_like(batch["target"], float("nan"))}
    torch.testing.assert_close(build(cm_weight=0.0).training_step(poisoned), loss)
    assert module.required_views["target"] == {}


def test_labeled_target_rows_join_cross_entropy_and_centroids_but_not_the_source():
    data, keeper = Domains(), Keeper()
    batch = {**data.batches[0], "labeled_target": data.labeled_target}
    module = build(Plain, cm_weight=0.0, methods=keeper)
    loss = module.training_step(batch)
    x = torch.cat([batch["source"][0], data.labeled_target[0]])
    y = torch.cat([batch["source"][1], data.labeled_target[1]])
    torch.testing.assert_close(loss, F.cross_entropy(module(x), y))
    assert len(keeper.step.source.features) == 6
    assert torch.equal(keeper.step.source_labels, batch["source"][1])

    with_cm = build(cm_weight=1.0)
    with_cm.training_step(batch)
    assert with_cm.head.centroid_counts.sum() == 9


def test_the_domains_of_several_sources_reach_the_adapters():
    batch, keeper = Domains().batches[0], Keeper()
    domains = torch.tensor([0, 1, 0, 1, 1, 0])
    build(methods=keeper).training_step({**batch, "source": (*batch["source"], domains)})
    assert torch.equal(keeper.step.domains, domains)


def test_one_mixed_pass_normalises_both_domains_together():
    batch = Domains().batches[0]
    keeper = Keeper()
    build(Normalised, methods=keeper, cm_weight=0.0).training_step(batch)
    twin = build(Normalised)
    features = twin.backbone(torch.cat([batch["source"][0], batch["target"]]))
    torch.testing.assert_close(keeper.step.source.features, features[:6])
    torch.testing.assert_close(keeper.step.target.features, features[6:])


@pytest.mark.parametrize("policy", ["separate", "domain"])
def test_separate_passes_normalise_each_domain_by_itself(policy):
    data, keeper = Domains(), Keeper()
    batch = {**data.batches[0], "labeled_target": data.labeled_target}
    build(Normalised, methods=keeper, cm_weight=0.0, batch_norm=policy).training_step(batch)
    twin = build(Normalised)
    torch.testing.assert_close(keeper.step.source.features, twin.backbone(batch["source"][0]))
    target = torch.cat([data.labeled_target[0], batch["target"]])
    features = twin.backbone(target)
    torch.testing.assert_close(keeper.step.labeled["weak"].features[6:], features[:3])
    torch.testing.assert_close(keeper.step.target.features, features[3:])


def test_with_domain_statistics_each_domain_is_evaluated_with_its_own():
    batch = Domains().batches[0]
    batch = {"source": batch["source"], "target": batch["target"] + 100}
    module = build(Normalised, batch_norm="domain")
    module.training_step(batch)
    norm, linear = module.backbone[1], module.backbone[0]
    # Momentum 0.1 from zero.
    torch.testing.assert_close(norm.running_mean, 0.1 * linear(batch["target"]).mean(0))
    kept = module.source_statistics.state_dict()
    torch.testing.assert_close(kept["running_mean_0"], 0.1 * linear(batch["source"][0]).mean(0))

    module.eval()
    target_features = module.forward_outputs(batch["source"][0]).features
    with module.source_statistics.in_use(module.feature_extractor):
        source_features = module.forward_outputs(batch["source"][0]).features
    assert not torch.allclose(target_features, source_features)
    torch.testing.assert_close(norm.running_mean, 0.1 * linear(batch["target"]).mean(0))


def test_source_statistics_are_in_the_checkpoint():
    module = build(Normalised, batch_norm="domain")
    module.training_step(Domains().batches[0])
    other = build(Normalised, batch_norm="domain")
    other.load_state_dict(module.state_dict())
    for name, value in module.source_statistics.state_dict().items():
        assert torch.equal(other.source_statistics.state_dict()[name], value), name


def test_validation_logs_source_accuracy_and_validators_and_no_oracle():
    data = Domains(steps=30)
    module = build(
        validators=[SourceAccuracy(), Entropy()], optimizer=lambda p: torch.optim.Adam(p, lr=0.02)
    )
    fitted = trainer(max_epochs=2)
    fitted.fit(module, data, data.validation())
    metrics = fitted.callback_metrics
    assert metrics["val/source_acc"] > 0.9
    assert metrics["val/source_accuracy"] == metrics["val/source_acc"]
    module.eval()
    p = module.forward_outputs(data.target[0]).assignments.detach()
    torch.testing.assert_close(metrics["val/entropy"], (p * p.log()).sum(1).mean())
    assert not [name for name in metrics if "oracle" in name]


@pytest.mark.filterwarnings("ignore:Total length of")  # Lightning asks whether it is meant
def test_without_held_out_source_rows_the_validators_of_the_target_are_logged_alone():
    data, module = Domains(), build(validators=[Entropy(), Entropy()])
    loaders = [DataLoader([], batch_size=None), data.validation()[1]]
    fitted = trainer(max_epochs=1)
    fitted.fit(module, data, loaders)
    logged = {name for name in fitted.callback_metrics if name.startswith("val/")}
    assert logged == {"val/entropy", "val/entropy_2"}


def test_the_oracle_is_reported_under_its_name_where_the_loader_gives_labels():
    data = Domains(steps=2)
    module = build()
    loaders = [data.validation()[0], DataLoader([data.target], batch_size=None)]
    fitted = trainer()
    fitted.fit(module, data, loaders)
    module.eval()
    expected = (module(data.target[0]).argmax(1) == data.target[1]).float().mean()
    torch.testing.assert_close(fitted.callback_metrics["val/oracle_target_acc"], expected)


def test_the_test_reports_the_target():
    data, module = Domains(), build()
    (found,) = trainer().test(module, DataLoader([data.target], batch_size=None), verbose=False)
    module.eval()
    expected = (module(data.target[0]).argmax(1) == data.target[1]).float().mean()
    assert found["test/target_acc"] == pytest.approx(float(expected))


def test_the_backbone_learns_at_its_own_rate_under_the_inverse_decay():
    module = build(
        bottleneck=5,
        backbone_lr_factor=0.1,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.5),
        lr_scheduler=lambda o: InverseDecayLR(o, gamma=1.0, power=0.5),
    )
    fitted = trainer(max_steps=3, max_epochs=-1)
    fitted.fit(module, Domains())
    rest, backbone = fitted.optimizers[0].param_groups
    assert set(backbone["params"]) == set(module.backbone.parameters())
    assert set(rest["params"]) == {*module.bottleneck.parameters(), *module.head.parameters()}
    assert rest["lr"] == pytest.approx(0.5 / 2)
    assert backbone["lr"] == pytest.approx(0.05 / 2)
