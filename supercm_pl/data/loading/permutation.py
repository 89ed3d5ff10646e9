"""The order of a part's samples: one random permutation after the other."""

from __future__ import annotations

import numpy as np

from supercm_pl.data.datasets import Indices
from supercm_pl.seeding import permutation, permuted

LARGE = 2**22
"""Size above which a permutation is computed element by element: sorting it would take seconds."""


class EndlessPermutation:
    """Permutations of ``0..size-1`` one after the other, each a new one.

    Up to ``LARGE`` elements, a permutation is computed at once. Beyond that, time and memory do not
    depend on the size.

    Args:
        size: 1 or more.
        seed: The run's seed, 0 or more.
        name: Parts with different names have independent orders.

    Example:
        >>> order = EndlessPermutation(3, seed=0, name="labeled")
        >>> sorted(order.take(0, 3).tolist()), sorted(order.take(3, 3).tolist())
        ([0, 1, 2], [0, 1, 2])
    """

    def __init__(self, size: int, seed: int, name: str) -> None:
        self.size = size
        self.seed = seed
        self.name = name
        self._cycles: dict[int, Indices] = {}

    def take(self, start: int, count: int) -> Indices:
        """Elements ``start`` to ``start + count - 1``, ``(count,)``."""
        cycles = range(start // self.size, (start + count - 1) // self.size + 1)
        if self.size > LARGE:
            return np.concatenate([self._part(cycle, start, start + count) for cycle in cycles])
        self._cycles = {cycle: self._cycle(cycle) for cycle in cycles}
        offset = start - cycles.start * self.size
        if len(cycles) == 1:
            return self._cycles[cycles.start][offset : offset + count]
        return np.concatenate(list(self._cycles.values()))[offset : offset + count]

    def _part(self, cycle: int, start: int, end: int) -> Indices:
        first = cycle * self.size
        positions = np.arange(max(start, first), min(end, first + self.size)) - first
        return permuted(positions, self.size, self.seed, "stream", self.name, cycle)

    def _cycle(self, cycle: int) -> Indices:
        if cycle not in self._cycles:
            return permutation(self.size, self.seed, "stream", self.name, cycle)
        return self._cycles[cycle]
