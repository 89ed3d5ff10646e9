"""The head traces as one graph, for every mode, and computes there what it computes without."""

from __future__ import annotations

import copy
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from supercm_pl.clustering import CentroidMode, ClusteringHead


def run(head: ClusteringHead, *, compiled: bool) -> list[Tensor]:
    def step(features: Tensor, labels: Tensor) -> Tensor:
        logits, assignments = head(features)
        head.update_centroids(features[: len(labels)], labels)
        supervised = F.cross_entropy(logits[: len(labels)], labels)
        return supervised + head.loss(features, assignments).total

    if compiled:
        torch.compiler.reset()
        # This backend traces forward and backward whole and leaves out the C++ compiler.
        step = torch.compile(step, fullgraph=True, backend="aot_eager")
    results: list[Tensor] = []
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        features = torch.randn(8, 5, generator=generator).requires_grad_()
        loss = step(features, torch.randint(3, (4,), generator=generator))
        head.zero_grad()
        torch.autograd.backward(loss)
        gradients = [parameter.grad for parameter in (features, *head.parameters())]
        results += [loss.detach(), *(gradient for gradient in gradients if gradient is not None)]
    return [*results, *head.state_dict().values()]


# Older torch warns of its own way of tracing an autograd.Function.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("mode", get_args(CentroidMode))
@pytest.mark.parametrize("variant", ["plain", "orthonormal"])
def test_step_compiles_whole(mode: CentroidMode, variant: str) -> None:
    if variant == "plain":
        head = ClusteringHead(5, 4, centroids=mode)
    else:
        alpha = [0.5, 1.0, 2.0, 1.0]
        head = ClusteringHead(5, 4, centroids=mode, orthonormal=True, temperature=0.5, alpha=alpha)
    twin = copy.deepcopy(head)
    torch.testing.assert_close(run(head, compiled=True), run(twin, compiled=False))
