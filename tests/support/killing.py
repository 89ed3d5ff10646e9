"""Kills real runs of the command at random moments, and lets each go on to its end.

python -m tests.support.killing FOLDER MOMENTS

Each run is a process of its own that is sent SIGKILL; it is forked after the imports, which take
longer than all else. Prints how many were killed, and how many of them while a checkpoint was being
written.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from supercm_pl.cli.main import main
from tests.support.runs import equal

CONFIG = """
seed_everything: 3
trainer:
  accelerator: cpu
  max_steps: 40
  num_sanity_val_steps: 0
  enable_progress_bar: false
  enable_model_summary: false
  logger: {class_path: lightning.pytorch.loggers.CSVLogger, init_args: {save_dir: runs, name: k}}
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {save_last: true, every_n_train_steps: 2}
model:
  class_path: supercm_pl.SSLModule
  init_args:
    backbone:
      class_path: supercm_pl.backbones.ConvNet
      init_args: {in_channels: 1, widths: [8, 64]}
    methods: {class_path: supercm_pl.ssl.methods.VAT}
    optimizer: {class_path: torch.optim.Adam, init_args: {lr: 0.01}}
data:
  class_path: supercm_pl.SSLDataModule
  init_args:
    labels_per_class: 2
    steps_per_epoch: 9
    unlabeled_batch_size: 16
    weak: {class_path: supercm_pl.data.AffineNoise}
test_after_fit: false
"""


def start(folder: Path, *words: str) -> int:
    """The process of ``supercm fit`` in ``folder``."""
    child = os.fork()
    if child:
        return child
    os.chdir(folder)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2) if not os.environ.get("SHOW") else None
    status = 1
    try:
        main(["fit", "--config", "kill.yaml", *words])
        status = 0
    finally:
        os._exit(status)


def finished(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def newest(folder: Path) -> Path | None:
    found = sorted(folder.glob("runs/k/*/checkpoints/last*.ckpt"), key=lambda p: p.stat().st_mtime)
    return found[-1] if found else None


def outcome(folder: Path) -> dict[str, Any]:
    """What of the last checkpoint must not depend on how the run got there."""
    path = newest(folder)
    assert path is not None
    content = torch.load(path, weights_only=True)
    names = ("state_dict", "optimizer_states", "global_step", "epoch")
    return {name: content[name] for name in names}


def killed(folder: Path, seconds: float, *, in_writing: bool) -> tuple[bool, bool]:
    """Kill a run after ``seconds``, or at the next write of a checkpoint after them.

    Returns:
        Whether it was still running, and whether it left a half-written file behind.
    """
    child, end = start(folder), time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.001)
    waiting = time.monotonic() + 10
    while in_writing and time.monotonic() < waiting:
        if any(folder.glob("runs/k/*/checkpoints/.*.tmp")):
            break
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
    os.kill(child, signal.SIGKILL)
    was_running = finished(child) == -signal.SIGKILL
    return was_running, any(folder.glob("runs/k/*/checkpoints/.*.tmp"))


def warm_up(place: Path) -> None:
    """Import all that a run imports, before any process is forked."""
    (place / "kill.yaml").write_text(CONFIG)
    os.chdir(place)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main(["fit", "--config", "kill.yaml", "--trainer.max_steps", "1"])


def check(place: Path, moments: int) -> None:
    torch.set_num_threads(1)
    draw = random.Random(moments)
    warm_up(place)
    whole = place / "whole"
    whole.mkdir()
    (whole / "kill.yaml").write_text(CONFIG)
    began = time.monotonic()
    assert finished(start(whole)) == 0
    duration, expected = time.monotonic() - began, outcome(whole)
    hits = writes = 0
    for number in range(moments):
        folder = place / f"killed{number}"
        folder.mkdir()
        (folder / "kill.yaml").write_text(CONFIG)
        moment = draw.uniform(0.1 if number else 0.6, 0.9) * duration
        hit, half = killed(folder, moment, in_writing=number % 2 == 1)
        hits, writes = hits + hit, writes + half
        for path in folder.glob("runs/k/*/checkpoints/*.ckpt"):
            torch.load(path, weights_only=True)  # none is half a file
        saved = newest(folder)
        words = () if saved is None else ("--ckpt_path", str(saved))
        assert finished(start(folder, *words)) == 0, f"{folder} does not go on"
        assert equal(outcome(folder), expected), f"{folder} ends otherwise"
        print(f"at {moment:.2f} s of {duration:.2f}: {'resumed' if saved else 'started again'}")
    print(f"{moments} runs, {hits} killed, {writes} in a write, all ended the same")


if __name__ == "__main__":
    check(Path(sys.argv[1]), int(sys.argv[2]))
