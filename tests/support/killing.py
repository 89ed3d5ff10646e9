"""Kills real runs of the command at random moments, and lets each go on to its end.

python -m tests.support.killing FOLDER MOMENTS

Each run is a process of its own that is sent SIGKILL. Prints how many were killed, and how many of
them while a checkpoint was being written.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from tests.support.interrupting import FIT, Case, end_state, finished, prepare, resumed, start
from tests.support.runs import equal

RUN = Case(signal.SIGKILL, to_group=False, workers=0, ranks=1, kind="SSL")


def killed(folder: Path, seconds: float, *, in_writing: bool) -> tuple[bool, bool]:
    """Kill a run after ``seconds``, or at the next write of a checkpoint after them.

    Returns:
        Whether it was still running, and whether it left a half-written file behind.
    """
    prepare(folder, RUN)
    child, end = start(folder, FIT, RUN.ranks), time.monotonic() + seconds
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


def check(place: Path, moments: int) -> None:
    torch.set_num_threads(1)
    draw = random.Random(moments)
    whole = place / "whole"
    prepare(whole, RUN)
    began = time.monotonic()
    assert finished(start(whole, FIT, RUN.ranks)) == 0
    duration, expected = time.monotonic() - began, end_state(whole)
    hits = writes = 0
    for number in range(moments):
        folder = place / f"killed{number}"
        moment = draw.uniform(0.1 if number else 0.6, 0.9) * duration
        hit, half = killed(folder, moment, in_writing=number % 2 == 1)
        hits, writes = hits + hit, writes + half
        for path in folder.glob("runs/k/*/checkpoints/*.ckpt"):
            torch.load(path, weights_only=True)  # none is half a file
        words = resumed(folder)
        assert finished(start(folder, words, RUN.ranks)) == 0, f"{folder} does not go on"
        assert equal(end_state(folder), expected), f"{folder} ends otherwise"
        how = "started again" if words == FIT else "resumed"
        print(f"at {moment:.2f} s of {duration:.2f}: {how}")
    print(f"{moments} runs, {hits} killed, {writes} in a write, all ended the same")


if __name__ == "__main__":
    check(Path(sys.argv[1]), int(sys.argv[2]))
