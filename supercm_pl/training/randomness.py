"""Random numbers inside a training step as a function of seed, step and rank."""

from __future__ import annotations

import os
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from supercm_pl.seeding import derive_seed


class StepRandomness:
    """Seeds PyTorch's global generators for a training step, and puts them back after it.

    What a step draws, in dropout, in a perturbation, in a permutation to mix with, comes from these
    generators, whose state is in no checkpoint. Seeded by the number of the batch in the run, a
    resumed run draws what the uninterrupted one drew. Gradient accumulation counts batches too, so
    the batches of one update differ.

    The generators of the CPU and of the step's device take part; nothing here waits for a device.
    Those of ``numpy`` and ``random`` do not: draw with PyTorch in a step.

    Example:
        >>> randomness = StepRandomness()
        >>> randomness.start(0, 7, 0, torch.device("cpu"))
        >>> first = torch.rand(2)
        >>> randomness.stop()
        >>> randomness.start(0, 7, 0, torch.device("cpu"))
        >>> bool((torch.rand(2) == first).all())
        True
        >>> randomness.stop()
    """

    def __init__(self) -> None:
        self._saved: tuple[torch.device, list[Tensor]] | None = None

    def start(self, seed: int, step: int, rank: int, device: torch.device) -> None:
        """Remember the generators' states, and seed them.

        Args:
            seed: The run's, 0 or more.
            step: Number of the batch in the run, 0 or more.
            rank: Number of this process, 0 or more.
            device: Where the step runs.
        """
        generators = _generators(device)
        self._saved = device, [generator.get_state() for generator in generators]
        for generator in generators:
            generator.manual_seed(derive_seed(seed, "step", step, rank))

    def stop(self) -> None:
        """Put the generators back where they were before :meth:`start`."""
        if self._saved is None:
            return
        device, states = self._saved
        for generator, state in zip(_generators(device), states, strict=True):
            generator.set_state(state)
        self._saved = None


def run_seed(trainer: L.Trainer) -> int | None:
    """The seed of a run: the data module's, else that of ``seed_everything``; ``None`` without."""
    seed: Any = getattr(getattr(trainer, "datamodule", None), "run_seed", None)
    if seed is None:
        seed = os.environ.get("PL_GLOBAL_SEED")
    return None if seed is None else int(seed)


def _generators(device: torch.device) -> list[torch.Generator]:
    generators = [torch.default_generator]
    if device.type in ("cuda", "xpu"):
        module = getattr(torch, device.type)
        index = module.current_device() if device.index is None else device.index
        generators.append(module.default_generators[index])
    elif device.type == "mps":
        generators.append(torch.mps._get_default_mps_generator())
    return generators
