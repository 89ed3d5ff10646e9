"""Training with a compiled backbone: the same weights, and checkpoints under the same names."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import get_args

import pytest
import torch

from supercm_pl import SSLDataModule, SSLModule
from supercm_pl.backbones import ConvNet
from supercm_pl.data import AffineNoise
from supercm_pl.ssl.methods import FixMatch
from supercm_pl.training.network import CompileMode
from tests.support.trainers import quiet_trainer

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))),
    reason="torch.compile needs a C++ compiler on the CPU",
)


def network() -> ConvNet:
    return ConvNet(1, widths=(4, 8), out_features=8)


def fit(
    folder: Path, compile_mode: CompileMode | None, accelerator: str = "cpu"
) -> tuple[SSLModule, Path]:
    """Train with two forward passes a step, and validate; the module and its checkpoint."""
    torch.manual_seed(0)
    module = SSLModule(
        network(),
        10,
        FixMatch(),
        batch_norm="labeled",
        channels_last=True,
        compile_mode=compile_mode,
    )
    data = SSLDataModule(
        labels_per_class=4,
        val_size=50,
        labeled_batch_size=8,
        unlabeled_batch_size=12,
        steps_per_epoch=6,
        strong=AffineNoise(rotation=0.4),
        seed=0,
    )
    trainer = quiet_trainer(accelerator=accelerator, max_epochs=1)
    trainer.fit(module, data)
    path = folder / "model.ckpt"
    trainer.save_checkpoint(path)
    return module, path


@needs_compiler
def test_trains_the_same_and_leaves_names_in_checkpoints_alone(tmp_path: Path) -> None:
    plain, _ = fit(tmp_path, None)
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    compiled, path = fit(tmp_path, "default")
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    torch.testing.assert_close(
        dict(compiled.state_dict()), dict(plain.state_dict()), rtol=1e-4, atol=1e-5
    )
    saved = torch.load(path, weights_only=True)["state_dict"]
    assert list(saved) == list(plain.state_dict())
    plain.load_state_dict(saved)
    loaded = SSLModule.load_from_checkpoint(path, backbone=network(), methods=FixMatch())
    images = torch.rand(3, 1, 8, 8)
    torch.testing.assert_close(loaded.eval()(images), plain.eval()(images))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_graphs_train_validate_and_predict_the_same(tmp_path: Path) -> None:
    torch.compiler.reset()
    plain, compiled = (fit(tmp_path, mode, "gpu")[0] for mode in (None, "reduce-overhead"))
    torch.testing.assert_close(
        dict(compiled.state_dict()), dict(plain.state_dict()), rtol=1e-3, atol=1e-3
    )
    batches = torch.rand(4, 8, 1, 8, 8, device="cuda")
    with torch.no_grad():
        found = [compiled.cuda().eval().predict_step(batch) for batch in batches]
        expected = [plain.cuda().eval().predict_step(batch) for batch in batches]
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)


def test_every_mode_is_one_that_torch_knows() -> None:
    for mode in get_args(CompileMode):
        torch.compile(torch.nn.Linear(2, 2), mode=mode)
