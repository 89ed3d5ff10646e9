"""Random numbers as pure functions of a seed and a path of names and counters.

All random numbers of data come from here, so that they do not depend on resuming, the number of
workers or the platform. Only NumPy's ``SeedSequence`` and the raw output of ``PCG64`` are used,
because their specification is fixed, unlike the methods of ``numpy.random.Generator``.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_ROUNDS = 8


def derive_seed(seed: int, *path: int | str) -> int:
    """Return a seed in ``[0, 2**64)`` that depends on ``seed`` and on every part of ``path``.

    Args:
        seed: Seed of the run, 0 or more.
        path: Names and integers ≥ 0 for the purpose, such as ``"augmentation", step, rank``.

    Example:
        >>> derive_seed(0, "labeled", 1) == derive_seed(0, "labeled", 2)
        False
    """
    return int(_sequence(seed, path).generate_state(1, np.uint64)[0])


def permutation(size: int, seed: int, *path: int | str) -> NDArray[np.int64]:
    """Return a uniformly random permutation of ``0..size-1``, ``(size,)``, with size ≥ 0.

    Seed and path are those of :func:`derive_seed`.
    """
    keys = np.random.PCG64(_sequence(seed, path)).random_raw(size)
    return np.argsort(keys, kind="stable").astype(np.int64, copy=False)


def permuted(
    positions: NDArray[np.int64], size: int, seed: int, *path: int | str
) -> NDArray[np.int64]:
    """Return elements of a pseudo-random permutation of ``0..size-1`` at given positions, ``(B,)``.

    Time and memory depend only on ``B``. The permutation differs from that of :func:`permutation`.
    It is a Feistel network on the smallest power of two of at least ``size``, applied until the
    value is below ``size`` (Black and Rogaway, *Ciphers with Arbitrary Finite Domains*, 2002).

    Args:
        positions: ``(B,)`` in ``[0, size)``.
        size: Number of elements, 1 or more.
        seed: Seed of the run, 0 or more.
        path: As in :func:`derive_seed`.

    Example:
        >>> permuted(np.arange(5), 5, 0).tolist() != permuted(np.arange(5), 5, 1).tolist()
        True
        >>> sorted(permuted(np.arange(5), 5, 0).tolist())
        [0, 1, 2, 3, 4]
    """
    keys: NDArray[np.uint64]
    keys = _sequence(seed, path).generate_state(_ROUNDS, np.uint64).astype(np.uint64)
    bits = max(2, (size - 1).bit_length())
    values = _feistel(positions.astype(np.uint64), bits, keys)
    outside = np.flatnonzero(values >= size)
    while len(outside):
        values[outside] = _feistel(values[outside], bits, keys)
        outside = outside[values[outside] >= size]
    return values.astype(np.int64)


@contextmanager
def isolated_rng(device: torch.device | None = None) -> Iterator[Callable[[int], None]]:
    """Restore the global generators of ``torch``, ``numpy`` and ``random`` after the block.

    Those of the CPU, and of an accelerator if ``device`` is one. Yields a function that seeds them
    all with an integer in ``[0, 2**64)``.
    """
    with ExitStack() as stack:
        stack.callback(random.setstate, random.getstate())
        stack.callback(np.random.set_state, np.random.get_state())  # noqa: NPY002
        seed_device: Callable[[int], None] | None = None
        if device is not None and device.type in ("cuda", "xpu"):
            module = getattr(torch, device.type)
            stack.enter_context(torch.random.fork_rng([device], device_type=device.type))
            stack.enter_context(module.device(device))
            seed_device = module.manual_seed
        else:
            stack.enter_context(torch.random.fork_rng([]))
        if device is not None and device.type == "mps":
            stack.callback(torch.mps.set_rng_state, torch.mps.get_rng_state())
            seed_device = torch.mps.manual_seed

        def reseed(seed: int) -> None:
            # Not torch.manual_seed, which would also seed every accelerator.
            torch.default_generator.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            if seed_device is not None:
                seed_device(seed)

        yield reseed


def generator_states() -> tuple[Any, ...]:
    """Return the states of the global generators of ``random``, ``numpy`` and ``torch`` (CPU)."""
    return random.getstate(), np.random.get_state(), torch.default_generator.get_state()  # noqa: NPY002


def restore_generators(states: tuple[Any, ...]) -> None:
    """Restore the states of :func:`generator_states`."""
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.default_generator.set_state(states[2])


def _feistel(values: NDArray[np.uint64], bits: int, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Permute the integers of ``bits`` bits, with one round per key."""
    half = np.uint64(bits // 2)
    masks = np.uint64(2 ** (bits // 2) - 1), np.uint64(2 ** (bits - bits // 2) - 1)
    parts = [values & masks[0], values >> half]
    for turn, key in enumerate(keys):
        changed = turn % 2
        # Mixing function of SplitMix64 (Steele, Lea and Flood, 2014).
        word = parts[1 - changed] + key
        word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        parts[changed] = parts[changed] ^ ((word ^ (word >> np.uint64(31))) & masks[changed])
    joined: NDArray[np.uint64] = (parts[1] << half) | parts[0]
    return joined


def _sequence(seed: int, path: tuple[int | str, ...]) -> np.random.SeedSequence:
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in path]
    return np.random.SeedSequence([seed, *words])
