"""The tables of methods in README.md and docs/, written from the result files.

A table is between ``<!-- table: NAME -->`` and ``<!-- /table -->``, where the words of ``NAME``
are a function of this module and its arguments. The text around tables is written by hand.

    python -m benchmarks.tables
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import estimator, peers, ssl, uda
from benchmarks.field import adaptation as field
from benchmarks.results import (
    Arms,
    Results,
    arms_of,
    comparison,
    gains,
    half_width,
    interval,
    over_seeds,
    paired,
    spread,
    strongest_control,
    summary,
)

PAGES = [
    Path("README.md"),
    *(Path(f"docs/{page}.md") for page in ("results", "results_by_method", "choosing")),
]
RESULTS = Path("benchmarks/results")
TABLE = re.compile(r"(<!-- table: (.+?) -->\n).*?(<!-- /table -->)", re.DOTALL)

NAMES = {
    "none": "no other method",
    "label_propagation": "label propagation",
    "pi_model": "Pi-model",
    "pseudo_label": "Pseudo-label",
    "mean_teacher": "Mean Teacher",
    "vat": "VAT",
    "vat_entropy": "VAT + entropy",
    "ict": "ICT",
    "mixmatch": "MixMatch",
    "uda": "UDA",
    "fixmatch": "FixMatch",
    "flexmatch": "FlexMatch",
    "freematch": "FreeMatch",
    "softmatch": "SoftMatch",
    "adamatch": "AdaMatch",
    "dann": "DANN",
    "cdan": "CDAN",
    "cdan_e": "CDAN+E",
    "adda": "ADDA",
    "dan": "DAN",
    "jan": "JAN",
    "deep_coral": "Deep CORAL",
    "mcd": "MCD",
    "mdd": "MDD",
    "mcc": "MCC",
    "afn": "AFN",
    "bnm": "BNM",
    "dann_fixmatch": "DANN + FixMatch",
    "dev": "DEV",
    "iwcv": "IWCV",
    "snd": "SND",
    "centroid_agreement": "centroid agreement",
    "information_maximization": "information maximization",
    "source_accuracy": "source accuracy",
    "target_clustering_loss": "clustering loss of the target",
    "none, as many samples": "as many labeled samples per step",
    "none, joint batch norm": "unlabeled samples in the pass, no loss",
    "none, class prior": "class prior",
    "none, class prior and entropy": "class prior + entropy",
    "class prior and entropy": "class prior + entropy",
    "logistic regression": "logistic regression",
    "LabelSpreading (knn, 7)": "`LabelSpreading`",
    "SelfTraining (SVC)": "`SelfTrainingClassifier`",
    "SVC": "support vector machine",
    "skada CORAL": "skada's CORAL",
    "skada subspace alignment": "skada's subspace alignment",
    "skada OT mapping": "skada's optimal transport",
}
"""Methods, controls and validators as papers write them."""

SSL = [
    ("digits", "1"),
    ("digits", "2"),
    ("digits", "4"),
    ("mnist5k", "1"),
    ("mnist5k", "4"),
    ("mnist5k", "25"),
    ("fashion_mnist@600", "4"),
    ("fashion_mnist@600", "25"),
]
DATA = {"digits": "digits", "mnist5k": "MNIST-5k", "fashion_mnist@600": "Fashion-MNIST"}
ADAPTATION = {"uci_mnist": "UCI digits to MNIST", "digits": "digits to digits-M"}

OURS = ["label_propagation"]
"""Methods that belong to SuperCM: they are not counted as others."""

Rows = Sequence[dict[str, str]]


def overview() -> str:
    """A line for each of the tables of methods."""
    heads = ["data", "best simple baseline", "other methods, mean", "best of them", "SuperCM"]
    heads += ["SuperCM after label propagation", "others with SuperCM, mean", "gain", "seeds"]
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for name, labels in (pair for pair in SSL if _ssl(*pair)):
        title = f"{DATA[name]}, {labels} label{'s' * (labels != '1')}"
        lines.append(_line(title, _ssl_better(name, labels), "acc", ssl.CONTROLS))
    for name in (name for name in ADAPTATION if _uda("uda_tuned", name)):
        lines.append(_line(ADAPTATION[name], _uda_better(name), "target_acc", uda.CONTROLS))
    return "\n".join(lines)


def semi_supervised(data: str, labels: str) -> str:
    """All methods with the settings that each arm chose on digits with one label per class."""
    rows = _ssl(data, labels)
    _complete(arms_of(rows, "acc"))
    return _named(comparison(rows, ssl.ORDER, "acc", ssl.CONTROLS, OURS))


def semi_supervised_choices() -> str:
    """What each arm chose on digits with one label per class."""
    return _named(ssl.chosen("digits", 1))


def semi_supervised_better_alone(data: str, labels: str) -> str:
    """The gains over methods alone that have the best of several settings."""
    return summary(gains(arms_of(_ssl_better(data, labels), "acc"), [*ssl.CONTROLS, *OURS]))


def wrong_clusters(data: str, labels: str, bound: str) -> str:
    """Methods that were run with more seeds, and how many runs are below the bound."""
    more = _ssl(data, labels, "ssl_one_label")
    methods = {row["method"] for row in more} - set(OURS)
    arms = arms_of([*(r for r in _ssl(data, labels) if r["method"] in methods), *more], "acc")
    heads = ["method", "without SuperCM", "worst", f"below {bound}", "with SuperCM", "worst"]
    lines = [f"| {' | '.join([*heads, heads[3], 'gain'])} |", "| --- " * 8 + "|"]
    for method in sorted(methods, key=ssl.ORDER.index):
        cells = [NAMES[method]]
        for arm in ("0", "1"):
            found = list(arms.get((method, arm), {}).values())
            below = f"{sum(value < float(bound) for value in found)} of {len(found)}"
            cells += [spread(found), f"{min(found):.3f}", below] if found else [""] * 3
        cells.append(interval(paired(arms.get((method, "1"), {}), arms[method, "0"])))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def adaptation(data: str) -> str:
    """All methods with the settings that each arm chose on the first domains, and validators."""
    rows = _uda("uda_tuned", data)
    _complete(arms_of(rows, "target_acc"))
    table = comparison(rows, uda.ORDER, "target_acc", uda.CONTROLS)
    return _named(f"{table}\n\n{uda.selected(rows)}")


def adaptation_choices() -> str:
    """What each arm chose on the first domains."""
    return _named(uda.chosen(next(iter(ADAPTATION))))


def adaptation_better_alone(data: str) -> str:
    """The gains over methods alone that have the better of the chosen and the shipped setting."""
    return summary(gains(arms_of(_uda_better(data), "target_acc"), uda.CONTROLS))


def adaptation_as_shipped(data: str) -> str:
    """Methods without SuperCM with the shipped settings."""
    rows = [row for row in _uda("uda", data) if row["supercm"] == "0"]
    arms = arms_of([row for row in rows if row["method"] in uda.METHODS], "target_acc")
    lines = ["| method | without SuperCM | worst |", "| --- | --- | --- |"]
    for method, _ in sorted(_complete(arms), key=lambda arm: uda.ORDER.index(arm[0])):
        values = list(arms[method, "0"].values())
        lines.append(f"| {method} | {spread(values)} | {min(values):.3f} |")
    return _named("\n".join([*lines, "", f"Over {len(values)} seeds."]))


def adaptation_by_weight(data: str) -> str:
    """Methods with several β."""
    rows = [row for row in Results(RESULTS / "uda.csv", uda.KEYS) if row["data"] == data]
    return _named("\n".join(uda.weights(rows)))


def two_folders() -> str:
    """The default for adaptation, by pair of data sets."""
    return field.render(Results(field.RESULTS, field.KEYS))


def vectors() -> str:
    """The estimator beside the best of scikit-learn's, by data and labels."""
    rows = list(Results(RESULTS / "estimator.csv", estimator.KEYS))
    ours = ["SuperCMClassifier, cm_weight=0", estimator.OURS]
    theirs = [method for method in estimator.METHODS if method not in ours]
    heads = [
        "data",
        "labels",
        "best of scikit-learn",
        "labels alone",
        "`SuperCMClassifier`",
        "worst",
    ]
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for data, labels in dict.fromkeys((row["data"], row["labels_per_class"]) for row in rows):
        same = [r for r in rows if (r["data"], r["labels_per_class"]) == (data, labels)]
        found = {
            method: [float(row["acc"]) for row in same if row["method"] == method]
            for method in estimator.METHODS
        }
        best = max(theirs, key=lambda method: statistics.mean(found[method]))
        cells = [data, labels, f"{spread(found[best])} ({best})", *(spread(found[m]) for m in ours)]
        lines.append(f"| {' | '.join([*cells, f'{min(found[estimator.OURS]):.3f}'])} |")
    return "\n".join(lines)


