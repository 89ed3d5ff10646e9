"""The global generators of random numbers."""

# ruff: noqa: NPY002

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def _states() -> Any:
    _, keys, position, *_ = np.random.get_state()
    return random.getstate(), keys.tolist(), position, torch.get_rng_state().tolist()


@contextmanager
def untouched_generators() -> Iterator[None]:
    """Fail where what is run changes a generator of Python, NumPy or PyTorch."""
    before = _states()
    yield
    assert _states() == before
