"""Modules of users that set their own hyperparameters, backbones and schedules."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from lightning.pytorch.cli import ReduceLROnPlateau
from lightning.pytorch.tuner import Tuner

from supercm_pl import SSLDataModule, SSLModule
from supercm_pl.backbones import MLP
from supercm_pl.ssl.methods import MeanTeacher, PseudoLabel
from supercm_pl.training.optim import WarmupCosineLR
from tests.support.trainers import quiet_trainer

X = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")


def data() -> SSLDataModule:
    return SSLDataModule.from_arrays(X, np.arange(60) % 3, labels_per_class=4, seed=0)


def saved(module: L.LightningModule, path: Path, **options: Any) -> Path:
    trainer = quiet_trainer(max_steps=2, **options)
    trainer.fit(module, data())
    trainer.save_checkpoint(path)
    return path


class OwnSize(SSLModule):
    def __init__(self, width: int = 8, **options: Any) -> None:
        super().__init__(MLP(4, (width,)), **options)
        self.save_hyperparameters()


class OwnRate(SSLModule):
    def __init__(self, rate: float = 1e-3) -> None:
        super().__init__(MLP(4, (8,)), optimizer=partial(torch.optim.Adam, lr=rate))


class OwnArgument(SSLModule):
    def __init__(self, backbone: torch.nn.Module, extra: float = 1.0, num_classes: int = 3) -> None:
        super().__init__(backbone, num_classes)
        self.save_hyperparameters()
        self.hparams["when"] = object()


def test_a_subclass_without_num_classes_loads_its_head(tmp_path: Path) -> None:
    made = OwnRate()
    loaded = OwnRate.load_from_checkpoint(saved(made, tmp_path / "a.ckpt"))
    torch.testing.assert_close(loaded.state_dict(), made.state_dict(), rtol=0, atol=0)
    assert len(loaded.state_dict()) > len(OwnRate().state_dict())


@pytest.mark.filterwarnings("ignore:Attribute 'backbone' is an instance:UserWarning")
def test_a_subclass_may_save_its_hyperparameters(tmp_path: Path) -> None:
    path = saved(OwnSize(9, cm_weight=np.float64(0.25)), tmp_path / "a.ckpt")
    loaded = OwnSize.load_from_checkpoint(path)
    assert (loaded.hparams["width"], loaded.cm_weight, loaded.num_classes) == (9, 0.25, 3)
    quiet_trainer(max_steps=3).fit(OwnSize(9), data(), ckpt_path=path)

    path = saved(OwnArgument(MLP(4, (8,)), extra=2.0), tmp_path / "b.ckpt")
    loaded = OwnArgument.load_from_checkpoint(path, backbone=MLP(4, (8,)))
    assert loaded.hparams["extra"] == 2.0
    quiet_trainer(max_steps=3).fit(loaded, data(), ckpt_path=path)


def test_a_learning_rate_of_numpy(tmp_path: Path) -> None:
    optimizer = partial(torch.optim.SGD, lr=np.float64(0.1))
    path = saved(SSLModule(MLP(4, (8,)), optimizer=optimizer), tmp_path / "a.ckpt")
    loaded = SSLModule.load_from_checkpoint(path, backbone=MLP(4, (8,)), optimizer=optimizer)
    quiet_trainer(max_steps=3).fit(loaded, data(), ckpt_path=path)


@pytest.mark.parametrize("alpha", [np.array([1.0, 2.0, 1.5]), torch.tensor([1.0, 2.0, 1.5])])
def test_alpha_as_an_array(alpha: Any, tmp_path: Path) -> None:
    path = saved(SSLModule(MLP(4, (8,)), alpha=alpha), tmp_path / "a.ckpt")
    loaded = SSLModule.load_from_checkpoint(path, backbone=MLP(4, (8,)))
    assert loaded.hparams["alpha"] == loaded.head.alpha.tolist() == [1.0, 2.0, 1.5]


def test_training_on_without_the_methods_of_the_checkpoint_is_reported(tmp_path: Path) -> None:
    path = saved(SSLModule(MLP(4, (8,)), 3, PseudoLabel()), tmp_path / "a.ckpt")
    lost = SSLModule.load_from_checkpoint(path, backbone=MLP(4, (8,)))
    with pytest.warns(RuntimeWarning, match=r"trained with the methods \['pseudo_label'\]"):
        quiet_trainer(max_steps=3).fit(lost, data())
    kept = SSLModule.load_from_checkpoint(path, backbone=MLP(4, (8,)), methods=PseudoLabel())
    quiet_trainer(max_steps=3).fit(kept, data())


@pytest.mark.parametrize("saved_compiled", [True, False])
def test_checkpoints_of_compiled_and_plain_backbones(saved_compiled: bool, tmp_path: Path) -> None:
    def backbone(compiled: bool) -> Any:
        made = MLP(4, (8,))
        made = torch.compile(made, backend="eager") if compiled else made
        return torch.nn.Sequential(made, torch.nn.Linear(8, 8))

    first = SSLModule(backbone(saved_compiled), methods=MeanTeacher(), feature_size=8)
    path = saved(first, tmp_path / "a.ckpt")
    assert not any("_orig_mod" in name for name in torch.load(path)["state_dict"])
    other = backbone(not saved_compiled)
    loaded = SSLModule.load_from_checkpoint(
        path, backbone=other, methods=MeanTeacher(), feature_size=8
    )
    x = torch.from_numpy(X)
    torch.testing.assert_close(loaded.eval()(x), first.eval()(x))


def test_a_schedule_with_a_monitor() -> None:
    class Score(SSLModule):
        def on_validation_epoch_end(self) -> None:
            self.log("score", 1.0)  # never gets better

    schedule = partial(ReduceLROnPlateau, monitor="score", mode="max", factor=0.5, patience=0)
    optimizer = partial(torch.optim.SGD, lr=0.1)
    module = Score(MLP(4, (8,)), optimizer=optimizer, lr_scheduler=schedule)
    trainer = quiet_trainer(max_epochs=3)
    trainer.fit(module, data())
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.025)


@pytest.mark.parametrize(("interval", "steps"), [("step", 3), ("epoch", 1)])
def test_a_schedule_with_an_interval(interval: str, steps: int) -> None:
    def schedule(optimizer: torch.optim.Optimizer) -> Any:
        made = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        return {"scheduler": made, "interval": interval}

    optimizer = partial(torch.optim.SGD, lr=0.1)
    module = SSLModule(MLP(4, (8,)), optimizer=optimizer, lr_scheduler=schedule)
    made = SSLDataModule.from_arrays(X, np.arange(60) % 3, labels_per_class=4, steps_per_epoch=3)
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(module, made)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.1 * 0.5**steps)


def test_a_plateau_without_a_monitor_is_refused() -> None:
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau
    with pytest.raises(ValueError, match=r"use lightning.pytorch.cli.ReduceLROnPlateau with mon"):
        quiet_trainer(max_steps=1).fit(SSLModule(MLP(4, (8,)), lr_scheduler=schedule), data())


@pytest.mark.parametrize("backbone_lr_factor", [1.0, 0.1])
def test_the_learning_rate_finder(backbone_lr_factor: float, tmp_path: Path) -> None:
    module = SSLModule(
        MLP(4, (8,)), lr_scheduler=WarmupCosineLR, backbone_lr_factor=backbone_lr_factor
    )
    trainer = quiet_trainer(max_steps=3, default_root_dir=tmp_path)
    finder = Tuner(trainer).lr_find(module, datamodule=data(), num_training=20)
    suggested = finder.suggestion()
    assert suggested is not None
    assert module.lr == suggested
    optimizer = module.configure_optimizers()["optimizer"]
    rates = sorted({group["initial_lr"] for group in optimizer.param_groups})
    expected = sorted({suggested, suggested * backbone_lr_factor})
    assert rates == pytest.approx(expected)
    trainer.fit(module, data())
    assert trainer.global_step == 3
