"""What a scheduler sends: the run is saved between two steps, and ends with the right status."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment

from supercm_pl.callbacks.save_on_signal import SaveOnSignal
from tests.support.command import supercm
from tests.support.runs import data, equal, every_step, fit, module


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Send(L.Callback):
    """Sends a signal to this process in the middle of a batch."""

    def __init__(self, number: int, at: int) -> None:
        self.number = number
        self.at = at

    def on_before_backward(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.fit_loop.total_batch_idx == self.at:
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
    assert outcome.err.startswith("supercm: stopped at step 8; go on with\n  supercm fit ")
    checkpoint = outcome.err.strip().rpartition(" ")[2]
    assert Path(checkpoint).name == "interrupted.ckpt"
    again = supercm("fit", "--config", "small.yaml", "--ckpt_path", checkpoint)
    assert again.status == 0, again.err
