"""Accuracy of domain adaptation by method, with and without SuperCM, domains and seed.

Each run is ``supercm fit --config configs/uda/DATA.yaml`` with the method's file from
``configs/uda/methods`` as second configuration; the weights of the last step are tested on the
target. Without SuperCM, the run has ``--model.cm_weight=0``. All validators are recorded; none of
them uses target labels. Shallow methods are those of skada (``pip install skada``), on the pixels.
Runs are appended to a CSV file, and existing runs are not repeated; the tables are rendered from
the file.

With ``--tune DATA`` both arms of a method first get the same number of choices (`candidates`) on
these domains, by the validator of the configurations, BNM, at seeds that are not in the table. The
trials are appended to ``uda_choices.csv``, the runs to ``uda_tuned.csv``. With ``--set`` instead,
runs have these settings, and are appended to ``uda_variants.csv``.

    python -m benchmarks.uda --data digits uci_mnist --seeds 0 1 2
    python -m benchmarks.uda --tune uci_mnist --data uci_mnist digits
    python -m benchmarks.uda --data digits --methods none dann --seeds 0
    python -m benchmarks.uda --set model.batch_norm=mixed --data uci_mnist --methods mcc --arms 0
    python -m benchmarks.uda --render
"""

from __future__ import annotations

import argparse
import inspect
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from benchmarks import choices
from benchmarks.choices import Setting
from benchmarks.command import WITHOUT_FILES, built, run
from benchmarks.results import Results, comparison, spread
from benchmarks.ssl import BALANCED_METHODS, vectors
from supercm_pl.uda import validators

CONFIGS = Path("configs/uda")
KEYS = ("data", "method", "supercm", "seed")
TRIALS = (*KEYS, "settings")
RESULTS = Path("benchmarks/results")
CHOICES = RESULTS / "uda_choices.csv"
KINDS = [getattr(validators, name) for name in validators.__all__]
CLASSES = [kind for kind in KINDS if isinstance(kind, type) and not inspect.isabstract(kind)]
VALIDATORS = [kind.__name__ for kind in CLASSES]
NAMES = [kind().name for kind in CLASSES]


def _skada(name: str) -> Any:
    import skada

    return getattr(skada, name)()


SHALLOW: dict[str, Callable[[], Any]] = {
    "logistic regression": lambda: LogisticRegression(max_iter=2000),
    "SVC": SVC,
    "skada CORAL": lambda: _skada("CORAL"),
    "skada subspace alignment": lambda: _skada("SubspaceAlignment"),
    "skada OT mapping": lambda: _skada("OTMapping"),
}


METHODS = ["none", *sorted({path.stem for path in (CONFIGS / "methods").glob("*.yaml")} - {"none"})]
# Without a file in configs/uda/methods: SuperCM's prior on the predictions, and confidence.
BALANCED = "class prior and entropy"
CONTROLS = [*SHALLOW, "none", BALANCED]
ORDER = [*SHALLOW, BALANCED, *METHODS]


def words_of(data: str, method: str, supercm: str, seed: int) -> list[str]:
    """Return the arguments of a run that writes no files; ``supercm`` is an arm, see ``main``."""
    return [
        "fit",
        f"--config={CONFIGS / data}.yaml",
        f"--config={_file(method)}",
        f"--seed_everything={seed}",
        *WITHOUT_FILES,
        *(BALANCED_METHODS if method == BALANCED else []),
        *([] if supercm == "1" else [f"--model.cm_weight={supercm}"]),
    ]


def candidates(method: str, supercm: str) -> list[list[Setting]]:
    """What an arm chooses, the shipped value first.

    With SuperCM: β. Without: the weight of the method, and for the source alone the learning rate.
    """
    if supercm != "0":
        name, values = "model.cm_weight", ("0.5", "0.1", "2.0")
    elif method == "none":
        name, values = "model.optimizer.init_args.lr", ("0.002", "0.001", "0.004")
    else:
        name, values = choices.FACTOR, ("1.0", "0.3", "3.0")
    return [[(name, value) for value in values]]


