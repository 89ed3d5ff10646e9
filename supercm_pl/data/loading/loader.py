"""Endless shuffled streams of batches, side by side, that resume where they stopped.

The order of a stream is a pure function of the seed, the stream's name and the position: all
permutations of its rows one after the other, each of them new. So there is no state but the
position.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader

from supercm_pl.data.datasets import Samples, as_is
from supercm_pl.data.loading.iterable.reader import IterableSamples
from supercm_pl.data.loading.iterable.resume_state import ResumeState
from supercm_pl.data.loading.steps import POSITION, STATES, StepData, Steps

_CHUNK = 1024


@dataclass(frozen=True)
class Stream:
    """Samples that a loader cycles through for ever.

    Attributes:
        samples: With labels, batches are ``(x, y)``; without, ``x``. Those of an
            ``IterableDataset`` come in its own order.
        batch_size: Samples of a step on each rank, 1 or more.
    """

    samples: Samples | IterableSamples
    batch_size: int


class PairedLoader:
    """Batches of several streams at once, ``{name: (x, y) or x, ..., "position": t}``, for ever.

    Every stream runs on over the epochs and is reshuffled anew each time that it runs out. Step
    ``t`` of all ranks together takes the elements ``[t * B * W, (t + 1) * B * W)`` of a stream,
    with ``B`` its batch size and ``W`` the number of ranks, each rank its part. Random transforms
    of a data set are seeded by seed, stream, step and rank. Nothing here draws from the global
    random number generators, so the batches do not depend on the number of workers or on anything
    else in the process.

    A stream of an ``IterableDataset`` is not shuffled here. Where the ranks and workers share its
    items out themselves, step ``t`` takes the same elements of it as of any other stream, whatever
    their number; where the data set does, each worker goes on with its own part. A resumed run sees
    the same items if the data set yields the same ones in each of its passes: it reads again, and
    drops, those of the current pass that were seen, unless the data set has ``state_dict`` and
    ``load_state_dict``. With other ranks or workers than before, one that shares out its items
    itself goes on with a new pass.

    :meth:`state_dict` in the middle of an epoch, once loaded, goes on with the next batch and
    finishes the epoch, also while workers read ahead. An epoch that the caller leaves early
    shortens no other.

    Args:
        streams: By the key that they have in a batch.
        seed: 0 or more.
        steps_per_epoch: Batches of an epoch; ``None``: one pass over the stream that takes longest,
            which all must have a length for.
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
        unused: Collection[str] = (),
    ) -> None:
        for name, stream in streams.items():
            if stream.batch_size < 1:
                raise ValueError(
                    f"the batch size of {name!r} must be 1 or more, got {stream.batch_size}"
                )
            if isinstance(stream.samples, IterableSamples):
                _check_streamed(name, steps_per_epoch, name in numbered)
            elif not len(stream.samples):
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
        fetched = {name: stream for name, stream in streams.items() if name not in unused}
        lanes = max(1, num_workers)
        self._steps = Steps(fetched, seed, lanes)
        self._streamed = {
            name: stream.samples
            for name, stream in fetched.items()
            if isinstance(stream.samples, IterableSamples)
        }
        batch_sizes = {name: stream.batch_size for name, stream in streams.items()}
        self._bookmarks = ResumeState(self._streamed, batch_sizes, lanes)
        read_ahead = 1 + (2 if prefetch_factor is None else prefetch_factor)
        self._loader: DataLoader[Any] = DataLoader(
            StepData(fetched, seed, frozenset(numbered), read_ahead),
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
            -(-len(s.samples) // (s.batch_size * world_size))
            for s in self._streams.values()
            if isinstance(s.samples, Samples)
        )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        # A generator: nothing happens before the first batch is asked for, and Lightning makes
        # spare ones.
        length = len(self)
        if self._completed is not None:
            self._position = self._completed()
        self._done_in_epoch, self._to_skip = self._to_skip % length, 0
        end = self._position + length - self._done_in_epoch
        for samples in self._streamed.values():
            samples.look_around()
        hints = self._bookmarks.hints(self._position)
        self._steps.plan(range(self._position, end), *self._distribution(), hints)
        for batch in self._loader:
            if batch is None:
                continue
            if isinstance(batch, Exception):
                self._iterator._shutdown_workers()
                self._iterator = None
                raise batch
            self._position = batch[POSITION] + 1
            self._done_in_epoch += 1
            if self._streamed:
                self._bookmarks.note(batch[POSITION], batch.pop(STATES), self._done())
            yield batch
        self._done_in_epoch = 0

    def state_dict(self) -> dict[str, Any]:
        """Where the run stands.

        Where a data set shares its items out to several ranks itself, every rank must call it.
        """
        done_in_epoch = self._done_in_epoch if self._completed is None else 0
        state: dict[str, Any] = {"position": self._done(), "done_in_epoch": done_in_epoch}
        if self._streamed:
            state["streamed"] = self._bookmarks.state_dict(self._done(), *self._distribution())
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where the run stood."""
        self._position = state_dict["position"]
        self._done_in_epoch = self._to_skip = state_dict["done_in_epoch"]
        if self._streamed and "streamed" in state_dict:
            streamed = state_dict["streamed"]
            self._bookmarks.load_state_dict(streamed, self._position, *self._distribution())

    def _done(self) -> int:
        return self._position if self._completed is None else self._completed()

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


def inputs_of(streams: Mapping[str, Stream]) -> Iterator[Tensor]:
    """All inputs of all streams once, in chunks ``(B, ...)``.

    Raises:
        ValueError: If a stream has no end.
    """
    for name, stream in streams.items():
        if not isinstance(stream.samples, Samples):
            raise ValueError(
                f"preprocess can't be fitted to {name!r}, which has no end: fit it beforehand"
            )
        size = len(stream.samples)
        for rows in np.array_split(np.arange(size), -(-size // _CHUNK)):
            batch = stream.samples.fetch(rows)
            yield batch if isinstance(batch, Tensor) else batch[0]


def _check_streamed(name: str, steps_per_epoch: int | None, numbered: bool) -> None:
    if numbered:
        raise ValueError(
            f"samples of the stream {name!r} have no numbers, since they come from an "
            "IterableDataset: a method that remembers samples, as FlexMatch does, needs a "
            "map-style Dataset"
        )
    if steps_per_epoch is None:
        raise ValueError(
            f"steps_per_epoch must be given where a stream has no length, as {name!r} from an "
            "IterableDataset"
        )
