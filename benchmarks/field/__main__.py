"""The README's command for a folder of images, on every data set of the field.

Each cell is a data set, a number of labels per class and a seed, which draws the labels and trains.
Images are written as PNG files, and ``supercm fit --config configs/ssl/folder_small.yaml`` gets
their paths and nothing else. Beside it, from the same files: the same network on the labels alone,
and simple classifiers of pixels. Runs are appended to a CSV file, and existing ones not repeated.

    python -m benchmarks.field --sets digits letters --labels 5 20 --seeds 0 1 2 3 4
    python -m benchmarks.field --sets digits_unequal digits_unknown --labels 5
    python -m benchmarks.field --render
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.semi_supervised import LabelSpreading

from benchmarks.command import run
from benchmarks.field.data import CHOOSING, FINAL, Images, load
from benchmarks.results import Results
from supercm_pl.graphs.label_graph import LabelGraph

RESULTS = Path("benchmarks/results/field.csv")
KEYS = ("data", "labels_per_class", "arm", "seed")
ALONE = """
trainer: {callbacks: [{class_path: lightning.pytorch.callbacks.ModelCheckpoint}]}
model: {init_args: {cm_weight: 0, methods: []}}
"""


def _graph(x: np.ndarray, y: np.ndarray, rest: np.ndarray) -> np.ndarray:
    rows = np.arange(len(y))
    scores = LabelGraph(np.concatenate([x, rest])).scores(rows, y, y.max() + 1)
    return scores.argmax(axis=1)[len(y) :]


def baselines(images: Images, labeled: np.ndarray) -> dict[str, float]:
    """Test accuracy of simple classifiers of pixels; the graph also sees the test images."""

    def flat(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), -1).astype(np.float32) / 255

    x, y, x_test = flat(images.x[labeled]), images.y[labeled], flat(images.x_test)
    others = np.setdiff1d(np.arange(len(images.y)), labeled)
    rest = flat(images.x[others])
    both, marked = np.concatenate([x, rest]), np.concatenate([y, np.full(len(rest), -1)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {
            "logistic regression": LogisticRegression(max_iter=500).fit(x, y).predict(x_test),
            "nearest neighbor": KNeighborsClassifier(1).fit(x, y).predict(x_test),
            "LabelSpreading": LabelSpreading(kernel="knn", max_iter=100)
            .fit(both, marked)
            .predict(x_test),
            "Poisson learning": _graph(x, y, np.concatenate([rest, x_test]))[len(rest) :],
        }
    return {name: float((labels == images.y_test).mean()) for name, labels in found.items()}


def draw_labels(images: Images, labels: int, seed: int) -> np.ndarray:
    """Rows of as many labeled images of each class."""
    dice = np.random.default_rng(seed)
    rows = [dice.permutation(np.flatnonzero(images.y == k)) for k in range(len(images.classes))]
    return np.concatenate([found[:labels] for found in rows])


def write(images: Images, labeled: np.ndarray, folder: Path) -> None:
    """The layout that the README describes."""
    chosen = set(labeled.tolist())
    for part, x, y in (("train", images.x, images.y), ("test", images.x_test, images.y_test)):
        for row, (image, label) in enumerate(zip(x, y, strict=True)):
            name = f"{label:02d}_{images.classes[label]}"  # of -1, an unlabeled image: not used
            if part == "test":
                place = folder / "test" / name
            else:
                place = folder / "labeled" / name if row in chosen else folder / "unlabeled"
            place.mkdir(parents=True, exist_ok=True)
            pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
            Image.fromarray(pixels).save(place / f"{row:05d}.png", compress_level=1)


def train(folder: Path, arm: str, seed: int, files: list[str]) -> dict[str, float]:
    """Run the command on a folder."""
    words = ["fit", "--config=configs/ssl/folder_small.yaml"]
    if arm == "labels alone":
        (folder / "alone.yaml").write_text(ALONE)
        files = [*files, str(folder / "alone.yaml")]
    words += [f"--config={file}" for file in files]
    words += [f"--data.source.{part}={folder / part}" for part in ("labeled", "unlabeled", "test")]
    words += [f"--seed_everything={seed}", f"--trainer.logger.save_dir={folder}"]
    metrics = run(words).trainer.callback_metrics
    return {"acc": float(metrics["test/acc"]), "ece": float(metrics["test/ece"])}


def main() -> None:
    """Run the cells that are missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sets", nargs="+", default=[*CHOOSING, *FINAL])
    parser.add_argument("--labels", nargs="+", type=int, default=[5, 20])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--arms", nargs="+", default=["default", "labels alone"])
    parser.add_argument("--config", nargs="+", default=[], help="further files, for other arms")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--render", action="store_true")
    options = parser.parse_args()
    results = Results(options.results, KEYS)
    if options.render:
        print(render(results))
        return
    for seed in options.seeds:
        for name in options.sets:
            for labels in options.labels:
                _cell(results, name, labels, seed, options.arms, options.config)


def _cell(
    results: Results, name: str, labels: int, seed: int, arms: list[str], files: list[str]
) -> None:
    key = {"data": name, "labels_per_class": labels, "seed": seed}
    missing = [arm for arm in arms if {**key, "arm": arm} not in results]
    pixels = {**key, "arm": "logistic regression"} not in results
    if not missing and not pixels:
        return
    images = load(name)
    labeled = draw_labels(images, labels, seed)
    if pixels:
        for arm, accuracy in baselines(images, labeled).items():
            results.append({**key, "arm": arm, "acc": accuracy, "ece": "", "cpu_seconds": ""})
    with tempfile.TemporaryDirectory() as folder:
        write(images, labeled, Path(folder))
        for arm in missing:
            started = time.process_time()
            found = train(Path(folder), arm, seed, files)
            row = {**key, "arm": arm, **found, "cpu_seconds": time.process_time() - started}
            results.append(row)
            print(*row.values(), flush=True)


def render(results: Results) -> str:
    """Markdown: mean and worst accuracy of each cell, and of the best simple classifier."""
    cells: dict[tuple[str, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in results:
        cell = cells[row["data"], int(row["labels_per_class"])]
        cell[row["arm"]].append(float(row["acc"]))
        if row["ece"]:
            cell[f"{row['arm']} ece"].append(float(row["ece"]))
    lines = [
        "| data | labels | best of pixels | labels alone | default | worst | ECE | seeds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    simple = ("logistic regression", "nearest neighbor", "LabelSpreading", "Poisson learning")
    for (name, labels), cell in sorted(cells.items()):
        ours = cell["default"]
        if not ours:
            continue
        best = max(simple, key=lambda arm: statistics.mean(cell[arm]))
        means = [statistics.mean(cell[arm]) for arm in (best, "labels alone", "default")]
        values = [f"{means[0]:.3f} ({best})", *(f"{mean:.3f}" for mean in means[1:])]
        errors = cell["default ece"]
        values += [f"{min(ours):.3f}", f"{statistics.mean(errors):.3f}" if errors else ""]
        lines.append(f"| {name} | {labels} | {' | '.join(values)} | {len(ours)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
