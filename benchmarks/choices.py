"""The choice of settings for one arm of a method, and the methods of a configuration by weight."""

from __future__ import annotations

import inspect
import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.results import Results, Row
from supercm_pl.ssl import methods as ssl_methods
from supercm_pl.training.method import Method
from supercm_pl.uda import methods as uda_methods

SEEDS = (10, 11)  # of the trials; none of them is in a table
FACTOR = "weight of the method times"
Setting = tuple[str, str]  # what is set, and its value


def methods_of(file: Path) -> list[tuple[type[Method], dict[str, Any]]]:
    """The methods of a configuration: class, and entry of the list."""
    found = []
    for entry in yaml.safe_load(file.read_text())["model"]["init_args"]["methods"]:
        name = entry["class_path"].rpartition(".")[2]
        room = ssl_methods if ".ssl." in entry["class_path"] else uda_methods
        found.append((getattr(room, name), entry))
    return found


def words_of(settings: Sequence[Setting], file: Path) -> list[str]:
    """Arguments of the command; weights are those of the methods in the file."""
    return [
        f"--model.methods={_weighted(file, float(value))}"
        if name == FACTOR
        else f"--{name}={value}"
        for name, value in settings
    ]


def _weighted(file: Path, factor: float) -> str:
    """The methods of a configuration with their weights times a factor, as JSON."""
    entries = []
    for kind, entry in methods_of(file):
        arguments = entry.get("init_args", {})
        weight = arguments.get("weight", inspect.signature(kind).parameters["weight"].default)
        entries.append({**entry, "init_args": {**arguments, "weight": factor * weight}})
    return json.dumps(entries)


def choose(
    trials: Results,
    key: Row,
    candidates: Sequence[Sequence[Setting]],
    score: Callable[[int, Sequence[Setting]], float] | None = None,
) -> list[Setting]:
    """Choose one setting after the other by the mean score over ``SEEDS``, higher is better.

    Args:
        trials: Runs that exist; missing ones are made and appended.
        key: What identifies the arm in ``trials``, without seed and settings.
        candidates: For each setting its values, the shipped one first.
        score: Trains with a seed and settings. Without it, all runs must exist.

    Returns:
        The best settings without shipped ones, which also win where scores are equal.

    Raises:
        LookupError: If a run is missing, and there is no ``score``.
    """
    chosen: list[Setting] = []
    for options in candidates:
        settings = [[*chosen, option] for option in options]
        settings[:1] = [chosen] if options else []
        means = []
        for number, trial in enumerate(settings):
            found = []
            for seed in SEEDS:
                text = " ".join("=".join(setting) for setting in trial)
                row = {**key, "seed": seed, "settings": text}
                if row not in trials:
                    if score is None:
                        raise LookupError(f"{trials.path} has no run {row}. Choose with --tune.")
                    trials.append({**row, "score": score(seed, trial)})
                    print("choice", *trials[row].values(), flush=True)
                found.append(float(trials[row]["score"]))
            means.append((statistics.mean(found), -number))
        chosen = settings[-max(means)[1]] if means else chosen
    return chosen


def settings_of(words: Sequence[str]) -> list[Setting]:
    """Settings from words ``NAME=VALUE`` of the command line."""
    return [(name, value) for name, _, value in (word.partition("=") for word in words)]


def text_of(settings: Sequence[Setting]) -> str:
    """The settings as a table shows them."""
    names = {
        FACTOR: "weight ×",
        "model.cm_weight": "β",
        "model.batch_norm": "batch norm",
        "model.optimizer.init_args.lr": "learning rate",
    }
    shown = (f"{names[name]} {value.removesuffix('.0')}" for name, value in settings)
    return ", ".join(shown) or "as shipped"


def table(chosen: Iterable[tuple[str, Sequence[Sequence[Setting]]]]) -> str:
    """Markdown: what each method chose, without SuperCM and, if it has this arm, with it."""
    lines = ["| method | without SuperCM | with SuperCM |", "| --- | --- | --- |"]
    for method, arms in chosen:
        cells = [*map(text_of, arms), ""][:2]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)
