"""Any sequence of what a user can do with a head leaves its invariants true."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from supercm_pl import ClusteringHead, SSLModule
from supercm_pl.backbones import MLP

CLASSES, FEATURES = 3, 4
MODES = ("cumulative", "ema", "batch")


class HeadMachine(RuleBasedStateMachine):
    """A head beside a plain account of what its centroids must be."""

    @initialize(mode=st.sampled_from(MODES), seed=st.integers(0, 99))
    def build(self, mode: Any, seed: int) -> None:
        torch.manual_seed(seed)
        self.mode = mode
        self.head = ClusteringHead(FEATURES, CLASSES, centroids=mode)
        self.seen = [0] * CLASSES
        self.largest = 0.0

    @rule(
        labels=st.lists(st.integers(0, CLASSES - 1), max_size=6),
        scale=st.sampled_from([1e-6, 1.0, 1e6]),
        seed=st.integers(0, 99),
    )
    def update(self, labels: list[int], scale: float, seed: int) -> None:
        dtype = self.head.classifier.weight.dtype
        generator = torch.Generator().manual_seed(seed)
        scale = min(scale, 1e3) if dtype == torch.float16 else scale
        features = torch.randn(len(labels), FEATURES, generator=generator).mul(scale).to(dtype)
        self.head.update_centroids(features, torch.tensor(labels, dtype=torch.long))
        for label in labels:
            self.seen[label] += 1
        if labels:
            self.largest = max(self.largest, float(features.abs().max()))

    @rule()
    def save_and_load(self) -> None:
        other = ClusteringHead(FEATURES, CLASSES, centroids=self.mode)
        other.to(self.head.classifier.weight.dtype)
        other.load_state_dict(self.head.state_dict())
        self.take(other)

    @rule()
    def save_and_load_a_file(self) -> None:
        file = io.BytesIO()
        torch.save(self.head.state_dict(), file)
        file.seek(0)
        self.head.load_state_dict(torch.load(file, weights_only=True))

    @rule(how=st.sampled_from([copy.deepcopy, lambda head: pickle.loads(pickle.dumps(head))]))
    def copied(self, how: Any) -> None:
        self.take(how(self.head))

    @rule(dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
    def convert(self, dtype: torch.dtype) -> None:
        self.head.to(dtype)

    @rule()
    @precondition(lambda self: self.largest < 1e3)
    def halve(self) -> None:
        self.head.half()

    @rule()
    def move(self) -> None:
        self.head.to("cpu")

    @rule(training=st.booleans())
    def switch(self, training: bool) -> None:
        self.head.train(training)

    def take(self, other: ClusteringHead) -> None:
        assert torch.equal(other.centroids, self.head.centroids)
        assert torch.equal(other.centroid_counts, self.head.centroid_counts)
        self.head = other

    @invariant()
    def counts_are_those_of_the_labels(self) -> None:
        assert self.head.centroid_counts.tolist() == self.seen

    @invariant()
    def centroids_are_finite_means(self) -> None:
        centroids = self.head.centroids.float()
        assert centroids.shape == (CLASSES, FEATURES)
        assert centroids.isfinite().all()
        # No mean lies outside of what it is the mean of, up to rounding of the coarsest format.
        assert centroids.abs().max() <= self.largest * 1.02 + 1e-6
        for label, seen in enumerate(self.seen):
            if not seen:
                assert (centroids[label] == 0).all()

    @invariant()
    def it_still_works(self) -> None:
        dtype = self.head.classifier.weight.dtype
        rows = torch.linspace(-1, 1, 2 * FEATURES).view(2, FEATURES).to(dtype)
        out = self.head(rows)
        assert torch.allclose(out.assignments.float().sum(1), torch.ones(2), atol=2e-2)
        if not any(self.seen):  # then the loss is an error
            return
        loss = self.head.loss(rows, out.assignments).total
        assert loss.isfinite()
        assert loss.dtype in (torch.float32, torch.float64)


HeadMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)
TestHead = HeadMachine.TestCase


# Numbers under stress.


@pytest.mark.parametrize("mode", [*MODES, "learnable"])
@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e3, 1e6])
def test_loss_and_gradients_are_finite_at_any_scale(mode: Any, scale: float) -> None:
    torch.manual_seed(0)
    head = ClusteringHead(8, 5, centroids=mode)
    features = (torch.randn(20, 8) * scale).requires_grad_()
    head.update_centroids(features[:10], torch.arange(10) % 5)
    terms = head.loss(features, head(features).assignments)
    terms.total.backward()
    assert all(bool(value.isfinite()) for value in terms)
    assert features.grad is not None
    assert features.grad.isfinite().all()


def stressed(kind: str) -> tuple[torch.Tensor, torch.Tensor, int]:
    labels, classes = torch.arange(6) % 3, 3
    features = torch.randn(6, 64, generator=torch.Generator().manual_seed(0))
    if kind == "all features equal":
        features = torch.ones(6, 64)
    elif kind == "all features zero":
        features = torch.zeros(6, 64)
    elif kind == "one class in the batch":
        labels = torch.ones(6, dtype=torch.long)
    elif kind == "many more classes than samples":
        classes = 1000
    elif kind == "one sample":
        features, labels = features[:1], labels[:1]
    return features, labels, classes


KINDS = (
    *("all features equal", "all features zero", "one class in the batch"),
    *("many more classes than samples", "one sample"),
)


@pytest.mark.parametrize("mode", [*MODES, "learnable"])
@pytest.mark.parametrize("orthonormal", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_odd_batches_give_finite_steps(kind: str, orthonormal: bool, mode: Any) -> None:
    features, labels, classes = stressed(kind)
    torch.manual_seed(0)
    module = SSLModule(
        MLP(64, (8,)), classes, cm_weight=0.5, centroids=mode, orthonormal=orthonormal, alpha=1.2
    )
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(3):
        loss = module.training_step({"labeled": (features, labels), "unlabeled": features})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert loss.isfinite()
    assert all(value.isfinite().all() for value in module.state_dict().values())
