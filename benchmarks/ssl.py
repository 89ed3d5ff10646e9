"""Accuracy of semi-supervised learning by method, with and without SuperCM, data, labels and seed.

Each run is ``supercm fit --config configs/ssl/DATA.yaml`` with the method's file from
``configs/ssl/methods`` as second configuration. The seed draws labels, weights and batches; the
weights of the last step are tested. Without SuperCM, the run has ``--model.cm_weight=0``. Classical
methods use the pixels of the same splits. Runs are appended to a CSV file, and existing runs are
not repeated; the table is rendered from the file. ``--data NAME@STEPS`` trains for another number
of steps than the configuration's.

With ``--tune DATA LABELS`` both arms of a method first get the same number of choices
(`candidates`) on these data, by the accuracy on a quarter of the training images, which is held
out, and with seeds that are not in the table. The trials are appended to ``ssl_choices.csv``.
With ``--set`` instead, runs have these settings (none: the shipped ones), and are appended to
``ssl_variants.csv``.

    python -m benchmarks.ssl --tune digits 1 --data digits --labels 1 2 4 --seeds 0 1 2 3 4
    python -m benchmarks.ssl --tune digits 1 --data mnist5k fashion_mnist@600 --labels 4
    python -m benchmarks.ssl --set model.batch_norm=all --data digits --labels 1 --arms 0
    python -m benchmarks.ssl --render
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC
from torch import Tensor

from benchmarks import choices
from benchmarks.choices import Setting
from benchmarks.command import WITHOUT_FILES, built, run
from benchmarks.results import Results, comparison
from supercm_pl.clustering.functional import dirichlet_prior
from supercm_pl.training.method import Method, MethodLoss, Step

CONFIGS = Path("configs/ssl")
KEYS = ("data", "labels_per_class", "method", "supercm", "seed")
TRIALS = (*KEYS, "settings")
METRICS = ("acc", "nmi", "ari")
RESULTS = Path("benchmarks/results")
CHOICES = RESULTS / "ssl_choices.csv"

CLASSICAL: dict[str, Callable[[], Any]] = {
    "logistic regression": lambda: LogisticRegression(max_iter=2000),
    "LabelSpreading (knn, 7)": lambda: LabelSpreading(kernel="knn", n_neighbors=7),
    "SelfTraining (SVC)": lambda: SelfTrainingClassifier(SVC(probability=True, gamma="scale")),
}

# SuperCM's prior on the classes, on predictions instead of clusters, and with confidence.
BALANCED = "none, class prior and entropy"
BALANCED_METHODS = [
    "--model.methods=[benchmarks.ssl.ClassPrior, supercm_pl.ssl.methods.EntropyMinimization]"
]

# Runs without a file in configs/ssl/methods.
WITHOUT_FILE: dict[str, list[str]] = {
    "none": [],
    # Supervised, with as many samples per step as SuperCM, all of them labeled.
    "none, as many samples": ["--data.labeled_batch_size=160"],
    # The unlabeled samples share the forward pass, and have no loss.
    "none, joint batch norm": [
        "--model.methods=supercm_pl.ssl.methods.EntropyMinimization",
        "--model.methods.weight=0",
        "--model.batch_norm=all",
    ],
    "none, class prior": ["--model.methods=benchmarks.ssl.ClassPrior"],
    BALANCED: BALANCED_METHODS,
}
METHODS = sorted(path.stem for path in (CONFIGS / "methods").glob("*.yaml"))
CONTROLS = [*CLASSICAL, *WITHOUT_FILE]
ORDER = [*CONTROLS, *METHODS]
RATES = ("0.002", "0.0005", "0.001", "0.004")
CHOOSING = ("none", "none, as many samples", BALANCED, *METHODS)
NORMS = [("model.batch_norm", norm) for norm in ("labeled", "all")]


class ClassPrior(Method):
    """SuperCM's Dirichlet prior on the mean prediction of the unlabeled samples, with its β."""

    def __init__(self, *, weight: float = 2.0) -> None:
        super().__init__(weight=weight)

    def forward(self, step: Step) -> MethodLoss:
        """Return the prior of equal classes, with the α of ``alpha="balanced"``."""
        proportions = step.unlabeled["weak"].logits.softmax(dim=1).mean(dim=0)
        return MethodLoss(dirichlet_prior(proportions, 1 + 2 / max(len(proportions), 10)))


