"""The states of the readers of a part, at any step of the run that may be saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from supercm_pl.data.loading.iterable.reader import State, beginning
from supercm_pl.distributed import gather_objects, is_distributed

Lanes = dict[int, State]
"""States of readers, by lane: the worker, or 0."""


class ResumeState:
    """The states of a part's readers after the latest steps.

    Each worker is a lane; without workers, there is one. If ``sharded``, the data set shares its
    items out to ranks and workers itself.
    """

    def __init__(self, name: str, batch_size: int, sharded: bool, lanes: int) -> None:
        self._name = name
        self._batch_size = batch_size
        self._sharded = sharded
        self._lanes = lanes
        self._noted: Lanes = {}  # by step
        self._loaded: Lanes = {}

    def note(self, position: int, state: State, done: int) -> None:
        """Add the state after a step; those long before step ``done`` are dropped."""
        self._noted[position] = state
        for old in [t for t in self._noted if t < done - self._lanes]:
            del self._noted[old]

    def at(self, position: int) -> Lanes:
        """The state from which each lane continues at a step."""
        states = dict(self._loaded)
        for t in range(max(0, position - self._lanes), position):
            if t in self._noted:
                states[t % self._lanes] = self._noted[t]
        return states if self._sharded or not states else self._for_all(states)

    def state_dict(self, position: int, world_size: int, rank: int) -> dict[str, Any]:
        """The states to save at a step; every rank must call it."""
        states = {rank: self.at(position)}
        if self._sharded and is_distributed():
            states = dict(enumerate(gather_objects(states[rank])))
        return {"layout": [world_size, self._lanes], "states": states}

    def load_state_dict(
        self, saved: Mapping[str, Any], position: int, world_size: int, rank: int
    ) -> None:
        """Continue from there, possibly with other ranks and workers."""
        self._noted = {}
        own: Lanes | None = saved["states"].get(rank)
        if not self._sharded:
            self._loaded = self._for_all(saved["states"].get(0, own or {}))
        elif own is not None and saved["layout"] == [world_size, self._lanes]:
            self._loaded = {lane: own.get(lane, beginning()) for lane in range(self._lanes)}
        else:
            turns = [
                state["turn"] for lanes in saved["states"].values() for state in lanes.values()
            ]
            for lane in range(self._lanes):
                number = -(-(position - lane) // self._lanes) * self._batch_size
                self._loaded[lane] = beginning(number, max(turns, default=-1) + 1)
            if turns:
                rank_zero_warn(
                    f"the part {self._name!r} was shared out to other ranks and workers when this "
                    "was saved: it continues with a new pass over its data set"
                )

    def _for_all(self, states: Lanes) -> Lanes:
        # Everyone reads the same items: the latest state serves all lanes.
        latest = max(states.values(), key=lambda state: int(state["number"]), default=beginning())
        return dict.fromkeys(range(self._lanes), latest)
