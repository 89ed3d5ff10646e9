"""A checkpoint that any release has written loads, predicts the same, and goes on."""

from __future__ import annotations

import csv
import inspect
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from supercm_pl import __version__
from tests.support.command import supercm
from tests.support.old_checkpoints import (
    KEPT,
    MODULES,
    assignments,
    fixed_images,
    kept_versions,
    unpacked,
)

pytestmark = [
    # Lightning builds the model by what newer versions of jsonargparse deprecate.
    pytest.mark.filterwarnings("ignore:(?s).*JsonargparseDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:(?s).*instantiate_classes.*deprecated"),
    # Of a checkpoint whose weights are the averaged ones already.
    pytest.mark.filterwarnings("ignore:You're using the WeightAveraging callback"),
]
VERSIONS = kept_versions()
each = pytest.mark.parametrize("version", VERSIONS)
optimizer_of_today = pytest.mark.skipif(
    "decoupled_weight_decay" not in inspect.signature(torch.optim.Adam).parameters,
    reason="the checkpoint has an argument of Adam that PyTorch has since 2.7",
)
both = pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[optimizer_of_today] if k == "ssl" else []) for k in MODULES]
)


def expected(version: str, kind: str) -> torch.Tensor:
    return torch.tensor(json.loads((KEPT / version / f"{kind}.json").read_text()))


def test_this_version_keeps_its_checkpoints() -> None:
    # Before a release: python -m tests.support.old_checkpoints
    assert __version__ in VERSIONS


@each
@both
def test_it_loads_by_python_and_predicts_what_it_predicted(
    version: str, kind: str, tmp_path: Path
) -> None:
    found = assignments(kind, unpacked(version, kind, tmp_path))
    torch.testing.assert_close(found, expected(version, kind), rtol=0, atol=1e-4)


def command(name: str, version: str, kind: str, *words: str) -> None:
    files = {"--config": KEPT / version / f"{kind}.yaml", "--ckpt_path": unpacked(version, kind)}
    outcome = supercm(name, *(str(word) for pair in files.items() for word in pair), *words)
    assert outcome.status == 0, outcome.err


@each
@both
def test_it_predicts_by_the_command_what_it_predicted(
    version: str, kind: str, folder: Path
) -> None:
    (folder / "images").mkdir()
    for number, image in enumerate(fixed_images(kind)):
        pixels = image.permute(1, 2, 0).squeeze(2).numpy()
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
    command("predict", version, kind, "--data.predict_path", "images")
    with (folder / "predictions.csv").open(newline="") as file:
        shares = [[float(value) for value in row[3:]] for row in list(csv.reader(file))[1:]]
    torch.testing.assert_close(torch.tensor(shares), expected(version, kind), rtol=0, atol=1e-4)


@each
@both
def test_training_goes_on_from_it(version: str, kind: str, folder: Path) -> None:
    command("fit", version, kind, "--trainer.max_steps=20", "--test_after_fit=false")
    (last,) = folder.rglob("last.ckpt")
    assert torch.load(last, weights_only=True)["global_step"] == 20
