"""The number of threads of a step on the CPU.

The threads of PyTorch spin while they wait for each other. If one of them has to share its CPU with
another process, a step of a small network takes 20 times as long as with a single thread.
"""

from __future__ import annotations

import math
import os
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.utilities import rank_zero_info

from supercm_pl.cli.cpu_load import CPULoad
from supercm_pl.data.datamodule import SuperCMDataModule

# Values of a batch for each thread: below, starting a thread takes longer than its work. A step of
# configs/ssl/digits.yaml, 160 images of 64 pixels, is 1.4 times as fast with two threads.
_VALUES = 4096
_ALMOST = 0.25  # of a CPU that may be busy and still counts as free


class Threads(L.Callback):
    """Sets the number of threads, before any other callback computes.

    A number that is chosen by the load is written to ``threads`` of the settings, so that the saved
    configuration makes the same run.
    """

    def __init__(self, load: CPULoad, config: Any) -> None:
        self.load = load
        self.config = config

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Choose, unless the option or the environment does."""
        if self.config["threads"] is None:
            on_cpu = isinstance(trainer.accelerator, CPUAccelerator) and trainer.world_size == 1
            if not on_cpu or "OMP_NUM_THREADS" in os.environ:
                return
            others = self.load.others()
            chosen = useful_threads(self.load.cpus - others, _values(trainer, stage))
            self.config["threads"] = chosen
            rank_zero_info(
                f"{chosen} of {self.load.cpus} CPU threads, since other processes keep "
                f"{others:.1f} busy (--threads N sets another number)"
                if others > _ALMOST
                else f"{chosen} of {self.load.cpus} CPU threads (--threads N sets another number)"
            )
        torch.set_num_threads(self.config["threads"])


def useful_threads(free: float, values: int | None) -> int:
    """Number of threads that speed up a step.

    ``free`` CPUs are used by no other process; ``values`` is the number of values in a step's
    inputs, ``None`` if unknown.

    Example:
        >>> useful_threads(1.8, 160 * 64), useful_threads(1.6, 160 * 64), useful_threads(16, 10_000)
        (2, 1, 2)
    """
    available = int(free + _ALMOST)
    return max(1, available if values is None else min(available, values // _VALUES))


def _values(trainer: L.Trainer, stage: str) -> int | None:
    data = getattr(trainer, "datamodule", None)
    if not isinstance(data, SuperCMDataModule):
        return None
    sizes = [part.batch_size for part in data.parts().values()]
    return (sum(sizes) if stage == "fit" else data.eval_batch_size) * math.prod(data.input_shape)
