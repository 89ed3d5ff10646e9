"""Starts runs of the command at the same moment in one folder, and compares each with itself alone.

python -m tests.support.concurrent_runs FOLDER RUNS
"""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

from supercm_pl.cli.command import SuperCMCLI  # noqa: F401  # what a run imports
from supercm_pl.cli.main import main
from tests.support.command import SMALL
from tests.support.runs import equal


def start(folder: Path, seed: int, gate: tuple[int, int]) -> int:
    """The process of a run, which begins when the parent closes its end of the gate."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(f"err{seed}", os.O_WRONLY | os.O_CREAT), 2)
        os.close(gate[1])
        os.read(gate[0], 1)
        main(["fit", "--config", "small.yaml", "--seed_everything", str(seed)])
        status = 0
    finally:
        os._exit(status)


def run_at_once(folder: Path, seeds: range) -> dict[int, Any]:
    """The results by seed: the logged metrics, and the weights of the last checkpoint."""
    folder.mkdir(parents=True)
    (folder / "small.yaml").write_text(SMALL)
    gate = os.pipe()
    children = {start(folder, seed, gate): seed for seed in seeds}
    os.close(gate[1])
    for child, seed in children.items():
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status == 0, f"seed {seed}: {(folder / f'err{seed}').read_text()}"
    os.close(gate[0])
    results = {}
    for version in (folder / "runs" / "small").iterdir():
        seed = yaml.safe_load((version / "config.yaml").read_text())["seed_everything"]
        with (version / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        weights = torch.load(version / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        results[seed] = {"metrics": rows, "weights": weights}
    return results


def check(place: Path, runs: int) -> None:
    torch.set_num_threads(1)
    together = run_at_once(place / "together", range(runs))
    assert sorted(together) == list(range(runs)), f"the folders are of the seeds {list(together)}"
    for seed in range(runs):
        alone = run_at_once(place / f"alone{seed}", range(seed, seed + 1))
        assert equal(alone[seed], together[seed]), f"seed {seed} has another result"
    left = [*place.rglob("*.tmp")]
    assert not left, f"left: {left}"
    print(f"{runs} runs at once in {runs} folders, all equal to those run alone")


if __name__ == "__main__":
    check(Path(sys.argv[1]), int(sys.argv[2]))
