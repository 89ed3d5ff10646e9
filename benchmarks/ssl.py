"""Accuracy of semi-supervised learning: methods x label budgets x seeds.

Each run is what ``supercm fit --config ...`` does with another seed, which draws other labels,
weights and batches; the weights of the last step are tested. Classical methods see the same splits.
Runs are appended to a CSV file, and runs that it already holds are not done again; the table is
rendered from it.

    python -m benchmarks.ssl [--labels 1 2 4 --seeds 0 1 2 3 4]
    python -m benchmarks.ssl --render
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC
from torch import Tensor

from benchmarks.command import WITHOUT_FILES, run
from supercm_pl.ssl.datamodule import SSLDataModule

CONFIGS = {"digits": "configs/ssl/digits.yaml"}

# Words added to the data set's configuration. Both supervised arms are the same network,
# augmentation and steps: the first sees 32 labeled rows a step, the second as many rows as SuperCM
# does, all of them labeled.
TRAINED: dict[str, list[str]] = {
    "supervised": ["--model.cm_weight=0"],
    "supervised, as many rows": ["--model.cm_weight=0", "--data.labeled_batch_size=160"],
    "SuperCM, no prior": ["--model.alpha=1.0"],
    "SuperCM, batch centroids": ["--model.centroids=batch"],
    "SuperCM": [],
}

CLASSICAL: dict[str, Callable[[], Any]] = {
    "logistic regression": lambda: LogisticRegression(max_iter=2000),
    "LabelSpreading (knn, 7)": lambda: LabelSpreading(kernel="knn", n_neighbors=7),
    "SelfTraining (SVC)": lambda: SelfTrainingClassifier(SVC(probability=True, gamma="scale")),
}


@dataclass(frozen=True)
class Run:
    """One row of the result file."""

    data: str
    labels_per_class: int
    method: str
    seed: int
    acc: float
    nmi: float
    ari: float
    seconds: float

    @property
    def key(self) -> tuple[str, int, str, int]:
        """What the run is, apart from what came out."""
        return self.data, self.labels_per_class, self.method, self.seed


def train(data: str, labels: int, method: str, seed: int) -> Run:
    """Run the shipped configuration through the command's own machinery."""
    start = time.monotonic()
    words = [
        "fit",
        f"--config={CONFIGS[data]}",
        f"--seed_everything={seed}",
        f"--data.labels_per_class={labels}",
        *WITHOUT_FILES,
        *TRAINED[method],
    ]
    metrics = run(words).trainer.callback_metrics
    found = {name: float(metrics[f"test/{name}"]) for name in ("acc", "nmi", "ari")}
    return Run(data, labels, method, seed, **found, seconds=time.monotonic() - start)


def classify(data: str, labels: int, method: str, seed: int) -> Run:
    """Fit a classical method on the pixels of the same split."""
    start = time.monotonic()
    datamodule = SSLDataModule(labels_per_class=labels, seed=seed)
    datamodule.setup("test")
    streams = {name: stream.samples for name, stream in datamodule.streams().items()}
    x, y = _as_vectors(streams["labeled"].fetch(np.arange(len(streams["labeled"]))))
    x_unlabeled = streams["unlabeled"].fetch(np.arange(len(streams["unlabeled"])))
    x_test, y_test = _as_vectors(_whole(datamodule.test_dataloader()))
    model = CLASSICAL[method]()
    if not isinstance(model, LogisticRegression):
        x = np.concatenate([x, x_unlabeled.flatten(1).numpy()])
        y = np.concatenate([y, np.full(len(x_unlabeled), -1)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecations, and of rows that no neighbour reaches
        predicted = model.fit(x, y).predict(x_test)
    return Run(
        data,
        labels,
        method,
        seed,
        acc=float((predicted == y_test).mean()),
        nmi=float(normalized_mutual_info_score(y_test, predicted)),
        ari=float(adjusted_rand_score(y_test, predicted)),
        seconds=time.monotonic() - start,
    )


def render(runs: Sequence[Run], against: str = "SuperCM") -> str:
    """A Markdown table: mean ± standard deviation over seeds, and what ``against`` gains."""
    lines = [
        "| data | labels per class | method | seeds | test accuracy | NMI | ARI "
        f"| {against} gains (95 % interval) | s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    groups: dict[tuple[str, int, str], dict[int, Run]] = {}
    for row in runs:
        groups.setdefault(row.key[:3], {})[row.seed] = row
    order = [*CLASSICAL, *TRAINED]
    for data, labels, method in sorted(groups, key=lambda g: (g[0], g[1], order.index(g[2]))):
        group = groups[data, labels, method]
        ours = groups.get((data, labels, against), {})
        gains = [ours[seed].acc - row.acc for seed, row in group.items() if seed in ours]
        gain = "" if method == against or len(gains) < 2 else _interval(gains)
        cells = [
            _spread([getattr(row, name) for row in group.values()])
            for name in ("acc", "nmi", "ari")
        ]
        seconds = statistics.mean(row.seconds for row in group.values())
        lines.append(
            f"| {data} | {labels} | {method} | {len(group)} | {' | '.join(cells)} | {gain} "
            f"| {seconds:.1f} |"
        )
    return "\n".join(lines)


def _as_vectors(batch: tuple[Tensor, Tensor]) -> tuple[np.ndarray, np.ndarray]:
    x, y = batch
    return x.flatten(1).numpy(), y.numpy()


def _whole(batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    x, y = zip(*batches, strict=True)
    return torch.cat(x), torch.cat(y)


def _spread(values: Sequence[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{deviation}"


def _interval(gains: Sequence[float]) -> str:
    from scipy.stats import t

    mean = statistics.mean(gains)
    half = float(t.ppf(0.975, len(gains) - 1)) * statistics.stdev(gains) / math.sqrt(len(gains))
    return f"{mean:+.3f} ({mean - half:+.3f} to {mean + half:+.3f})"


def _read(path: Path) -> list[Run]:
    if not path.exists():
        return []
    kinds = {
        "labels_per_class": int,
        "seed": int,
        "acc": float,
        "nmi": float,
        "ari": float,
        "seconds": float,
    }
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Run(**{name: kinds.get(name, str)(value) for name, value in row.items()}) for row in rows
    ]


def _append(path: Path, row: Run) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Run)])
        if new:
            writer.writeheader()
        writer.writerow(
            {k: round(v, 6) if isinstance(v, float) else v for k, v in asdict(row).items()}
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", default=["digits"], choices=CONFIGS)
    parser.add_argument("--labels", nargs="+", type=int, default=[1, 2, 4], help="labels per class")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--methods", nargs="+", default=[*CLASSICAL, *TRAINED])
    parser.add_argument("--csv", type=Path, default=Path("benchmarks/results/ssl_digits.csv"))
    parser.add_argument("--render", action="store_true", help="only render what the file holds")
    arguments = parser.parse_args()

    done = {row.key for row in _read(arguments.csv)}
    for data in [] if arguments.render else arguments.data:
        for labels in arguments.labels:
            for seed in arguments.seeds:
                for method in arguments.methods:
                    if (data, labels, method, seed) in done:
                        continue
                    row = (train if method in TRAINED else classify)(data, labels, method, seed)
                    _append(arguments.csv, row)
                    print(
                        f"{data}, {labels} per class, {method}, seed {seed}: {row.acc:.4f}",
                        flush=True,
                    )
    print(render(_read(arguments.csv)))


if __name__ == "__main__":
    main()
