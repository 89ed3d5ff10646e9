"""Every method composes with SuperCM, mixed precision, gradient accumulation and compilation.

The methods are those that their packages export, so that a new one is tested as well.
"""

from __future__ import annotations

import lightning.pytorch as L
import pytest
import torch

from supercm_pl import SSLDataModule, SSLModule, UDADataModule, UDAModule
from supercm_pl.backbones import ConvNet
from supercm_pl.data import AffineNoise
from supercm_pl.training.method import Method
from supercm_pl.training.module import SuperCMModule
from tests.support.methods import SSL_METHODS, UDA_METHODS
from tests.support.trainers import quiet_trainer


def fit(module: SuperCMModule, data: L.LightningDataModule, **options) -> L.Trainer:
    trainer = quiet_trainer(limit_val_batches=0, max_epochs=1, **options)
    trainer.fit(module, data)
    return trainer


def network(channels: int, compiled: bool) -> torch.nn.Module:
    torch.manual_seed(0)
    backbone = ConvNet(channels, widths=(4, 8), out_features=8)
    # The graphs of TorchDynamo without the compiler behind them, which would take minutes.
    return torch.compile(backbone, backend="eager") if compiled else backbone


VIEWS = {"weak": AffineNoise(), "strong": AffineNoise(rotation=0.4, shift=0.15, scale=0.25)}


def ssl(method: type[Method], cm_weight: float, compiled: bool = False) -> tuple:
    module = SSLModule(network(1, compiled), 10, method(), cm_weight=cm_weight, feature_size=8)
    sizes = {"labeled_batch_size": 8, "unlabeled_batch_size": 12, "steps_per_epoch": 4}
    return module, SSLDataModule(labels_per_class=2, seed=0, **sizes, **VIEWS)


def uda(method: type[Method], cm_weight: float, compiled: bool = False) -> tuple:
    options = {"cm_weight": cm_weight, "feature_size": 8}
    module = UDAModule(network(3, compiled), 10, method(), batch_norm="separate", **options)
    sizes = {"source_batch_size": 8, "target_batch_size": 12, "steps_per_epoch": 4}
    return module, UDADataModule(seed=0, **sizes, **VIEWS)


CASES = [
    *(pytest.param(ssl, kind, id=f"ssl-{name}") for name, kind in SSL_METHODS.items()),
    *(pytest.param(uda, kind, id=f"uda-{name}") for name, kind in UDA_METHODS.items()),
]


LOGGED = {
    "AFN": {"source_norm", "target_norm"},
    "AdaMatch": {"used", "threshold"},
    "CDAN": {"accuracy"},
    "DANN": {"accuracy"},
    "FixMatch": {"used"},
    "FlexMatch": {"used", "threshold"},
    "LabelPropagation": {"trust"},
    "FreeMatch": {"used", "threshold", "fairness"},
    "PseudoLabel": {"mask"},
    "SoftMatch": {"used", "mean", "variance"},
    "UDA": {"used"},
}


def test_there_are_the_methods_that_the_documentation_lists():
    assert len(SSL_METHODS) >= 13
    assert len(UDA_METHODS) >= 11


@pytest.mark.parametrize(("task", "method"), CASES)
@pytest.mark.parametrize("cm_weight", [0.0, 0.5])
def test_in_bfloat16_with_accumulated_gradients(task, method, cm_weight):
    module, data = task(method, cm_weight)
    before = [p.detach().clone() for p in module.backbone.parameters()]
    trainer = fit(module, data, precision="bf16-mixed", accumulate_grad_batches=2)
    assert trainer.global_step == 2
    assert all(torch.isfinite(p).all() for p in module.parameters())
    assert any(
        not torch.equal(p, q) for p, q in zip(before, module.backbone.parameters(), strict=True)
    )
    (built,) = module.methods
    assert all(b.dtype == torch.float32 for b in built.buffers() if b.is_floating_point())
    values = {k: v for k, v in trainer.callback_metrics.items() if k.startswith("train/")}
    assert all(torch.isfinite(value) for value in values.values())
    own = f"train/{built.name}"
    assert own in values
    logged = {k.removeprefix(f"{own}_") for k in values if k.startswith(f"{own}_")}
    assert logged == LOGGED.get(method.__name__, set()), "list what it logs in LOGGED"


@pytest.mark.parametrize(("task", "method"), CASES)
def test_a_compiled_backbone_trains_the_same(task, method):
    torch.manual_seed(1)
    plain, data = task(method, 0.5)
    torch.manual_seed(2)
    fit(plain, data)
    torch.manual_seed(1)
    compiled, data = task(method, 0.5, compiled=True)
    torch.manual_seed(2)
    fit(compiled, data)
    expected = dict(plain.named_parameters())
    for name, parameter in compiled.named_parameters():
        same = expected[name.replace("_orig_mod.", "")]
        torch.testing.assert_close(
            parameter, same, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )
