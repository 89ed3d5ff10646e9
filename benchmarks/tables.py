"""The tables of README.md and docs/results.md, written from the result files.

A table is between ``<!-- table: NAME -->`` and ``<!-- /table -->``, where the words of ``NAME``
are a function of this module and its arguments. The text around tables is written by hand.

    python -m benchmarks.tables
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import peers, ssl, uda
from benchmarks.results import Results, comparison, interval, paired, spread

PAGES = (Path("README.md"), Path("docs/results.md"))
RESULTS = Path("benchmarks/results")
TABLE = re.compile(r"(<!-- table: (.+?) -->\n).*?(<!-- /table -->)", re.DOTALL)

NAMES = {
    "none": "no other method",
    "pi_model": "Pi-model",
    "pseudo_label": "Pseudo-label",
    "mean_teacher": "Mean Teacher",
    "vat": "VAT",
    "vat_entropy": "VAT + entropy minimization",
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
    "logistic regression": "logistic regression",
    "LabelSpreading (knn, 7)": "`LabelSpreading`",
    "SelfTraining (SVC)": "`SelfTrainingClassifier`",
}
"""Methods and validators as papers write them, in the order of the README."""

SSL = [("digits", "1"), ("digits", "2"), ("digits", "4")]
SSL += [("mnist5k", "1"), ("mnist5k", "4"), ("mnist5k", "25")]
SSL += [("fashion_mnist@600", "4"), ("fashion_mnist@600", "25")]
DATA = {"digits": "digits", "mnist5k": "MNIST-5k", "fashion_mnist@600": "Fashion-MNIST"}
ADAPTATION = {"uci_mnist": "UCI digits to MNIST", "digits": "digits to digits-M"}

Rows = Sequence[dict[str, str]]


def overview() -> str:
    """A line for each of the tables below."""
    heads = ["data", "strongest control", "SuperCM only", "other methods", "with SuperCM"]
    heads += ["better with SuperCM", "gain, all pairs", "gain, by seed", "seeds"]
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for name, labels in (pair for pair in SSL if _ssl(*pair)):
        title = f"{DATA[name]}, {labels} label{'s' * (labels != '1')} per class"
        lines.append(_line(title, _ssl(name, labels), "acc", ssl.CONTROLS))
    for name in (name for name in ADAPTATION if _uda("uda_tuned", name)):
        lines.append(_line(ADAPTATION[name], _better_alone(name), "target_acc", uda.CONTROLS))
    return "\n".join(lines)


def semi_supervised(data: str, labels: str) -> str:
    """All methods with the settings that each arm chose on digits with one label per class."""
    order, chosen = [*ssl.CONTROLS, *ssl.METHODS], ssl.chosen("digits", 1)
    return _named(comparison(_ssl(data, labels), order, "acc", ssl.CONTROLS, chosen))


def semi_supervised_in_short(data: str, labels: str) -> str:
    """The means of both arms."""
    return _short(_ssl(data, labels), "acc", "test accuracy")


def adaptation(data: str) -> str:
    """All methods with the settings that each arm chose on the first domains, and validators."""
    rows = _uda("uda_tuned", data)
    chosen = uda.chosen(next(iter(ADAPTATION)))
    table = comparison(rows, uda.ORDER, "target_acc", uda.CONTROLS, chosen)
    return _named(f"{table}\n\n{uda.selected(rows)}")


def adaptation_better_alone(data: str) -> str:
    """The gains over methods alone that have the better of the chosen and the shipped setting."""
    table = comparison(_better_alone(data), uda.ORDER, "target_acc", uda.CONTROLS)
    return table.rpartition("\n")[2]


def adaptation_as_shipped(data: str) -> str:
    """All methods with the shipped settings, and other β."""
    table = comparison(_uda("uda", data), uda.ORDER, "target_acc", uda.CONTROLS)
    rows = [row for row in Results(RESULTS / "uda.csv", uda.KEYS) if row["data"] == data]
    return _named("\n".join([table, "", *uda.weights(rows)]).rstrip())


def adaptation_in_short(data: str) -> str:
    """The means of both arms, without SuperCM those of the better setting."""
    return _short(_better_alone(data), "target_acc", "target accuracy")


def side_by_side(data: str) -> str:
    """Other libraries on the same batches."""
    rows = [row for row in Results(RESULTS / "peers.csv", peers.KEYS) if row["data"] == data]
    return _named(peers.table(rows))


def _ssl(data: str, labels: str) -> Rows:
    key = (data, labels)
    results = Results(RESULTS / "ssl.csv", ssl.KEYS)
    return [row for row in results if (row["data"], row["labels_per_class"]) == key]


def _uda(file: str, data: str) -> Rows:
    rows = Results(RESULTS / f"{file}.csv", uda.KEYS)
    return [row for row in rows if row["data"] == data and row["supercm"] in ("0", "1")]


def _better_alone(data: str) -> Rows:
    """Runs with chosen settings; alone, those with the shipped ones where these are better."""
    tuned, shipped = _uda("uda_tuned", data), _uda("uda", data)

    def alone(rows: Rows, method: str) -> dict[str, dict[str, str]]:
        return {r["seed"]: r for r in rows if (r["method"], r["supercm"]) == (method, "0")}

    found = [row for row in tuned if row["supercm"] == "1"]
    for method in {row["method"]: None for row in tuned}:
        arms = [alone(tuned, method), alone(shipped, method)]
        full = [arm for arm in arms if arm.keys() >= arms[0].keys()]
        best = max(full, key=lambda arm: _mean([arm[seed] for seed in arms[0]]))
        found += [best[seed] for seed in arms[0]]
    return found


def _mean(rows: Rows) -> float:
    return statistics.mean(float(row["target_acc"]) for row in rows)


def _line(title: str, rows: Rows, metric: str, controls: Sequence[str]) -> str:
    arms: dict[tuple[str, str], dict[int, float]] = {}
    for row in rows:
        arm = arms.setdefault((row["method"], row["supercm"]), {})
        arm[int(row["seed"])] = float(row[metric])
    means = {arm: statistics.mean(found.values()) for arm, found in arms.items()}
    control = max((arm for arm in means if arm[0] in controls and arm[1] == "0"), key=means.get)
    others = {method for method, supercm in means if supercm == "1"} - {"none"}
    pairs = {method: paired(arms[method, "1"], arms[method, "0"]) for method in others}
    seeds = sorted(arms["none", "1"])
    cells = [title, f"{means[control]:.3f} ({_name(control[0])})", f"{means['none', '1']:.3f}"]
    cells += [f"{statistics.mean(means[m, arm] for m in others):.3f}" for arm in ("0", "1")]
    cells.append(f"{sum(statistics.mean(gain) > 0 for gain in pairs.values())} of {len(pairs)}")
    cells.append(interval([value for gain in pairs.values() for value in gain]))
    by_seed = [[arms[m, "1"][seed] - arms[m, "0"][seed] for m in others] for seed in seeds]
    cells += [interval([statistics.mean(gains) for gains in by_seed]), str(len(seeds))]
    return f"| {' | '.join(cells)} |"


def _named(table: str) -> str:
    """The table with its methods as papers write them."""
    return re.sub(r"^\| ([^|]+?) \|", lambda match: f"| {_name(match[1])} |", table, flags=re.M)


def _name(method: str) -> str:
    """The name of a method; names with additions keep them."""
    first, comma, rest = method.partition(", ")
    return NAMES.get(method) or NAMES.get(first, first) + comma + rest


def _short(rows: Rows, metric: str, head: str) -> str:
    lines = [f"| {head} | without SuperCM | with SuperCM |", "| --- | --- | --- |"]
    for method, name in NAMES.items():
        cells = [
            spread([float(r[metric]) for r in rows if (r["method"], r["supercm"]) == (method, arm)])
            for arm in ("0", "1")
        ]
        lines += [f"| {name} | {' | '.join(cells)} |"] if any(cells) else []
    return "\n".join(lines)


FUNCTIONS: dict[str, Callable[..., str]] = {
    function.__name__.replace("_", " "): function
    for function in (
        overview,
        semi_supervised,
        semi_supervised_in_short,
        adaptation,
        adaptation_as_shipped,
        adaptation_better_alone,
        adaptation_in_short,
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
