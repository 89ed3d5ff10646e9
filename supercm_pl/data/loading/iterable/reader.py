"""Samples from an ``IterableDataset``, for unlabeled data without an index."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import IterableDataset

from supercm_pl.data.datasets import check_kinds, stacked
from supercm_pl.seeding import derive_seed, generator_states, isolated_rng, restore_generators

State = dict[str, Any]
"""State of a reader: ``number`` of the next item; ``turn``, the pass over the data set; ``taken``,
the items read in this pass; and ``dataset``, the data set's own state if it has one."""

_SHARDING_PACKAGES = ("litdata", "webdataset")
_END = object()


class IterableData(IterableDataset[Any]):
    """An ``IterableDataset``, and whether it shards over ranks and workers itself.

    Args:
        dataset: Its items are inputs or ``(input, label)``; labels are dropped.
        sharded: ``True``: the data set itself shards by ``torch.distributed`` and
            ``get_worker_info``. ``False``: every worker reads all items and keeps its share.
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


class IterableSamples(IterableData):
    """The inputs of an ``IterableDataset``, in its own order, pass after pass.

    They must have the shape and type of ``like``, one input ``(1, ...)``, unless it is ``None``.
    """

    dataset: Any

    def __init__(self, dataset: IterableDataset[Any], like: Tensor | None = None) -> None:
        if isinstance(dataset, IterableData):
            super().__init__(dataset.dataset, dataset.sharded)
        else:
            super().__init__(dataset)
        self.like = like

    def detect_ranks(self) -> None:
        """Detect ranks again in a data set that did so when it was built, such as LitData's."""
        environment = getattr(self.dataset, "distributed_env", None)
        if environment is not None and hasattr(type(environment), "detect"):
            self.dataset.distributed_env = type(environment).detect()

    def with_dataset_state(self, state: State, num_workers: int) -> State:
        """Add the state of a data set that can compute it from numbers, as LitData's does."""
        if not _computes_state(self.dataset):
            return state
        state = {name: state[name] for name in beginning()}  # nothing else of a checkpoint
        if not state["taken"]:
            return state
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(state["turn"])
        # As if workers had taken turns with batches of one.
        numbers = {"num_samples_yielded": state["taken"] * num_workers, "num_workers": num_workers}
        own = self.dataset.state_dict(**numbers, batch_size=1)
        return {**state, "dataset": dict(own)}


class Reader:
    """Numbered blocks of items of one shard, read forward.

    Block ``b`` holds the items ``[b * size, (b + 1) * size)`` of all passes one after the other.
    For a block further ahead, the items before it are read and dropped. For one further back than
    ``keep``, the data set is started again. Random transforms draw from the reader's own
    generators, seeded in each pass by ``seed`` and ``path``: the part, and the shard if each has
    its own items.
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

        A ``hint`` is a state to start from if it is nearer than the reader's own.

        Raises:
            TypeError: If an item is neither an input nor a sequence that starts with one.
            ValueError: If the data set has no items, or they differ in shape or type.
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
        return batch, {**self._state, **_own_state(self._samples.dataset)}

    def _next(self) -> Any:
        item = next(self._items, _END)  # type: ignore[arg-type]
        if item is _END:
            if not self._state["taken"]:
                shard = " for one of the workers: use fewer" if self._samples.sharded else ""
                raise ValueError(f"the data set of the part {self._path[0]!r} has no items{shard}")
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
    """The state at the start of a pass whose first item has this number."""
    return {"number": number, "turn": turn, "taken": 0}


def _own_state(dataset: Any) -> State:
    own = _keeps_state(dataset) and not _computes_state(dataset)
    return {"dataset": dataset.state_dict()} if own else {}


def _keeps_state(dataset: Any) -> bool:
    return hasattr(dataset, "state_dict") and hasattr(dataset, "load_state_dict")


def _computes_state(dataset: Any) -> bool:
    if not _keeps_state(dataset):
        return False
    return "num_samples_yielded" in inspect.signature(dataset.state_dict).parameters
