"""Modes of a network for a while: evaluation, and batch norm with fixed statistics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from torch import nn

from supercm_pl._lightning import BatchNorm

BatchNormPolicy = Literal["all", "labeled"]
"""How unlabeled samples share batch norm with labeled ones; see :class:`~supercm_pl.SSLModule`."""


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode, then each of its parts back into its own."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


@contextmanager
def fixed_statistics(*modules: nn.Module) -> Iterator[None]:
    """Freeze the running statistics of all batch-norm layers in the modules.

    In training mode, samples are still normalized by the statistics of their batch.

    Example:
        >>> import torch
        >>> layer = nn.BatchNorm1d(2)
        >>> with fixed_statistics(layer):
        ...     normalized = layer(torch.randn(8, 2) + 5)
        >>> layer.running_mean.tolist(), bool(normalized.mean().abs() < 1e-5)
        ([0.0, 0.0], True)
    """
    layers = [
        layer
        for module in modules
        for layer in module.modules()
        if isinstance(layer, BatchNorm) and layer.training and layer.track_running_stats
    ]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
