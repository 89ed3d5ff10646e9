"""The example of a web page answers as the model does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supercm_pl.export import load_classifier
from tests.support.command import SMALL, supercm

pytestmark = pytest.mark.skipif(
    find_spec("gradio") is None, reason="gradio is not installed: supercm-pl[demo]"
)

APP = Path(__file__).parents[2] / "examples" / "web_page" / "app.py"


def test_the_page_classifies_an_uploaded_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(SMALL)
    trained = supercm("fit", "--config", "small.yaml", "--trainer.max_steps=6")
    assert trained.status == 0, trained.err
    checkpoint = tmp_path / "runs/small/version_0/checkpoints/last.ckpt"
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save("digit.png")

    # In a process of its own: gradio leaves event loops open.
    script = "import app, json, sys; print(json.dumps(app.page(sys.argv[1]).fn('digit.png')))"
    done = subprocess.run(
        [sys.executable, "-c", script, str(checkpoint)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(APP.parent), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    expected = load_classifier(checkpoint).predict(["digit.png"])
    assert list(found) == list("0123456789")
    assert max(found, key=lambda name: found[name]) == expected.classes[0]
    assert list(found.values()) == pytest.approx(expected.probabilities[0].tolist(), abs=1e-6)
