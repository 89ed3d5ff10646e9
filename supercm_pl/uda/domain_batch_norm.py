"""Batch-norm statistics of the source, apart from those of the target."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from torch import nn

from supercm_pl._lightning import BatchNorm

DomainBatchNorm = Literal["mixed", "separate", "domain"]

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class SourceStatistics(nn.Module):
    """A second set of running statistics for every batch norm of a network.

    The network's own statistics are those of the target, used in evaluation and export; while
    :meth:`in_use`, it has these. Scale and shift are shared: Li et al., *Adaptive Batch
    Normalization* (2018). Chang et al. (CVPR 2019) give each domain its own scale and shift too.

    Args:
        network: Its batch-norm layers are counted; it is not kept.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        for number, layer in enumerate(_layers(network)):
            for name in _STATISTICS:
                self.register_buffer(f"{name}_{number}", layer._buffers[name].clone())  # type: ignore[union-attr]

    @contextmanager
    def in_use(self, network: nn.Module) -> Iterator[None]:
        """Let the network use, and in training update, the statistics of the source."""
        self._swap(network)
        try:
            yield
        finally:
            self._swap(network)

    def _swap(self, network: nn.Module) -> None:
        for number, layer in enumerate(_layers(network)):
            theirs, mine = layer._buffers, self._buffers
            for name in _STATISTICS:
                own = f"{name}_{number}"
                theirs[name], mine[own] = mine[own], theirs[name]


def _layers(network: nn.Module) -> list[BatchNorm]:
    return [
        layer
        for layer in network.modules()
        if isinstance(layer, BatchNorm) and layer.track_running_stats
    ]
