"""Semi-supervised methods as self-training on the target, alone and beside another method."""

from __future__ import annotations

import math

import lightning.pytorch as L
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from supercm_pl import UDAModule
from supercm_pl.ssl.methods import (
    AdaMatch,
    FixMatch,
    FlexMatch,
    FreeMatch,
    MeanTeacher,
    PseudoLabel,
    SoftMatch,
)
from supercm_pl.uda.methods import DAN, MCC
from supercm_pl.uda.methods.dan import mmd
from tests.support.trainers import quiet_trainer
from tests.support.two_domains import Plain

NUM_TARGET = 40


class Domains(L.LightningDataModule):
    """Paired batches of three classes with weak and strong views, without labels of the target."""

    num_unlabeled = NUM_TARGET

    def __init__(self, steps: int = 6) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        means = 4 * torch.randn(3, 4, generator=generator)

        def draw(count: int, shift: float) -> tuple[dict[str, Tensor], Tensor]:
            labels = torch.randint(0, 3, (count,), generator=generator)
            weak = means[labels] + torch.randn(count, 4, generator=generator) + shift
            noise = torch.randn(2, count, 4, generator=generator)
            views = {"weak": weak, "strong": weak + noise[0], "weak_2": weak + 0.1 * noise[1]}
            return views, labels

        self.batches = []
        for _ in range(steps):
            target, _ = draw(10, 1.0)
            target["index"] = torch.randint(0, NUM_TARGET, (10,), generator=generator)
            self.batches.append({"source": draw(6, 0.0), "target": target})
        self.labeled_target = draw(3, 1.0)

    def train_dataloader(self):
        return DataLoader(self.batches, batch_size=None)


def build(methods, cm_weight: float = 0.0) -> UDAModule:
    torch.manual_seed(0)
    return UDAModule(Plain(), 3, methods, cm_weight=cm_weight)


def fix_match(weak: Tensor, strong: Tensor, threshold: float) -> Tensor:
    confidence, labels = weak.detach().softmax(dim=1).max(dim=1)
    losses = F.cross_entropy(strong, labels, reduction="none")
    return (losses * (confidence >= threshold)).mean()


def test_fix_match_and_an_adapter_add_up():
    batch = Domains().batches[0]
    methods = [FixMatch(threshold=0.4, weight=2.0), DAN(weight=3.0)]
    loss = build(methods).training_step(batch)

    twin = build([])
    (source, labels), target = batch["source"], batch["target"]
    strong = twin(target["strong"])
    found = fix_match(twin(target["weak"]), strong, threshold=0.4)
    assert found > 0
    features = twin.backbone(source["weak"]), twin.backbone(target["weak"])
    expected = F.cross_entropy(twin(source["weak"]), labels) + 2 * found + 3 * mmd(*features)
    torch.testing.assert_close(loss, expected)


def test_labeled_target_samples_join_the_cross_entropy_and_nothing_else():
    data = Domains()
    batch = {**data.batches[0], "labeled_target": data.labeled_target}
    methods = [FixMatch(threshold=0.4), DAN(), MCC()]
    loss = build(methods).training_step(batch)

    twin = build([])
    without = build(methods).training_step(data.batches[0])
    (source, labels), (few, few_labels) = batch["source"], batch["labeled_target"]
    of_source = F.cross_entropy(twin(source["weak"]), labels)
    both = torch.cat([source["weak"], few["weak"]])
    of_both = F.cross_entropy(twin(both), torch.cat([labels, few_labels]))
    torch.testing.assert_close(loss - of_both, without - of_source)


def test_ada_match_sees_strong_views_of_the_source():
    module = build(AdaMatch())
    wanted = {stream: set(views) for stream, views in module.required_views.items()}
    assert wanted["source"] == wanted["target"] == {"weak", "strong"}
    batch = Domains().batches[0]
    (source, labels), target = batch["source"], batch["target"]
    weak_only = {"source": (source["weak"], labels), "target": target}
    with pytest.raises(ValueError, match='no source view "strong", required by ada_match'):
        module.training_step(weak_only)


METHODS = {
    "ada_match": AdaMatch,
    "fix_match": FixMatch,
    "flex_match": FlexMatch,
    "free_match": FreeMatch,
    "mean_teacher": MeanTeacher,
    "pseudo_label": PseudoLabel,
    "soft_match": SoftMatch,
}


@pytest.mark.parametrize("name", METHODS)
def test_a_short_fit_beside_super_cm_and_an_adapter(name):
    module = build([MCC(), METHODS[name]()], cm_weight=0.1)
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(module, Domains())
    logged = trainer.callback_metrics
    for key in ("loss", "ce", "cm", "mcc", name):
        assert math.isfinite(logged[f"train/{key}"])
    assert all(parameter.isfinite().all() for parameter in module.parameters())
