"""The samples of each step, and fetching them in this process or in a worker."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.utils.data import Dataset, IterableDataset, Sampler, get_worker_info

from supercm_pl.data.datasets import Indices, Samples, is_deterministic
from supercm_pl.data.loading.permutation import EndlessPermutation
from supercm_pl.seeding import derive_seed, isolated_rng

POSITION = "position"
"""Key of a batch for its step number in the run."""
NUMBERS = "numbers"
"""Key of a batch for the numbers of its samples, by part."""


@dataclass(frozen=True)
class Part:
    """Samples that a loader cycles through without end.

    Attributes:
        samples: Batches are ``(x, y)`` with labels, ``x`` without. An ``IterableDataset`` keeps its
            own order.
        batch_size: Samples per step on each rank, 1 or more.
    """

    samples: Samples | IterableDataset[Any]
    batch_size: int


class ShuffledRows:
    """Batches of ``Samples``: the main process calls ``key``, a worker may call ``fetch``."""

    def __init__(self, samples: Samples, batch_size: int, seed: int, name: str) -> None:
        self.dataset = samples.dataset
        self.fetch = samples.fetch
        self._batch_size = batch_size
        self._order = EndlessPermutation(len(samples), seed, name)

    def key(self, position: int, world_size: int, rank: int) -> Indices:
        """The positions ``(B,)`` in the samples that a step takes."""
        start = (position * world_size + rank) * self._batch_size
        return self._order.take(start, self._batch_size)


class StepKeys(NamedTuple):
    """The keys of a step by part."""

    position: int
    rank: int
    keys: Mapping[str, Any]


class StepSampler(Sampler[Any]):
    """The keys of each step, in the main process; readers are ``ShuffledRows`` or ``Blocks``."""

    def __init__(self, readers: Mapping[str, Any]) -> None:
        self._readers = readers

    def plan(self, positions: range, world_size: int, rank: int, idle: int) -> None:
        """Set the steps of the next epoch, after ``idle`` empty ones."""
        self._plan = positions, world_size, rank, idle

    def __iter__(self) -> Iterator[StepKeys | None]:
        positions, world_size, rank, idle = self._plan
        yield from [None] * idle
        for t in positions:
            keys = {name: part.key(t, world_size, rank) for name, part in self._readers.items()}
            yield StepKeys(t, rank, keys)


class StepDataset(Dataset[Any]):
    """The batches of all parts for a step.

    ``numbered`` parts add the numbers of their samples to the batch. A worker returns errors about
    the data as its result, because PyTorch would hide the message of a raised error in a traceback.
    """

    def __init__(self, readers: Mapping[str, Any], seed: int, numbered: Collection[str]) -> None:
        self._readers = readers
        self._seed = seed
        self._numbered = numbered
        # Saving and restoring the generators costs more than fetching a batch from memory.
        fixed = all(is_deterministic(part.dataset) for part in readers.values())
        self._isolated: Callable[[], AbstractContextManager[Callable[[int], None] | None]]
        self._isolated = nullcontext if fixed else isolated_rng

    def __getitem__(self, step: Any) -> dict[str, Any] | Exception | None:
        try:
            return None if step is None else self._fetch(step)
        except (TypeError, ValueError) as error:
            if get_worker_info() is None:
                raise
            return error

    def _fetch(self, step: StepKeys) -> dict[str, Any]:
        batch: dict[str, Any] = {}
        with self._isolated() as reseed:
            for name, part in self._readers.items():
                if reseed is not None:
                    reseed(derive_seed(self._seed, "items", name, step.position, step.rank))
                batch[name] = part.fetch(step.keys[name])
        if self._numbered:
            numbers = {name: step.keys[name] for name in step.keys if name in self._numbered}
            batch[NUMBERS] = {name: torch.from_numpy(rows) for name, rows in numbers.items()}
        return {**batch, POSITION: step.position}
