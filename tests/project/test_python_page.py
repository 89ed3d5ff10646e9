"""The page on the use from Python is followed literally: every block of code on it is run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.support.command import SMALL, supercm

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.filterwarnings("ignore")  # of Lightning, about what short runs do
def test_the_page_is_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    known: dict[str, Any] = {}
    for number, block in enumerate(blocks("howto/python.md", "python")):
        exec(compile(block, f"python.md, block {number}", "exec"), known)
    assert len(known["names"]) == 450
    assert known["probabilities"].sum(1).tolist() == pytest.approx([1.0] * 5)
    x = known["images"]
    torch.testing.assert_close(known["again"].eval()(x), known["model"].eval()(x))


def test_a_plateau_schedule_from_a_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(SMALL)
    (block,) = blocks("howto/python.md", "yaml")
    Path("plateau.yaml").write_text(block)
    done = supercm(
        "fit", "--config", "small.yaml", "--config", "plateau.yaml", "--test_after_fit=false"
    )
    assert done.status == 0, done.err
    (saved,) = tmp_path.rglob("config.yaml")
    schedule = yaml.safe_load(saved.read_text())["model"]["init_args"]["lr_scheduler"]
    assert schedule["init_args"]["monitor"] == "val/acc"
    (checkpoint,) = tmp_path.rglob("last.ckpt")
    (state,) = torch.load(checkpoint)["lr_schedulers"]
    assert state["last_epoch"] >= 1


def test_the_cross_validation_of_the_estimators_page(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = blocks("api/estimator.md", "python")
    exec(compile(block, "estimator.md", "exec"), {})
    accuracy, best = capsys.readouterr().out.splitlines()
    assert float(accuracy) > 0.8
    assert best in ("{'cm_weight': 0.0}", "{'cm_weight': 2.0}")
