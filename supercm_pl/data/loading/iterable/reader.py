"""Samples read off an ``IterableDataset``, for unlabeled sets that no index reaches."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import IterableDataset

from supercm_pl.data.datasets import check_kinds, stacked
from supercm_pl.seeding import derive_seed, generator_states, isolated_rng, restore_generators

State = dict[str, Any]
"""Where a reader stands: the ``number`` of the next item; the ``turn``, how often the data set was
begun anew; the items ``taken`` of it since; and the state of the ``dataset``, if it keeps one."""

_SHARDING_PACKAGES = ("litdata", "webdataset")
_END = object()


class IterableData(IterableDataset[Any]):
    """An ``IterableDataset`` with a word on who shares its items out to ranks and workers.

    Args:
        dataset: Its items are inputs or ``(input, label)``; labels are dropped.
        sharded: ``True``: each worker of each rank gets a part of its own from the data set, which
            looks at ``torch.distributed`` and ``get_worker_info`` itself. ``False``: the data set
            gives all items to everyone, of which each keeps its share; so each reads everything.
            ``None``: ``True`` for data sets of LitData and WebDataset.
    """

    # Behind `IterableDataset[Any]`, jsonargparse would not find the data set's arguments.
    def __init__(
        self,
        dataset: IterableDataset,  # type: ignore[type-arg]
        sharded: bool | None = None,
    ) -> None:
        packages = {base.__module__.split(".")[0] for base in type(dataset).__mro__}
        self.dataset = dataset
        self.sharded = bool(packages & {*_SHARDING_PACKAGES}) if sharded is None else sharded

    def __iter__(self) -> Iterator[Any]:
        return iter(self.dataset)


class IterableSamples:
    """The inputs of an ``IterableDataset``, in its own order, again and again.

    Args:
        dataset: Where they come from.
        like: One input ``(1, ...)`` whose shape and type they must have; ``None``: any.
    """

    def __init__(self, dataset: IterableDataset[Any], like: Tensor | None = None) -> None:
        own = isinstance(dataset, IterableData)
        self.data = dataset if isinstance(dataset, IterableData) else IterableData(dataset)
        self.dataset: IterableDataset[Any] = self.data.dataset if own else dataset
        self.sharded = self.data.sharded
        self.like = like

    def look_around(self) -> None:
        """Let a data set that asked for the ranks when it was made, LitData's, ask again."""
        environment = getattr(self.dataset, "distributed_env", None)
        if environment is not None and hasattr(type(environment), "detect"):
            self.dataset.distributed_env = type(environment).detect()  # type: ignore[attr-defined]

    def with_dataset_state(self, state: State, num_workers: int) -> State:
        """A state with that of a data set which can work it out from numbers, as LitData's does."""
        if not state["taken"] or not _asks_for_numbers(self.dataset):
            return state
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(state["turn"])
        # Batches of one, dealt out to the workers in turn: each has given so many.
        numbers = {"num_samples_yielded": state["taken"] * num_workers, "num_workers": num_workers}
        own = self.dataset.state_dict(**numbers, batch_size=1)  # type: ignore[attr-defined]
        return {**state, "dataset": dict(own)}


class Reader:
    """Blocks of items of one shard, by number, going forward.

    Block ``b`` holds the items ``[b * size, (b + 1) * size)`` of the passes over the data set, one
    after the other. For a block ahead, the items before it are read and dropped; for one far
    behind, the data set is begun anew.

    Random transforms draw from generators of the reader's own, seeded at each pass.

    Args:
        samples: What to read.
        size: Items of a block.
        seed: The run's seed.
        path: What else the draws depend on: the stream's name, and the shard where each has items
            of its own.
        keep: Blocks that can be asked for again at no cost; what a worker reads ahead.
    """

    def __init__(
        self, samples: IterableSamples, size: int, seed: int, path: tuple[int | str, ...], keep: int
    ) -> None:
        self._samples = samples
        self._size = size
        self._seed = seed
        self._path = path
        self._keep = keep
        self._recent: dict[int, tuple[Tensor, State]] = {}
        self._state: State = beginning()
        self._items: Iterator[Any] | None = None
        self._generators: tuple[Any, ...] = ()
        self._reseed: Callable[[int], None]

    def fetch(self, block: int, hint: State | None = None) -> tuple[Tensor, State]:
        """Inputs ``(size, ...)`` of a block, and the state after it.

        Args:
            block: Its number, 0 or more.
            hint: A state to start from, where that is nearer than where the reader stands.

        Raises:
            TypeError: If an item is neither an input nor a sequence that starts with one.
            ValueError: If the data set has no items, or these differ in shape or type.
        """
        if block not in self._recent:
            with isolated_rng() as self._reseed:
                if self._items is not None:
                    restore_generators(self._generators)
                self._recent[block] = self._read(block, hint)
                self._generators = generator_states()
            for old in list(self._recent)[: -self._keep]:
                del self._recent[old]
        return self._recent[block]

    def _read(self, block: int, hint: State | None) -> tuple[Tensor, State]:
        start = block * self._size
        if hint is None or hint["number"] > start:
            hint = beginning()
        number = self._state["number"]
        if self._items is None or number > start or number < hint["number"]:
            self._open(hint)
        while self._state["number"] < start:
            self._next()
        items = [self._next() for _ in range(self._size)]
        batch = stacked(items, start + np.arange(self._size))
        if self._samples.like is not None:
            check_kinds([self._samples.like, batch])
        own = _own_state(self._samples.dataset)
        return batch, {**self._state, **({} if own is None else {"dataset": own})}

    def _next(self) -> Any:
        item = next(self._items, _END)  # type: ignore[arg-type]
        if item is _END:
            if not self._state["taken"]:
                shard = " for one of the workers: use fewer" if self._samples.sharded else ""
                raise ValueError(
                    f"the data set of the stream {self._path[0]!r} gives no items{shard}"
                )
            self._begin(self._state["turn"] + 1)
            return self._next()
        self._state["number"] += 1
        self._state["taken"] += 1
        return item

    def _open(self, state: State) -> None:
        self._begin(state["turn"], state.get("dataset"))
        if "dataset" not in state:
            for _ in range(state["taken"]):
                next(self._items, None)  # type: ignore[arg-type]
        self._state = {**state}
        self._state.pop("dataset", None)

    def _begin(self, turn: int, own: Any = None) -> None:
        dataset: Any = self._samples.dataset
        self._reseed(derive_seed(self._seed, "pass", *self._path, turn))
        if hasattr(dataset, "set_epoch"):
            dataset.set_epoch(turn)
        if own is not None:
            dataset.load_state_dict(own)
        self._items = iter(dataset)
        self._state = {**self._state, "turn": turn, "taken": 0}


def beginning(number: int = 0, turn: int = 0) -> State:
    """The state of a reader that begins with a pass, whose first item gets this number."""
    return {"number": number, "turn": turn, "taken": 0}


def _own_state(dataset: Any) -> Mapping[str, Any] | None:
    if not _keeps_state(dataset) or _asks_for_numbers(dataset):
        return None
    state: Mapping[str, Any] = dataset.state_dict()
    return state


def _keeps_state(dataset: Any) -> bool:
    return hasattr(dataset, "state_dict") and hasattr(dataset, "load_state_dict")


def _asks_for_numbers(dataset: Any) -> bool:
    if not _keeps_state(dataset):
        return False
    return "num_samples_yielded" in inspect.signature(dataset.state_dict).parameters
