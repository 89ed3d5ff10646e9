"""Samples in the memory of the training device, drawn there by position."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from supercm_pl.data.datasets import Indices, JoinedData, Samples, TensorData, as_tuple
from supercm_pl.data.loading.steps import Part

_CHUNK = 4096
_SHARE = 4


class ResidentSamples:
    """A copy on a device of samples that are tensors in memory."""

    def __init__(self, samples: Samples, device: torch.device) -> None:
        row = as_tuple(samples.fetch(np.zeros(1, dtype=np.int64)))
        size = len(samples)
        self.parts = tuple(
            torch.empty((size, *part.shape[1:]), dtype=part.dtype, device=device) for part in row
        )
        for start in range(0, size, _CHUNK):  # the host never holds a second copy
            rows = np.arange(start, min(start + _CHUNK, size))
            for whole, part in zip(self.parts, as_tuple(samples.fetch(rows)), strict=True):
                whole[start : start + len(rows)].copy_(part)

    def fetch(self, positions: Tensor) -> Tensor | tuple[Tensor, ...]:
        """As :meth:`Samples.fetch`, for positions ``(B,)`` on the device."""
        drawn = tuple(part.index_select(0, positions) for part in self.parts)
        return drawn[0] if len(drawn) == 1 else drawn


class PositionSamples(Samples):
    """Positions instead of samples: batches ``(B,)`` int64."""

    def __init__(self, samples: Samples) -> None:
        super().__init__(TensorData(torch.empty(len(samples), 0)))

    def fetch(self, positions: Indices) -> Tensor:
        """The positions themselves."""
        return torch.from_numpy(positions)


def resident_parts(
    parts: Mapping[str, Part], device: torch.device | None, keep: bool | None, num_workers: int
) -> dict[str, ResidentSamples]:
    """Copies of the parts whose samples are to be drawn on a device; none on the CPU.

    ``keep`` is as ``keep_on_device`` of :class:`~supercm_pl.SSLDataModule`: a ``ValueError`` if it
    is ``True`` and a part is not in memory.
    """
    if keep is False:
        return {}
    kept = {
        name: part.samples
        for name, part in parts.items()
        if isinstance(part.samples, Samples) and _holds_tensors(part.samples.dataset)
    }
    elsewhere = [repr(name) for name in parts if name not in kept]
    if keep and elsewhere:
        raise ValueError(
            "keep_on_device=True requires training data that are tensors in memory, and "
            f"{' and '.join(elsewhere)} are not: leave it out"
        )
    if device is None or not _has_own_memory(device):
        return {}
    if keep is None and (num_workers or not _fit(kept, device)):
        return {}
    return {name: ResidentSamples(samples, device) for name, samples in kept.items()}


def _has_own_memory(device: torch.device) -> bool:
    return device.type != "cpu"


def _fit(kept: Mapping[str, Samples], device: torch.device) -> bool:
    module: Any = getattr(torch, device.type, None)
    if not kept or not hasattr(module, "mem_get_info"):
        return False
    free, _ = module.mem_get_info(device)
    return sum(map(_num_bytes, kept.values())) * _SHARE <= int(free)


def _num_bytes(samples: Samples) -> int:
    row = as_tuple(samples.fetch(np.zeros(1, dtype=np.int64)))
    return len(samples) * sum(part.nbytes for part in row)


def _holds_tensors(dataset: object) -> bool:
    if isinstance(dataset, JoinedData):
        return all(_holds_tensors(part) for part in dataset.datasets)
    return isinstance(dataset, TensorData)
