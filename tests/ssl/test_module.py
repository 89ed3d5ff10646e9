"""SSLModule: the objective, its logs, and what a checkpoint brings back."""

from __future__ import annotations

import lightning.pytorch as L
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from supercm_pl import SSLDataModule, SSLModule
from supercm_pl.backbones import MLP
from supercm_pl.clustering.functional import clustering_loss
from supercm_pl.ssl.methods import Method, Step
from supercm_pl.training.method import MethodLoss
from supercm_pl.training.optim import WarmupCosineLR
from supercm_pl.training.ramps import LinearRampUp
from tests.support.trainers import quiet_trainer


def as_loader(x: torch.Tensor, y: torch.Tensor) -> DataLoader:
    return DataLoader([(x, y)], batch_size=None)


class Blobs:
    """Paired batches of three separable classes, as a data module yields them."""

    def __init__(self, steps: int = 8, views: tuple[str, ...] = ()) -> None:
        generator = torch.Generator().manual_seed(0)
        self.means = 4 * torch.randn(3, 4, generator=generator)
        self.batches = []
        for _ in range(steps):
            labels = torch.randint(0, 3, (6,), generator=generator)
            x = self.means[labels] + torch.randn(6, 4, generator=generator)
            hidden = torch.randint(0, 3, (10,), generator=generator)
            u = self.means[hidden] + torch.randn(10, 4, generator=generator)
            unlabeled = {v: u + 0.1 * i for i, v in enumerate(views)} if views else u
            self.batches.append({"labeled": (x, labels), "unlabeled": unlabeled})

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)

    def evaluation(self):
        batches = [b["labeled"] for b in self.batches]
        return as_loader(torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches]))


def build(**options) -> SSLModule:
    torch.manual_seed(0)
    return SSLModule(MLP(4, (8,)), 3, **options)


def fit(module: SSLModule, data: Blobs, **options) -> L.Trainer:
    trainer = quiet_trainer(**{"max_epochs": 1, **options})
    trainer.fit(module, data)
    return trainer


class Gap(Method):
    """The mean difference of two views: simple enough to check by hand."""

    views = ("weak", "strong")

    def forward(self, step: Step) -> MethodLoss:
        weak, strong = step.unlabeled["weak"], step.unlabeled["strong"]
        return MethodLoss(
            (weak.logits - strong.logits).square().mean(), {"rows": step.labels.float().sum()}
        )


def test_the_loss_is_cross_entropy_plus_weighted_cm_on_all_rows():
    module, batch = build(cm_weight=0.7, batch_norm="all"), Blobs().batches[0]
    (x, y), u = batch["labeled"], batch["unlabeled"]
    loss = module.training_step(batch)

    twin = build(cm_weight=0.7)
    features = twin.backbone(torch.cat([x, u]))
    logits, assignments = twin.head(features)
    centroids = torch.stack([features[:6][y == k].mean(0) for k in range(3)]).detach()
    expected = F.cross_entropy(logits[:6], y)
    expected = expected + 0.7 * clustering_loss(features, assignments, centroids).total
    torch.testing.assert_close(loss, expected)


def test_without_weight_and_method_the_unlabeled_samples_change_nothing():
    module, batch = build(cm_weight=0.0), Blobs().batches[0]
    loss = module.training_step(batch)
    poisoned = {**batch, "unlabeled": torch.full_like(batch["unlabeled"], float("nan"))}
    torch.testing.assert_close(build(cm_weight=0.0).training_step(poisoned), loss)
    assert module.required_views["unlabeled"] == {}


def test_the_cm_weight_follows_its_ramp():
    data = Blobs(steps=4)
    module = build(cm_weight=1.0, cm_ramp=LinearRampUp(end=1.0))
    seen = []
    factor = module.cm_ramp
    module.cm_ramp = lambda progress: seen.append(progress) or factor(progress)
    fit(module, data)
    assert seen == [0.0, 0.25, 0.5, 0.75]


def test_a_method_adds_its_weighted_loss_and_is_logged():
    data = Blobs(steps=1, views=("weak", "strong"))
    plain = build(cm_weight=0.0)
    with_gap = build(cm_weight=0.0, methods=Gap(weight=3.0), batch_norm="all")
    plain.train(), with_gap.train()
    batch = data.batches[0]
    loss = with_gap.training_step(batch)

    twin = build(cm_weight=0.0)
    views = batch["unlabeled"]
    logits = twin(torch.cat([batch["labeled"][0], views["weak"], views["strong"]]))
    labeled, weak, strong = logits.split([6, 10, 10])
    expected = F.cross_entropy(labeled, batch["labeled"][1]) + 3 * (weak - strong).square().mean()
    torch.testing.assert_close(loss, expected)

    trainer = fit(with_gap, data)
    assert {"train/gap", "train/gap_rows", "train/ce", "train/loss"} <= set(
        trainer.callback_metrics
    )


