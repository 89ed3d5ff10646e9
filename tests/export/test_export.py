"""Exported files compute what the checkpoint's model does, without this package."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.torch_version import TorchVersion

from supercm_pl import SSLDataModule, SSLModule, UDADataModule, UDAModule
from supercm_pl.backbones import MLP, ConvNet
from supercm_pl.cli.main import main
from supercm_pl.data import ZCA
from supercm_pl.export import Classifier, export_onnx, export_torch, load_classifier
from supercm_pl.export.card import model_card
from tests.support.command import SMALL, supercm
from tests.support.trainers import quiet_trainer

DOCS = Path(__file__).parents[2] / "docs" / "export.md"
BLOCKS = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)
IN_PYTHON, WITH_ONNX, WITH_PYTORCH, ONE_PHOTO = BLOCKS[:4]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run with ZCA, which has to be folded in."""
    words = ["--trainer.max_steps=6", "--test_after_fit=false", "--model.channels_last=true"]
    words += ["--model.methods=supercm_pl.ssl.methods.MeanTeacher"]
    words += ["--data.preprocess=supercm_pl.data.ZCA"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("run"))
        Path("small.yaml").write_text(SMALL)
        main(["fit", "--config", "small.yaml", *words])
        return Path("runs/small/version_0/checkpoints/last.ckpt").resolve()


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
    expected = classifier.module.forward_outputs(classifier.preprocess(images)).logits
    assert torch.equal(classifier(images)[1], expected)
    assert not torch.allclose(classifier.module.forward_outputs(images).logits, expected)


def test_the_checkpoint_alone_is_enough(checkpoint: Path, exported: Path, folder: Path) -> None:
    shutil.copy(checkpoint, "last.ckpt")
    main(["export", "last.ckpt"])
    (module, about), (expected, known) = load(folder / "last.pt2"), load(exported)
    images = torch.rand(3, 1, 8, 8)
    assert about == known
    assert about["input_shape"] == [1, 8, 8]
    assert torch.equal(module(images)[0], expected(images)[0])


def test_what_is_loaded_and_saved_again_is_enough_too(checkpoint: Path, tmp_path: Path) -> None:
    module = SSLModule.load_from_checkpoint(checkpoint)
    trainer = quiet_trainer()
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "again.ckpt", weights_only=True)
    again = SSLModule.load_from_checkpoint(tmp_path / "again.ckpt")
    torch.testing.assert_close(again.state_dict(), module.state_dict(), rtol=0, atol=0)
    shape = load_classifier(checkpoint).input_shape
    assert load_classifier(tmp_path / "again.ckpt", input_shape=shape).input_shape == shape


def test_names_and_shapes_are_those_of_the_data(tmp_path: Path) -> None:
    data = UDADataModule(steps_per_epoch=1)
    trainer = quiet_trainer(max_steps=1, limit_val_batches=0)
    trainer.fit(UDAModule(ConvNet(3, (8,)), num_classes=10), data)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["UDADataModule"]
    assert tuple(saved["classes"]) == data.classes
    assert tuple(saved["input_shape"]) == data.input_shape == (3, 16, 16)
    assert "preprocess" not in saved


def test_a_model_of_ones_own_python_run(tmp_path: Path) -> None:
    module = UDAModule(MLP(4, (8,)), num_classes=3, bottleneck=5, batch_norm="domain")
    classifier = Classifier(module, ["a", "b", "c"], (4,))
    export_torch(classifier, tmp_path / "model.pt2")
    exported, about = load(tmp_path / "model.pt2")
    vectors = torch.randn(6, 4)
    assert about["classes"] == ["a", "b", "c"]
    assert torch.allclose(exported(vectors)[1], module.eval()(vectors), atol=1e-6)


@pytest.mark.bad_input
def test_onnx_takes_a_later_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.4.1"))
    classifier = Classifier(SSLModule(MLP(4, (8,)), num_classes=2), ["a", "b"], (4,))
    with pytest.raises(ImportError, match=r"requires PyTorch 2\.5 or later, got 2\.4\.1"):
        export_onnx(classifier, tmp_path / "last.onnx")


