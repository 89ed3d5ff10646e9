"""Notebooks are what their scripts say, and the code in them runs."""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import torch

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
NAMES = sorted(path.stem for path in (NOTEBOOKS / "src").glob("*.py"))


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = spec_from_file_location("build", NOTEBOOKS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_notebook_has_a_script() -> None:
    assert NAMES
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_is_that_of_its_script(name: str, build: ModuleType) -> None:
    script = (NOTEBOOKS / "src" / f"{name}.py").read_text(encoding="utf-8")
    kept = (NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8")
    assert kept == build.notebook(script), "run python notebooks/build.py"


def test_a_script_becomes_cells(build: ModuleType) -> None:
    script = "# %% [markdown]\n# # Title\n#\n# Text.\n\n# %%\nx = 1\n\nprint(x)\n\n\n# %%\nx\n"
    cells = json.loads(build.notebook(script))["cells"]
    assert [(cell["cell_type"], "".join(cell["source"])) for cell in cells] == [
        ("markdown", "# Title\n\nText."),
        ("code", "x = 1\n\nprint(x)"),
        ("code", "x"),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_the_code_runs(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    shown: list[int] = []
    monkeypatch.setattr(pyplot, "show", lambda: shown.append(len(pyplot.get_fignums())))
    monkeypatch.setenv("NOTEBOOK_STEPS", "2")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))
    code = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    generator = torch.random.get_rng_state()
    try:
        namespace = {"__name__": "__main__"}
        for number, cell in enumerate(code):
            exec(compile(cell, f"{name}, cell of code {number}", "exec"), namespace)
    finally:
        pyplot.close("all")
        torch.random.set_rng_state(generator)
    assert shown or name == "05_your_own_method"
    assert capsys.readouterr().out