def choose(
    trials: Results, data: str, method: str, supercm: str, rendering: bool = False
) -> list[Setting]:
    """The best settings of an arm by BNM, which needs no labels of the target.

    For ``rendering``, all trials must exist.
    """

    def score(seed: int, settings: Sequence[Setting]) -> float:
        return train(data, method, supercm, seed, settings)["bnm"]

    key = {"data": data, "method": method, "supercm": supercm}
    return choices.choose(trials, key, candidates(method, supercm), None if rendering else score)


def train(
    data: str, method: str, supercm: str, seed: int, settings: Sequence[Setting] = ()
) -> dict[str, float]:
    """Run the shipped configurations as the command does, with all validators."""
    every = ",".join(f"supercm_pl.uda.validators.{name}" for name in VALIDATORS)
    words = [*words_of(data, method, supercm, seed), f"--model.validators=[{every}]"]
    words += choices.words_of(settings, _file(method))
    command = run([*words, "--test_after_fit=false"])
    # Values of the last weights, because the last epoch ends with a validation.
    found = {name: float(command.trainer.callback_metrics[f"val/{name}"]) for name in NAMES}
    (tested,) = command.trainer.test(command.model, command.datamodule, verbose=False)
    return {"target_acc": tested["test/target_acc"], **found}


def adapt(data: str, method: str, seed: int) -> dict[str, float]:
    """Fit a shallow method on the pixels of the same domains."""
    datamodule = built(words_of(data, "none", "1", seed)).datamodule
    datamodule.setup("test")
    parts = {name: part.samples for name, part in datamodule.parts().items()}
    x, y = parts["source"].fetch(np.arange(len(parts["source"])))
    target = parts["target"].fetch(np.arange(len(parts["target"])))
    x_test, y_test = (torch.cat(part) for part in zip(*datamodule.test_dataloader(), strict=True))
    model = SHALLOW[method]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if method.startswith("skada"):
            inputs = np.concatenate([vectors(x), vectors(target)])
            # skada's convention: domain 1 is the source, -2 the target; label -1 is unknown.
            labels = np.concatenate([y.numpy(), np.full(len(target), -1)])
            domains = np.concatenate([np.ones(len(x)), np.full(len(target), -2)])
            model.fit(inputs, labels, sample_domain=domains)
            found = model.predict(vectors(x_test), sample_domain=np.full(len(x_test), -2))
        else:
            found = model.fit(vectors(x), y.numpy()).predict(vectors(x_test))
    accuracy = float((found == y_test.numpy()).mean())
    return {"target_acc": accuracy, **dict.fromkeys(NAMES, float("nan"))}


def render(results: Results) -> str:
    """Return Markdown: for each pair of domains, a table of methods and one of validators."""
    text = []
    for data in sorted({row["data"] for row in results}):
        rows = [row for row in results if row["data"] == data]
        arms = [row for row in rows if row["supercm"] in ("0", "1")]
        table = comparison(arms, ORDER, "target_acc", CONTROLS)
        text += [f"### {data}", "", table, "", selected(arms), "", *weights(rows), ""]
    return "\n".join(text)


def chosen(data: str) -> str:
    """Markdown: the settings that each arm chose on these domains; all trials must exist."""
    trials = Results(CHOICES, TRIALS)
    return choices.table(
        (method, [choose(trials, data, method, arm, rendering=True) for arm in ("0", "1")])
        for method in METHODS
    )


