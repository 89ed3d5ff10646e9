"""Precision and recall of suspect labels on digits, with 10 % of the labels set wrong.

Run ``python -m benchmarks.suspects``.
"""

from __future__ import annotations

import logging

import numpy as np

from benchmarks.command import WITHOUT_FILES, run
from supercm_pl.report.outputs import outputs_of_parts
from supercm_pl.report.suspects import suspect_labels

SEEDS = range(3)


def found_and_wrong(labels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Train on wrong labels; which labels are suspect ``(n,)``, and which are wrong ``(n,)``."""
    words = ["fit", "--config=configs/ssl/digits.yaml", "--trainer.max_steps=300", *WITHOUT_FILES]
    words += [f"--data.labels_per_class={labels}", f"--seed_everything={seed}"]
    words += ["--data.distortion.label_noise=0.1", "--test_after_fit=false"]
    command = run(words)
    data = command.datamodule
    parts = outputs_of_parts(command.model, data)
    (domain,) = data.domains
    suspect = np.zeros(len(domain.split.labeled), dtype=bool)
    suspect[[each.position for each in suspect_labels(parts, data.num_classes)]] = True
    return suspect, parts[0].labels.numpy() != domain.labels[domain.split.labeled]


def main() -> None:
    """Print a row for each number of labels."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    print("| labels per class | wrong | suspect | precision | recall |")
    print("| --- | --- | --- | --- | --- |")
    for labels in (5, 20):
        both = [found_and_wrong(labels, seed) for seed in SEEDS]
        suspect, wrong = (np.concatenate(column) for column in zip(*both, strict=True))
        right = (suspect & wrong).sum()
        row = [labels, wrong.sum(), suspect.sum()]
        row += [f"{right / suspect.sum():.2f}", f"{right / wrong.sum():.2f}"]
        print(f"| {' | '.join(map(str, row))} |", flush=True)


if __name__ == "__main__":
    main()
