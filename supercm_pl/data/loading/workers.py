"""What the worker processes of a loader do on signals."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading


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
