"""Accuracy of `SuperCMClassifier` and of scikit-learn's estimators on its data sets.

A stratified third of the samples is the test set. Of the others, a few per class keep their label.
The seed draws both, and the initial weights. All estimators use their defaults; those of
scikit-learn are also run on standardized columns. Logistic regression by itself ignores samples
without a label. Runs are appended to a CSV file, and existing runs are not repeated. The table is
written to a file of the same name with the ending ``.md``.

    python -m benchmarks.estimator
    python -m benchmarks.estimator --data wine --labels 1 --seeds 0 1 2
    python -m benchmarks.estimator --render
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC

from benchmarks.results import Results, interval, paired, spread
from supercm_pl.data.splits.stratified import make_split
from supercm_pl.estimator import SuperCMClassifier

KEYS = ("data", "labels_per_class", "method", "seed")
DATA: dict[str, Callable[..., Any]] = {
    "digits": load_digits,
    "wine": load_wine,
    "breast_cancer": load_breast_cancer,
}


def spreading() -> Any:
    return LabelSpreading(kernel="knn")


def self_training() -> Any:
    return SelfTrainingClassifier(SVC(probability=True))


def on_standardized(model: Any) -> Any:
    return make_pipeline(StandardScaler(), model)


def logistic() -> Any:
    return LogisticRegression(max_iter=2000)


OURS = "SuperCMClassifier"
SUPERVISED = "logistic regression, standardized"
METHODS: dict[str, Callable[[int], Any]] = {
    SUPERVISED: lambda seed: on_standardized(logistic()),
    "SelfTraining (logistic regression), standardized": lambda seed: on_standardized(
        SelfTrainingClassifier(logistic())
    ),
    "LabelSpreading (knn)": lambda seed: spreading(),
    "LabelSpreading (knn), standardized": lambda seed: on_standardized(spreading()),
    "SelfTraining (SVC)": lambda seed: self_training(),
    "SelfTraining (SVC), standardized": lambda seed: on_standardized(self_training()),
    "SuperCMClassifier, cm_weight=0": lambda seed: SuperCMClassifier(
        cm_weight=0.0, random_state=seed
    ),
    OURS: lambda seed: SuperCMClassifier(random_state=seed),
}


def accuracy(data: str, labels_per_class: int, method: str, seed: int) -> float:
    """Fit on the labeled and unlabeled samples of this seed; return the test accuracy."""
    X, y = DATA[data](return_X_y=True)  # noqa: N806
    X, X_test, y, y_test = train_test_split(  # noqa: N806
        X, y, test_size=1 / 3, stratify=y, random_state=seed
    )
    names = [str(k) for k in np.unique(y)]
    split = make_split(y, names, labels_per_class=labels_per_class, val_size=0, seed=seed)
    known = np.full(len(y), -1)
    known[split.labeled] = y[split.labeled]
    if method == SUPERVISED:
        X, known = X[split.labeled], y[split.labeled]  # noqa: N806
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations, and samples that no neighbor reaches
        return float(METHODS[method](seed).fit(X, known).score(X_test, y_test))


def render(results: Results) -> str:
    """Return Markdown: accuracy by method and data set, and the mean gain of ours."""
    cells: dict[tuple[str, int], dict[str, dict[int, float]]] = {}
    for row in results:
        cell = cells.setdefault((row["data"], int(row["labels_per_class"])), {})
        cell.setdefault(row["method"], {})[int(row["seed"])] = float(row["acc"])
    found = [name for name in METHODS if any(name in cell for cell in cells.values())]
    lines = [
        f"| data | labels per class | {' | '.join(found)} |",
        "| --- | --- |" + " --- |" * len(found),
    ]
    for data, labels in sorted(cells, key=lambda key: (list(DATA).index(key[0]), key[1])):
        cell = cells[data, labels]
        values = " | ".join(spread(list(cell.get(name, {}).values())) for name in found)
        lines.append(f"| {data} | {labels} | {values} |")
    means = {name: _means(cells.values(), name) for name in found}
    lines.append(f"| mean | | {' | '.join(spread(list(means[n].values())) for n in found)} |")
    seconds = [[float(r["seconds"]) for r in results if r["method"] == name] for name in found]
    lines.append(f"| s | | {' | '.join(f'{statistics.mean(s):.2f}' for s in seconds)} |")
    if OURS not in found:
        return "\n".join(lines)
    lines += ["", f"What {OURS} gains on the mean, paired by seed (95 % interval):", ""]
    for name in found:
        if name != OURS:
            gain = paired(means[OURS], means[name])
            reached = "at least equal" if statistics.mean(gain) >= 0 else "NOT reached"
            lines.append(f"- over {name}: {interval(gain)}, {reached}")
    return "\n".join(lines)


def _means(cells: Any, method: str) -> dict[int, float]:
    """Return, for each seed that all cells have, the mean accuracy over the cells."""
    runs: Sequence[dict[int, float]] = [cell.get(method, {}) for cell in cells]
    seeds = set.intersection(*(set(run) for run in runs))
    return {seed: statistics.mean(run[seed] for run in runs) for seed in sorted(seeds)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", default=list(DATA), choices=DATA)
    parser.add_argument("--labels", nargs="+", type=int, default=[1, 2, 5], help="per class")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--csv", type=Path, default=Path("benchmarks/results/estimator.csv"))
    parser.add_argument("--render", action="store_true", help="only render existing results")
    given = parser.parse_args()

    results = Results(given.csv, KEYS)
    runs = (
        dict(zip(KEYS, (data, labels, method, seed), strict=True))
        for seed in given.seeds
        for data in given.data
        for labels in given.labels
        for method in given.methods
    )
    for key in () if given.render else runs:
        if key in results:
            continue
        start = time.monotonic()
        acc = accuracy(*key.values())
        results.append({**key, "acc": acc, "seconds": round(time.monotonic() - start, 2)})
    table = render(results)
    given.csv.with_suffix(".md").write_text(f"{table}\n", encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
