"""All measurements that need a CUDA GPU, in calls of limited length that resume from a JSON file.

Each stage is another benchmark in a process of its own: the tests that need a GPU, time and memory
of a step, cost of the head, waiting for data, and accuracy on Fashion-MNIST with a WRN-28-2 at 40
and 250 labels. A call runs the stages that the file lacks, and stops before its time is over; call
again until nothing is left. A stage that failed is repeated. Nothing is downloaded.

    python -m pip install --no-index --find-links WHEELS jsonargparse pytest
    python -m benchmarks.cuda --root FOLDER [--reference DIR --minutes 9 --json cuda.json]
    python -m benchmarks.cuda --device cpu --tiny    # all stages on the CPU, as small as possible
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.timing import ratio, write_json

METHODS = ("none", "mean_teacher", "fixmatch", "freematch")
WIDE = ("--model.backbone=supercm_pl.backbones.WideResNet", "--model.backbone.in_channels=1")
LEAST = 45.0
"""Seconds that have to be left for another stage to begin."""


def stages(given: argparse.Namespace) -> dict[str, list[str]]:
    """Return the module and arguments of every stage."""
    return (_tiny if given.tiny else _whole)(given)


def _whole(given: argparse.Namespace) -> dict[str, list[str]]:
    reference = [] if given.reference is None else ["--reference", str(given.reference)]
    found = {"tests": ["pytest", "-q", "-rA", "--tb=short", *_tests()]}
    for labeled, unlabeled in ((50, 50), (64, 448)):
        found[f"step, {labeled} + {unlabeled}"] = [
            "benchmarks.step", "--gpu", "--rounds=40", "--warmup=6", "--limit=120", *reference,
            f"--labeled={labeled}", f"--unlabeled={unlabeled}",
        ]  # fmt: skip
    found["head"] = ["benchmarks.cost", "--device=cuda"]
    found["waiting"] = ["benchmarks.waiting", "--configs", *_wide_configurations()]
    for labels in (4, 25):
        for method in METHODS:
            found[f"fashion, {10 * labels} labels, {method}"] = [
                "benchmarks.accuracy", "--data=fashion_mnist", f"--root={given.root}", "--seeds=0",
                "--steps=1000", "--every=100", "--marks", "0.6", "0.7", "0.8",
                *_file(method), *WIDE, f"--data.labels_per_class={labels}",
                "--data.labeled_batch_size=64", "--data.unlabeled_batch_size=320",
                "--data.keep_on_device=true", "--trainer.precision=bf16-mixed",
            ]  # fmt: skip
    return found


def _tiny(given: argparse.Namespace) -> dict[str, list[str]]:
    return {
        "tests": ["pytest", "-q", "--collect-only", *_tests()[:1]],
        "step": [
            "benchmarks.step", "--labeled=2", "--unlabeled=2", "--rounds=1", "--warmup=0",
            "--arms", "plain", "SuperCM, channels last", "the authors' algorithm",
        ],
        "head": ["benchmarks.cost", "--device=cpu", "--points=2", "--rounds=1", "--n=64", "--d=16"],
        "waiting": [
            "benchmarks.waiting", "--configs", "ssl/digits", "--epochs=2", "--steps=3",
        ],
        "accuracy": [
            "benchmarks.accuracy", "--data=digits", "--seeds=0", "--steps=2", "--every=2",
            "--marks", "0.5", *_file("fixmatch"), *WIDE, "--model.backbone.depth=10",
            "--data.labeled_batch_size=8", "--data.unlabeled_batch_size=8",
            "--data.keep_on_device=true",
        ],
    }  # fmt: skip


def _file(method: str) -> list[str]:
    return [] if method == "none" else [f"--config=configs/ssl/methods/{method}.yaml"]


def _tests() -> list[str]:
    """Return the test files that have tests for a GPU."""
    files = sorted(Path("tests").rglob("test_*.py"))
    return [str(path) for path in files if "torch.cuda.is_available()" in path.read_text()]


def _wide_configurations() -> list[str]:
    from benchmarks.waiting import CONFIGS

    return [name for name in CONFIGS if "WRN" in name]


def run(words: list[str], limit: float, device: str) -> dict[str, Any]:
    """Run a stage; return its result, or its output with the reason why there is none."""
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "result.json"
        output = [] if words[0] == "pytest" else [f"--json={file}"]
        try:
            process = subprocess.run(
                [sys.executable, "-m", *words, *output],
                env={**os.environ, **hidden},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"failed": f"not done in {limit:.0f} s"}
        found: dict[str, Any] = {"seconds": round(time.monotonic() - start, 1)}
        printed = process.stdout[-6000:]
        # Failing tests are a result too; 1 is pytest's code for them.
        if process.returncode not in ((0, 1) if words[0] == "pytest" else (0,)):
            return {**found, "failed": f"exit code {process.returncode}", "output": printed}
        if output:
            found["result"] = json.loads(file.read_text())
        return {**found, "output": printed}


def ratios(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Return the time of SuperCM over plain for every layout and precision that has both."""
    names = [name.removeprefix("SuperCM") for name in seconds if name.startswith("SuperCM")]
    return {
        name or "contiguous": ratio(seconds[f"SuperCM{name}"], seconds[f"plain{name}"])
        for name in names
        if f"plain{name}" in seconds
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, help="folder of Fashion-MNIST's idx files")
    parser.add_argument("--reference", type=Path, help="a checkout of the authors' repository")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="only try that every stage runs")
    parser.add_argument("--minutes", type=float, default=9.0, help="length of a call")
    parser.add_argument("--json", type=Path, help="default: benchmarks/results/cuda.json")
    given = parser.parse_args()
    if given.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            parser.error("this machine has no CUDA device: use --device cpu --tiny to try")
        if given.root is None and not given.tiny:
            parser.error("--root must name the folder of Fashion-MNIST's idx files")
    default = tempfile.mktemp(".json") if given.tiny else "benchmarks/results/cuda.json"
    path = Path(given.json or default)
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    end = time.monotonic() + 60 * given.minutes
    left = []
    for name, words in stages(given).items():
        if name in found and "failed" not in found[name]:
            continue
        limit = end - time.monotonic()
        if limit < LEAST:
            left.append(name)
            continue
        print(f"{name} ...", flush=True)
        found[name] = run(words, limit, given.device)
        if "seconds" in found[name].get("result", {}) and name.startswith("step"):
            found[name]["SuperCM over plain"] = ratios(found[name]["result"]["seconds"])
        write_json(str(path), found)
        print(found[name].get("output", ""), found[name].get("failed", ""), flush=True)
    failed = [name for name, stage in found.items() if "failed" in stage]
    print(f"{path}: {len(found) - len(failed)} done; failed: {failed}; left: {left}")
    sys.exit(bool(failed or left))


if __name__ == "__main__":
    main()
