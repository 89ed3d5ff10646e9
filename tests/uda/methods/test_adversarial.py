"""Adversarial methods train, and trace as whole graphs: they ask no value of the device."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from supercm_pl.uda.methods import ADDA, CDAN, DANN, MCD, MDD
from tests.support.two_domains import built, case, fit, module_of

METHODS = {
    "dann": lambda: DANN(hidden_features=(6,)),
    "cdan": lambda: CDAN(hidden_features=(6,)),
    "cdan+e, randomized": lambda: CDAN(hidden_features=(6,), entropy=True, randomized=True),
    "adda": lambda: ADDA(hidden_features=(6,), batch_norm=True),
    "mcd": MCD,
    "mdd": lambda: MDD(hidden_features=6, dropout=0.0),
}


@pytest.mark.skipif(
    torch.__version__ < "2.5",
    reason="PyTorch 2.4 traces neither a gradient reversal nor functional_call in a whole graph",
)
@pytest.mark.parametrize("name", METHODS)
def test_whole_graph(name):
    given = case()
    method = built(METHODS[name](), given)
    if name == "adda":
        method(given.at(0.5))
        method.after_step(nn.Identity(), given.head)

    def loss(features: Tensor, labels: Tensor) -> Tensor:
        value = method(given.step_of(features, labels))
        return value.loss if value.supervised is None else value.loss + value.supervised

    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    results = []
    for function in (compiled, loss):
        features = given.features.detach().requires_grad_()
        value = function(features, given.labels)
        results.append((value.detach(), *torch.autograd.grad(value, features)))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("name", [name for name in METHODS if name != "adda"])
def test_all_of_it_is_trained(name, precision):
    module = module_of(METHODS[name]())
    before = [p.clone() for p in module.methods[0].parameters()]
    for step in fit(module, precision=precision):
        assert all(math.isfinite(value) for value in step.values())
    after = list(module.methods[0].parameters())
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))
