"""Accuracy after rounds of labeling: suggested samples against random ones, on digits.

Every seed starts from the same 5 random labels per class. Each round trains from scratch, chooses
samples among the unlabeled ones, and takes their true labels: 50, 100 and 200 labels in all. Runs
are appended to a CSV file, and existing ones not repeated.

Run ``python -m benchmarks.suggest``, and with ``--render`` for the table.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks.command import WITHOUT_FILES, run
from benchmarks.results import Results
from supercm_pl.report.outputs import outputs_of_parts
from supercm_pl.report.suggestions import suggest

RESULTS = Path("benchmarks/results/suggest.csv")
KEYS = ("arm", "seed", "labels")
ARMS = ("random", "uncertain", "diverse", "both")
ROUNDS = (50, 100, 200)


def train(rows: list[int], seed: int, steps: int) -> tuple[float, dict[str, np.ndarray]]:
    """Test accuracy of a run on these labeled rows, and the rows that each arm chooses next."""
    words = ["fit", "--config=configs/ssl/digits.yaml", f"--trainer.max_steps={steps}"]
    words += [*WITHOUT_FILES, "--data.labels_per_class=null", "--data.val_size=0"]
    words += [f"--data.labeled_indices={json.dumps(rows)}", f"--seed_everything={seed}"]
    command = run(words)
    accuracy = float(command.trainer.callback_metrics["test/acc"])
    labeled, unlabeled = outputs_of_parts(command.model, command.datamodule)[:2]
    candidates = np.asarray([int(row) for row in unlabeled.ids])
    chosen = {"random": np.random.default_rng(seed).permutation(candidates)[: len(rows)]}
    for arm in ARMS[1:]:
        found = suggest(unlabeled.assignments, unlabeled.features, labeled.features, len(rows), arm)
        chosen[arm] = candidates[[each.position for each in found]]
    return accuracy, chosen


def first_labels(seed: int) -> list[int]:
    """Rows of 5 labels per class."""
    words = ["fit", "--config=configs/ssl/digits.yaml", *WITHOUT_FILES, "--trainer.max_steps=1"]
    words += ["--data.labels_per_class=5", "--data.val_size=0", f"--seed_everything={seed}"]
    rows: list[int] = run(words).datamodule.split.labeled.tolist()
    return rows


def main() -> None:
    """Run the missing rounds, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--render", action="store_true")
    options = parser.parse_args()
    results = Results(options.results, KEYS)
    if options.render:
        print(render(results))
        return
    for seed in options.seeds:
        if {"arm": ARMS[-1], "seed": seed, "labels": ROUNDS[-1]} in results:
            continue
        start = first_labels(seed)
        accuracy, chosen = train(start, seed, options.steps)
        for arm in ARMS:
            results.append({"arm": arm, "seed": seed, "labels": ROUNDS[0], "acc": accuracy})
            rows, following = start, chosen
            for labels in ROUNDS[1:]:
                rows = sorted({*rows, *following[arm].tolist()})
                assert len(rows) == labels
                found, following = train(rows, seed, options.steps)
                results.append({"arm": arm, "seed": seed, "labels": labels, "acc": found})
                print(arm, seed, labels, round(found, 4), flush=True)


def render(results: Results) -> str:
    """Markdown: mean and standard deviation of the test accuracy."""
    cells: dict[tuple[str, int], list[float]] = defaultdict(list)
    for row in results:
        cells[row["arm"], int(row["labels"])].append(float(row["acc"]))
    lines = ["| labels | " + " | ".join(ARMS) + " |", "| --- |" + " --- |" * len(ARMS)]
    for labels in ROUNDS:
        row = []
        for arm in ARMS:
            found = cells[arm, labels]
            spread = statistics.stdev(found) if len(found) > 1 else 0.0
            row.append(f"{statistics.mean(found):.3f} ± {spread:.3f}" if found else "")
        lines.append(f"| {labels} | {' | '.join(row)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