@pytest.mark.parametrize("centroids", ["cumulative", "ema", "batch", "learnable"])
def test_learns_in_every_centroid_mode_and_logs_by_the_documented_names(centroids):
    data = Blobs(steps=30)
    module = build(centroids=centroids, optimizer=lambda p: torch.optim.Adam(p, lr=0.02))
    trainer = fit(module, data, max_epochs=3)
    names = {"loss", "ce", "cm", "cm_reconstruction", "cm_sparsity", "cm_overlap", "cm_prior"}
    assert {f"train/{name}" for name in names} <= set(trainer.callback_metrics)
    metrics = trainer.validate(module, data.evaluation(), verbose=False)[0]
    assert set(metrics) == {"val/acc", "val/nmi", "val/ari", "val/ece"}
    assert metrics["val/acc"] > 0.9
    assert set(trainer.test(module, data.evaluation(), verbose=False)[0]) == {
        "test/acc",
        "test/nmi",
        "test/ari",
        "test/ece",
    }


def test_top5_is_logged_from_six_classes_on():
    module = SSLModule(MLP(4, (8,)), 6)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    x, y = torch.randn(60, 4), torch.arange(60) % 6
    metrics = trainer.validate(module, as_loader(x, y), verbose=False)[0]
    ranked = module.eval()(x).argsort(dim=1, descending=True)
    assert metrics["val/top5"] == pytest.approx(
        (ranked[:, :5] == y[:, None]).any(1).float().mean().item()
    )
    assert metrics["val/acc"] == pytest.approx((ranked[:, 0] == y).float().mean().item())


def test_predict_returns_class_probability_assignments_and_features():
    module = build(temperature=2.0).eval()
    x = torch.randn(5, 4)
    for batch in (x, (x, torch.zeros(5)), {"inputs": x, "ids": list("abcde")}):
        prediction = module.predict_step(batch)
        torch.testing.assert_close(prediction["assignments"], (module(x) / 2).softmax(1))
        torch.testing.assert_close(prediction["features"], module.backbone(x))
        assert prediction["class"].tolist() == module(x).argmax(1).tolist()
        torch.testing.assert_close(prediction["probability"], prediction["assignments"].amax(1))


def test_a_schedule_without_length_takes_the_runs():
    module = build(lr_scheduler=lambda o: WarmupCosineLR(o, warmup_steps=2))
    fit(module, Blobs(steps=6), max_epochs=2)
    schedule = module.lr_schedulers()
    assert schedule.total_steps == 12
    assert schedule.last_epoch == 12


def test_frozen_parameters_are_not_optimized():
    module = build()
    module.backbone.requires_grad_(False)
    fit(module, Blobs(steps=1))
    optimized = {id(p) for group in module.optimizers().param_groups for p in group["params"]}
    assert optimized == {id(p) for p in module.head.parameters() if p.requires_grad}


def test_a_module_built_in_python_loads_with_its_backbone_given_again(tmp_path):
    data = Blobs()
    module = build(cm_weight=0.3, centroids="ema", momentum=0.8)
    trainer = fit(module, data)
    path = tmp_path / "model.ckpt"
    trainer.save_checkpoint(path)
    loaded = SSLModule.load_from_checkpoint(path, backbone=MLP(4, (8,)), weights_only=True)
    assert (loaded.cm_weight, loaded.head.momentum) == (0.3, 0.8)
    x, _ = next(iter(data.evaluation()))
    torch.testing.assert_close(loaded.eval()(x), module.eval()(x), rtol=0, atol=0)
    torch.testing.assert_close(loaded.head.centroids, module.head.centroids, rtol=0, atol=0)


class Normalised(nn.Sequential):
    """A backbone with batch norm, and nothing after it."""

    out_features = 8

    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 8), nn.BatchNorm1d(8))


def build_normalised(**options) -> SSLModule:
    torch.manual_seed(0)
    return SSLModule(Normalised(), 3, cm_weight=0.0, **options)


class Keeper(Gap):
    """Asks for a further forward pass, and keeps what it got."""

    def forward(self, step: Step) -> MethodLoss:
        self.step, self.further = step, step.extra_forward(step.unlabeled_inputs["strong"])
        return super().forward(step)


