"""Exported files compute what the checkpoint's model does, without this package."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

import supercm_pl.export
from supercm_pl import SSLDataModule, SSLModule, UDAModule
from supercm_pl.backbones import MLP, ConvNet
from supercm_pl.cli import main
from supercm_pl.data import ZCA
from supercm_pl.export import Classifier, export_onnx, export_torch, load_classifier

# Names of the classes, and ZCA that has to be folded in.
CONFIG = """
trainer:
  accelerator: cpu
  max_steps: 4
  num_sanity_val_steps: 0
  enable_progress_bar: false
  logger:
    class_path: lightning.pytorch.loggers.CSVLogger
    init_args: {save_dir: runs, name: small}
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {save_last: true, every_n_train_steps: 4}
model:
  class_path: supercm_pl.SSLModule
  init_args:
    channels_last: true
    backbone:
      class_path: supercm_pl.backbones.ConvNet
      init_args: {in_channels: 1, widths: [8]}
    regularizers:
      - class_path: supercm_pl.ssl.regularizers.MeanTeacher
data:
  class_path: supercm_pl.SSLDataModule
  init_args:
    labels_per_class: 2
    steps_per_epoch: 4
    preprocess: {class_path: supercm_pl.data.ZCA}
test_after_fit: false
"""
BLOCKS = re.findall(r"::\n\n((?:    .*\n|\n)+)", f"{supercm_pl.export.__doc__}\n")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "small.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(["fit", "--config", "small.yaml"])
    return folder / "runs/small/version_0/checkpoints/last.ckpt"


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> Path:
    file = checkpoint.parents[4] / "digits.pt2"
    main(["export", str(checkpoint), "--output", str(file)])
    return file


def load(file: Path) -> tuple[nn.Module, dict[str, object]]:
    files = {"supercm.json": ""}
    module = torch.export.load(str(file), extra_files=files).module()
    return module, json.loads(files["supercm.json"])


def test_the_file_gives_what_predict_gives(checkpoint: Path, exported: Path) -> None:
    run = checkpoint.parents[1]
    output = run / "digits.csv"
    words = ["--config", str(run / "config.yaml"), "--ckpt_path", str(checkpoint)]
    main(["predict", *words, "--output", str(output)])
    lines = [line.split(",") for line in output.read_text().splitlines()]
    predicted = torch.tensor([[float(cell) for cell in line[3:]] for line in lines[1:]])

    module, about = load(exported)
    data = SSLDataModule(labels_per_class=2)
    images = torch.cat([x for x, _ in data.test_dataloader()])
    probabilities, logits, features = module(images)
    assert about["classes"] == lines[0][3:]
    assert (probabilities - predicted).abs().max() < 1e-5
    assert torch.allclose(logits.softmax(dim=1), probabilities)
    assert features.shape == (len(images), 8)


def test_any_number_of_rows(exported: Path) -> None:
    module, _ = load(exported)
    images = torch.rand(7, 1, 8, 8)
    together = module(images)[0]
    apart = torch.cat([module(image[None])[0] for image in images])
    assert torch.allclose(together, apart, atol=1e-6)


def test_bytes_are_those_floats(checkpoint: Path, tmp_path: Path) -> None:
    file = tmp_path / "bytes.pt2"
    assert export_torch(load_classifier(checkpoint, uint8=True), file) < 1e-4
    module, about = load(file)
    images = torch.randint(256, (3, 1, 8, 8), dtype=torch.uint8)
    assert about["input_dtype"] == "uint8"
    expected = load_classifier(checkpoint)(images / 255.0)
    assert torch.allclose(module(images)[0], expected[0], atol=1e-5)


def test_the_preprocessing_is_inside(checkpoint: Path) -> None:
    classifier = load_classifier(checkpoint)
    images = classifier.example(3)
    assert isinstance(classifier.preprocess, ZCA)
    expected = classifier.module(classifier.preprocess(images))
    assert torch.equal(classifier(images)[1], expected)
    assert not torch.allclose(classifier.module(images), expected)


def test_a_missing_configuration_is_asked_for(checkpoint: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone" / "last.ckpt"
    alone.parent.mkdir()
    alone.write_bytes(checkpoint.read_bytes())
    with pytest.raises(ValueError, match=r"preprocessed.*config\.yaml"):
        load_classifier(alone)
    found = load_classifier(alone, checkpoint.parents[1] / "config.yaml")
    assert torch.equal(found(found.example())[0], load_classifier(checkpoint)(found.example())[0])


def test_a_strangers_configuration_beside_it_builds_nothing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stranger.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "last.ckpt").write_bytes(checkpoint.read_bytes())
    config = yaml.safe_load((checkpoint.parents[1] / "config.yaml").read_text())
    config["data"]["init_args"]["preprocess"] = {"class_path": "stranger.Whitening"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match="preprocessed"):
        load_classifier(tmp_path / "last.ckpt")


def test_a_model_of_ones_own_python_run(tmp_path: Path) -> None:
    module = UDAModule(MLP(4, (8,)), num_classes=3, bottleneck=5, batch_norm="domain")
    classifier = Classifier(module, ["a", "b", "c"], (4,))
    export_torch(classifier, tmp_path / "model.pt2")
    exported, about = load(tmp_path / "model.pt2")
    vectors = torch.randn(6, 4)
    assert about["classes"] == ["a", "b", "c"]
    assert torch.allclose(exported(vectors)[1], module.eval()(vectors), atol=1e-6)


def test_onnx_computes_the_same(checkpoint: Path, tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    file = tmp_path / "digits.onnx"
    difference = export_onnx(load_classifier(checkpoint), file)
    assert difference is not None
    assert difference < 1e-4
    run_alone(BLOCKS[0], tmp_path)


def test_the_example_needs_pytorch_alone(exported: Path) -> None:
    assert sum(bool(line.strip()) for line in BLOCKS[1].splitlines()) <= 12
    lines = run_alone(BLOCKS[1], exported.parent)
    assert len(lines) == 5
    assert all(re.fullmatch(r"\d: \d+\.\d%", line) for line in lines)


def run_alone(block: str, folder: Path) -> list[str]:
    """A program's lines, run in ``folder`` where neither Lightning nor this package can be had."""
    program = "import sys\nfor name in ('lightning', 'supercm_pl'): sys.modules[name] = None\n"
    program += textwrap.dedent(block)
    words = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["none.ckpt"], "No such file"),
        (["CKPT", "--output", "model.bin"], "must end in .pt2"),
        (["CKPT", "--classes", "a,b"], "10 classes"),
        (["CKPT", "--input_shape", "0,8"], "sizes of 1 or more"),
        (["words.txt"], "is not a checkpoint"),
    ],
)
def test_a_mistake_is_one_line(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    line: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("words.txt").write_text("these are words")
    with pytest.raises(SystemExit) as stop:
        main(["export", *(str(checkpoint) if word == "CKPT" else word for word in words)])
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.count("\n") == 1
    assert line in error


def test_what_does_not_fit_is_refused() -> None:
    module = SSLModule(ConvNet(1, (8,)), num_classes=2)
    with pytest.raises(ValueError, match="2 classes"):
        Classifier(module, ["a"], (1, 8, 8))
    with pytest.raises(ValueError, match="fitted"):
        Classifier(module, ["a", "b"], (1, 8, 8), preprocess=ZCA())
    with pytest.raises(TypeError, match="SuperCMModule"):
        Classifier(nn.Linear(2, 2), ["a", "b"], (2,))  # type: ignore[arg-type]
