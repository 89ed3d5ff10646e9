"""The file of a checkpoint is always whole, whatever happens while it is written."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.plugins import TorchCheckpointIO

from supercm_pl.checkpoints.files import AtomicCheckpointIO, read_checkpoint, use_atomic_checkpoints
from tests.support.command import supercm
from tests.support.runs import data, fit, module
from tests.support.trainers import every_step

BIG = {"weights": torch.arange(200_000)}


def kill_runs(folder: Path, moments: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.killing", str(folder), str(moments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{moments} runs, " in done.stdout
    assert " 0 killed" not in done.stdout


def test_killed_runs_go_on_to_the_same_end(tmp_path: Path) -> None:
    kill_runs(tmp_path, 3)


@pytest.mark.slow
def test_many_killed_runs_go_on_to_the_same_end(tmp_path: Path) -> None:
    kill_runs(tmp_path, 50)


def run_at_once(folder: Path, runs: int) -> None:
    words = [sys.executable, "-m", "tests.support.concurrent_runs", str(folder), str(runs)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert f"{runs} runs at once in {runs} folders" in done.stdout, done.stdout + done.stderr


def test_runs_that_start_together_have_a_folder_each(tmp_path: Path) -> None:
    run_at_once(tmp_path, 4)


@pytest.mark.slow
def test_many_runs_that_start_together_have_a_folder_each(tmp_path: Path) -> None:
    run_at_once(tmp_path, 20)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    path = small_disk / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)
    with pytest.raises(OSError, match=r"No space left .*: can't write .*one is unchanged"):
        AtomicCheckpointIO().save_checkpoint(BIG, path)
    assert files(small_disk) == ["last.ckpt"]
    assert AtomicCheckpointIO().load_checkpoint(path) == {"step": 1}


@pytest.mark.parametrize("room", [100, 100_000, 500_000, 1_600_000])
def test_a_write_that_the_system_refuses_leaves_the_checkpoint_before(
    room: int, tmp_path: Path, small_files: Any
) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)
    with (
        small_files(room),
        pytest.raises(OSError, match=r": can't write .*the previous one is unchanged") as caught,
    ):
        AtomicCheckpointIO().save_checkpoint(BIG, path)
    assert caught.value.errno == errno.EFBIG
    assert caught.value.filename == str(path)
    assert files(tmp_path) == ["last.ckpt"]
    assert AtomicCheckpointIO().load_checkpoint(path) == {"step": 1}


def test_the_command_says_in_one_line_that_it_can_not_save(folder: Path, small_files: Any) -> None:
    wide = ("fit", "--config", "small.yaml", "--model.backbone.widths", "[64, 64]")
    assert supercm(*wide, "--trainer.max_steps", "6").status == 0
    (last,) = folder.glob("runs/small/*/checkpoints/last.ckpt")
    before = last.read_bytes()
    with small_files():
        outcome = supercm(*wide, "--ckpt_path", str(last))
    assert outcome.status == 2
    assert re.fullmatch(r"supercm: error: .*: can't write the checkpoint.*ckpt'\n", outcome.err)
    assert last.read_bytes() == before


def test_only_what_a_killed_process_left_is_cleared_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    written: list[Path] = []

    def save(content: object, file: Any) -> None:
        written.append(Path(file.name))

    monkeypatch.setattr("supercm_pl.checkpoints.files.torch.save", save)
    AtomicCheckpointIO().save_checkpoint({}, path)
    machine, process, unique = written[0].name.removeprefix(".").split(".")[:3]
    assert int(process) == os.getpid()
    dead = subprocess.Popen(["true"])
    dead.wait()
    others = {
        f".{machine}.{dead.pid}.{unique}.tmp": False,
        f".{machine}.{os.getppid()}.{unique}.tmp": True,  # a run that writes now
        f".00000000.{dead.pid}.{unique}.tmp": True,  # of another machine
    }
    for name in others:
        (tmp_path / name).write_text("half")
    AtomicCheckpointIO().save_checkpoint({}, path)
    assert {name: (tmp_path / name).exists() for name in others} == others


def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        AtomicCheckpointIO().save_checkpoint({}, tmp_path / "file" / "last.ckpt")


def test_the_plugin_serves_a_trainer(tmp_path: Path) -> None:
    fit(module("VAT"), data("VAT"), every_step(tmp_path), plugins=[AtomicCheckpointIO()])
    assert files(tmp_path) == [f"step={step}.ckpt" for step in range(1, 7)]


def test_a_place_with_a_protocol_is_left_to_lightning() -> None:
    checkpoint = {"state_dict": {"weight": torch.ones(2)}, "hyper_parameters": {"size": 2}}
    AtomicCheckpointIO().save_checkpoint(checkpoint, "memory://runs/last.ckpt")
    for load in (read_checkpoint, AtomicCheckpointIO().load_checkpoint):
        loaded = load("memory://runs/last.ckpt")
        torch.testing.assert_close(loaded["state_dict"], checkpoint["state_dict"])


def test_a_plugin_of_the_users_own_stays() -> None:
    class Own(TorchCheckpointIO):
        pass

    trainer = L.Trainer(accelerator="cpu", logger=False, plugins=[Own()])
    use_atomic_checkpoints(trainer)
    assert type(trainer.strategy.checkpoint_io) is Own