def side_by_side(data: str) -> str:
    """Other libraries on the same batches."""
    rows = [row for row in Results(RESULTS / "peers.csv", peers.KEYS) if row["data"] == data]
    return _named(peers.table(rows))


def _ssl(data: str, labels: str, file: str = "ssl") -> Rows:
    results = Results(RESULTS / f"{file}.csv", ssl.KEYS)
    return [r for r in results if (r["data"], r["labels_per_class"]) == (data, labels)]


def _complete(arms: Arms) -> Arms:
    """The same arms; a ``ValueError`` if one lacks seeds that another has."""
    seeds = set[int]().union(*arms.values())
    lacking = [arm for arm in arms if set(arms[arm]) < seeds]
    if lacking:
        raise ValueError(f"{lacking} lack seeds of {sorted(seeds)}.")
    return arms


def _uda(file: str, data: str) -> Rows:
    rows = Results(RESULTS / f"{file}.csv", uda.KEYS)
    return [row for row in rows if row["data"] == data and row["supercm"] in ("0", "1")]


def _ssl_better(data: str, labels: str) -> Rows:
    return _better(_ssl(data, labels), _ssl(data, labels, "ssl_variants"), "acc")


def _uda_better(data: str) -> Rows:
    shipped = [row for row in _uda("uda", data) if row["method"] not in uda.SHALLOW]
    return _better(_uda("uda_tuned", data), shipped, "target_acc")


