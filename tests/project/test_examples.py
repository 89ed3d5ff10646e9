"""The template project runs from a copy of its own, by the real command."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TEMPLATE = Path(__file__).parents[2] / "examples" / "my_method"
COMMAND = Path(sys.executable).parent / "supercm"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that is installed, the package taken away from beside it."""
    folder = tmp_path_factory.mktemp("elsewhere") / "my_method"
    shutil.copytree(TEMPLATE, folder, ignore=shutil.ignore_patterns("runs", "*.egg-info", "build"))
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--no-index"]
    install = [sys.executable, "-m", "pip", "install", *options, "--target", "installed", "."]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(folder / "my_method")
    return folder


@pytest.mark.parametrize(
    ("config", "logged"),
    [
        ("ssl.yaml", {"train/view_consistency", "train/view_consistency_confidence", "test/acc"}),
        ("uda.yaml", {"train/mean_alignment", "train/cm", "test/target_acc"}),
    ],
)
def test_a_project_of_ones_own_trains_by_class_paths(
    project: Path, config: str, logged: set[str]
) -> None:
    words = [str(COMMAND), "fit", "--config", f"configs/{config}", "--trainer.max_steps", "3"]
    quick = ["--trainer.limit_test_batches", "1", "--trainer.log_every_n_steps", "1"]
    environment = {**os.environ, "PYTHONPATH": str(project / "installed"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*words, *quick], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (metrics,) = project.glob(f"runs/{Path(config).stem}/version_0/metrics.csv")
    with metrics.open(newline="") as file:
        rows = list(csv.DictReader(file))
    filled = {name for row in rows for name, value in row.items() if value}
    assert logged <= filled
