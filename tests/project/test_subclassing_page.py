"""The page on subclassing is followed literally: every block of code on it is run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from supercm_pl import ClusteringHead, SSLDataModule, SSLModule
from supercm_pl.backbones import MLP
from supercm_pl.training.method import Method, MethodLoss
from supercm_pl.training.step import Step
from tests.support.command import supercm
from tests.support.trainers import quiet_trainer

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/howto/subclassing.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
EXPORT, BUILD, STEP, OWN_MODULE, OWN_OBJECTIVE, OWN_CROSS_ENTROPY, OWN_LOOP = PYTHON
YAML = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
X = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")


@pytest.fixture(autouse=True)
def _template(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples/my_method"))


def run(block: str, **known: Any) -> dict[str, Any]:
    exec(compile(block, "subclassing.md", "exec"), known)
    return known


def data() -> SSLDataModule:
    return SSLDataModule.from_arrays(X, np.arange(60) % 3, labels_per_class=4, seed=0)


@pytest.mark.parametrize("block", [EXPORT, STEP, OWN_LOOP])
def test_blocks_that_are_programs(block: str) -> None:
    run(block)


def test_what_build_creates_is_trained() -> None:
    block = run(BUILD, nn=nn, torch=torch, ClusteringHead=ClusteringHead)

    class Projected(Method):
        projection: nn.Module
        build = block["build"]

        def forward(self, step: Step) -> MethodLoss:
            return MethodLoss(self.projection(step.unlabeled["weak"].features).square().mean())

    method = Projected()
    module = SSLModule(MLP(4, (8,)), methods=method)
    quiet_trainer(max_steps=1).fit(module, data())
    assert method.mean.tolist() == pytest.approx([1 / 3] * 3)
    weights = {
        id(p) for group in module.trainer.optimizers[0].param_groups for p in group["params"]
    }
    assert {id(p) for p in method.projection.parameters()} <= weights


def test_a_module_of_ones_own_trains_saves_and_loads(tmp_path: Path) -> None:
    small = run(OWN_MODULE)["SmallModule"]

    class Saving(small):  # type: ignore[misc, valid-type]
        def __init__(self, width: int = 64, **options: Any) -> None:
            super().__init__(width, **options)
            self.save_hyperparameters()  # "does no harm"

    for kind in (small, Saving):
        module, trainer = kind(9, cm_weight=0.25), quiet_trainer(max_steps=1)
        trainer.fit(module, data())
        assert module.num_pairs == 3
        trainer.save_checkpoint(tmp_path / "own.ckpt")
        loaded = kind.load_from_checkpoint(tmp_path / "own.ckpt")
        assert (loaded.hparams["width"], loaded.cm_weight, loaded.num_classes) == (9, 0.25, 3)
        x = torch.from_numpy(X)
        torch.testing.assert_close(loaded.eval()(x), module.eval()(x))


def test_the_configuration_adds_the_method(tmp_path: Path) -> None:
    (block,) = YAML
    (tmp_path / "method.yaml").write_text(block)
    configs = ["--config", str(ROOT / "examples/my_method/configs/ssl.yaml")]
    configs += ["--config", str(tmp_path / "method.yaml")]
    quick = ["--trainer.max_steps=1", f"--trainer.logger.init_args.save_dir={tmp_path}"]
    done = supercm("fit", *configs, *quick, "--test_after_fit=false")
    assert done.status == 0, done.err
    (saved,) = tmp_path.rglob("config.yaml")
    assert "my_method.ViewConsistency" in saved.read_text()


def test_a_cross_entropy_of_ones_own_is_trained() -> None:
    module = run(OWN_CROSS_ENTROPY)["Smoothed"](MLP(4, (8,)))
    trainer = quiet_trainer(max_steps=1)
    trainer.fit(module, data())
    assert module.num_features == 8
    assert 0 < trainer.callback_metrics["train/ce"] < 4


def test_an_objective_of_ones_own_is_trained_and_logged() -> None:
    module = run(OWN_OBJECTIVE)["Confident"](MLP(4, (8,)))
    trainer = quiet_trainer(max_steps=1)
    trainer.fit(module, data())
    assert 1 / 3 < trainer.callback_metrics["train/certainty"] <= 1
