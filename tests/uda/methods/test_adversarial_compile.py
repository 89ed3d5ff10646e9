"""Adversarial adapters trace as whole graphs: they ask no value of the device."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from supercm_pl.training.step import Outputs
from supercm_pl.uda.methods import ADDA, CDAN, DANN, MCD, MDD, UDAStep
from tests.support.adversarial import attach, case

ADAPTERS = {
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
@pytest.mark.parametrize("name", ADAPTERS)
def test_whole_graph(name):
    given = case()
    adapter = attach(ADAPTERS[name](), given)
    if name == "adda":
        adapter(given.at(0.5))
        adapter.after_step(nn.Identity(), given.head)

    def loss(features: Tensor, labels: Tensor) -> Tensor:
        rows = Outputs(features, features, *given.head(features))
        labeled, unlabeled = (
            Outputs(*(part[i] for part in rows)) for i in (slice(7), slice(7, 14))
        )
        step = UDAStep(
            labels=labels,
            labeled={"weak": labeled},
            unlabeled={"weak": unlabeled},
            labeled_inputs={"weak": labeled.inputs.detach()},
            unlabeled_inputs={"weak": unlabeled.inputs.detach()},
            progress=0.6,
            extra_forward=lambda inputs: Outputs(inputs, inputs, *given.head(inputs)),
            forward_frozen_bn=lambda inputs: Outputs(inputs, inputs, *given.head(inputs)),
            num_source=5,
        )
        value = adapter(step)
        return value.loss if value.supervised is None else value.loss + value.supervised

    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    results = []
    for function in (compiled, loss):
        features = given.features.detach().requires_grad_()
        value = function(features, given.step.labels)
        results.append((value.detach(), *torch.autograd.grad(value, features)))
    torch.testing.assert_close(*results)
