"""Loaders of whole batches, and what their worker processes do on signals."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from supercm_pl.data.datasets import as_is


def make_loader(dataset: Dataset[Any], *, num_workers: int, **options: Any) -> DataLoader[Any]:
    """A ``DataLoader`` of a data set that returns whole batches."""
    return DataLoader(
        dataset,
        collate_fn=as_is,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        worker_init_fn=serve_until_told,
        generator=torch.Generator(),  # else an iterator would draw from the global generator
        **options,
    )


def serve_until_told(worker: int) -> None:
    """Ignore signals to the whole group of processes; a ``worker_init_fn`` of a ``DataLoader``.

    Ctrl-C, ``timeout``, schedulers and service managers signal every process. The main process
    finishes its step, for which it needs the workers, and stops them itself. A worker also ends
    when the main process has ended, even if it is blocked.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigtimedwait"):  # not on macOS and Windows, where SIGTERM ends a worker
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    main, parent = multiprocessing.parent_process(), os.getppid()
    while os.getppid() == parent:
        received = signal.sigtimedwait({signal.SIGTERM}, 1.0)
        if received is not None and main is not None and received.si_pid == main.pid:
            break
    os._exit(0)
