"""Share of a training step that the shipped configurations spend waiting for data.

Lightning's trainer runs the configurations with its profiler. A step comprises the time until the
loader returns the batch, its transfer to the device, augmentation there, and the training batch.
The first epoch is not counted, because it starts workers and allocates memory. Random images of the
same size replace CIFAR-10, so that no download is needed.

    python -m benchmarks.waiting [--configs ssl/digits ...] [--epochs 3 --json FILE]
"""

from __future__ import annotations

import argparse
import io
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import torch
from lightning.pytorch.profilers import SimpleProfiler

from benchmarks.command import WITHOUT_FILES, built
from benchmarks.timing import machine, quiet, write_json
from supercm_pl.data import ArraySource

BAR = 0.05
# A batch of 64 + 448 takes six seconds in this network on two cores, so use few smaller ones there.
_FEW = ("--data.labeled_batch_size=16", "--data.unlabeled_batch_size=112")
WIDE = (
    "--data.source=benchmarks.waiting.StandIn",
    *(() if torch.cuda.is_available() else _FEW),
    f"--data.steps_per_epoch={50 if torch.cuda.is_available() else 3}",
)
CONFIGS: dict[str, tuple[str, ...]] = {
    "ssl/digits": ("--config=configs/ssl/digits.yaml",),
    "ssl/mnist5k": ("--config=configs/ssl/mnist5k.yaml",),
    "ssl/mnist5k, fixmatch": (
        "--config=configs/ssl/mnist5k.yaml",
        "--config=configs/ssl/methods/fixmatch.yaml",
    ),
    "uda/digits": ("--config=configs/uda/digits.yaml",),
    "ssl/cifar10 (WRN-28-2)": ("--config=configs/ssl/cifar10.yaml", *WIDE),
    "ssl/cifar10 (WRN-28-2), fixmatch": (
        "--config=configs/ssl/cifar10.yaml",
        "--config=configs/ssl/methods/fixmatch.yaml",
        *WIDE,
    ),
    "ssl/cifar10 (WRN-28-2), fixmatch, 2 workers": (
        "--config=configs/ssl/cifar10.yaml",
        "--config=configs/ssl/methods/fixmatch.yaml",
        *WIDE,
        "--data.num_workers=2",
    ),
}
_WAITING = "[_TrainingEpochLoop].train_dataloader_next"
_STEP = "run_training_batch"


class StandIn(ArraySource):
    """Random 3×32×32 images in ten classes."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (5000, 3, 32, 32), dtype=torch.uint8, generator=generator)
        super().__init__(images, torch.arange(5000) % 10, images[:100], torch.arange(100) % 10)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--configs", nargs="+", choices=CONFIGS, default=list(CONFIGS))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--steps", type=int, help="per epoch (default: the configuration's)")
    parser.add_argument("--json", help="write the results to this file")
    arguments = parser.parse_args()
    steps = () if arguments.steps is None else (f"--data.steps_per_epoch={arguments.steps}",)
    quiet()
    print("| configuration | ms a step | images/s | waiting | augmentation |")
    print("| --- | --- | --- | --- | --- |")
    rows = []
    for name in arguments.configs:
        row = {"configuration": name, **measure((*CONFIGS[name], *steps), arguments.epochs)}
        rows.append(row)
        print(
            f"| {name} | {row['ms']:.1f} | {row['images_per_second']:,.0f} "
            f"| {row['waiting']:.1%} | {row['augmentation']:.1%} |",
            flush=True,
        )
    result = {"arguments": vars(arguments), "machine": machine(), "bar": BAR, "rows": rows}
    print(f"\n{result['machine']}")
    write_json(arguments.json, result)


def measure(words: tuple[str, ...], epochs: int) -> dict[str, Any]:
    """Return milliseconds per step, images per second, and shares of waiting and augmentation."""
    command = built(["fit", *words, *WITHOUT_FILES, f"--trainer.max_epochs={epochs}"])
    trainer, data = command.trainer, command.datamodule
    trainer.limit_val_batches = 0
    profiler = SimpleProfiler()
    profiler.describe = lambda: None  # type: ignore[method-assign]
    trainer.profiler = profiler
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        trainer.fit(command.model, data)
    moving = f"[Strategy]{type(trainer.strategy).__name__}.batch_to_device"
    augmenting = f"[LightningDataModule]{type(data).__name__}.on_after_batch_transfer"
    skipped = trainer.num_training_batches
    sums = {
        action: sum(profiler.recorded_durations[action][skipped:])
        for action in (_WAITING, moving, augmenting, _STEP)
    }
    steps = len(profiler.recorded_durations[_STEP]) - skipped
    seconds = sums[_WAITING] + sums[moving] + sums[augmenting] + sums[_STEP]
    images = sum(part.batch_size for part in data.parts().values())
    return {
        "ms": 1e3 * seconds / steps,
        "images_per_second": images * steps / seconds,
        "waiting": sums[_WAITING] / seconds,
        "augmentation": sums[augmenting] / seconds,
        "steps": steps,
    }


if __name__ == "__main__":
    main()
