"""A start from features that were learned without labels."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from supercm_pl import SSLModule
from supercm_pl.backbones import ConvNet
from supercm_pl.callbacks import SelfSupervisedStart
from supercm_pl.callbacks.self_supervised_start import contrastive_loss
from supercm_pl.ssl.methods import MeanTeacher
from tests.support.runs import data, digits_module, equal, every_step, fit


def test_loss_is_that_of_simclr():
    z = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).double()
    unit = [[v / math.sqrt(sum(x * x for x in row)) for v in row] for row in z.tolist()]
    total = 0.0
    for i in range(6):
        scores = [math.exp(sum(a * b for a, b in zip(unit[i], u, strict=True)) / 0.5) for u in unit]
        total -= math.log(scores[(i + 3) % 6] / (sum(scores) - scores[i]))
    assert contrastive_loss(z, 0.5).item() == pytest.approx(total / 6)


def started(callback, *, max_steps=1, **options):
    """A module after its start: at a learning rate of 0, `fit` changes no weight."""
    torch.manual_seed(0)
    network = ConvNet(1, (16, 32), out_features=16)
    module = SSLModule(
        network, 10, optimizer=lambda p: torch.optim.SGD(p, lr=0.0), cm_weight=0, **options
    )
    datamodule = data("MeanTeacher")
    fit(module, datamodule, *([callback] if callback else []), max_steps=max_steps)
    return module.eval(), datamodule


def neighbors_agree(module, datamodule):
    """Accuracy of the nearest neighbor among the test samples, by cross-validation."""
    from sklearn.model_selection import cross_val_score

    batches = map(datamodule.on_after_batch_transfer, datamodule.test_dataloader())
    x, y = zip(*batches, strict=True)
    with torch.no_grad():
        features = module.backbone(torch.cat(x))
    return cross_val_score(KNeighborsClassifier(1), features, torch.cat(y)).mean()


def test_neighbors_are_of_one_class_more_often():
    before = neighbors_agree(*started(None))
    after = neighbors_agree(*started(SelfSupervisedStart(steps=60)))
    assert after > before + 0.05


def test_it_is_reproducible_and_draws_nothing_of_the_run():
    one, other = (started(SelfSupervisedStart(steps=3))[0].state_dict() for _ in range(2))
    assert equal(dict(one), dict(other))
    run = [
        fit(digits_module(()), data("MeanTeacher"), *callbacks).losses[0]["ce"]
        for callbacks in ([], [SelfSupervisedStart(steps=1, lr=1e-12)])
    ]
    assert run[0] == pytest.approx(run[1], rel=1e-4)


def test_a_teacher_starts_from_it():
    module = started(SelfSupervisedStart(steps=3), methods=MeanTeacher(momentum=0.9))[0]
    (method,) = module.methods
    trained, taught = (
        [*network.parameters()] for network in (module.backbone, method.teacher.backbone)
    )
    assert all(map(torch.equal, trained, taught))


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
def test_a_resumed_run_does_not_repeat_it(tmp_path):
    whole = fit(digits_module(()), data("MeanTeacher"), SelfSupervisedStart(2))
    fit(digits_module(()), data("MeanTeacher"), SelfSupervisedStart(2), every_step(tmp_path))
    rest = fit(
        digits_module(()),
        data("MeanTeacher"),
        SelfSupervisedStart(2),
        every_step(tmp_path),
        ckpt_path=tmp_path / "step=3.ckpt",
    )
    assert equal(rest.state["module"], whole.state["module"])


def test_it_needs_a_strong_view():
    with pytest.raises(ValueError, match="SelfSupervisedStart"):
        fit(digits_module(()), data("MeanTeacher", strong=None), SelfSupervisedStart(1))
