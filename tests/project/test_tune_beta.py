"""The example that tunes β by a validator, shortened."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="optuna is not installed: supercm-pl[tune]")

ROOT = Path(__file__).parents[2]


def test_the_example_tries_several_weights_and_names_the_best(tmp_path: Path) -> None:
    script = ROOT / "examples" / "tune_beta.py"
    words = ["--trials", "2", "--max_steps", "200", "--output", str(tmp_path / "study")]
    done = subprocess.run(
        [sys.executable, str(script), *words],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    best, command = done.stdout.splitlines()[-2:]
    assert re.fullmatch(r"best of 2: val/bnm \d\.\d{4}", best)
    assert command.startswith("supercm fit --config configs/uda/digits.yaml --model.cm_weight ")
    configs = sorted((tmp_path / "study").rglob("config.yaml"))
    weights = [re.findall(r"cm_weight: (\S+)", path.read_text())[0] for path in configs]
    assert weights[0] == "0.5"
    assert len(set(weights)) == 2
    assert "target_acc" not in "".join(p.read_text() for p in tmp_path.rglob("metrics.csv"))
