"""Where the readers of all workers stand, at any step of the run that may be saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.distributed as dist
from lightning.pytorch.utilities import rank_zero_warn

from supercm_pl.data.loading.iterable.reader import IterableSamples, State, beginning

Lanes = dict[int, dict[str, State]]
"""States of readers, by lane (the worker, or 0) and stream."""


class ResumeState:
    """Remembers after which step a reader stood where.

    Args:
        samples: The streams that are read off an ``IterableDataset``.
        batch_sizes: Of these.
        lanes: Workers, or 1.
    """

    def __init__(
        self, samples: Mapping[str, IterableSamples], batch_sizes: Mapping[str, int], lanes: int
    ) -> None:
        self._samples = dict(samples)
        self._batch_sizes = dict(batch_sizes)
        self._lanes = lanes
        self._noted: dict[int, dict[str, State]] = {}
        self._loaded: Lanes = {}

    def __bool__(self) -> bool:
        return bool(self._samples)

    def note(self, position: int, states: dict[str, State], done: int) -> None:
        """Readers stand here after a step; of ``done`` steps, the caller may ask again."""
        self._noted[position] = states
        for old in [t for t in self._noted if t < done - self._lanes]:
            del self._noted[old]

    def hints(self, position: int) -> Lanes:
        """What each lane starts from at a step."""
        return {
            lane: {
                name: self._samples[name].with_dataset_state(state, self._lanes)
                for name, state in states.items()
            }
            for lane, states in self._at(position).items()
        }

    def state_dict(self, position: int, world_size: int, rank: int) -> dict[str, Any]:
        """All that is to be saved at a step; every rank must call it where there are several."""
        states = {rank: self._at(position)}
        shared_out = any(samples.sharded for samples in self._samples.values())
        if shared_out and world_size > 1 and dist.is_available() and dist.is_initialized():
            gathered: list[Any] = [None] * world_size
            dist.all_gather_object(gathered, states[rank])
            states = dict(enumerate(gathered))
        return {"layout": [world_size, self._lanes], "states": states}

    def load_state_dict(
        self, saved: Mapping[str, Any], position: int, world_size: int, rank: int
    ) -> None:
        """Go on from there; ranks and workers may be others than when it was saved."""
        self._noted = {}
        self._loaded = {lane: {} for lane in range(self._lanes)}
        own = saved["states"].get(rank)
        same = saved["layout"] == [world_size, self._lanes] and own is not None
        for name, samples in self._samples.items():
            lanes = [lane for of_rank in saved["states"].values() for lane in of_rank.values()]
            turns = [lane[name]["turn"] for lane in lanes if name in lane]
            for lane, states in self._loaded.items():
                if not samples.sharded:
                    # All read the same items: any state that is not beyond this step is right.
                    states[name] = _latest(saved["states"].get(0, own or {}), name)
                elif same:
                    states[name] = own[lane][name] if lane in own else beginning()
                else:
                    number = -(-(position - lane) // self._lanes) * self._batch_sizes[name]
                    states[name] = beginning(number, max(turns, default=-1) + 1)
            if samples.sharded and not same and turns:
                rank_zero_warn(
                    f"the stream {name!r} was shared out to other ranks and workers when this was "
                    "saved: it goes on with a new pass over its data set"
                )

    def _at(self, position: int) -> Lanes:
        states: Lanes = {lane: dict(loaded) for lane, loaded in self._loaded.items()}
        for t in range(max(0, position - self._lanes), position):
            if t in self._noted:
                states[t % self._lanes] = self._noted[t]
        if not any(samples.sharded for samples in self._samples.values()):
            # The latest serves all lanes.
            latest = {name: _latest(states, name) for name in self._samples} if states else {}
            return dict.fromkeys(range(self._lanes), latest) if latest else {}
        return states


def _latest(states: Lanes, name: str) -> State:
    known = [lane[name] for lane in states.values() if name in lane]
    return max(known, key=lambda state: int(state["number"]), default=beginning())
