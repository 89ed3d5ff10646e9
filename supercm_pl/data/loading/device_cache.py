"""Samples in the memory of the training device, drawn there by number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from supercm_pl.data.datasets import Indices, JoinedData, Samples, TensorData
from supercm_pl.data.loading.loader import Stream

_CHUNK = 4096
_SHARE = 4


class ResidentSamples:
    """A copy on a device of rows that are tensors in memory.

    Args:
        samples: The rows.
        device: Where the copy is held.
    """

    def __init__(self, samples: Samples, device: torch.device) -> None:
        row = _tuple(samples.fetch(np.zeros(1, dtype=np.int64)))
        size = len(samples)
        self.parts = tuple(
            torch.empty((size, *part.shape[1:]), dtype=part.dtype, device=device) for part in row
        )
        for start in range(0, size, _CHUNK):  # never twice in the memory of the host
            rows = np.arange(start, min(start + _CHUNK, size))
            for whole, part in zip(self.parts, _tuple(samples.fetch(rows)), strict=True):
                whole[start : start + len(rows)].copy_(part)

    def fetch(self, positions: Tensor) -> Tensor | tuple[Tensor, ...]:
        """What :meth:`Samples.fetch` gives for positions ``(B,)`` that are on the device."""
        drawn = tuple(part.index_select(0, positions) for part in self.parts)
        return drawn[0] if len(drawn) == 1 else drawn


class PositionSamples(Samples):
    """Gives the positions of rows in place of the rows: batches ``(B,)`` int64.

    Args:
        samples: The rows.
    """

    def __init__(self, samples: Samples) -> None:
        super().__init__(TensorData(torch.empty(len(samples), 0)))

    def fetch(self, positions: Indices) -> Tensor:
        """The positions themselves."""
        return torch.from_numpy(positions)


def resident_streams(
    streams: Mapping[str, Stream],
    device: torch.device | None,
    keep: bool | None,
    num_workers: int,
) -> dict[str, ResidentSamples]:
    """Copies of the streams whose rows are to be drawn on a device.

    Args:
        streams: The training streams that are used.
        device: Of the training; ``None``: not known. On the CPU nothing is copied.
        keep: As ``keep_on_device`` of :class:`~supercm_pl.SSLDataModule`.
        num_workers: Processes that read data.

    Raises:
        ValueError: If ``keep`` is ``True`` and a stream is not in memory.
    """
    if keep is False:
        return {}
    kept = {name: s.samples for name, s in streams.items() if isinstance(s.samples, Samples)}
    kept = {name: samples for name, samples in kept.items() if _holds_tensors(samples.dataset)}
    elsewhere = [repr(name) for name in streams if name not in kept]
    if keep and elsewhere:
        raise ValueError(
            "keep_on_device=True needs training data that are tensors in memory, and those of "
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
    row = _tuple(samples.fetch(np.zeros(1, dtype=np.int64)))
    return len(samples) * sum(part.nbytes for part in row)


def _holds_tensors(dataset: object) -> bool:
    if isinstance(dataset, JoinedData):
        return all(_holds_tensors(part) for part in dataset.datasets)
    return isinstance(dataset, TensorData)


def _tuple(batch: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (batch,) if isinstance(batch, Tensor) else batch
