"""Accuracy after rounds of labeling: suggested samples against random ones.

Every seed starts from the same 5 random labels per class. Each round trains from scratch, chooses
samples among the unlabeled ones, and takes their true labels: 5, 10 and 20 per class in all. Digits
are trained by ``configs/ssl/digits.yaml``, data sets of ``benchmarks.field`` are trained at half
size by ``folder_small.yaml``, the default for folders, with a layer less. Runs are appended to a
CSV file, and existing ones not repeated.

    python -m benchmarks.suggest --sets digits letters fashion
    python -m benchmarks.suggest --render
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from benchmarks.command import WITHOUT_FILES, run
from benchmarks.field.data import load
from benchmarks.results import Results, interval, paired
from supercm_pl.data.datasets import TensorData
from supercm_pl.data.sources.base import Source, SourceData
from supercm_pl.report.outputs import outputs_of_parts
from supercm_pl.report.suggestions import suggest

RESULTS = Path("benchmarks/results/suggest.csv")
KEYS = ("data", "arm", "seed", "labels")
ARMS = ("random", "uncertain", "diverse", "both")
ROUNDS = (5, 10, 20)  # labels per class
TRAIN, TEST = 3_000, 1_000  # images of a data set of the field


class Field(Source):
    """The first images of a data set of the field, which are in random order, at half size."""

    def __init__(self, name: str) -> None:
        self.name = name

    def load(self) -> SourceData:
        """Read the arrays."""
        images = load(self.name)
        train = _half(images.x[:TRAIN], images.y[:TRAIN])
        return SourceData(
            train, images.classes, test=_half(images.x_test[:TEST], images.y_test[:TEST])
        )


def _half(x: np.ndarray, y: np.ndarray) -> TensorData:
    small = torch.nn.functional.avg_pool2d(torch.from_numpy(x).float(), 2)
    return TensorData(small.round().to(torch.uint8), torch.from_numpy(y))


def words(name: str, seed: int, steps: int) -> list[str]:
    """The command for a data set."""
    file = "digits" if name == "digits" else "folder_small"
    found = ["fit", f"--config=configs/ssl/{file}.yaml", *WITHOUT_FILES, "--data.val_size=0"]
    found += [f"--trainer.max_steps={steps}", f"--seed_everything={seed}"]
    if name != "digits":
        source = {"class_path": "benchmarks.suggest.Field", "init_args": {"name": name}}
        found.append(f"--data.source={json.dumps(source)}")
        found.append(f"--model.backbone.in_channels={load(name).x.shape[1]}")
        found.append("--model.backbone.widths=[16, 32, 64, 128]")
    return found


def train(name: str, rows: list[int], seed: int, steps: int) -> tuple[float, dict[str, list[int]]]:
    """Test accuracy of a run on these labeled rows, and the rows that each arm chooses next."""
    command = run(
        [
            *words(name, seed, steps),
            "--data.labels_per_class=null",
            f"--data.labeled_indices={json.dumps(rows)}",
        ]
    )
    accuracy = float(command.trainer.callback_metrics["test/acc"])
    parts = outputs_of_parts(command.model, command.datamodule, most=10_000)
    labeled, unlabeled = parts[:2]
    candidates = np.asarray([int(row) for row in unlabeled.ids])
    chosen = {"random": np.random.default_rng(seed).permutation(candidates)[: len(rows)].tolist()}
    for arm in ARMS[1:]:
        found = suggest(unlabeled.assignments, unlabeled.features, labeled.features, len(rows), arm)
        chosen[arm] = candidates[[each.position for each in found]].tolist()
    return accuracy, chosen


def first_labels(name: str, seed: int) -> list[int]:
    """Rows of 5 labels per class."""
    command = run([*words(name, seed, 1), f"--data.labels_per_class={ROUNDS[0]}"])
    rows: list[int] = command.datamodule.split.labeled.tolist()
    return rows


def main() -> None:
    """Run the missing rounds, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sets", nargs="+", default=["digits"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--render", action="store_true")
    options = parser.parse_args()
    results = Results(options.results, KEYS)
    if options.render:
        print(render(results))
        return
    for seed in options.seeds:
        for name in options.sets:
            _rounds(results, name, seed, options.steps)


def _rounds(results: Results, name: str, seed: int, steps: int) -> None:
    key = {"data": name, "seed": seed}
    if {**key, "arm": ARMS[-1], "labels": ROUNDS[-1]} in results:
        return
    start = first_labels(name, seed)
    accuracy, chosen = train(name, start, seed, steps)
    for arm in ARMS:
        results.append(
            {"data": name, "arm": arm, "seed": seed, "labels": ROUNDS[0], "acc": accuracy}
        )
        rows, following = start, chosen
        for labels in ROUNDS[1:]:
            rows = sorted({*rows, *following[arm]})
            assert len(rows) == len(start) * labels // ROUNDS[0]
            found, following = train(name, rows, seed, steps)
            results.append({"data": name, "arm": arm, "seed": seed, "labels": labels, "acc": found})
            print(name, arm, seed, labels, round(found, 4), flush=True)


def render(results: Results) -> str:
    """Markdown: mean test accuracy, and the paired difference from random with its interval."""
    cells: dict[tuple[str, int, str], dict[int, float]] = defaultdict(dict)
    for row in results:
        cells[row["data"], int(row["labels"]), row["arm"]][int(row["seed"])] = float(row["acc"])
    lines = ["| data, labels per class | " + " | ".join(ARMS) + " |"]
    lines.append("| --- |" + " --- |" * len(ARMS))
    for name, labels in sorted({key[:2] for key in cells}):
        random = cells[name, labels, ARMS[0]]
        row = [f"{statistics.mean(random.values()):.3f}"]
        for arm in ARMS[1:]:
            gains = paired(cells[name, labels, arm], random)
            row.append(interval(gains) if any(gains) else "")
        lines.append(f"| {name}, {labels} | {' | '.join(row)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
