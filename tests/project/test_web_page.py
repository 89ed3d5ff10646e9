"""The example of a web page answers as the model does."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supercm_pl.export import load_classifier
from tests.support.command import SMALL, supercm

pytest.importorskip("gradio", reason="gradio is not installed: supercm-pl[demo]")

APP = Path(__file__).parents[2] / "examples" / "web_page" / "app.py"


def test_the_page_classifies_an_uploaded_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(SMALL)
    done = supercm("fit", "--config", "small.yaml", "--trainer.max_steps=6")
    assert done.status == 0, done.err
    checkpoint = tmp_path / "runs/small/version_0/checkpoints/last.ckpt"
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save("digit.png")

    page = runpy.run_path(str(APP))["page"](str(checkpoint))
    found = page.fn("digit.png")
    expected = load_classifier(checkpoint).predict(["digit.png"])
    assert list(found) == list("0123456789")
    assert max(found, key=lambda name: found[name]) == expected.classes[0]
    assert list(found.values()) == pytest.approx(expected.probabilities[0].tolist())
