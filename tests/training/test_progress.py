"""Ramps and learning rates follow the run, however its length is given."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler, timer
from torch.utils.data import DataLoader, IterableDataset

from supercm_pl import SSLModule, UDADataModule, UDAModule
from supercm_pl.backbones import MLP
from supercm_pl.ssl.methods import UDA, PiModel, PseudoLabel
from supercm_pl.training.optim import WarmupCosineLR
from supercm_pl.training.ramps import LinearRampUp
from supercm_pl.uda.methods import ADDA, DANN, DeepCORAL
from tests.support.trainers import quiet_trainer

X = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
COSINE = partial(WarmupCosineLR, warmup_steps=0)


class Watch(L.Callback):
    """Records the progress and the learning rate of each step; a step takes a second."""

    def __init__(self) -> None:
        self.now = 0.0
        self.progress: list[float] = []
        self.rates: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        self.progress.append(module.progress)
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.now += 1.0


def fit(watch: Watch, checkpoint: Path | None = None, **limits: Any) -> L.Trainer:
    torch.manual_seed(0)
    data = UDADataModule.from_arrays(X, np.arange(60) % 3, X + 1, seed=0, steps_per_epoch=4)
    module = UDAModule(MLP(4, (8,)), methods=DANN(), lr_scheduler=COSINE)
    more = limits.pop("callbacks", [])
    trainer = quiet_trainer(callbacks=[watch, *more], limit_val_batches=0, **limits)
    trainer.fit(module, data, ckpt_path=checkpoint)
    return trainer


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    made = Watch()
    monkeypatch.setattr(timer, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


def test_progress_and_learning_rate_follow_max_time(watch: Watch, tmp_path: Path) -> None:
    trainer = fit(watch, max_time={"seconds": 10})
    assert trainer.global_step == 10
    assert watch.progress == pytest.approx([n / 10 for n in range(10)])
    # After step n the schedule expects the whole run to take n / progress steps.
    assert watch.rates[-1] < 0.05 * watch.rates[0]
    assert sorted(watch.rates, reverse=True) == watch.rates


def test_a_resumed_run_continues_by_the_time_it_had(watch: Watch, tmp_path: Path) -> None:
    trainer = fit(watch, max_time={"seconds": 20}, max_steps=10)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    watch.progress, watch.now = [], 1000.0
    trainer = fit(watch, tmp_path / "a.ckpt", max_time={"seconds": 20})
    assert trainer.global_step == 20
    assert watch.progress == pytest.approx([n / 20 for n in range(10, 20)])
    assert watch.rates[-1] < 0.05 * watch.rates[0]


def test_the_limit_that_is_reached_first_counts(watch: Watch) -> None:
    fit(watch, max_time={"seconds": 20}, max_steps=8)
    assert watch.progress == pytest.approx([(n + 1) / 8 for n in range(8)])


@pytest.mark.filterwarnings("ignore:When using `Trainer.accumulate_grad_batches:UserWarning")
def test_accumulation_that_changes_over_the_epochs(watch: Watch) -> None:
    schedule = GradientAccumulationScheduler({0: 1, 1: 2})
    trainer = fit(watch, max_epochs=3, callbacks=[schedule])
    assert trainer.global_step == 8
    expected = [*range(1, 5), 4, 5, 5, 6, 6, 7, 7, 8]
    assert watch.progress == pytest.approx([n / 8 for n in expected])


class Endless(IterableDataset[Any]):
    def __init__(self, labeled: bool) -> None:
        self.labeled = labeled

    def __iter__(self) -> Any:
        for i in range(10**9):
            x = torch.from_numpy(X[i % 60])
            yield (x, i % 3) if self.labeled else x


def endless(module: Any, **limits: Any) -> L.Trainer:
    loaders = {
        name: DataLoader(Endless(name == module.labeled_part), 8)
        for name in (module.labeled_part, module.unlabeled_part)
    }
    trainer = quiet_trainer(**limits)
    trainer.fit(module, loaders)
    return trainer


@pytest.mark.bad_input
@pytest.mark.parametrize("limits", [{"max_epochs": -1}, {"max_epochs": 2}])
@pytest.mark.parametrize(
    ("kind", "options", "named"),
    [
        (UDAModule, {"methods": DANN()}, "dann"),
        (UDAModule, {"methods": ADDA()}, "adda"),
        (SSLModule, {"methods": UDA(tsa="exp")}, "uda"),
        (SSLModule, {"methods": PiModel(ramp=0.4)}, "pi_model"),
        (SSLModule, {"cm_ramp": LinearRampUp(0.4)}, "cm_ramp"),
        (SSLModule, {"lr_scheduler": COSINE}, "lr_scheduler"),
    ],
)
def test_without_a_limit_what_depends_on_it_is_refused(
    kind: Any, options: Any, named: str, limits: Any
) -> None:
    with pytest.raises(ValueError, match=f"no limit, which {named} require: set max_steps"):
        endless(kind(MLP(4, (8,)), 3, **options), **limits)


@pytest.mark.parametrize(
    ("kind", "methods"),
    [(SSLModule, []), (SSLModule, [PseudoLabel(ramp=None)]), (UDAModule, [DeepCORAL()])],
)
def test_without_a_limit_the_rest_trains(kind: Any, methods: Any) -> None:
    class Stop(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
            trainer.should_stop = trainer.global_step == 3

    module = kind(MLP(4, (8,)), 3, methods=methods)
    assert endless(module, max_epochs=-1, callbacks=[Stop()]).global_step == 3


def test_data_without_a_length_under_max_steps() -> None:
    module = UDAModule(MLP(4, (8,)), 3, methods=DANN(), lr_scheduler=COSINE)
    assert endless(module, max_steps=4).global_step == 4


def test_a_resumed_run_may_be_longer(watch: Watch, tmp_path: Path) -> None:
    fit(watch, max_steps=4).save_checkpoint(tmp_path / "a.ckpt")
    assert watch.rates[-1] == 0.0
    watch.rates = []
    fit(watch, tmp_path / "a.ckpt", max_steps=8)
    assert watch.rates[0] > 0.3 * 1e-3
    assert watch.rates[-1] == 0.0
