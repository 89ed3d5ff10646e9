"""A check of many files before training, in threads and with a progress bar."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_info
from rich.console import Console
from rich.progress import Progress

from supercm_pl.distributed import rank

_BLOCK = 4096  # files that wait for a thread at once
_PATIENCE = 2.0  # seconds without a bar


def find_faults(paths: Sequence[Path], fault: Callable[[Path], str]) -> dict[Path, str]:
    """The files for which ``fault``, called in threads, returns a text, with the texts."""
    faults: dict[Path, str] = {}
    with _Bar(len(paths)) as bar, ThreadPoolExecutor(min(32, os.cpu_count() or 1)) as pool:
        for start in range(0, len(paths), _BLOCK):
            block = paths[start : start + _BLOCK]
            for path, found in zip(block, pool.map(fault, block), strict=True):
                if found:
                    faults[path] = found
                bar.advance()
    return faults


class _Bar:
    """A bar on a terminal, one line elsewhere; neither if it ends soon."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.started = total, 0, time.monotonic()
        self.bar: Progress | None = None

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def advance(self) -> None:
        """Count a file."""
        self.done += 1
        if self.bar is None and time.monotonic() - self.started > _PATIENCE:
            rank_zero_info(f"checking {self.total:,} image files")
            wanted = logging.getLogger("lightning.pytorch").isEnabledFor(logging.INFO)
            shown = wanted and sys.stderr.isatty() and rank() == 0
            self.bar = Progress(console=Console(stderr=True), transient=True, disable=not shown)
            self.bar.add_task("checking images", total=self.total)
            self.bar.start()
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=self.done)
