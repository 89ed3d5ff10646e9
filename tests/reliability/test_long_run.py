"""Long training keeps memory, open files, processes and threads where they were.

pytest tests/reliability/test_long_run.py            # 1,000 steps
pytest tests/reliability/test_long_run.py -m slow    # 50,000 steps, and 5,000 with every method
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from supercm_pl import SSLDataModule, SSLModule
from supercm_pl.backbones import MLP
from supercm_pl.callbacks.non_finite import NonFiniteLoss
from supercm_pl.callbacks.save_on_signal import SaveOnSignal
from supercm_pl.checkpoints.files import AtomicCheckpointIO
from supercm_pl.data.transforms.augment import GaussianNoise
from supercm_pl.ssl.methods import MeanTeacher
from tests.support.methods import SSL_METHODS, UDA_METHODS
from tests.support.runs import data, module
from tests.support.trainers import quiet_trainer

PROCESS = Path("/proc/self")
STEPS_PER_EPOCH = 100
pytestmark = pytest.mark.skipif(not PROCESS.exists(), reason="counts are read in /proc, of Linux")


class Held(NamedTuple):
    """What a process holds."""

    memory: int  # resident, in bytes
    files: int
    threads: int
    children: int

    @classmethod
    def now(cls) -> Held:
        gc.collect()
        tasks = list((PROCESS / "task").iterdir())
        pages = int((PROCESS / "statm").read_text().split()[1])
        return cls(
            memory=pages * os.sysconf("SC_PAGE_SIZE"),
            files=len(list((PROCESS / "fd").iterdir())),
            threads=len(tasks),
            children=sum(map(_children, tasks)),
        )


def _children(task: Path) -> int:
    try:
        return len((task / "children").read_text().split())
    except FileNotFoundError:  # the thread has ended since
        return 0


class Watch(L.Callback):
    """Looks 50 times."""

    def __init__(self, steps: int) -> None:
        self.every = steps // 50
        self.seen: dict[int, Held] = {}

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step % self.every == 0:
            self.seen[trainer.global_step] = Held.now()

    def late(self, after: float) -> dict[int, Held]:
        return {step: held for step, held in self.seen.items() if step > after * max(self.seen)}

    def growth(self, after: float = 1 / 3) -> float:
        """Bytes of memory that a step adds, after this fraction of the run."""
        late = self.late(after)
        steps = list(late)
        memory = [held.memory for held in late.values()]
        return float(np.polyfit(steps, memory, 1)[0])


class Leak(L.Callback):
    """Forgets nothing."""

    def __init__(self) -> None:
        self.kept: list[torch.Tensor] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.kept.append(torch.ones(100_000))  # more than what a process has freed and kept


def run(folder: Path, steps: int, workers: int, *more: L.Callback) -> Watch:
    """Train with all that keeps something from step to step."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(300, 16)).astype("float32")
    y = np.arange(300) % 3
    data = SSLDataModule.from_arrays(
        *(x, y, x[:30], y[:30]),
        labels_per_class=4,
        labeled_batch_size=6,
        unlabeled_batch_size=12,
        steps_per_epoch=STEPS_PER_EPOCH,
        weak=GaussianNoise(0.1),
        strong=GaussianNoise(0.3),
        num_workers=workers,
        seed=0,
    )
    torch.manual_seed(0)
    module = SSLModule(
        MLP(16, (8,)),
        3,
        MeanTeacher(),
        centroids="batch",
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
    )
    gc.freeze()  # to look at what the run makes, not at all modules 50 times
    watch = Watch(steps)
    saver = ModelCheckpoint(
        monitor="val/acc", mode="max", save_last=True, every_n_train_steps=STEPS_PER_EPOCH
    )
    own = (saver, EMAWeightAveraging(decay=0.9), NonFiniteLoss(), SaveOnSignal())
    trainer = quiet_trainer(
        max_steps=steps,
        logger=CSVLogger(folder),
        plugins=[AtomicCheckpointIO()],
        callbacks=[watch, *own, *more],
        log_every_n_steps=20,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, data, weights_only=True)
    assert trainer.global_step == steps
    return watch


def check(folder: Path, steps: int, workers: int, allowed: float) -> None:
    run(folder / "first", 50, workers)  # the pools of threads that PyTorch makes once and keeps
    before = Held.now()
    watch = run(folder, steps, workers)
    time.sleep(0.5)  # threads and processes take a moment to end
    after = Held.now()
    late = list(watch.late(1 / 3).values())
    print(
        f"{steps:,} steps, {workers} workers: {late[0].memory / 1e6:.1f} MB early, "
        f"{late[-1].memory / 1e6:.1f} MB at the end, {watch.growth():.1f} bytes a step, "
        f"{late[-1].files} files, {late[-1].threads} threads, {late[-1].children} children"
    )
    assert watch.growth() < allowed
    for name in ("files", "threads", "children"):
        counts = {getattr(held, name) for held in late}
        assert len(counts) == 1, f"{name}: {counts}"
    # For training, and for validation.
    assert late[-1].children - before.children == 2 * workers
    assert after.children == before.children
    assert after.files <= before.files
    assert after.threads <= before.threads


def check_method(folder: Path, name: str, steps: int, allowed: float) -> None:
    """Train with a method, with all its state, and without what other tests look at."""
    torch.set_num_threads(1)
    watch = Watch(steps)
    gc.freeze()
    trainer = quiet_trainer(
        max_steps=steps,
        limit_val_batches=0,
        logger=CSVLogger(folder),
        callbacks=[watch, NonFiniteLoss()],
        log_every_n_steps=20,
        enable_checkpointing=False,
    )
    trainer.fit(module(name), data(name, steps_per_epoch=STEPS_PER_EPOCH))
    assert trainer.global_step == steps
    growth = watch.growth(after=0.75)  # memory settles in the second stage of ADDA too
    late = list(watch.late(0.75).values())
    print(f"{name}: {steps:,} steps, {growth:.1f} bytes a step, {late[-1]}")
    assert growth < allowed
    for field in ("files", "threads", "children"):
        assert len({getattr(held, field) for held in late}) == 1


def check_leak(folder: Path) -> None:
    assert run(folder, 300, 0, Leak()).growth() > 4000


def in_a_process_of_its_own(call: str, *arguments: object) -> None:
    """Other tests leave processes and files behind, and freed memory that hides a leak."""
    words = [sys.executable, "-m", "tests.reliability.test_long_run", call, *map(str, arguments)]
    # The model is tiny: more threads would only wait for each other.
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(words, env=one_thread, check=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_holds_no_more_at_its_end(workers: int, tmp_path: Path) -> None:
    in_a_process_of_its_own("check", tmp_path, 1000, workers, 2000)


def test_a_leak_would_be_seen(tmp_path: Path) -> None:
    in_a_process_of_its_own("leak", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_long_run_holds_no_more_at_its_end(workers: int, tmp_path: Path) -> None:
    in_a_process_of_its_own("check", tmp_path, 50_000, workers, 100)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SSL_METHODS, *UDA_METHODS])
def test_a_long_run_with_a_method_holds_no_more_at_its_end(name: str, tmp_path: Path) -> None:
    in_a_process_of_its_own("method", tmp_path, name, 5_000, 500)


if __name__ == "__main__":
    call, folder, *limits = sys.argv[1:]
    if call == "leak":
        check_leak(Path(folder))
    elif call == "method":
        check_method(Path(folder), limits[0], int(limits[1]), float(limits[2]))
    else:
        check(Path(folder), int(limits[0]), int(limits[1]), float(limits[2]))
