"""Interleaved timing: arms take turns in every round, so that drift affects all of them alike."""

from __future__ import annotations

import json
import logging
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def interleave(
    arms: Mapping[str, Callable[[], object]],
    rounds: int,
    warmup: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Return the seconds of each call by arm, for ``rounds`` rounds after ``warmup`` rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(warmup + rounds):
        for name, arm in arms.items():
            synchronize()
            start = clock()
            arm()
            synchronize()
            if turn >= warmup:
                seconds[name].append(clock() - start)
    return seconds


def ratio(numerator: list[float], denominator: list[float]) -> float:
    """Return the median over rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def peak_extra_memory(step: Callable[[], object], device: torch.device) -> int:
    """Return the peak of bytes that ``step`` allocates, according to torch's allocators.

    Earlier allocations, such as parameters and optimizer state, are not counted.
    """
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profiler:
        step()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    changes = [event for event in events if event["name"] == "[memory]"]
    changes.sort(key=lambda event: float(event["ts"]))
    allocated = peak = 0
    for change in changes:
        allocated += change["args"]["Bytes"]
        peak = max(peak, allocated)
    return peak


def quiet() -> None:
    """Silence Lightning's advice and PyTorch's warnings."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def machine() -> dict[str, Any]:
    """Describe the machine and software of a timing."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
    }


def write_json(path: str | None, result: Mapping[str, Any]) -> None:
    """Write a result file if a path is given."""
    if path is not None:
        Path(path).write_text(json.dumps(result, indent=1, default=str) + "\n")
