"""Training of a small network on vectors in memory, in plain PyTorch on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supercm_pl.backbones.embeddings import Embeddings
from supercm_pl.backbones.mlp import MLP
from supercm_pl.clustering import CentroidMode, ClusteringHead, ClusteringOutput
from supercm_pl.training.optim import WarmupCosineLR

__all__ = ["Network", "Walk", "build_network", "train"]

# A fraction of the steps, so that short runs reach the full rate too.
_WARMUP_SHARE = 1 / 30
_START_SHARE = 0.3


class Network(nn.Module):
    """A backbone that maps (N, n_features) to (N, d), and a clustering head."""

    def __init__(self, backbone: nn.Module, head: ClusteringHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, inputs: Tensor) -> ClusteringOutput:
        """Return logits and assignments, (N, K) each, for inputs (N, n_features)."""
        output: ClusteringOutput = self.head(self.backbone(inputs))
        return output


class Walk:
    r"""Augmentation that moves a sample toward nearby samples.

    A random walk over the graph of nearest neighbors leads from x_i to x_j. The augmented sample is
    x_i + u (x_j − x_i) + σ ε, with u uniform in [0, 1] and ε standard normal. One step with σ = 0
    is SMOTE (Chawla et al., JAIR 2002); longer walks resemble label propagation.

    Args:
        inputs: Shape (N, n_features).
        neighbors: Shape (N, n_neighbors), int64 sample numbers, or None for no walk.
        length: Steps of a walk, 1 or more.
        noise: σ ≥ 0.
        generator: CPU generator of all random numbers.
    """

    def __init__(
        self,
        inputs: Tensor,
        neighbors: Tensor | None,
        *,
        length: int,
        noise: float,
        generator: torch.Generator,
    ) -> None:
        self.inputs = inputs
        self.neighbors = neighbors
        self.length = length
        self.noise = noise
        self.generator = generator

    def __call__(self, rows: Tensor) -> Tensor:
        """Return views (n, n_features) of the samples with numbers (n,)."""
        batch = self.inputs[rows]
        # The default device and dtype of the process may differ.
        draw: dict[str, Any] = {"generator": self.generator, "device": batch.device}
        if self.neighbors is not None:
            ends = rows
            for _ in range(self.length):
                choice = torch.randint(self.neighbors.shape[1], rows.shape, **draw)
                ends = self.neighbors[ends, choice]
            share = torch.rand(len(rows), 1, dtype=batch.dtype, **draw)
            batch = batch.lerp(self.inputs[ends], share)
        if self.noise:
            batch = batch + self.noise * torch.randn(batch.shape, dtype=batch.dtype, **draw)
        return batch


def build_network(
    num_inputs: int,
    num_classes: int,
    *,
    hidden_features: Sequence[int],
    centroids: CentroidMode,
    temperature: float,
    alpha: float | Sequence[float] | Tensor | Literal["balanced"],
    seed: int,
) -> Network:
    """Build a float32 network whose initial weights depend only on the seed.

    Without `hidden_features`, the widths of an MLP, the features are the inputs. The global random
    number generators do not change.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        # Not torch.manual_seed, which would also seed every accelerator.
        torch.default_generator.manual_seed(seed)
        backbone: Embeddings | MLP = (
            MLP(num_inputs, hidden_features) if len(hidden_features) else Embeddings(num_inputs)
        )
        head = ClusteringHead(
            backbone.out_features,
            num_classes,
            centroids=centroids,
            temperature=temperature,
            alpha=alpha,
        )
    return Network(backbone, head).float()


def train(
    network: Network,
    walk: Walk,
    labels: Tensor,
    *,
    start: Tensor,
    cm_weight: float,
    learning_rate: float,
    max_steps: int,
    labeled_batch_size: int,
    unlabeled_batch_size: int,
) -> Tensor:
    """Minimize CE(labeled) + β·CM(labeled ∪ unlabeled), with one forward pass per step.

    At first, the unlabeled samples have a cross-entropy, too, whose weight falls from 1 to 0 during
    0.3 of the steps.

    Args:
        network: Network to train in place; it ends in evaluation mode.
        walk: Augmentation; its generator also draws the batches.
        labels: Shape (N,), int64 in 0..K-1, or -1 for no label.
        start: Shape (N,), int64, labels of all samples for the start.
        cm_weight: β ≥ 0.
        learning_rate: Maximum learning rate of Adam, after a warm-up and before half a cosine.
        max_steps: Number of steps.
        labeled_batch_size: Labeled samples per step; too few are repeated, augmented differently.
        unlabeled_batch_size: Unlabeled samples per step, at most all. If all samples are labeled,
            as many labeled ones are added.

    Returns:
        Loss of each step, shape (max_steps,).
    """
    labeled, unlabeled = (labels >= 0).nonzero().flatten(), (labels < 0).nonzero().flatten()
    num_labeled = labeled_batch_size
    if not len(unlabeled):
        num_labeled += min(unlabeled_batch_size, len(labeled))
    labeled_batches = _batches(labeled, num_labeled, walk.generator)
    num_unlabeled = min(unlabeled_batch_size, len(unlabeled))
    unlabeled_batches = _batches(unlabeled, num_unlabeled, walk.generator)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    warmup_steps = round(_WARMUP_SHARE * max_steps)
    schedule = WarmupCosineLR(optimizer, warmup_steps=warmup_steps, total_steps=max_steps)
    losses = torch.zeros(max_steps, device=labels.device)
    network.train()
    for step in range(max_steps):
        rows = torch.cat([next(labeled_batches), next(unlabeled_batches)])
        known = labels[rows[:num_labeled]]
        features = network.backbone(walk(rows))
        logits, assignments = network.head(features)
        network.head.update_centroids(features[:num_labeled], known)
        loss = F.cross_entropy(logits[:num_labeled], known)
        share = 1 - step / (_START_SHARE * max_steps)
        if share > 0 and num_unlabeled:
            loss = loss + share * F.cross_entropy(logits[num_labeled:], start[rows[num_labeled:]])
        if cm_weight:
            loss = loss + cm_weight * network.head.loss(features, assignments).total
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        losses[step] = loss.detach()
    network.eval()
    return losses


def _batches(rows: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield endless batches from successive permutations of the samples."""
    queue = rows[:0]
    while True:
        while len(queue) < size:
            order = torch.randperm(len(rows), generator=generator, device=rows.device)
            queue = torch.cat([queue, rows[order]])
        yield queue[:size]
        queue = queue[size:]
