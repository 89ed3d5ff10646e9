"""Time to accuracy: seconds of training until the test accuracy first reaches a value.

The shipped configurations, with and without SuperCM (``cm_weight`` 0), are trained by Lightning's
trainer as ``supercm fit`` does. The test accuracy is measured at regular steps with the clock
stopped, and selects nothing. Further arguments are those of ``supercm fit``.

    python -m benchmarks.accuracy [--data digits --marks 0.8 0.9 0.95 --seeds 0 1 2 --json FILE]
    python -m benchmarks.accuracy --data fashion_mnist --root FOLDER --marks 0.5 0.6 0.65
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import lightning.pytorch as L
import torch

from benchmarks.command import WITHOUT_FILES, built
from benchmarks.timing import machine, quiet, synchronize, write_json


class Clock(L.Callback):
    """Record training time, steps and test accuracy as ``(seconds, step, accuracy)``."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.seen: list[tuple[float, int, float]] = []
        self.seconds = self.started = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self.started = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Measure the test accuracy at every ``every`` steps."""
        if trainer.global_step % self.every:
            return
        synchronize()
        self.seconds += time.perf_counter() - self.started
        self.seen.append((self.seconds, trainer.global_step, accuracy(trainer, pl_module)))
        self.started = time.perf_counter()


@torch.no_grad()
def accuracy(trainer: L.Trainer, module: Any) -> float:
    """Return the test accuracy."""
    module.eval()
    right = total = 0
    for batch in trainer.datamodule.test_dataloader():  # type: ignore[attr-defined]
        moved = trainer.datamodule.on_after_batch_transfer(  # type: ignore[attr-defined]
            [part.to(module.device) for part in batch]
        )
        inputs, labels = moved
        right += int((module(inputs).argmax(dim=1) == labels).sum())
        total += len(labels)
    module.train()
    return right / total


def run(arguments: argparse.Namespace, seed: int, supercm: bool) -> list[tuple[float, int, float]]:
    """Train once; return what the clock recorded."""
    words = [
        "fit",
        f"--config=configs/ssl/{arguments.data}.yaml",
        *arguments.words,
        f"--seed_everything={seed}",
        *WITHOUT_FILES,
        *([] if arguments.root is None else [f"--data.source.root={arguments.root}"]),
        *([] if arguments.steps is None else [f"--trainer.max_steps={arguments.steps}"]),
        *([] if supercm else ["--model.cm_weight=0"]),
    ]
    clock = Clock(arguments.every)
    command = built(words)
    command.trainer.callbacks.append(clock)
    command.trainer.limit_val_batches = 0
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        command.trainer.fit(command.model, command.datamodule)
    return clock.seen


def reached(seen: list[tuple[float, int, float]], mark: float) -> tuple[float, int] | None:
    """Return seconds and steps until the accuracy is first at least ``mark``."""
    return next(((seconds, step) for seconds, step, found in seen if found >= mark), None)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--data", default="digits", help="a file of configs/ssl")
    parser.add_argument("--root", help="folder of the data set's files")
    parser.add_argument("--marks", type=float, nargs="+", default=[0.8, 0.9, 0.95])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="steps per run (default: the configuration's)")
    parser.add_argument("--every", type=int, default=20, help="steps between measurements")
    parser.add_argument("--json", help="write the results to this file")
    arguments, words = parser.parse_known_args()
    arguments.words = words
    quiet()
    runs: dict[str, list[list[tuple[float, int, float]]]] = {
        name: [run(arguments, seed, name == "SuperCM") for seed in arguments.seeds]
        for name in ("without", "SuperCM")
    }
    marks = " | ".join(f"to {mark:g}" for mark in arguments.marks)
    print(f"| {arguments.data} | {marks} | at the end | seconds in all |")
    print(f"|{' --- |' * (len(arguments.marks) + 3)}")
    for name, found in runs.items():
        cells = [_cell([reached(seen, mark) for seen in found]) for mark in arguments.marks]
        last = statistics.mean(seen[-1][2] for seen in found)
        seconds = statistics.median(seen[-1][0] for seen in found)
        print(f"| {name} | {' | '.join(cells)} | {last:.3f} | {seconds:.1f} |")
    print(f"\n{machine()}")
    write_json(arguments.json, {"arguments": vars(arguments), "machine": machine(), "runs": runs})


def _cell(found: list[tuple[float, int] | None]) -> str:
    times = [pair for pair in found if pair is not None]
    if not times:
        return "never"
    seconds, steps = (statistics.median(values) for values in zip(*times, strict=True))
    reach = "" if len(times) == len(found) else f", {len(times)} of {len(found)} runs"
    return f"{seconds:.1f} s, {steps:g} steps{reach}"


if __name__ == "__main__":
    main()