def train(
    data: str,
    labels: int,
    method: str,
    supercm: bool,
    seed: int,
    settings: Sequence[Setting] = (),
    held_out: bool = False,
) -> dict[str, float]:
    """Run the shipped configurations as the command does; test or held-out metrics."""
    files = [_file(data)]
    if method not in WITHOUT_FILE:
        files.append(CONFIGS / "methods" / f"{method}.yaml")
    words = [
        "fit",
        *(f"--config={file}" for file in files),
        f"--seed_everything={seed}",
        f"--data.labels_per_class={labels}",
        *WITHOUT_FILES,
        *WITHOUT_FILE.get(method, []),
        *_steps(data),
        *([] if supercm else ["--model.cm_weight=0"]),
        *(["--data.val_size=0.25"] if held_out else []),
    ]
    command = run([*words, *choices.words_of(settings, files[-1])])
    metrics: Mapping[str, Any] = command.trainer.callback_metrics
    if held_out:
        (metrics,) = command.trainer.validate(command.model, command.datamodule, verbose=False)
    stage = "val" if held_out else "test"
    return {name: float(metrics[f"{stage}/{name}"]) for name in METRICS}


def candidates(method: str, supercm: bool) -> list[list[Setting]]:
    """What an arm chooses, one after the other; the first value of each is the shipped one.

    With SuperCM: the batch norm and β. Without: the batch norm and the weight of the method; the
    network on the labels alone has no batch norm to choose, but the learning rate. The class prior
    with entropy minimization has no weight to choose.
    """
    if method == BALANCED:
        return [NORMS]
    if method in CONTROLS and not supercm:
        return [[("model.optimizer.init_args.lr", rate) for rate in RATES]]
    file = CONFIGS / "methods" / f"{method}.yaml"
    joint = method != "none" and any(kind.joint_batch_norm for kind, _ in choices.methods_of(file))
    norms = [] if joint else NORMS
    weights = [("model.cm_weight", value) for value in ("2.0", "1.0", "4.0")]
    factors = [(choices.FACTOR, value) for value in ("1.0", "0.3", "3.0")]
    return [norms, weights if supercm else factors]


def choose(
    trials: Results, data: str, labels: int, method: str, supercm: bool, rendering: bool = False
) -> list[Setting]:
    """The best settings of an arm by the accuracy on held-out training images.

    Other controls have none. For ``rendering``, all trials must exist.
    """
    if method not in CHOOSING:
        return []

    def score(seed: int, settings: Sequence[Setting]) -> float:
        return train(data, labels, method, supercm, seed, settings, held_out=True)["acc"]

    key: dict[str, str | int] = {"data": data, "labels_per_class": labels}
    key |= {"method": method, "supercm": int(supercm)}
    return choices.choose(trials, key, candidates(method, supercm), None if rendering else score)