def _better(chosen: Rows, others: Rows, metric: str) -> Rows:
    """Runs with the chosen settings; those without SuperCM with the best of theirs and others.

    The best is by the metric of the table: this favors methods without SuperCM.
    """
    found = [row for row in chosen if row["supercm"] == "1"]
    seeds = {row["seed"] for row in chosen}
    arms: dict[str, dict[str, list[dict[str, str]]]] = {}
    for source, rows in (("chosen", chosen), ("shipped", others)):
        for row in (row for row in rows if row["supercm"] == "0"):
            settings = arms.setdefault(row["method"], {})
            settings.setdefault(row.get("settings", source), []).append(row)
    for method, settings in arms.items():
        for name, runs in settings.items():
            if not {run["seed"] for run in runs} >= seeds:
                raise ValueError(f"{method} ({name or 'shipped'}) lacks seeds of {sorted(seeds)}")
        best = max(settings.values(), key=lambda runs: _mean(runs, seeds, metric))
        found += [run for run in best if run["seed"] in seeds]
    return found


def _mean(rows: Rows, seeds: set[str], metric: str) -> float:
    return statistics.mean(float(row[metric]) for row in rows if row["seed"] in seeds)


def _line(title: str, rows: Rows, metric: str, controls: Sequence[str]) -> str:
    arms = _complete(arms_of(rows, metric))
    means = {arm: statistics.mean(found.values()) for arm, found in arms.items()}
    control = strongest_control(arms, controls) or ""
    counted = gains(arms, [*controls, *OURS])
    better = sum(statistics.mean(gain.values()) > 0 for gain in counted.values())
    best = max(counted, key=lambda method: means[method, "0"])
    alone, joint = (statistics.mean(means[m, arm] for m in counted) for arm in ("0", "1"))
    propagated = means.get(("label_propagation", "1"))
    cells = [title, f"{means[control, '0']:.3f} ({NAMES[control]})"]
    cells += [f"{alone:.3f}", f"{means[best, '0']:.3f} ({NAMES[best]})"]
    cells += [f"{means['none', '1']:.3f}", f"{propagated:.3f}" if propagated else ""]
    by_seed = over_seeds(counted)
    gain = f"{statistics.mean(by_seed):+.3f} ± {half_width(by_seed):.3f}"
    count = f"{better} of {len(counted)}"
    # No line breaks within either: columns would become too narrow.
    cells += [f"{joint:.3f}", ", ".join(cell.replace(" ", "\u00a0") for cell in (gain, count))]
    return f"| {' | '.join([*cells, str(len(arms['none', '1']))])} |"


def _named(table: str) -> str:
    """The table with its methods as papers write them."""
    return re.sub(
        r"^\| ([^|]+?) \|", lambda match: f"| {NAMES.get(match[1], match[1])} |", table, flags=re.M
    )


FUNCTIONS: dict[str, Callable[..., str]] = {
    function.__name__.replace("_", " "): function
    for function in (
        overview,
        semi_supervised,
        semi_supervised_choices,
        semi_supervised_better_alone,
        wrong_clusters,
        adaptation,
        adaptation_choices,
        adaptation_as_shipped,
        adaptation_by_weight,
        adaptation_better_alone,
        two_folders,
        vectors,
        side_by_side,
    )
}


def written(text: str) -> str:
    """The text of a page with its tables from the result files."""

    def table(match: re.Match[str]) -> str:
        name, _, words = match[2].partition(": ")
        return f"{match[1]}\n{FUNCTIONS[name](*words.split())}\n\n{match[3]}"

    return TABLE.sub(table, text)


def main() -> None:
    for page in PAGES:
        page.write_text(written(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