@pytest.mark.skipif(torch.__version__ < "2.5", reason="ONNX takes PyTorch 2.5 or later")
def test_onnx_computes_the_same_of_any_number_of_rows(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="to write ONNX: pip install onnx onnxscript")
    pytest.importorskip("onnxscript", reason="to write ONNX: pip install onnx onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime", reason="pip install onnxruntime")
    classifier, file = load_classifier(checkpoint), tmp_path / "last.onnx"
    difference = export_onnx(classifier, file)
    assert difference is not None
    assert difference < 1e-4
    session = onnxruntime.InferenceSession(str(file))
    for count in (1, 7, 100):
        images = torch.rand(count, 1, 8, 8)
        outputs = session.run(None, {"inputs": images.numpy()})
        for expected, found in zip(classifier(images), outputs, strict=True):
            torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-4, rtol=1e-4)
    assert_names_and_shares(run_alone(WITH_ONNX, tmp_path))
    turned = Image.Exif()
    turned[0x0112] = 6  # to be rotated by a quarter
    pixels = np.random.default_rng(0).integers(0, 256, (11, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", exif=turned)
    found = classifier.predict(tmp_path / "photo.jpg").probabilities[0]
    best = found.argsort(descending=True)[:3].tolist()
    lines = [line.rstrip("%").split(": ") for line in run_alone(ONE_PHOTO, tmp_path)]
    assert [int(name) for name, _ in lines] == best
    # Pillow rounds differently where it decodes a color JPEG to gray at once.
    assert [float(share) / 100 for _, share in lines] == pytest.approx(
        found[best].tolist(), abs=0.01
    )


def test_a_model_card_is_written(exported: Path, checkpoint: Path) -> None:
    card = exported.with_name("digits_card.md").read_text()
    assert card.startswith("# digits.pt2\n")
    assert "| classes | 10: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 |" in card
    assert "| input | 1×8×8, floats, images in [0, 1] |" in card
    assert "| labeled training samples | 20 |" in card
    assert "| unlabeled training samples | 1,307 |" in card
    assert "The calibration of the probabilities was not measured." in card
    tested = model_card(
        Classifier(SSLModule(MLP(4, (8,)), 2), ["a|b", "<c>"], (4,)),
        "last.onnx",
        counts={},
        metrics={"test/acc": 0.91, "test/ece": 0.05},
        baselines={"logistic regression": 0.8},
    )
    assert r"| classes | 2: a\|b, \<c\> |" in tested
    assert "| accuracy | 0.910 |" in tested
    assert "| calibration error, the difference between confidence and accuracy | 0.050 |" in tested
    assert "| accuracy of logistic regression, for comparison | 0.800 |" in tested
    assert "not measured" not in tested


def test_the_examples_are_short_and_need_no_lightning(exported: Path, tmp_path: Path) -> None:
    for block in (WITH_ONNX, WITH_PYTORCH):
        assert sum(bool(line.strip()) for line in block.splitlines()) <= 12
    (tmp_path / "last.pt2").write_bytes(exported.read_bytes())
    assert_names_and_shares(run_alone(WITH_PYTORCH, tmp_path))


def assert_names_and_shares(lines: list[str]) -> None:
    assert len(lines) == 5
    assert all(re.fullmatch(r"\d: \d+\.\d%", line) for line in lines)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Test images of the digits as files, in a folder beside the checkpoint's copy."""
    folder = tmp_path_factory.mktemp("photos") / "photos"
    (folder / "new").mkdir(parents=True)
    images = next(iter(SSLDataModule(labels_per_class=2).test_dataloader()))[0]
    for number, image in enumerate(images[:6]):
        pixels = (image[0] * 255).round().byte().numpy()
        Image.fromarray(pixels).save(folder / "new" / f"{number}.png")
    return folder


def test_a_folder_files_and_arrays_are_predicted_alike(checkpoint: Path, photos: Path) -> None:
    classifier = load_classifier(checkpoint)
    of_folder = classifier.predict(photos, batch_size=4)
    assert of_folder.ids == [f"new/{number}.png" for number in range(6)]
    paths = [photos / name for name in of_folder.ids]
    arrays = np.stack([np.asarray(Image.open(path)) for path in paths])[:, None]
    opened, column = [Image.open(path) for path in paths], np.array([*map(str, paths)], dtype="O")
    gray = arrays[:, 0], arrays[:, 0, :, :, None]
    for inputs in (paths, arrays, torch.from_numpy(arrays) / 255, opened, column, *gray):
        found = classifier.predict(inputs)
        assert found.classes == of_folder.classes
        torch.testing.assert_close(found.probabilities, of_folder.probabilities)
    assert classifier.predict(paths[0]).classes == of_folder.classes[:1]
    assert load_classifier(checkpoint, uint8=True).predict(photos).classes == of_folder.classes
    with pytest.raises(ValueError, match=r"shape \(N, 1, 8, 8\)"):
        classifier.predict(torch.rand(2, 3, 8, 8))


def test_the_command_and_the_example_predict_with_the_checkpoint_alone(
    checkpoint: Path, photos: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(checkpoint, "last.ckpt")
    shutil.copytree(photos, "photos")
    main(["predict", "last.ckpt", "photos/new", "--output", "found.csv"])
    assert "wrote found.csv: 6 inputs" in capsys.readouterr().out
    with Path("found.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    exec(compile(IN_PYTHON, "docs/export.md", "exec"), {})
    assert capsys.readouterr().out.splitlines() == [
        f"{row['id']}: {row['class']}, {float(row['probability']):.1%}" for row in rows
    ]
    assert list(rows[0]) == ["id", "class", "probability", *load_classifier("last.ckpt").classes]


def run_alone(block: str, folder: Path) -> list[str]:
    """A program's lines, run in ``folder`` where neither Lightning nor this package can be had."""
    program = "import sys\nfor name in ('lightning', 'supercm_pl'): sys.modules[name] = None\n"
    words = [sys.executable, "-W", "ignore", "-c", program + block]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["none.ckpt"], "there is no checkpoint none.ckpt"),
        (["CKPT", "--output", "model.bin"], "must end in .pt2"),
        (["CKPT", "--classes", "a,b"], "10 classes"),
        (["CKPT", "--input_shape", "0,8"], "input_shape must be at least 1, got 0"),
        (["words.txt"], "not a checkpoint"),
    ],
)
def test_a_mistake_is_one_line(checkpoint: Path, folder: Path, words: list[str], line: str) -> None:
    (folder / "words.txt").write_text("these are words")
    outcome = supercm("export", *(str(checkpoint) if word == "CKPT" else word for word in words))
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    assert line in outcome.err


@pytest.mark.bad_input
def test_what_does_not_fit_is_refused() -> None:
    module = SSLModule(ConvNet(1, (8,)), num_classes=2)
    with pytest.raises(ValueError, match="2 classes"):
        Classifier(module, ["a"], (1, 8, 8))
    with pytest.raises(ValueError, match="fitted"):
        Classifier(module, ["a", "b"], (1, 8, 8), preprocess=ZCA())
    with pytest.raises(TypeError, match="must be an SSLModule or UDAModule, got Linear"):
        Classifier(nn.Linear(2, 2), ["a", "b"], (2,))  # type: ignore[arg-type]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda c: c.pop("state_dict"), "damaged, or not a checkpoint"),
        (lambda c: c["hyper_parameters"].pop("_class_path"), "has no class path"),
        (lambda c: [c.pop(name) for name in ("SSLDataModule",)], "has no input shape"),
    ],
)
def test_a_checkpoint_that_lacks_something_is_named(
    checkpoint: Path, tmp_path: Path, spoil: Callable[[dict[str, Any]], Any], error: str
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    spoil(content)
    torch.save(content, tmp_path / "spoiled.ckpt")
    with pytest.raises(ValueError, match=error):
        load_classifier(tmp_path / "spoiled.ckpt")


@pytest.mark.bad_input
def test_a_configuration_of_something_else_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("model: {}\n")
    with pytest.raises(ValueError, match=r"other\.yaml is not the configuration of a run"):
        load_classifier(checkpoint, tmp_path / "other.yaml")


@pytest.mark.bad_input
def test_files_are_for_models_of_images(tmp_path: Path) -> None:
    classifier = Classifier(SSLModule(MLP(4, (8,)), num_classes=2), ["a", "b"], (4,))
    Image.new("L", (8, 8)).save(tmp_path / "image.png")
    with pytest.raises(
        ValueError, match=r"only models .* predict images in files, this one takes \(4,\)"
    ):
        classifier.predict([tmp_path / "image.png"])


def test_arrays_are_predicted_by_the_command(checkpoint: Path, folder: Path) -> None:
    shape = load_classifier(checkpoint).input_shape
    np.save("some.npy", np.zeros((3, *shape), dtype=np.float32))
    main(["predict", str(checkpoint), "some.npy", "--output", "found.csv"])
    with Path("found.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) == 4


@pytest.mark.bad_input
def test_an_array_file_of_another_kind_is_named(checkpoint: Path, folder: Path) -> None:
    (folder / "words.npy").write_text("these are words")
    outcome = supercm("predict", str(checkpoint), "words.npy")
    assert outcome.status == 2
    assert "is not a file that numpy.save wrote" in outcome.err
