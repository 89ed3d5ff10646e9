"""Notebooks are what their scripts say, and carry the outputs of a run; ``.ci/run`` runs them."""

from __future__ import annotations

from pathlib import Path

import jupytext
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = sorted(path.stem for path in (NOTEBOOKS / "src").glob("*.py"))


def test_every_notebook_has_a_script() -> None:
    assert NAMES
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_is_that_of_its_script(name: str) -> None:
    script = jupytext.read(NOTEBOOKS / "src" / f"{name}.py")
    notebook = jupytext.read(NOTEBOOKS / f"{name}.ipynb")
    expected, kept = (
        [(cell.cell_type, cell.source) for cell in found.cells] for found in (script, notebook)
    )
    assert kept == expected, "run jupytext --sync notebooks/src/*.py"


@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_carries_the_outputs_of_one_run(name: str) -> None:
    path = NOTEBOOKS / f"{name}.ipynb"
    code = [cell for cell in jupytext.read(path).cells if cell.cell_type == "code"]
    hint = f"run pytest --nbmake --overwrite {path.name}"
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), hint
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert pictures or name == "05_your_own_method"
    assert path.stat().st_size < 300_000
