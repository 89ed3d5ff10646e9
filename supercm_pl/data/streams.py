"""Endless shuffled streams of batches, side by side, that resume where they stopped.

The order of a stream is a pure function of the seed, the stream's name and the position: all
permutations of its rows one after the other, each of them new. So there is no state but the
position.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from supercm_pl.data.datasets import Indices, Samples, as_is, is_deterministic
from supercm_pl.data.seeding import derive_seed, isolated_rng, permutation

POSITION = "position"
"""Key of a batch under which its number in the run stands."""
NUMBERS = "numbers"
"""Key of a batch under which the numbers of its samples stand, by stream."""


@dataclass(frozen=True)
class Stream:
    """Samples that a loader cycles through for ever.

    Attributes:
        samples: With labels, batches are ``(x, y)``; without, ``x``.
        batch_size: Samples of a step on each rank, 1 or more.
    """

    samples: Samples
    batch_size: int


class IndexStream:
    """Permutations of ``0..size-1`` one after the other, each a new one.

    Args:
        size: 1 or more.
        seed: The run's seed, 0 or more.
        name: Streams of different names are independent.

    Example:
        >>> stream = IndexStream(3, seed=0, name="labeled")
        >>> sorted(stream.take(0, 3).tolist()), sorted(stream.take(3, 3).tolist())
        ([0, 1, 2], [0, 1, 2])
    """

    def __init__(self, size: int, seed: int, name: str) -> None:
        self.size = size
        self.seed = seed
        self.name = name
        self._cycles: dict[int, Indices] = {}

    def take(self, start: int, count: int) -> Indices:
        """Elements ``start`` to ``start + count - 1`` of the stream, ``(count,)``."""
        cycles = range(start // self.size, (start + count - 1) // self.size + 1)
        self._cycles = {cycle: self._cycle(cycle) for cycle in cycles}
        offset = start - cycles.start * self.size
        if len(cycles) == 1:
            return self._cycles[cycles.start][offset : offset + count]
        return np.concatenate(list(self._cycles.values()))[offset : offset + count]

    def _cycle(self, cycle: int) -> Indices:
        if cycle not in self._cycles:
            return permutation(self.size, self.seed, "stream", self.name, cycle)
        return self._cycles[cycle]


class PairedLoader:
    """Batches of several streams at once, ``{name: (x, y) or x, ..., "position": t}``, for ever.

    Every stream runs on over the epochs and is reshuffled anew each time that it runs out. Step
    ``t`` of all ranks together takes the elements ``[t * B * W, (t + 1) * B * W)`` of a stream,
    with ``B`` its batch size and ``W`` the number of ranks, each rank its part. Random transforms
    of a data set are seeded by seed, stream, step and rank. Nothing here draws from the global
    random number generators, so the batches do not depend on the number of workers or on anything
    else in the process.

    :meth:`state_dict` in the middle of an epoch, once loaded, goes on with the next batch and
    finishes the epoch, also while workers read ahead. An epoch that the caller leaves early
    shortens no other.

    Args:
        streams: By the key that they have in a batch.
        seed: 0 or more.
        steps_per_epoch: Batches of an epoch; ``None``: one pass over the stream that takes longest.
        num_workers: Processes that fetch batches; 0 fetches in this one.
        pin_memory: Put batches into pinned memory.
        prefetch_factor: Batches that each worker reads ahead; ``None`` is torch's default.
        world_size: ``W``; ``None`` asks ``torch.distributed``.
        rank: This rank; ``None`` asks ``torch.distributed``.
        completed: Gives the number of batches that the caller has finished in the whole run, where
            the caller keeps that count and ends the epochs, as Lightning does. Each epoch then
            starts at this count, and a state names it in place of the batches handed out.
        numbered: Streams of which a batch also says which samples it holds: ``(B,)`` int64 under
            ``batch["numbers"][name]``.

    Raises:
        ValueError: If a stream is empty or a number is out of range.
    """

    def __init__(
        self,
        streams: Mapping[str, Stream],
        *,
        seed: int = 0,
        steps_per_epoch: int | None = None,
        num_workers: int = 0,
        pin_memory: bool = False,
        prefetch_factor: int | None = None,
        world_size: int | None = None,
        rank: int | None = None,
        completed: Callable[[], int] | None = None,
        numbered: Collection[str] = (),
    ) -> None:
        for name, stream in streams.items():
            if stream.batch_size < 1:
                raise ValueError(
                    f"the batch size of {name!r} must be 1 or more, got {stream.batch_size}"
                )
            if not len(stream.samples):
                raise ValueError(f"there are no samples for the stream {name!r}")
        if not streams:
            raise ValueError("streams must hold at least one stream")
        if steps_per_epoch is not None and steps_per_epoch < 1:
            raise ValueError(f"steps_per_epoch must be 1 or more, got {steps_per_epoch}")
        self._streams = dict(streams)
        self._steps_per_epoch = steps_per_epoch
        self._world_size = world_size
        self._rank = rank
        self._completed = completed
        self._steps = _Steps(self._streams, seed)
        self._loader: DataLoader[Any] = DataLoader(
            _StepData(self._streams, seed, frozenset(numbered)),
            batch_size=None,
            sampler=self._steps,
            collate_fn=as_is,
            num_workers=num_workers,
            pin_memory=pin_memory,
            prefetch_factor=prefetch_factor,
            persistent_workers=num_workers > 0,
            generator=torch.Generator(),  # else an iterator would draw from the global generator
        )
        self._position = 0
        self._done_in_epoch = 0
        self._to_skip = 0  # batches of the interrupted epoch that a loaded state has behind it

    @property
    def position(self) -> int:
        """Batches handed out over the whole run."""
        return self._position

    def __len__(self) -> int:
        if self._steps_per_epoch is not None:
            return self._steps_per_epoch
        world_size = self._distribution()[0]
        return max(
            -(-len(s.samples) // (s.batch_size * world_size)) for s in self._streams.values()
        )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        # A generator: nothing happens before the first batch is asked for, and Lightning makes
        # spare ones.
        length = len(self)
        if self._completed is not None:
            self._position = self._completed()
        self._done_in_epoch, self._to_skip = self._to_skip % length, 0
        end = self._position + length - self._done_in_epoch
        self._steps.plan(range(self._position, end), *self._distribution())
        for batch in self._loader:
            if isinstance(batch, Exception):
                self._iterator._shutdown_workers()
                self._iterator = None
                raise batch
            self._position = batch[POSITION] + 1
            self._done_in_epoch += 1
            yield batch
        self._done_in_epoch = 0

    def state_dict(self) -> dict[str, int]:
        """Where the run stands."""
        if self._completed is not None:
            return {"position": self._completed(), "done_in_epoch": 0}
        return {"position": self._position, "done_in_epoch": self._done_in_epoch}

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        """Go on where the run stood."""
        self._position = state_dict["position"]
        self._done_in_epoch = self._to_skip = state_dict["done_in_epoch"]

    # Where Lightning looks for workers to stop at the end of training, as it does in a DataLoader.
    # Left to the garbage collector, which finds them in a cycle, each takes five seconds to stop.
    @property
    def _iterator(self) -> Any:
        return self._loader._iterator

    @_iterator.setter
    def _iterator(self, iterator: Any) -> None:
        self._loader._iterator = iterator

    def _distribution(self) -> tuple[int, int]:
        distributed = dist.is_available() and dist.is_initialized()
        world_size, rank = self._world_size, self._rank
        if world_size is None:
            world_size = dist.get_world_size() if distributed else 1
        if rank is None:
            rank = dist.get_rank() if distributed else 0
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be in 0..{world_size - 1}, got {rank}")
        return world_size, rank


class _Step(NamedTuple):
    position: int
    rank: int
    rows: dict[str, Indices]


class _Steps(Sampler[_Step]):
    """Says which rows each step takes; it stays in the main process, workers get the rows."""

    def __init__(self, streams: Mapping[str, Stream], seed: int) -> None:
        self._batch_sizes = {name: stream.batch_size for name, stream in streams.items()}
        self._orders = {
            name: IndexStream(len(stream.samples), seed, name) for name, stream in streams.items()
        }
        self.plan(range(0), 1, 0)

    def plan(self, positions: range, world_size: int, rank: int) -> None:
        self._plan = positions, world_size, rank

    def __iter__(self) -> Iterator[_Step]:
        positions, world_size, rank = self._plan
        return (_Step(t, rank, self._rows(t * world_size + rank)) for t in positions)

    def _rows(self, part: int) -> dict[str, Indices]:
        return {
            name: order.take(part * self._batch_sizes[name], self._batch_sizes[name])
            for name, order in self._orders.items()
        }


class _StepData(Dataset[Any]):
    """Fetches the batches of all streams for a step.

    From a worker, an error about the data comes back as a result: raised there, torch would bury
    its message in the text of a traceback.
    """

    def __init__(self, streams: Mapping[str, Stream], seed: int, numbered: Collection[str]) -> None:
        self._numbered = numbered
        self._samples = {name: stream.samples for name, stream in streams.items()}
        self._seed = seed
        # Saving and restoring the generators costs more than fetching a batch from memory.
        fixed = all(is_deterministic(stream.samples.dataset) for stream in streams.values())
        self._isolated: Callable[[], AbstractContextManager[Callable[[int], None] | None]]
        self._isolated = nullcontext if fixed else isolated_rng

    def __getitem__(self, step: Any) -> dict[str, Any] | Exception:
        try:
            return self._fetch(step)
        except (TypeError, ValueError) as error:
            if get_worker_info() is None:
                raise
            return error

    def _fetch(self, step: _Step) -> dict[str, Any]:
        batch: dict[str, Any] = {}
        with self._isolated() as reseed:
            for name, rows in step.rows.items():
                if reseed is not None:
                    reseed(derive_seed(self._seed, "items", name, step.position, step.rank))
                batch[name] = self._samples[name].fetch(rows)
        if self._numbered:
            numbers = {name: step.rows[name] for name in step.rows if name in self._numbered}
            batch[NUMBERS] = {name: torch.from_numpy(rows) for name, rows in numbers.items()}
        return {**batch, POSITION: step.position}
