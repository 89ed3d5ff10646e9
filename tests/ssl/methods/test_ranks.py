"""Two ranks on half of the rows each do what one process does on all of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from supercm_pl.clustering import ClusteringHead
from supercm_pl.ssl.methods import UDA, AdaMatch, FlexMatch, FreeMatch, SoftMatch
from tests.support.ranks import assert_one_training, needs_ranks, results_of_two_ranks
from tests.support.steps import step_of_inputs

STEPS = 4
METHODS = {
    "UDA": lambda: UDA(threshold=0.4, tsa="linear"),
    "FlexMatch": lambda: FlexMatch(threshold=0.5),
    "FreeMatch": lambda: FreeMatch(momentum=0.5, fairness_weight=0.5),
    "SoftMatch": lambda: SoftMatch(momentum=0.5),
    # Both passes of this model give the same logits, so that no draw matters.
    "AdaMatch": lambda: AdaMatch(momentum=0.5, window=3),
}


def train(name: str, ranks: list[int], world_size: int) -> dict[str, Any]:
    torch.manual_seed(0)
    model, method = nn.Linear(5, 3), METHODS[name]()
    method.build(model, ClusteringHead(5, 3))
    losses = []
    for number in range(STEPS):
        generator = torch.Generator().manual_seed(number)
        # By rank: views and labels of 4 labeled rows, views and numbers of 6 unlabeled ones, of
        # which the last has been on the other rank as well.
        labeled, unlabeled = (
            2 * torch.randn(2, 2, n, 5, generator=generator)[ranks].transpose(0, 1).flatten(1, 2)
            for n in (4, 6)
        )
        labels = torch.randint(0, 3, (2, 4), generator=generator)[ranks].flatten()
        index = torch.randperm(12, generator=generator).view(2, 6)
        index[:, -1] = index[0, -1]
        step = step_of_inputs(
            model,
            dict(zip(("weak", "strong"), unlabeled, strict=True)),
            dict(zip(("weak", "strong"), labeled, strict=True)),
            labels,
            numbers=index[ranks].flatten(),
            num_unlabeled=12,
            progress=number / STEPS,
        )
        value = method(step)
        loss = value.loss if value.supervised is None else value.loss + value.supervised
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        if world_size > 1:
            for gradient in gradients:
                dist.all_reduce(gradient)
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter.sub_(0.5 * gradient / world_size)
        losses.append(loss.detach())
    return {"losses": torch.stack(losses), **model.state_dict(), **method.state_dict()}


def run_rank(rank: int) -> dict[str, Any]:
    return {name: train(name, [rank], 2) for name in METHODS}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return results_of_two_ranks(run_rank, tmp_path_factory.mktemp("ranks"))


@needs_ranks
@pytest.mark.parametrize("name", METHODS)
def test_two_ranks_equal_one_process(name: str, ranks: list[dict[str, Any]]) -> None:
    assert_one_training([rank[name] for rank in ranks], train(name, [0, 1], 1))
