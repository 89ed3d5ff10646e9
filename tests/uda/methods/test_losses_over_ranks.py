"""Statistics of a batch are those of all ranks: two ranks do what one process does on the whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from supercm_pl.uda.methods.afn import hard_feature_norm
from supercm_pl.uda.methods.coral import coral
from supercm_pl.uda.methods.mcc import class_confusion
from tests.support.ranks import assert_one_training, needs_ranks, results_of_two_ranks

NUM_STEPS = 3
# Rows of source and target by rank, uneven in both.
NUM_ROWS = [(5, 3), (2, 6)]
LOSSES = {
    "coral": coral,
    "mcc": lambda source, target: class_confusion(target, 1.5),
    "hard afn": lambda source, target: hard_feature_norm(source, 3.0) + hard_feature_norm(target),
}


class Model(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.layer = nn.Linear(4, 3)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return LOSSES[self.name](self.layer(source), self.layer(target))


def train(name: str, ranks: list[int], distributed: bool) -> dict[str, Tensor]:
    """Train on the rows of the given ranks and return the losses and the final weights."""
    torch.manual_seed(0)
    model: nn.Module = Model(name)
    step_model = DistributedDataParallel(model) if distributed else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for step in range(NUM_STEPS):
        generator = torch.Generator().manual_seed(step)
        rows = [
            (torch.randn(s, 4, generator=generator), 2 * torch.randn(t, 4, generator=generator) + 1)
            for s, t in NUM_ROWS
        ]
        source, target = (torch.cat([rows[r][i] for r in ranks]) for i in range(2))
        loss = step_model(source, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return {"losses": torch.stack(losses), **model.state_dict()}


def run_rank(rank: int) -> dict[str, Any]:
    return {name: train(name, [rank], distributed=True) for name in LOSSES}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return results_of_two_ranks(run_rank, tmp_path_factory.mktemp("ranks"))


@needs_ranks
@pytest.mark.parametrize("name", LOSSES)
def test_two_ranks_equal_one_process(name: str, ranks: list[dict[str, Any]]) -> None:
    expected = train(name, [0, 1], distributed=False)
    assert not torch.equal(expected["losses"][0], expected["losses"][2])
    assert_one_training([rank[name] for rank in ranks], expected)
