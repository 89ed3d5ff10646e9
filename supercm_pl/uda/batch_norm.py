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

    The network's own are those of the target, with which it is tested and handed on; while
    :meth:`in_use`, it has these. Scale and shift are shared (Li et al., *Adaptive Batch
    Normalization*, 2018; Chang et al., CVPR 2019, give each domain its own as well).

    Args:
        network: Not kept; every method gets it again.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        for number, layer in enumerate(_layers(network)):
            for name in _STATISTICS:
                self.register_buffer(f"{name}_{number}", layer._buffers[name].clone())  # type: ignore[union-attr]

    @contextmanager
    def in_use(self, network: nn.Module) -> Iterator[None]:
        """Let the network normalise by, and in training move, the source's statistics."""
        self._swap(network)
        try:
            yield
        finally:
            self._swap(network)

    def _swap(self, network: nn.Module) -> None:
        for number, layer in enumerate(_layers(network)):
            for name in _STATISTICS:
                mine = f"{name}_{number}"
                layer._buffers[name], self._buffers[mine] = (
                    self._buffers[mine],
                    layer._buffers[name],
                )


def _layers(network: nn.Module) -> list[BatchNorm]:
    return [
        layer
        for layer in network.modules()
        if isinstance(layer, BatchNorm) and layer.track_running_stats
    ]
