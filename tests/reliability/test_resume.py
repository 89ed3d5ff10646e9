"""A run that stops after any step and goes on ends as the one that did not stop, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import nn
from torch.utils.data import DataLoader

from supercm_pl import SSLModule
from supercm_pl.training.randomness import StepRandomness
from tests.support.generators import untouched_generators
from tests.support.methods import SSL_METHODS, UDA_METHODS
from tests.support.runs import data, equal, fit, module
from tests.support.trainers import every_step

# The runs that go on save nothing.
pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")

ALL = [*SSL_METHODS, *UDA_METHODS]


def check_resume(
    name: str,
    folder: Path,
    *steps: int,
    callbacks: Any = tuple,
    options: dict[str, Any] | None = None,
    workers: int = 0,
) -> None:
    options = options or {}
    whole = fit(module(name), data(name), every_step(folder), *callbacks(), **options)
    assert len({str(losses) for losses in whole.losses.values()}) == len(whole.losses)
    for step in steps:
        torch.manual_seed(99)  # what another process would have
        model = module(name)
        for parameter in model.parameters():
            nn.init.ones_(parameter)
        torch.rand(5)
        path = folder / f"step={step}.ckpt"
        rest = fit(model, data(name, num_workers=workers), *callbacks(), ckpt_path=path, **options)
        assert rest.losses == {k: v for k, v in whole.losses.items() if k >= min(rest.losses)}
        assert max(rest.losses) == max(whole.losses)
        assert equal(rest.state, whole.state)


@pytest.mark.parametrize("name", ALL)
def test_every_method_resumes_in_the_middle_of_an_epoch(name: str, tmp_path: Path) -> None:
    check_resume(name, tmp_path, 2, 5)


@pytest.mark.parametrize("name", ["MixMatch", "MDD"])
def test_resumes_from_every_step(name: str, tmp_path: Path) -> None:
    check_resume(name, tmp_path, 1, 2, 3, 4, 5)


@pytest.mark.parametrize("name", ["MixMatch", "MDD"])
def test_resumes_while_workers_read_ahead(name: str, tmp_path: Path) -> None:
    check_resume(name, tmp_path, 3, workers=2)


@pytest.mark.parametrize("name", ["MeanTeacher", "VAT", "CDAN"])
def test_averaged_weights_resume(name: str, tmp_path: Path) -> None:
    check_resume(name, tmp_path, 3, callbacks=lambda: (EMAWeightAveraging(decay=0.9),))


@pytest.mark.parametrize("name", ["VAT", "MDD"])
def test_resumes_with_accumulated_gradients(name: str, tmp_path: Path) -> None:
    options = {"accumulate_grad_batches": 2, "max_steps": 4}
    check_resume(name, tmp_path, 1, 3, options=options)


def test_batches_of_one_update_draw_differently() -> None:
    class Same(L.LightningDataModule):
        def train_dataloader(self) -> DataLoader[Any]:
            x, y = torch.linspace(0, 1, 8).repeat(4, 1), torch.arange(4) % 2
            return DataLoader([{"labeled": (x, y)}] * 4, batch_size=None)

    model = SSLModule(nn.Dropout(0.5), 2, cm_weight=0.0, feature_size=8)
    datamodule = Same()
    datamodule.run_seed = 0
    run = fit(model, datamodule, accumulate_grad_batches=4, max_steps=1)
    assert len({losses["loss"] for losses in run.losses.values()}) == 4


def test_the_generators_are_left_as_they_were() -> None:
    model = module("MixMatch")
    with untouched_generators():
        fit(model, data("MixMatch"), max_steps=2)


def test_another_seed_or_rank_or_step_draws_otherwise() -> None:
    randomness, drawn = StepRandomness(), []
    for seed, step, rank in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0)):
        randomness.start(seed, step, rank, torch.device("cpu"))
        drawn.append(torch.rand(4).tolist())
        randomness.stop()
    assert drawn[0] == drawn[4]
    assert len({str(values) for values in drawn}) == 4
