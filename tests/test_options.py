"""Options that constructors hand on: types, defaults, descriptions, what a checkpoint keeps."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import get_type_hints

import lightning.pytorch as L
import pytest
from typing_extensions import Unpack

from supercm_pl import ClusteringHead, SSLDataModule, SSLModule, UDADataModule, UDAModule
from supercm_pl.backbones import MLP
from supercm_pl.data.datamodule import DataOptions, SuperCMDataModule
from supercm_pl.options import hands_options_to
from supercm_pl.ssl.datamodule import SSLDataOptions
from supercm_pl.training.module import ModuleOptions, NetworkOptions, SuperCMModule
from supercm_pl.training.network import ClusteringNetwork, HeadOptions
from supercm_pl.uda.datamodule import UDADataOptions

SHOWN = (SSLModule, UDAModule, SSLDataModule, UDADataModule)


def options_of(kind: type) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(kind).parameters.values()
    return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}


@pytest.mark.parametrize(
    ("kind", "options", "others"),
    [
        (ClusteringHead, HeadOptions, set()),
        (ClusteringNetwork, NetworkOptions, set()),
        (SuperCMModule, ModuleOptions, {"cm_weight"}),
        (SuperCMDataModule, DataOptions, set()),
        (SSLDataModule, SSLDataOptions, set()),
        (UDADataModule, UDADataOptions, set()),
    ],
)
def test_the_typed_dict_has_every_option_of_the_class(kind, options, others):
    assert get_type_hints(options).keys() == options_of(kind).keys() - others


@pytest.mark.parametrize("kind", SHOWN)
def test_every_argument_has_a_default_a_type_and_a_description(kind):
    described = inspect.getdoc(kind)
    assert "**options" not in described
    for name, parameter in options_of(kind).items():
        assert parameter.default is not parameter.empty, name
        assert not isinstance(parameter.annotation, str), name
        assert described.count(f"\n    {name}: ") == 1, name


@pytest.mark.parametrize("kind", [SSLModule, UDAModule])
def test_what_the_head_can_do_the_modules_can(kind):
    head = kind(MLP(4), 2, ortho_weight=0.5, bias=False).head
    assert head.ortho_weight == 0.5
    assert head.classifier.bias is None
    for name, parameter in options_of(ClusteringHead).items():
        assert options_of(kind)[name].default == parameter.default


class Loose(SSLModule):
    def __init__(self, depth: int = 2, **kwargs) -> None:
        super().__init__(MLP(4, (8,) * depth), **kwargs)
        self.save_hyperparameters()


@hands_options_to(SSLModule)
class Typed(SSLModule):
    def __init__(self, depth: int = 2, num_classes: int = 2, **options: Unpack[ModuleOptions]):
        super().__init__(MLP(4, (8,) * depth), num_classes, **options)


def saved_and_loaded(module: SSLModule, path: Path, **live) -> SSLModule:
    trainer = L.Trainer(logger=False, accelerator="cpu", enable_progress_bar=False)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path)
    return type(module).load_from_checkpoint(path, **live)


def test_a_checkpoint_keeps_the_values_in_force(tmp_path):
    module = SSLModule(MLP(4), 3, alpha=[1.0, 2.0, 3.0], bias=False)
    loaded = saved_and_loaded(module, tmp_path / "x.ckpt", backbone=MLP(4))
    defaults = {name: p.default for name, p in options_of(SSLModule).items()}
    changed = {"alpha": [1.0, 2.0, 3.0], "bias": False}
    assert module.hparams == {"num_classes": 3, "methods": (), **defaults, **changed}
    assert loaded.head.classifier.bias is None
    assert module.hparams.items() <= loaded.hparams.items()


def test_a_subclass_that_hands_on_options_loads_again(tmp_path):
    loose = saved_and_loaded(Loose(3, num_classes=2, momentum=0.5), tmp_path / "loose.ckpt")
    assert loose.hparams == {"depth": 3, "num_classes": 2, "momentum": 0.5}
    typed = saved_and_loaded(Typed(3, momentum=0.5), tmp_path / "typed.ckpt")
    assert typed.hparams.keys() == inspect.signature(Typed).parameters.keys()
    for module in (loose, typed):
        assert module.head.momentum == 0.5
        assert module.state_dict().keys() == Typed(3).state_dict().keys()