def weights(rows: Sequence[dict[str, str]]) -> list[str]:
    """Tabulate methods that were run with other values of β, over the seeds that all β have."""
    lines = [
        "| method | β | target accuracy | BNM | information maximization | centroid agreement |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    others = {(row["method"], row["supercm"]) for row in rows if row["supercm"] not in ("0", "1")}
    for method in sorted({method for method, _ in others}):
        arms = {"0": 0.0, "1": 0.5, **{arm: float(arm) for name, arm in others if name == method}}
        same = {
            arm: {
                row["seed"]: row for row in rows if (row["method"], row["supercm"]) == (method, arm)
            }
            for arm in arms
        }
        seeds = set.intersection(*(set(runs) for runs in same.values()))
        for arm, weight in sorted(arms.items(), key=lambda item: item[1]):
            names = ("target_acc", "bnm", "information_maximization", "centroid_agreement")
            found = [same[arm][seed] for seed in sorted(seeds)]
            cells = [spread([float(row[name]) for row in found]) for name in names]
            lines.append(f"| {method} | {weight:g} | {' | '.join(cells)} |")
    return lines if others else []


def selected(rows: Sequence[dict[str, str]]) -> str:
    """Tabulate the runs that each validator selects; of runs with equal values, the mean."""
    trained = [row for row in rows if row["method"] not in SHALLOW]
    lines = [
        "| selected by | target accuracy | below the oracle's | rank correlation |",
        "| --- | --- | --- | --- |",
    ]
    seeds = sorted({int(row["seed"]) for row in trained})
    runs = [[row for row in trained if int(row["seed"]) == seed] for seed in seeds]
    best = [max(float(row["target_acc"]) for row in same) for same in runs]
    for name in NAMES:
        chosen, correlations = [], []
        for same in runs:
            known = [row for row in same if row[name] != "nan"]
            if known:
                first = max(float(row[name]) for row in known)
                tied = [float(r["target_acc"]) for r in known if float(r[name]) == first]
                chosen.append(statistics.mean(tied))
                correlations.append(_rank_correlation(known, name))
        if chosen:
            loss = statistics.mean(best) - statistics.mean(chosen)
            correlation = statistics.mean(correlations)
            lines.append(f"| {name} | {spread(chosen)} | {loss:.3f} | {correlation:+.2f} |")
    lines.append(f"| oracle (target labels) | {spread(best)} | 0 | |")
    return "\n".join(lines)


def _rank_correlation(rows: Sequence[dict[str, str]], name: str) -> float:
    from scipy.stats import spearmanr

    pairs = [(float(row[name]), float(row["target_acc"])) for row in rows]
    return float(spearmanr(*zip(*pairs, strict=True)).statistic)


def _file(method: str) -> Path:
    return CONFIGS / "methods" / f"{'none' if method == BALANCED else method}.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", default=["digits"], help="files in configs/uda")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=ORDER, choices=ORDER)
    parser.add_argument(
        "--arms",
        nargs="+",
        default=["0", "1"],
        help="0 without SuperCM, 1 with the configuration's cm_weight of 0.5, or other cm_weights",
    )
    parser.add_argument("--csv", type=Path, help="default: uda.csv, or as above")
    parser.add_argument(
        "--tune", metavar="DATA", help="choose the settings of each arm on these domains first"
    )
    parser.add_argument("--set", nargs="*", metavar="NAME=VALUE", help="settings of all runs")
    parser.add_argument("--render", action="store_true", help="only render existing results")
    given = parser.parse_args()

    varied = given.set is not None
    file = "uda_variants.csv" if varied else "uda_tuned.csv" if given.tune else "uda.csv"
    results = Results(given.csv or RESULTS / file, TRIALS if varied else KEYS)
    fixed = choices.settings_of(given.set or ())
    trials = Results(CHOICES, TRIALS)
    runs = (
        dict(zip(KEYS, (data, method, supercm, seed), strict=True))
        for seed in given.seeds
        for data in given.data
        for method in given.methods
        for supercm in given.arms
        if supercm == "0" or method not in (*SHALLOW, BALANCED)
    )
    for key in () if given.render else runs:
        settings_key = {"settings": " ".join(given.set)} if varied else {}
        if key | settings_key in results:
            continue
        if key["method"] in SHALLOW:
            start = time.monotonic()
            metrics = adapt(key["data"], key["method"], key["seed"])
        else:
            data, method, supercm, seed = key.values()
            settings = (
                choose(trials, given.tune, method, supercm)
                if given.tune and method != BALANCED
                else fixed
            )
            start = time.monotonic()  # of this run alone
            metrics = train(data, method, supercm, seed, settings)
        results.append(
            {**key, **settings_key, **metrics, "seconds": round(time.monotonic() - start, 1)}
        )
        print(*key.values(), f"{metrics['target_acc']:.4f}", flush=True)
    if not varied:
        print(render(results))


if __name__ == "__main__":
    main()
