"""How the losses run: as whole graphs, without a value of the device, in full precision."""

from __future__ import annotations

import pytest
import torch

from supercm_pl.uda.methods.afn import hard_feature_norm, stepwise_feature_norm
from supercm_pl.uda.methods.bnm import nuclear_norm
from supercm_pl.uda.methods.coral import coral
from supercm_pl.uda.methods.dan import mmd
from supercm_pl.uda.methods.jan import jmmd
from supercm_pl.uda.methods.mcc import class_confusion

LOSSES = {
    "linear mmd": mmd,
    "unbiased mmd": lambda s, t: mmd(s, t, estimator="unbiased"),
    "biased mmd": lambda s, t: mmd(s, t, estimator="biased"),
    "jmmd": lambda s, t: jmmd([s, s.softmax(dim=1)], [t, t.softmax(dim=1)]),
    "coral": coral,
    "mcc": lambda s, t: class_confusion(t),
    "safn": lambda s, t: stepwise_feature_norm(s) + stepwise_feature_norm(t),
    "hafn": lambda s, t: hard_feature_norm(s) + hard_feature_norm(t),
    "bnm": lambda s, t: nuclear_norm(t.softmax(dim=1)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_whole_graph(name):
    if name == "coral" and torch.__version__ < "2.5":
        pytest.skip("PyTorch 2.4 fails to trace tensors that are filled with a length")
    torch.manual_seed(0)
    source, target = torch.randn(6, 4), torch.randn(5, 4, requires_grad=True)
    torch.compiler.reset()
    compiled = torch.compile(LOSSES[name], fullgraph=True, backend="aot_eager")
    results = []
    for loss in (compiled, LOSSES[name]):
        value = loss(source, target)
        results.append((value.detach(), *torch.autograd.grad(value, target)))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("name", LOSSES)
def test_no_value_is_read(name):
    """On the meta device there are none."""
    source = torch.randn(6, 4, device="meta")
    target = torch.randn(5, 4, device="meta", requires_grad=True)
    value = LOSSES[name](source, target)
    value.backward()
    assert value.shape == ()


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_under_autocast_is_computed_in_full(name):
    torch.manual_seed(0)
    source, target = torch.randn(6, 16), torch.randn(5, 16) + 0.1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = LOSSES[name](source, target)
    torch.testing.assert_close(value, LOSSES[name](source, target), rtol=0, atol=0)
