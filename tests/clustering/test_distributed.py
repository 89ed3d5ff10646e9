"""Two ranks on half a batch each do what one process does on the whole."""

from __future__ import annotations

from typing import Any, NamedTuple, get_args

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from supercm_pl.clustering import CentroidMode, ClusteringHead
from supercm_pl.distributed import gather_over_ranks, rows_per_rank, sum_over_ranks, world_size
from tests.support.ranks import assert_one_training, needs_ranks, results_of_two_ranks

NUM_STEPS = 3
ROWS_PER_RANK = 6
# Labels of the first rows of each rank, by step. Class 3 is never seen.
UNEVEN_CLASSES = [([0, 1], [1, 2, 2]), ([0, 0, 0], [1]), ([2], [0, 2])]
ONE_RANK_WITHOUT_LABELS: list[tuple[list[int], list[int]]] = [([0, 1], []), ([], [2]), ([], [])]


class Case(NamedTuple):
    mode: CentroidMode
    labels: list[tuple[list[int], list[int]]]
    empty_without_graph: bool = False


CASES = {
    f"{mode}, {name}": Case(mode, labels)
    for mode in get_args(CentroidMode)
    for name, labels in (
        ("uneven classes", UNEVEN_CLASSES),
        ("one rank without labels", ONE_RANK_WITHOUT_LABELS),
    )
}
CASES["batch, empty batch without a graph"] = Case("batch", ONE_RANK_WITHOUT_LABELS, True)


# Rows of each rank, and what the loss is told of them.
UNEVEN_ROWS = (2, 5)
LOSSES: dict[str, dict[str, Any]] = {
    "mean": {},
    "mean, prior": {"alpha": 0.5},
    "mean, orthonormal": {"orthonormal": True, "ortho_weight": 0.3},
    "sum": {"normalize": False},
    "sum, orthonormal, prior": {"normalize": False, "orthonormal": True, "alpha": 2.0},
}


class Model(nn.Module):
    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case
        self.backbone = nn.Linear(4, 5)
        self.head = ClusteringHead(5, 4, centroids=case.mode, alpha=[0.5, 2.0, 1.0, 1.5])

    def forward(self, inputs: Tensor, labeled_rows: Tensor, labels: Tensor) -> Tensor:
        features = self.backbone(inputs)
        labeled = features[labeled_rows]
        if self.case.empty_without_graph and len(labels) == 0:
            labeled = labeled.detach()
        self.head.update_centroids(labeled, labels)
        total: Tensor = self.head.loss(features, self.head(features).assignments).total
        return total


def train(case: Case, ranks: list[int], distributed: bool) -> dict[str, Tensor]:
    """Train on the rows of the given ranks and return the losses and the final state."""
    torch.manual_seed(0)
    model = Model(case)
    step_model: nn.Module = DistributedDataParallel(model) if distributed else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    losses = []
    for step, labels_by_rank in enumerate(case.labels):
        generator = torch.Generator().manual_seed(step)
        inputs = torch.randn(2, ROWS_PER_RANK, 4, generator=generator)[ranks].flatten(0, 1)
        rows, labels = [], []
        for position, rank in enumerate(ranks):
            own = labels_by_rank[rank]
            rows += [position * ROWS_PER_RANK + row for row in range(len(own))]
            labels += own
        loss = step_model(
            inputs, torch.tensor(rows, dtype=torch.long), torch.tensor(labels, dtype=torch.long)
        )
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.detach())
    return {"losses": torch.stack(losses), **model.state_dict()}


def loss_of_rows(options: dict[str, Any], rows: slice) -> list[Tensor]:
    """The terms of the loss over some of all rows, and its gradient for all of them."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(sum(UNEVEN_ROWS), 5, generator=generator).requires_grad_()
    head = ClusteringHead(5, 4, centroids="learnable", **options)
    nn.init.normal_(head.centroids, generator=generator)
    features = inputs[rows]
    assignments = torch.softmax(features[:, :4], dim=1)
    mean = None
    if head.normalize:
        (mean,) = rows_per_rank(len(features), device=features.device)
    terms = head.loss(features, assignments, rows_per_rank=mean)
    torch.autograd.backward(terms.total)
    assert inputs.grad is not None
    return [*(term.detach() for term in terms), inputs.grad]


def run_rank(rank: int) -> dict[str, Any]:
    columns = torch.tensor([[1.0, 5.0], [3.0, 7.0]]).T
    rows = slice(0, UNEVEN_ROWS[0]) if rank == 0 else slice(UNEVEN_ROWS[0], None)
    return {
        **{name: train(case, [rank], distributed=True) for name, case in CASES.items()},
        "gathered": gather_over_ranks(torch.tensor([[rank, 2], [3, 4]])),
        "uneven": gather_over_ranks(torch.full((2 - 2 * rank, 1), 7)),
        "sum": sum_over_ranks(torch.tensor([1.0, rank])),
        "sum of unlike strides": sum_over_ranks(columns if rank == 0 else columns.contiguous()),
        "rows": torch.stack(rows_per_rank(rank, 0, 3, device=torch.device("cpu"))),
        "world size": world_size(),
        "losses": {name: loss_of_rows(options, rows) for name, options in LOSSES.items()},
    }


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return results_of_two_ranks(run_rank, tmp_path_factory.mktemp("ranks"))


@needs_ranks
@pytest.mark.parametrize("name", CASES)
def test_two_ranks_equal_one_process(name: str, ranks: list[dict[str, Any]]) -> None:
    expected = train(CASES[name], [0, 1], distributed=False)
    assert_one_training([rank[name] for rank in ranks], expected)


@pytest.mark.parametrize("name", LOSSES)
def test_the_average_over_ranks_with_uneven_rows_is_the_loss_of_all_rows(
    name: str, ranks: list[dict[str, Any]]
) -> None:
    expected = loss_of_rows(LOSSES[name], slice(None))
    average = [
        sum(pair) / 2 for pair in zip(*(rank["losses"][name] for rank in ranks), strict=True)
    ]
    torch.testing.assert_close(average, expected)


def test_rows_per_rank(ranks: list[dict[str, Any]]) -> None:
    assert all(rank["rows"].tolist() == [0.5, 0.5, 3.0] for rank in ranks)  # above 0 in any case
    assert rows_per_rank(0, 3, device=torch.device("cpu")) == (1.0, 3.0)
    assert [rank["world size"] for rank in ranks] == [2, 2]
    assert world_size() == 1


def test_sum_over_ranks(ranks: list[dict[str, Any]]) -> None:
    assert all(rank["sum"].tolist() == [2.0, 1.0] for rank in ranks)
    assert all(
        rank["sum of unlike strides"].tolist() == [[2.0, 6.0], [10.0, 14.0]] for rank in ranks
    )
    alone = torch.ones(2)
    assert sum_over_ranks(alone) is alone


@needs_ranks
def test_a_group_of_one_process_is_no_group() -> None:
    alone = torch.ones(2)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        assert sum_over_ranks(alone) is alone
        assert rows_per_rank(0, 3, device=alone.device) == (1.0, 3.0)
        assert world_size() == 1
    finally:
        dist.destroy_process_group()


def test_gather_over_ranks(ranks: list[dict[str, Any]]) -> None:
    assert all(rank["gathered"].tolist() == [[0, 2], [3, 4], [1, 2], [3, 4]] for rank in ranks)
    assert all(rank["uneven"].tolist() == [[7], [7]] for rank in ranks)
    alone = torch.ones(2, requires_grad=True)
    assert gather_over_ranks(alone).tolist() == [1.0, 1.0]
    assert not gather_over_ranks(alone).requires_grad
