"""Which samples each step takes, and how they are fetched, here or in a worker."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.utils.data import Dataset, Sampler, get_worker_info

from supercm_pl.data.datasets import Indices, Samples, is_deterministic
from supercm_pl.data.loading.iterable.reader import IterableSamples, Reader, State
from supercm_pl.data.loading.permutation import IndexStream
from supercm_pl.seeding import derive_seed, isolated_rng

if TYPE_CHECKING:
    from supercm_pl.data.loading.loader import Stream

POSITION = "position"
"""Key of a batch under which its number in the run stands."""
NUMBERS = "numbers"
"""Key of a batch under which the numbers of its samples stand, by stream."""
STATES = "states"
"""Key of a batch under which its worker says where its readers stand, by stream."""


class _Step(NamedTuple):
    position: int
    rank: int
    rows: dict[str, Indices]
    blocks: dict[str, int]
    hints: Mapping[str, State]


class Steps(Sampler[Any]):
    """Says what each step takes; it stays in the main process, workers get rows or blocks.

    Args:
        streams: Those that are fetched.
        seed: The run's seed.
        lanes: Number of workers, or 1 where the main process fetches. Step ``t`` is for worker
            ``t % lanes`` where a stream is shared out to workers.
    """

    def __init__(self, streams: Mapping[str, Stream], seed: int, lanes: int) -> None:
        self._lanes = lanes
        self._batch_sizes = {name: stream.batch_size for name, stream in streams.items()}
        self._orders = {
            name: IndexStream(len(stream.samples), seed, name)
            for name, stream in streams.items()
            if isinstance(stream.samples, Samples)
        }
        self._sharded = {
            name: stream.samples.sharded
            for name, stream in streams.items()
            if isinstance(stream.samples, IterableSamples)
        }
        self.plan(range(0), 1, 0, {})

    def plan(
        self,
        positions: range,
        world_size: int,
        rank: int,
        hints: Mapping[int, Mapping[str, State]],
    ) -> None:
        """Choose the steps of the next epoch; ``hints`` are states of readers, by lane."""
        self._plan = positions, world_size, rank
        self._hints = dict(hints)

    def __iter__(self) -> Iterator[_Step | None]:
        positions, world_size, rank = self._plan
        hints = dict(self._hints)
        if any(self._sharded.values()):
            # The loader deals out from its first worker on: steps that are none make up for it.
            yield from [None] * (positions.start % self._lanes)
        for t in positions:
            part, lane = t * world_size + rank, t % self._lanes
            blocks = {n: t // self._lanes if own else part for n, own in self._sharded.items()}
            yield _Step(t, rank, self._rows(part), blocks, hints.pop(lane, {}))

    def _rows(self, part: int) -> dict[str, Indices]:
        return {
            name: order.take(part * self._batch_sizes[name], self._batch_sizes[name])
            for name, order in self._orders.items()
        }


class StepData(Dataset[Any]):
    """Fetches the batches of all streams for a step.

    From a worker, an error about the data comes back as a result: raised there, torch would bury
    its message in the text of a traceback.

    Args:
        streams: By the key that they have in a batch.
        seed: The run's seed.
        numbered: Streams of which a batch also says which samples it holds.
        keep: Batches that a worker reads ahead.
    """

    def __init__(
        self, streams: Mapping[str, Stream], seed: int, numbered: Collection[str], keep: int
    ) -> None:
        self._numbered = numbered
        self._streams = dict(streams)
        self._seed = seed
        self._keep = keep
        self._readers: dict[str, Reader] = {}
        # Saving and restoring the generators costs more than fetching a batch from memory.
        fixed = all(is_deterministic(stream.samples.dataset) for stream in streams.values())
        self._isolated: Callable[[], AbstractContextManager[Callable[[int], None] | None]]
        self._isolated = nullcontext if fixed else isolated_rng

    def __getitem__(self, step: Any) -> dict[str, Any] | Exception | None:
        try:
            return None if step is None else self._fetch(step)
        except (TypeError, ValueError) as error:
            if get_worker_info() is None:
                raise
            return error

    def _fetch(self, step: _Step) -> dict[str, Any]:
        batch: dict[str, Any] = {}
        states: dict[str, State] = {}
        with self._isolated() as reseed:
            for name, stream in self._streams.items():
                if isinstance(stream.samples, IterableSamples):
                    reader = self._reader(name, stream, stream.samples, step.rank)
                    hint = step.hints.get(name)
                    batch[name], states[name] = reader.fetch(step.blocks[name], hint)
                    continue
                if reseed is not None:
                    reseed(derive_seed(self._seed, "items", name, step.position, step.rank))
                batch[name] = stream.samples.fetch(step.rows[name])
        if self._numbered:
            numbers = {name: step.rows[name] for name in step.rows if name in self._numbered}
            batch[NUMBERS] = {name: torch.from_numpy(rows) for name, rows in numbers.items()}
        if states:
            batch[STATES] = states
        return {**batch, POSITION: step.position}

    def _reader(self, name: str, stream: Stream, samples: IterableSamples, rank: int) -> Reader:
        if name not in self._readers:
            worker = get_worker_info()
            # All ranks and workers must see the same items, where they share them out themselves.
            shard = (rank, 0 if worker is None else worker.id) if samples.sharded else ()
            path = (name, *shard)
            self._readers[name] = Reader(samples, stream.batch_size, self._seed, path, self._keep)
        return self._readers[name]