@pytest.mark.parametrize(
    ("policy", "passes", "moving"),
    [
        ("all", [["labeled", "weak", "strong"]], ["labeled", "weak", "strong"]),
        ("labeled", [["labeled"], ["weak", "strong"]], ["labeled"]),
    ],
)
def test_batch_norm_does_with_unlabeled_rows_what_the_policy_says(policy, passes, moving):
    batch = Blobs(views=("weak", "strong")).batches[0]
    parts = {"labeled": batch["labeled"][0], **batch["unlabeled"]}
    module = build_normalised(batch_norm=policy, methods=Keeper())
    module.training_step(batch)
    step = module.methods[0].step
    found = {"labeled": step.labeled["weak"], **step.unlabeled}

    linear = build_normalised().backbone[0]
    for together in passes:
        values = linear(torch.cat([parts[name] for name in together]))
        normal = nn.BatchNorm1d(8)(values).split([len(parts[name]) for name in together])
        for name, expected in zip(together, normal, strict=True):
            torch.testing.assert_close(found[name].features, expected)
    mean = 0.1 * linear(torch.cat([parts[name] for name in moving])).mean(0)
    if policy == "all":  # the further pass moves the statistics as well
        mean = 0.9 * mean + 0.1 * linear(parts["strong"]).mean(0)
    torch.testing.assert_close(module.backbone[1].running_mean, mean)
    alone = nn.BatchNorm1d(8)(linear(parts["strong"]))
    torch.testing.assert_close(module.methods[0].further.features, alone)


class Joint(Gap):
    joint_batch_norm = True


def test_labeled_samples_are_normalized_alone_unless_a_method_needs_a_joint_pass():
    assert build().batch_norm == "labeled"
    assert build(methods=Gap()).batch_norm == "labeled"
    assert build(methods=[Gap(), Joint()]).batch_norm == "all"
    assert build(methods=Gap(), batch_norm="all").batch_norm == "all"
    with pytest.raises(ValueError, match=r"batch_norm must be one of .* got 'none'"):
        build(batch_norm="none")
    with pytest.raises(ValueError, match='batch_norm must be "all" with joint, which needs'):
        build(methods=[Gap(), Joint()], batch_norm="labeled")


def test_confident_unlabeled_samples_join_the_centroids_above_the_threshold():
    batch = Blobs().batches[0]
    module, twin = build(centroid_threshold=0.5, batch_norm="all"), build()
    module.training_step(batch)
    labeled, unlabeled = twin.forward_joint(
        {("l", ""): batch["labeled"][0], ("u", ""): batch["unlabeled"]}
    ).values()
    confidence, found = unlabeled.assignments.max(1)
    chosen = confidence > 0.5
    assert 0 < chosen.sum() < 10
    twin.head.update_centroids(
        torch.cat([labeled.features, unlabeled.features[chosen]]),
        torch.cat([batch["labeled"][1], found[chosen]]),
    )
    torch.testing.assert_close(module.head.centroids, twin.head.centroids)
    assert torch.equal(module.head.centroid_counts, twin.head.centroid_counts)


class InPlaceOfCrossEntropy(Method):
    """Brings a loss of its own for the labeled rows, and forwards everything itself."""

    views = ()
    labeled_views = ()
    input_views = ("weak",)
    replaces_supervised = True

    def forward(self, step: Step) -> MethodLoss:
        assert not step.labeled
        assert not step.unlabeled
        logits = step.extra_forward(step.labeled_inputs["weak"]).logits
        return MethodLoss(logits.sum() * 0, supervised=2 * F.cross_entropy(logits, step.labels))


def test_a_term_may_bring_the_loss_of_the_labeled_rows_and_nothing_else_is_forwarded():
    batch = Blobs().batches[0]
    loss = build(cm_weight=0.0, methods=InPlaceOfCrossEntropy()).training_step(batch)
    expected = F.cross_entropy(build()(batch["labeled"][0]), batch["labeled"][1])
    torch.testing.assert_close(loss, 2 * expected)


class Counter(Gap):
    """Counts what it was told, and shares nothing with the model."""

    attached = stepped = 0

    def build(self, backbone, head) -> None:
        self.attached += 1
        self.sizes = head.in_features, head.num_classes

    def after_step(self, backbone, head) -> None:
        self.stepped += 1


def test_terms_are_attached_once_and_told_of_every_optimizer_step():
    counter = Counter()
    module = build(methods=counter)
    fit(module, Blobs(steps=6, views=("weak", "strong")), accumulate_grad_batches=3)
    assert (counter.attached, counter.sizes, counter.stepped) == (1, (8, 3), 2)


class Which(Method):
    """Keeps which samples it got."""

    needs_index = True

    def forward(self, step: Step) -> MethodLoss:
        self.seen = step.index, step.unlabeled["weak"].inputs, step.num_unlabeled
        return MethodLoss(step.unlabeled["weak"].logits.sum() * 0)


def test_a_term_can_ask_which_samples_of_the_unlabeled_stream_it_got():
    data = SSLDataModule(labels_per_class=2, seed=0, steps_per_epoch=3)
    which = Which()
    torch.manual_seed(0)
    module = SSLModule(nn.Sequential(nn.Flatten(), nn.Linear(64, 8)), 10, which, cm_weight=0.0)
    fit(module, data)
    index, inputs, num_unlabeled = which.seen
    samples = data.parts()["unlabeled"].samples
    assert num_unlabeled == len(samples)
    assert torch.equal(inputs, samples.fetch(index.numpy()))
