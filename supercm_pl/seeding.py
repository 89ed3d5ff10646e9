"""Random numbers as pure functions of a seed and a path of names and counters.

Everything random about data comes from here, so that a resumed run, another number of workers and
another platform draw the same. Only NumPy's ``SeedSequence`` and the raw output of ``PCG64`` are
used: both are fixed by specification, while the methods of ``numpy.random.Generator`` may change
between versions.
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
    """A 64-bit seed that depends on ``seed`` and on every part of ``path``.

    Args:
        seed: The run's seed, 0 or more.
        path: What the seed is for, such as ``"augmentation", step, rank``; integers of 0 or more,
            and names.

    Returns:
        An integer in ``[0, 2**64)``.

    Example:
        >>> derive_seed(0, "labeled", 1) == derive_seed(0, "labeled", 1)
        True
        >>> derive_seed(0, "labeled", 1) == derive_seed(0, "labeled", 2)
        False
    """
    return int(_sequence(seed, path).generate_state(1, np.uint64)[0])


def permutation(size: int, seed: int, *path: int | str) -> NDArray[np.int64]:
    """A uniformly random permutation of ``0..size-1``, ``(size,)``.

    Args:
        size: Number of elements, 0 or more.
        seed: The run's seed, 0 or more.
        path: As in :func:`derive_seed`.
    """
    keys = np.random.PCG64(_sequence(seed, path)).random_raw(size)
    return np.argsort(keys, kind="stable").astype(np.int64, copy=False)


def permuted(
    positions: NDArray[np.int64], size: int, seed: int, *path: int | str
) -> NDArray[np.int64]:
    """Elements of a pseudo-random permutation of ``0..size-1`` at some positions, ``(B,)``.

    Time and memory are those of the positions, whatever the size. It is another permutation than
    that of :func:`permutation`: a Feistel network on the smallest power of two that holds
    ``size``, walked along its cycles until it is below ``size`` (Black and Rogaway, *Ciphers with
    Arbitrary Finite Domains*, 2002).

    Args:
        positions: ``(B,)`` in ``[0, size)``.
        size: Number of elements, 1 or more.
        seed: The run's seed, 0 or more.
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
    """Shield the global generators of ``torch``, ``numpy`` and ``random`` from what the block does.

    Args:
        device: An accelerator whose generator takes part; the CPU's always does.

    Yields:
        A function that seeds all of them with an integer in ``[0, 2**64)``; call it before each
        draw that must not depend on the ones before.
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
            # Not torch.manual_seed, which would seed every accelerator of the process as well.
            torch.default_generator.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            if seed_device is not None:
                seed_device(seed)

        yield reseed


def generator_states() -> tuple[Any, ...]:
    """What the global generators of ``random``, ``numpy`` and ``torch`` (of the CPU) hold."""
    return random.getstate(), np.random.get_state(), torch.default_generator.get_state()  # noqa: NPY002


def restore_generators(states: tuple[Any, ...]) -> None:
    """Put back what :func:`generator_states` gave."""
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.default_generator.set_state(states[2])


def _feistel(values: NDArray[np.uint64], bits: int, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A bijection of the integers of so many bits, one round for each key."""
    half = np.uint64(bits // 2)
    masks = np.uint64(2 ** (bits // 2) - 1), np.uint64(2 ** (bits - bits // 2) - 1)
    parts = [values & masks[0], values >> half]
    for turn, key in enumerate(keys):
        changed = turn % 2
        # The mixing of SplitMix64 (Steele, Lea and Flood, 2014).
        word = parts[1 - changed] + key
        word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        parts[changed] = parts[changed] ^ ((word ^ (word >> np.uint64(31))) & masks[changed])
    joined: NDArray[np.uint64] = (parts[1] << half) | parts[0]
    return joined


def _sequence(seed: int, path: tuple[int | str, ...]) -> np.random.SeedSequence:
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in path]
    return np.random.SeedSequence([seed, *words])
