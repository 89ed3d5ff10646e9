"""What a scheduler sends: the run is saved between two steps, and ends with the right status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment

from supercm_pl.callbacks.save_on_signal import SaveOnSignal
from tests.support.command import supercm
from tests.support.runs import data, equal, fit, module
from tests.support.trainers import every_step


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """A shell starts background jobs without Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Send(L.Callback):
    """Sends a signal to this process in the middle of a batch."""

    def __init__(self, number: int, at: int) -> None:
        self.number = number
        self.at = at
        self.sent = False

    def on_before_backward(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.fit_loop.total_batch_idx == self.at and not self.sent:
            self.sent = True
            os.kill(os.getpid(), self.number)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.parametrize("at", [0, 1, 3, 4])  # batch 3 is the last of its epoch
def test_a_terminated_run_saves_and_goes_on_bit_for_bit(at: int, tmp_path: Path) -> None:
    whole = fit(module("VAT"), data("VAT"))
    save = SaveOnSignal()
    with pytest.raises(SystemExit):
        fit(module("VAT"), data("VAT"), Send(signal.SIGTERM, at), save, every_step(tmp_path))
    assert save.last_model_path == str(tmp_path / "interrupted.ckpt")
    assert torch.load(save.last_model_path, weights_only=True)["global_step"] == at + 1
    rest = fit(module("VAT"), data("VAT"), ckpt_path=Path(save.last_model_path))
    assert sorted(rest.losses) == list(range(at + 1, 6))
    assert equal(rest.state["module"], whole.state["module"])
    assert equal(rest.state["optimizer"], whole.state["optimizer"])


class Metrics(L.Callback):
    """Interrupts a validation in its second batch, and keeps the metrics of the others."""

    def __init__(self, at: int = 0) -> None:
        self.at = at
        self.of_step: dict[int, dict[str, float]] = {}

    def on_validation_batch_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        if trainer.global_step == self.at and arguments[3] == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_validation_end(self, trainer: L.Trainer, *_: Any) -> None:
        metrics = trainer.callback_metrics
        self.of_step[trainer.global_step] = {n: float(metrics[n]) for n in metrics if "val" in n}


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.parametrize("at", [2, 4, 6])  # step 4 ends an epoch, step 6 the run
def test_an_interrupted_validation_is_repeated(at: int, tmp_path: Path) -> None:
    options = {"limit_val_batches": 4, "val_check_interval": 2, "num_sanity_val_steps": 0}

    def small() -> Any:
        return data("VAT", eval_batch_size=8)

    metrics, first, second = Metrics(), Metrics(at), Metrics()
    whole = fit(module("VAT"), small(), metrics, **options)
    save = SaveOnSignal()
    with pytest.raises(SystemExit) as stopped:
        fit(module("VAT"), small(), first, save, every_step(tmp_path), **options)
    assert stopped.value.code == 143
    rest = fit(module("VAT"), small(), second, ckpt_path=Path(save.last_model_path), **options)
    assert {**first.of_step, **second.of_step} == metrics.of_step
    assert (at in first.of_step) == (at == 6)  # after the last step, it is not interrupted
    assert at == 6 or equal(rest.state, whole.state)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_ctrl_c_saves_too_and_ends_at_once_the_second_time(tmp_path: Path) -> None:
    save = SaveOnSignal()
    with pytest.raises(SystemExit) as stopped:
        fit(module("VAT"), data("VAT"), Send(signal.SIGINT, 2), save, every_step(tmp_path))
    assert stopped.value.code == 130
    assert torch.load(save.last_model_path, weights_only=True)["global_step"] == 3
    twice, save = [Send(signal.SIGINT, 2), Send(signal.SIGINT, 2)], SaveOnSignal()
    with pytest.raises(SystemExit):
        fit(module("VAT"), data("VAT"), *twice, save, every_step(tmp_path / "twice"))
    assert save.last_model_path == ""


def test_a_signal_waits_for_the_end_of_accumulated_gradients(tmp_path: Path) -> None:
    save, options = SaveOnSignal(), {"accumulate_grad_batches": 2, "max_steps": 4}
    send = Send(signal.SIGTERM, 0)
    with pytest.raises(SystemExit):
        fit(module("VAT"), data("VAT"), send, save, every_step(tmp_path), **options)
    loops = torch.load(save.last_model_path, weights_only=True)["loops"]["fit_loop"]
    assert loops["epoch_loop.batch_progress"]["total"]["completed"] == 2


def interrupt_runs(folder: Path, part: str, number: int) -> None:
    words = [sys.executable, "-m", "tests.support.interrupting", str(folder), part]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert f"{number} runs interrupted" in done.stdout, done.stdout + done.stderr


def test_schedulers_signal_every_process(tmp_path: Path) -> None:
    interrupt_runs(tmp_path, "SIGTERM group workers=2 ranks=1 SSL", 1)


@pytest.mark.slow
def test_schedulers_signal_every_process_of_every_rank(tmp_path: Path) -> None:
    interrupt_runs(tmp_path, "SIGTERM group workers=2 ranks=2 UDA", 1)


@pytest.mark.slow
def test_every_signal_to_every_kind_of_run(tmp_path: Path) -> None:
    interrupt_runs(tmp_path, "", 52)


@pytest.mark.slow
def test_sigterm_to_ranks_with_unequal_numbers_of_samples(tmp_path: Path) -> None:
    interrupt_runs(tmp_path, "uneven", 4)


def test_nothing_is_saved_where_checkpoints_are_off(tmp_path: Path) -> None:
    save = SaveOnSignal()
    with pytest.raises(SystemExit):
        fit(*(module("VAT"), data("VAT"), Send(signal.SIGTERM, 1), save), default_root_dir=tmp_path)
    assert save.last_model_path == ""
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_slurm_asks_for_a_requeue_and_the_job_goes_on_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\necho $* > {tmp_path}/asked\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    whole = fit(module("VAT"), data("VAT"))
    names = {"JOB_ID": "17", "JOB_NAME": "train", "NTASKS": "1", "PROCID": "0", "LOCALID": "0"}
    for name, value in names.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    options: dict[str, Any] = {"plugins": [SLURMEnvironment(auto_requeue=True)]}
    options |= {"default_root_dir": tmp_path}
    send = (Send(signal.SIGUSR1, 2), Send(signal.SIGTERM, 4))
    with pytest.raises(SystemExit):
        fit(module("VAT"), data("VAT"), *send, SaveOnSignal(), **options)
    asked = (tmp_path / "asked").read_text().split()
    assert asked == ["requeue", "17"]
    (saved,) = tmp_path.glob("hpc_ckpt_*.ckpt")
    assert torch.load(saved, weights_only=True)["global_step"] == 3  # whole steps alone
    rest = fit(module("VAT"), data("VAT"), SaveOnSignal(), **options)
    assert sorted(rest.losses) == [3, 4, 5]
    assert equal(rest.state["module"], whole.state["module"])


def test_the_command_ends_with_the_status_of_the_signal_and_says_how_to_go_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "ending.py").write_text(
        "import os, signal\n"
        "from lightning.pytorch.callbacks import Callback\n"
        "class AtStep(Callback):\n"
        "    def on_train_batch_end(self, trainer, *_):\n"
        "        if trainer.global_step == 8: os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    monkeypatch.syspath_prepend(folder)
    outcome = supercm("fit", "--config", "small.yaml", "--trainer.callbacks+", "ending.AtStep")
    assert outcome.status == 128 + signal.SIGTERM
    assert outcome.err.startswith("supercm: stopped at step 8; resume with\n  supercm fit ")
    checkpoint = outcome.err.strip().rpartition(" ")[2]
    assert Path(checkpoint).name == "interrupted.ckpt"
    again = supercm("fit", "--config", "small.yaml", "--ckpt_path", checkpoint)
    assert again.status == 0, again.err
