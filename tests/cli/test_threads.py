"""The number of CPU threads: what a step needs, what is free, or what the user says."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from supercm_pl.cli import cpu_load
from supercm_pl.cli.cpu_load import CPULoad
from supercm_pl.cli.threads import useful_threads
from tests.support.command import supercm

pytestmark = pytest.mark.usefixtures("folder")

DIGITS = 160 * 64  # numbers in a batch of configs/ssl/digits.yaml
PHOTOS = 128 * 3 * 128 * 128
QUICK = ("--config", "small.yaml", "--trainer.max_steps=1", "--test_after_fit=false", "--no_report")


@pytest.fixture
def no_choice_yet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("free", "values", "threads"),
    [
        (2.0, DIGITS, 2),
        (1.8, DIGITS, 2),  # 0.2 of a CPU is not worth a thread
        (1.5, DIGITS, 1),
        (0.1, PHOTOS, 1),
        (64.0, DIGITS, 2),  # more would only wait for each other
        (64.0, PHOTOS, 64),
        (64.0, None, 64),
        (8.0, 160 * 8, 1),
    ],
)
def test_threads_that_are_of_use(free: float, values: int | None, threads: int) -> None:
    assert useful_threads(free, values) == threads


def test_the_choice_is_said_and_saved(
    no_choice_yet: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(CPULoad, "others", lambda self: self.cpus - 1.0)
    cpus = CPULoad().cpus
    supercm("fit", *QUICK)
    why = f", since other processes keep {cpus - 1:.1f} busy" if cpus > 1 else ""
    assert f"1 of {cpus} CPU threads{why} (--threads N sets another number)" in caplog.text
    saved = Path("runs/small/version_0/config.yaml")
    assert yaml.safe_load(saved.read_text())["threads"] == 1
    assert torch.get_num_threads() == 1


def test_the_user_decides(
    no_choice_yet: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    supercm("fit", *QUICK, "--threads", "3")
    assert torch.get_num_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # PyTorch has read it
    supercm("fit", *QUICK)
    assert torch.get_num_threads() == 3
    assert "CPU threads" not in caplog.text
    said = "supercm: error: threads must be at least 1, got 0\n"
    assert supercm("fit", *QUICK, "--threads", "0").err == said


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(cpu_load, "_QUOTA", quota)
    monkeypatch.setattr(cpu_load, "_affinity", lambda: set(range(64)))
    for text, cpus in [("400000 100000", 4), ("50000 100000", 1), ("max 100000", 64), ("", 64)]:
        quota.write_text(text)
        assert CPULoad().cpus == cpus


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs Linux's count of CPU time")
def test_other_processes_are_seen() -> None:
    load = CPULoad()
    busy = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(busy) for _ in os.sched_getaffinity(0)]
    time.sleep(1.0)
    others = load.others()
    for process in processes:
        process.kill()
        process.wait()
    assert others > 0.5 * load.cpus
