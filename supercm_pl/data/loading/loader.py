"""Endless shuffled batches of several parts at once, which resume where they stopped.

The order of a part is a pure function of the seed, the part's name and the step. So the step is the
only state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from supercm_pl import distributed
from supercm_pl.checks import check_optional, check_size
from supercm_pl.data.datasets import Samples, as_tuple
from supercm_pl.data.loading.steps import POSITION, Part, ShuffledRows, StepDataset, StepSampler
from supercm_pl.data.loading.workers import make_loader

if TYPE_CHECKING:
    from supercm_pl.data.loading.iterable.blocks import Blocks

_CHUNK = 1024


class PairedLoader:
    """Batches of several parts at once, ``{name: (x, y) or x, ..., "position": t}``, without end.

    Each part continues over the epochs and is reshuffled each time that it is used up. Step ``t``
    of all ranks together takes the elements ``[t * B * W, (t + 1) * B * W)`` of a part, where ``B``
    is its batch size and ``W`` the number of ranks; each rank takes its share. Random transforms of
    a data set are seeded by seed, part, step and rank. Nothing draws from the global random number
    generators, so the batches do not depend on the number of workers or on other code.

    An ``IterableDataset`` keeps its own order. Ranks and workers share its items out so that step
    ``t`` takes the same ones whatever their number, unless the data set shares them out itself: see
    :class:`~supercm_pl.data.IterableData`. To resume, the current pass is read again, unless the
    data set has ``state_dict`` and ``load_state_dict``.

    A :meth:`state_dict` from the middle of an epoch continues with the next batch and finishes the
    epoch, also while workers read ahead. Leaving an epoch early shortens no other epoch.

    Args:
        parts: By their key in a batch.
        seed: 0 or more.
        steps_per_epoch: Batches per epoch; ``None``: one pass over the part that takes longest.
            Required if a part has no length.
        num_workers: Processes that fetch batches; 0 fetches in this one.
        pin_memory: Put batches into pinned memory.
        prefetch_factor: Batches that each worker reads ahead; ``None``: PyTorch's default.
        world_size: ``W``; ``None``: that of ``torch.distributed``.
        rank: This rank; ``None``: that of ``torch.distributed``.
        completed: Returns the batches that the caller has finished in the whole run, if the caller
            counts them and ends the epochs, as Lightning does. Epochs then start at this count, and
            it is the position in a state.
        numbered: Parts whose batches include the numbers of their samples: ``(B,)`` int64 in
            ``batch["numbers"][name]``.
        unused: Parts that are not fetched, but count in the length of an epoch.

    Raises:
        ValueError: If a part is empty or a number is out of range.
    """

    def __init__(
        self,
        parts: Mapping[str, Part],
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
        if not parts:
            raise ValueError("parts must hold at least one part")
        for name, part in parts.items():
            check_size(f"the batch size of {name!r}", part.batch_size)
            if isinstance(part.samples, Samples) and not len(part.samples):
                raise ValueError(f"there are no samples in the part {name!r}")
        self._parts = dict(parts)
        self._steps_per_epoch = check_optional(check_size, "steps_per_epoch", steps_per_epoch)
        self._world_size = world_size
        self._rank = rank
        self._completed = completed
        readers: dict[str, ShuffledRows | Blocks] = {}
        self._blocks: dict[str, Blocks] = {}
        for name, part in parts.items():
            if isinstance(part.samples, Samples):
                readers[name] = ShuffledRows(part.samples, part.batch_size, seed, name)
                continue
            # The only way to `iterable/`: without an IterableDataset, none of it is imported.
            from supercm_pl.data.loading.iterable.blocks import Blocks, check_iterable

            check_iterable(name, steps_per_epoch, name in numbered)
            keep = 1 + (2 if prefetch_factor is None else prefetch_factor)
            blocks = Blocks(part.samples, part.batch_size, seed, name, max(1, num_workers), keep)
            readers[name] = self._blocks[name] = blocks
        for name in unused:
            readers.pop(name, None)
            self._blocks.pop(name, None)
        self._sampler = StepSampler(readers)
        self._loader = make_loader(
            StepDataset(readers, seed, frozenset(numbered)),
            batch_size=None,
            sampler=self._sampler,
            num_workers=num_workers,
            pin_memory=pin_memory,
            prefetch_factor=prefetch_factor,
        )
        self._position = 0
        self._done_in_epoch = 0
        self._to_skip = 0  # batches of the interrupted epoch that are done, from a loaded state

    @property
    def position(self) -> int:
        """Batches handed out over the whole run."""
        return self._position

    def __len__(self) -> int:
        if self._steps_per_epoch is not None:
            return self._steps_per_epoch
        world_size = self._distribution()[0]
        return max(
            -(-len(part.samples) // (part.batch_size * world_size))
            for part in self._parts.values()
            if isinstance(part.samples, Samples)
        )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        # A generator: Lightning makes spare iterators, which must not change anything.
        length = len(self)
        if self._completed is not None:
            self._position = self._completed()
        self._done_in_epoch, self._to_skip = self._to_skip % length, 0
        end = self._position + length - self._done_in_epoch
        idle = max((blocks.start(self._position) for blocks in self._blocks.values()), default=0)
        self._sampler.plan(range(self._position, end), *self._distribution(), idle)
        for batch in self._loader:
            if batch is None:
                continue
            if isinstance(batch, Exception):
                self._iterator._shutdown_workers()
                self._iterator = None
                raise batch
            self._position = batch[POSITION] + 1
            self._done_in_epoch += 1
            for name, blocks in self._blocks.items():
                batch[name], state = batch[name]
                blocks.resume.note(batch[POSITION], state, self._done())
            yield batch
        self._done_in_epoch = 0

    def state_dict(self) -> dict[str, Any]:
        """The next step; call it on every rank if a data set shares its items out itself."""
        done_in_epoch = self._done_in_epoch if self._completed is None else 0
        state: dict[str, Any] = {"position": self._done(), "done_in_epoch": done_in_epoch}
        if self._blocks:
            now = self._done(), *self._distribution()
            state["iterable"] = {n: b.resume.state_dict(*now) for n, b in self._blocks.items()}
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue at the step of a saved state."""
        self._position = state_dict["position"]
        self._done_in_epoch = self._to_skip = state_dict["done_in_epoch"]
        for name, saved in state_dict.get("iterable", {}).items():
            if name in self._blocks:
                now = self._position, *self._distribution()
                self._blocks[name].resume.load_state_dict(saved, *now)

    def _done(self) -> int:
        return self._position if self._completed is None else self._completed()

    # Lightning stops the workers at the end of training through this attribute of a DataLoader.
    # The garbage collector would find them in a cycle, where each takes five seconds to stop.
    @property
    def _iterator(self) -> Any:
        return self._loader._iterator

    @_iterator.setter
    def _iterator(self, iterator: Any) -> None:
        self._loader._iterator = iterator

    def _distribution(self) -> tuple[int, int]:
        world_size = distributed.world_size() if self._world_size is None else self._world_size
        rank = distributed.rank() if self._rank is None else self._rank
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be in 0..{world_size - 1}, got {rank}")
        return world_size, rank


def inputs_of(parts: Mapping[str, Part]) -> Iterator[Tensor]:
    """All inputs of all parts once, in chunks ``(B, ...)``; a ``ValueError`` without a length."""
    for name, part in parts.items():
        if not isinstance(part.samples, Samples):
            raise ValueError(
                f"preprocess can't be fitted to {name!r}, which has no length: fit it beforehand"
            )
        size = len(part.samples)
        for rows in np.array_split(np.arange(size), -(-size // _CHUNK)):
            yield as_tuple(part.samples.fetch(rows))[0]
