"""Random numbers inside a training step as a function of seed, step and rank."""

from __future__ import annotations

import torch
from torch import Tensor

from supercm_pl.seeding import derive_seed


class StepRandomness:
    """Seeds PyTorch's global generators for a training step, and restores them after it.

    Dropout, perturbations and mixtures draw from these generators, whose state is in no checkpoint.
    The seed depends on the number of the batch in the run. So a resumed run draws the same numbers,
    and the batches of one accumulated gradient differ.

    The generators of the CPU and of the step's device are seeded, without synchronization. Those of
    ``numpy`` and ``random`` are not: draw with PyTorch in a step.

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
        """Save the generators' states; seed them by run, number of the batch in it, and rank."""
        generators = _generators(device)
        self._saved = device, [generator.get_state() for generator in generators]
        for generator in generators:
            generator.manual_seed(derive_seed(seed, "step", step, rank))

    def stop(self) -> None:
        """Restore the states of the generators before :meth:`start`."""
        if self._saved is None:
            return
        device, states = self._saved
        for generator, state in zip(_generators(device), states, strict=True):
            generator.set_state(state)
        self._saved = None


def _generators(device: torch.device) -> list[torch.Generator]:
    generators = [torch.default_generator]
    if device.type in ("cuda", "xpu"):
        module = getattr(torch, device.type)
        index = module.current_device() if device.index is None else device.index
        generators.append(module.default_generators[index])
    elif device.type == "mps":
        generators.append(torch.mps._get_default_mps_generator())
    return generators
