"""Interleaved timing: every arm in turn, round after round, so that a drift hits all alike."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch


def synchronize() -> None:
    """Wait for the device, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def interleave(
    arms: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 2
) -> dict[str, list[float]]:
    """Seconds of each call, by arm: ``rounds`` rounds after ``warmup`` rounds that don't count."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(warmup + rounds):
        for name, arm in arms.items():
            synchronize()
            start = time.perf_counter()
            arm()
            synchronize()
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(numerator: list[float], denominator: list[float]) -> float:
    """Median over rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def machine() -> dict[str, Any]:
    """What a timing depends on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
    }


def write_json(path: str | None, result: Mapping[str, Any]) -> None:
    """Write a result file, where one was asked for."""
    if path is not None:
        Path(path).write_text(json.dumps(result, indent=1) + "\n")
