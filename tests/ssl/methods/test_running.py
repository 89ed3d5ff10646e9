"""How the pseudo-labeling methods run: without waiting, compiled, in half precision."""

from __future__ import annotations

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
from tests.support.digits import digits_module, fit_digits
from tests.support.steps import step_of_inputs

METHODS = {
    "AdaMatch": AdaMatch,
    "FixMatch": FixMatch,
    "FixMatch, soft labels": lambda: FixMatch(temperature=0.5),
    "FlexMatch": FlexMatch,
    "FreeMatch": FreeMatch,
    "MixMatch": MixMatch,
    "SoftMatch": SoftMatch,
    "UDA": UDA,
    "UDA, annealing": lambda: UDA(tsa="linear"),
}


def build(name, device):
    """A function of nothing that takes a step and gives the loss."""
    torch.manual_seed(0)
    model, term = nn.Linear(5, 3).to(device), METHODS[name]()
    term.build(model, ClusteringHead(5, 3))
    term.to(device)
    views = {view: torch.randn(6, 5, device=device) for view in ("weak", "strong", "weak_2")}
    labeled = {view: torch.randn(4, 5, device=device) for view in ("weak", "strong")}
    labels = torch.tensor([0, 1, 2, 1]).to(device)
    index = torch.arange(6).to(device)

    def loss():
        step = step_of_inputs(model, views, labeled, labels, index=index, num_unlabeled=6)
        return term(step).loss

    return loss


@pytest.mark.parametrize("name", METHODS)
def test_nothing_looks_at_values(name):
    if name == "MixMatch" and torch.__version__ < "2.5":
        pytest.skip("PyTorch 2.4 draws no Gamma distribution on the meta device")
    # Tensors on this device have none to look at.
    assert build(name, "meta")().shape == ()


@pytest.mark.parametrize("name", METHODS)
def test_compiles_whole(name):
    torch.compiler.reset()  # else it gives up after eight methods
    loss, twin = build(name, "cpu"), build(name, "cpu")
    compiled = torch.compile(twin, backend="eager", fullgraph=True)
    for seed in range(2):
        torch.manual_seed(seed)
        expected = loss()
        torch.manual_seed(seed)
        torch.testing.assert_close(compiled(), expected)


@pytest.mark.parametrize("name", METHODS)
def test_bfloat16_and_accumulated_gradients_stay_finite_and_statistics_in_full_precision(name):
    module = digits_module(METHODS[name](), centroids="batch")
    fit_digits(module, precision="bf16-mixed", accumulate_grad_batches=2)
    assert all(torch.isfinite(parameter).all() for parameter in module.parameters())
    floats = [b for b in module.methods[0].buffers() if b.is_floating_point()]
    assert all(buffer.dtype == torch.float32 for buffer in floats)
