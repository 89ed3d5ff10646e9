"""Training of a module on uneven shares of the same batches, by ranks or by one process."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from supercm_pl import SSLModule, UDAModule
from supercm_pl.clustering import CentroidMode
from supercm_pl.training.module import SuperCMModule
from tests.support.ranks import join_group

STEPS = 20
NUM_CLASSES = 4
NUM_FEATURES = 5
ALPHA = [0.5, 2.0, 1.0, 1.5]
# Rows of each rank by step, in turn: labeled ones, unlabeled ones.
SHARES = {
    2: [((6, 0), (3, 5)), ((1, 5), (4, 4)), ((0, 6), (7, 1)), ((4, 2), (0, 8)), ((0, 0), (4, 4))],
    3: [
        ((6, 0, 0), (3, 5, 0)),
        ((1, 4, 1), (2, 3, 3)),
        ((0, 6, 0), (6, 1, 1)),
        ((4, 2, 0), (0, 4, 4)),
        ((0, 0, 0), (3, 2, 3)),
    ],
}
NEVER_LABELED_FROM = 10
"""The step from which the last rank has no labeled data at all."""


class Case(NamedTuple):
    kind: type[SuperCMModule]
    arguments: dict[str, Any]
    broadcast_buffers: bool = True
    labeled_target: bool = False


CASES = {
    f"{kind.__name__}, {mode}": Case(kind, {"centroids": mode})
    for kind in (SSLModule, UDAModule)
    for mode in get_args(CentroidMode)
}
CASES |= {
    "plain cross-entropy": Case(SSLModule, {"cm_weight": 0.0}),
    "sum instead of mean, with a prior": Case(
        SSLModule, {"normalize": False, "cm_weight": 0.01, "alpha": ALPHA}
    ),
    "prior, batch": Case(SSLModule, {"alpha": ALPHA, "centroids": "batch"}),
    "orthonormal": Case(SSLModule, {"orthonormal": True, "centroids": "batch", "cm_weight": 0.005}),
    "pseudo-labels in the centroids": Case(SSLModule, {"centroid_threshold": 0.4}),
    "labeled target": Case(UDAModule, {"centroids": "ema"}, labeled_target=True),
    "buffers not broadcast": Case(SSLModule, {}, broadcast_buffers=False),
}


class TrainingStep(nn.Module):
    """What a strategy makes of a module: calling it is the training step."""

    def __init__(self, module: SuperCMModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: dict[str, Any]) -> Tensor:
        return self.module.training_step(batch)


def train(name: str, world_size: int, rank: int | None = None) -> dict[str, Any]:
    """Train as `rank`, or on the rows of all ranks; the logged values and the final state."""
    case = CASES[name]
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, NUM_FEATURES))
    arguments = {"cm_weight": 0.5, **case.arguments}
    module = case.kind(backbone, NUM_CLASSES, feature_size=NUM_FEATURES, **arguments)
    step_model: nn.Module = TrainingStep(module)
    if rank is not None:
        options = {} if case.broadcast_buffers else {"broadcast_buffers": False}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # a newer torch has another name for it
            step_model = DistributedDataParallel(step_model, **options)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    values = []
    for step in range(STEPS):
        loss = step_model(_batch(case, step, world_size, rank))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        values.append(dict(module.step_values))
    logs = {key: torch.stack([value[key] for value in values]) for key in values[0]}
    return {"logs": logs, "state": module.state_dict()}


def run_all(rank: int, world_size: int, names: list[str], folder: str, init_method: str) -> None:
    """Be one of the ranks, and leave what it found in `folder`."""
    join_group(rank, world_size, init_method)
    results = {name: train(name, world_size, rank) for name in names}
    torch.save(results, Path(folder) / f"{world_size}-{rank}.pt")
    dist.destroy_process_group()


def load_results(folder: Path, world_size: int) -> list[dict[str, Any]]:
    """What the ranks left, in their order."""
    paths = (folder / f"{world_size}-{rank}.pt" for rank in range(world_size))
    return [torch.load(path, weights_only=True) for path in paths]


def assert_equals_one_process(name: str, ranks: list[dict[str, Any]]) -> None:
    """All ranks end in one state, and it is that of one process on all rows, as are the losses."""
    expected = train(name, len(ranks))
    found = [rank[name] for rank in ranks]
    for other in found[1:]:
        torch.testing.assert_close(other["state"], found[0]["state"], rtol=0, atol=0)
    torch.testing.assert_close(found[0]["state"], expected["state"], rtol=1e-5, atol=1e-5)
    assert found[0]["logs"].keys() == expected["logs"].keys() >= {"ce", "loss"}
    for key, value in expected["logs"].items():
        mean = torch.stack([rank["logs"][key] for rank in found]).mean(dim=0)
        torch.testing.assert_close(
            mean, value, rtol=1e-5, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}"
        )


def _batch(case: Case, step: int, world_size: int, rank: int | None) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(step)
    labeled, unlabeled = SHARES[world_size][step % 5]
    if step >= NEVER_LABELED_FROM:
        labeled = (labeled[0] + labeled[-1], *labeled[1:-1], 0)
    # The last class comes late. Sorted, the classes are spread unevenly over the ranks.
    num_classes = NUM_CLASSES if step >= NEVER_LABELED_FROM else NUM_CLASSES - 1
    labels = torch.randint(0, num_classes, (sum(labeled),), generator=generator).sort().values
    inputs = torch.randn(sum(labeled), 6, generator=generator) + labels.unsqueeze(1)
    others = torch.randn(sum(unlabeled), 6, generator=generator)
    if rank is not None:
        inputs, labels = inputs.split(labeled)[rank], labels.split(labeled)[rank]
        others = others.split(unlabeled)[rank]
    if case.kind is SSLModule:
        return {"labeled": (inputs, labels), "unlabeled": others}
    batch: dict[str, Any] = {"source": (inputs, labels), "target": others}
    if case.labeled_target:
        batch["source"] = (inputs[::2], labels[::2])
        batch["labeled_target"] = (inputs[1::2], labels[1::2])
    return batch
