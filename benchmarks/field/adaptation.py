"""The default for two folders of small images, on the pairs of the field.

Each cell is a pair of data sets and a seed. Images are written as PNG files, and ``supercm fit
--config configs/uda/folders_small.yaml`` gets their paths and nothing else: source images in one
folder per class, target images in one folder, test images of the target. Beside it, the same
network on the source alone, and SuperCM with a larger weight and no other method; in all of them,
the checkpoint is chosen by the validator of the configuration, without target labels. Runs are
appended to a CSV file, and existing ones not repeated.

    python -m benchmarks.field.adaptation --pairs "digits>digits_m" --seeds 0 1 2 3 4
    python -m benchmarks.field.adaptation --render
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.command import run
from benchmarks.field.data import CHOOSING_PAIRS, FINAL_PAIRS, Images, load_pair
from benchmarks.results import Results

RESULTS = Path("benchmarks/results/field_adaptation.csv")
KEYS = ("pair", "arm", "seed")
ARMS = {
    "default": [],
    "source only": ["--model.methods=[]", "--model.cm_weight=0"],
    "SuperCM, β 2": ["--model.methods=[]", "--model.cm_weight=2"],
}


def write(x: np.ndarray, y: np.ndarray, folder: Path, classes: tuple[str, ...] = ()) -> None:
    """Write images as PNG files, in a folder for each class if their names are given."""
    for row, (image, label) in enumerate(zip(x, y, strict=True)):
        place = folder / f"{label:02d}_{classes[label]}" if classes else folder
        place.mkdir(parents=True, exist_ok=True)
        pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        Image.fromarray(pixels).save(place / f"{row:05d}.png", compress_level=1)


def train(source: Images, target: Images, arm: str, seed: int, files: list[str]) -> float:
    """Run the command on two folders, and return the accuracy on test images of the target."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(source.x, source.y, folder / "source", source.classes)
        write(target.x, target.y, folder / "target")
        write(target.x_test, target.y_test, folder / "test", target.classes)
        words = ["fit", "--config=configs/uda/folders_small.yaml"]
        words += [f"--config={file}" for file in files] if arm == "default" else []
        words += [
            f"--data.source.labeled={folder / 'source'}",
            f"--data.target.folder={folder / 'target'}",
            f"--data.target.test={folder / 'test'}",
            f"--seed_everything={seed}",
            f"--trainer.logger.save_dir={folder}",
            *ARMS[arm],
        ]
        return float(run(words).trainer.callback_metrics["test/target_acc"])


def main() -> None:
    """Run the cells that are missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", nargs="+", default=[*CHOOSING_PAIRS, *FINAL_PAIRS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument(
        "--config", nargs="+", default=[], help="further files, of the arm default only"
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--render", action="store_true")
    options = parser.parse_args()
    results = Results(options.results, KEYS)
    if options.render:
        print(render(results))
        return
    for seed in options.seeds:
        for pair in options.pairs:
            for arm in options.arms:
                key = {"pair": pair, "arm": arm, "seed": seed}
                if key in results:
                    continue
                started = time.process_time()
                accuracy = train(*load_pair(pair), arm, seed, options.config)
                seconds = time.process_time() - started
                results.append({**key, "acc": accuracy, "cpu_seconds": seconds})
                print(pair, arm, seed, accuracy, flush=True)


def render(results: Results) -> str:
    """Markdown: mean and worst accuracy of each pair."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in results:
        found[row["pair"], row["arm"]].append(float(row["acc"]))
    lines = [
        "| source > target | source only | default | worst | SuperCM, β 2 | worst | seeds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for pair in sorted({pair for pair, _ in found}):
        only, *arms = (found[pair, arm] for arm in ("source only", "default", "SuperCM, β 2"))
        if any(len(values) != len(only) for values in arms):
            raise ValueError(f"The arms of {pair} have different numbers of seeds.")
        cells = [f"{statistics.mean(values):.3f} | {min(values):.3f}" for values in arms]
        lines.append(
            f"| {pair} | {statistics.mean(only):.3f} | {' | '.join(cells)} | {len(only)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
