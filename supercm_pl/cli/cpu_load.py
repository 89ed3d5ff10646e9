"""How busy the CPUs are with other processes."""

from __future__ import annotations

import os
import time
from pathlib import Path

_STAT = Path("/proc/stat")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


class CPULoad:
    """What other processes use of the CPUs from the construction on."""

    def __init__(self) -> None:
        self.cpus = _allowed_cpus()
        self._start = self._now()

    def others(self) -> float:
        """Mean number of CPUs that other processes kept busy."""
        now, busy, own = (b - a for a, b in zip(self._start, self._now(), strict=True))
        if _STAT.exists():
            return max(0.0, (busy - own) / max(now, 0.01))
        if hasattr(os, "getloadavg"):
            return max(0.0, os.getloadavg()[0] - own / max(now, 0.01))
        return 0.0

    def _now(self) -> tuple[float, float, float]:
        """Time, and CPU time of all processes and of this one, in seconds."""
        own = os.times()
        return time.monotonic(), self._busy(), own.user + own.system

    def _busy(self) -> float:
        if not _STAT.exists():
            return 0.0
        names = {f"cpu{number}" for number in _affinity()}
        rows = [line.split() for line in _STAT.read_text().splitlines()]
        # All fields but idle and iowait; the time of guests is in user's.
        ticks = sum(
            sum(map(int, (*row[1:4], *row[6:9]))) for row in rows if row and row[0] in names
        )
        return float(ticks) / float(os.sysconf("SC_CLK_TCK"))


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _allowed_cpus() -> int:
    """CPUs that this process may use; a container's limit is lower than the machine's number."""
    cpus = len(_affinity())
    try:
        quota, period = _QUOTA.read_text().split()
        return max(1, min(cpus, int(quota) // int(period)))
    except (OSError, ValueError):  # no such limit
        return cpus
