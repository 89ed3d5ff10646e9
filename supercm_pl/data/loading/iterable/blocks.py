"""Blocks of items of an iterable part: one for each step, read here or in a worker."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from supercm_pl.data.loading.iterable.reader import IterableSamples, Reader, State
from supercm_pl.data.loading.iterable.resume_state import ResumeState


class BlockKey(NamedTuple):
    """The block of a step, its rank, and a state from which it can be read."""

    block: int
    rank: int
    hint: State | None


class Blocks:
    """The blocks of an iterable part.

    With several workers, ``lanes``, step ``t`` belongs to worker ``t % lanes`` if the data set
    shares its items out itself. A worker reads ``keep`` batches ahead.
    """

    def __init__(
        self,
        samples: IterableDataset[Any],
        batch_size: int,
        seed: int,
        name: str,
        lanes: int,
        keep: int,
    ) -> None:
        if not isinstance(samples, IterableSamples):
            samples = IterableSamples(samples)
        self._samples: IterableSamples = samples
        self.dataset = self._samples.dataset
        self.resume = ResumeState(name, batch_size, self._samples.sharded, lanes)
        self._lanes = lanes
        self._reader_options = batch_size, seed, name, keep
        self._reader: Reader | None = None

    def start(self, position: int) -> int:
        """Prepare for an epoch from this step on, and return the number of empty steps before."""
        self._samples.detect_ranks()
        self._hints = {
            lane: self._samples.with_dataset_state(state, self._lanes)
            for lane, state in self.resume.at(position).items()
        }
        # The loader starts each epoch with its first worker: empty steps make up for it.
        return position % self._lanes if self._samples.sharded else 0

    def key(self, position: int, world_size: int, rank: int) -> BlockKey:
        """Return the key of a step; called in the main process."""
        hint = self._hints.pop(position % self._lanes, None)
        if self._samples.sharded:
            return BlockKey(position // self._lanes, rank, hint)
        return BlockKey(position * world_size + rank, rank, hint)

    def fetch(self, key: BlockKey) -> tuple[Tensor, State]:
        """Inputs ``(B, ...)`` of a step, and the state of the reader after it."""
        if self._reader is None:
            size, seed, name, keep = self._reader_options
            worker = get_worker_info()
            # Without a sharded data set, all ranks and workers must draw the same items.
            shard = (key.rank, 0 if worker is None else worker.id) if self._samples.sharded else ()
            self._reader = Reader(self._samples, size, seed, (name, *shard), keep)
        return self._reader.fetch(key.block, key.hint)


def check_iterable(name: str, steps_per_epoch: int | None, numbered: bool) -> None:
    """Reject numbered samples of an iterable part, and epochs without a length."""
    if numbered:
        raise ValueError(
            f"samples of the part {name!r} have no numbers, since they come from an "
            "IterableDataset: a method that remembers samples, such as FlexMatch, needs a "
            "map-style Dataset"
        )
    if steps_per_epoch is None:
        raise ValueError(
            "steps_per_epoch must be given if a part has no length, such as "
            f"{name!r} from an IterableDataset"
        )
