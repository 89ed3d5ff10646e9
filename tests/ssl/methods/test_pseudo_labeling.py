"""What all methods of pseudo-labels do alike: where the gradient goes, state, whole graphs."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from supercm_pl.clustering import ClusteringHead
from supercm_pl.ssl.methods import (
    UDA,
    AdaMatch,
    FixMatch,
    FlexMatch,
    FreeMatch,
    MixMatch,
    SoftMatch,
)
from tests.support.steps import outputs_of, random_step, step_of_inputs

METHODS = {
    "AdaMatch": lambda: AdaMatch(threshold=0.3, window=3),
    "FixMatch": lambda: FixMatch(threshold=0.3),
    "FixMatch, soft labels": lambda: FixMatch(threshold=0.3, temperature=0.5),
    "FlexMatch": lambda: FlexMatch(threshold=0.8),
    "FreeMatch": lambda: FreeMatch(momentum=0.7),
    "SoftMatch": lambda: SoftMatch(momentum=0.7),
    "UDA": lambda: UDA(threshold=0.3),
    "UDA, annealing": lambda: UDA(threshold=0.3, tsa="linear"),
}
STATES = {
    "AdaMatch": {"labeled_mean", "unlabeled_means", "num_batches"},
    "FlexMatch": {"memory._extra_state"},
    "FreeMatch": {"threshold", "expectation", "histogram"},
    "SoftMatch": {"mean", "variance", "expectation"},
}


def built(name):
    method = METHODS[name]()
    method.build(nn.Identity(), ClusteringHead(2, 4))
    return method


@pytest.mark.parametrize("name", METHODS)
def test_the_unlabeled_loss_has_a_gradient_on_the_strong_view_alone(name):
    step = random_step(1)
    leaves = {}
    for part, views in (("labeled", step.labeled), ("unlabeled", step.unlabeled)):
        for view, outputs in views.items():
            leaves[part, view] = outputs.logits.requires_grad_()
            views[view] = outputs_of(outputs.logits)
    torch.autograd.backward(built(name)(step).loss)
    moved = [key for key, leaf in leaves.items() if leaf.grad is not None]
    assert moved == [("unlabeled", "strong")]
    assert leaves["unlabeled", "strong"].grad.abs().sum() > 0


@pytest.mark.parametrize("name", STATES)
def test_a_saved_method_goes_on_as_if_nothing_had_happened(name):
    method, other = built(name), built(name)
    for seed in range(5):
        method(random_step(seed))
    other.load_state_dict(deepcopy(method.state_dict()))
    losses = []
    for one in (method, other):
        torch.manual_seed(0)
        losses.append(one(random_step(5)).loss)
    torch.testing.assert_close(*losses, rtol=0, atol=0)
    torch.testing.assert_close(other.state_dict(), method.state_dict(), rtol=0, atol=0)
    assert set(method.state_dict()) == STATES[name]


@pytest.mark.parametrize("name", [*METHODS, "MixMatch"])
def test_whole_graph(name):
    def build():
        torch.manual_seed(0)
        model, method = nn.Linear(5, 3), METHODS.get(name, MixMatch)()
        method.build(model, ClusteringHead(5, 3))
        views = {view: torch.randn(6, 5) for view in ("weak", "strong", "weak_2")}
        labeled = {view: torch.randn(4, 5) for view in ("weak", "strong")}
        labels, index = torch.tensor([0, 1, 2, 1]), torch.arange(6)

        def loss():
            step = step_of_inputs(model, views, labeled, labels, numbers=index, num_unlabeled=6)
            return method(step).loss

        return loss

    torch.compiler.reset()  # else it gives up after eight methods
    loss, twin = build(), build()
    compiled = torch.compile(twin, backend="eager", fullgraph=True)
    for seed in range(2):
        torch.manual_seed(seed)
        expected = loss()
        torch.manual_seed(seed)
        torch.testing.assert_close(compiled(), expected)