def classify(data: str, labels: int, method: str, seed: int) -> dict[str, float]:
    """Fit a classical method on the pixels of the same split."""
    words = ["fit", f"--config={_file(data)}", f"--seed_everything={seed}"]
    datamodule = built([*words, f"--data.labels_per_class={labels}", *WITHOUT_FILES]).datamodule
    datamodule.setup("test")
    parts = {name: part.samples for name, part in datamodule.parts().items()}
    x, y = parts["labeled"].fetch(np.arange(len(parts["labeled"])))
    x_unlabeled = parts["unlabeled"].fetch(np.arange(len(parts["unlabeled"])))
    x_test, y_test = _whole(datamodule.test_dataloader())
    model = CLASSICAL[method]()
    inputs, targets = vectors(x), y.numpy()
    if not isinstance(model, LogisticRegression):
        inputs = np.concatenate([inputs, vectors(x_unlabeled)])
        targets = np.concatenate([targets, np.full(len(x_unlabeled), -1)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations, and samples that no neighbor reaches
        found = model.fit(inputs, targets).predict(vectors(x_test))
    true = y_test.numpy()
    return {
        "acc": float((found == true).mean()),
        "nmi": float(normalized_mutual_info_score(true, found)),
        "ari": float(adjusted_rand_score(true, found)),
    }


def chosen(data: str, labels: int) -> str:
    """Markdown: the settings that each arm chose on these data; all trials must exist."""
    trials = Results(CHOICES, TRIALS)
    return choices.table(
        (
            method,
            [
                choose(trials, data, labels, method, arm, rendering=True)
                for arm in ((False,) if method.startswith("none, ") else (False, True))
            ],
        )
        for method in CHOOSING
    )


def render(results: Results) -> str:
    """Return Markdown: a table per data set and number of labels."""
    text = []
    for data, labels in sorted({(r["data"], int(r["labels_per_class"])) for r in results}):
        rows = [r for r in results if (r["data"], int(r["labels_per_class"])) == (data, labels)]
        table = comparison(rows, ORDER, "acc", CONTROLS)
        text += [f"### {data}, {labels} label{'s' * (labels > 1)} per class", "", table, ""]
    return "\n".join(text)


def _file(data: str) -> Path:
    return CONFIGS / f"{data.partition('@')[0]}.yaml"


def _steps(data: str) -> list[str]:
    steps = data.partition("@")[2]
    return [f"--trainer.max_steps={steps}"] if steps else []


def vectors(x: Tensor) -> np.ndarray:
    """Images ``(N, C, H, W)`` as rows of pixels in ``[0, 1]``."""
    flat = x.flatten(1)
    return (flat.float() / 255 if flat.dtype == torch.uint8 else flat).numpy()


def _whole(batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    x, y = zip(*batches, strict=True)
    return torch.cat(x), torch.cat(y)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", default=["digits"], help="files in configs/ssl")
    parser.add_argument("--labels", nargs="+", type=int, default=[1, 2, 4], help="per class")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=ORDER, choices=ORDER)
    parser.add_argument(
        "--arms", nargs="+", type=int, default=[0, 1], help="1 with SuperCM, 0 without"
    )
    parser.add_argument("--csv", type=Path, help="default: ssl.csv, with --set ssl_variants.csv")
    parser.add_argument("--set", nargs="*", metavar="NAME=VALUE", help="settings of all runs")
    parser.add_argument(
        "--tune",
        nargs=2,
        metavar=("DATA", "LABELS"),
        help="choose the settings of each arm on these data first",
    )
    parser.add_argument("--render", action="store_true", help="only render existing results")
    given = parser.parse_args()

    varied = given.set is not None
    file = RESULTS / ("ssl_variants.csv" if varied else "ssl.csv")
    results = Results(given.csv or file, TRIALS if varied else KEYS)
    fixed = choices.settings_of(given.set or ())
    trials = Results(CHOICES, TRIALS)
    tuned = (given.tune[0], int(given.tune[1])) if given.tune else None

    runs = (
        dict(zip(KEYS, (data, labels, method, supercm, seed), strict=True))
        for data in given.data
        for labels in given.labels
        for seed in given.seeds
        for method in given.methods
        for supercm in given.arms
        if not (supercm and (method in CLASSICAL or method.startswith("none, ")))
    )
    for key in () if given.render else runs:
        settings_key = {"settings": " ".join(given.set)} if varied else {}
        if key | settings_key in results:
            continue
        if key["method"] in CLASSICAL:
            start = time.monotonic()
            names = [name for name in KEYS if name != "supercm"]
            metrics = classify(*(key[name] for name in names))
        else:
            data, labels, method, supercm, seed = key.values()
            settings = choose(trials, *tuned, method, supercm) if tuned else fixed
            start = time.monotonic()  # of this run alone
            metrics = train(data, labels, method, supercm, seed, settings)
        results.append(
            {**key, **settings_key, **metrics, "seconds": round(time.monotonic() - start, 1)}
        )
        print(*key.values(), f"{metrics['acc']:.4f}", flush=True)
    if not varied:
        print(render(results))


if __name__ == "__main__":
    main()
