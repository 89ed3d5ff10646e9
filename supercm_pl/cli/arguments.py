"""Command-line arguments: values of options, and the configuration files among them."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from supercm_pl.cli.config_files import layers, lines_with, shipped_file

_SECONDS = {"s": 1, "min": 60, "h": 3600}
_TIME = re.compile(rf"(?P<number>\d+(\.\d+)?) ?(?P<unit>{'|'.join(_SECONDS)})")


def option_value(words: Sequence[str], option: str) -> str:
    """The last value of an option, or an empty string if it is not given.

    Example:
        >>> option_value(["fit", "--config", "a.yaml", "--config=b.yaml"], "--config")
        'b.yaml'
    """
    return (_option_values(words, option) or [""])[-1]


def without_option(words: Sequence[str], option: str) -> list[str]:
    """The arguments without an option and its value.

    Example:
        >>> without_option(["fit", "--ckpt_path", "a.ckpt", "--config", "b.yaml"], "--ckpt_path")
        ['fit', '--config', 'b.yaml']
    """
    pairs = zip(["", *words[:-1]], words, strict=True)
    return [
        word
        for before, word in pairs
        if option not in (before, word) and not word.startswith(f"{option}=")
    ]


def given_files(words: Sequence[str]) -> list[Path]:
    """The configuration files given, in order."""
    return [Path(value) for value in _option_values(words, "--config", "-c")]


def config_files(words: Sequence[str]) -> list[Path]:
    """The configuration files given and their bases, in the order in which they apply."""
    return list(dict.fromkeys(file for path in given_files(words) for file in layers(path)))


def with_shipped_configs(words: Sequence[str], silent: bool = False) -> list[str]:
    """The arguments, with a missing ``configs/...`` replaced by the package's own file.

    With this, the commands of the documentation work from any folder.
    """
    found = {}
    for path in given_files(words):
        shipped = None if path.exists() else shipped_file(path)
        if shipped is not None:
            found[str(path)] = str(shipped)
            if not (silent or "--quiet" in words):
                print(f"supercm: using {path} from the package: {shipped}", file=sys.stderr)
    pairs = [word.rpartition("=") for word in words]
    return [start + joined + found.get(path, path) for start, joined, path in pairs]


def with_budget(words: Sequence[str]) -> list[str]:
    """The arguments, with ``--budget 5min`` replaced by the trainer's options.

    A number of steps is unlimited, unless it is given too.

    Example:
        >>> with_budget(["fit", "photos", "--budget=90s"])
        ['fit', 'photos', '--trainer.max_time=00:00:01:30', '--trainer.max_steps=-1']

    Raises:
        ValueError: If it is no time.
    """
    budget = option_value(words, "--budget")
    if not any(word.partition("=")[0] == "--budget" for word in words):
        return list(words)
    found = _TIME.fullmatch(budget)
    seconds = round(float(found["number"]) * _SECONDS[found["unit"]]) if found else 0
    if not seconds:
        raise ValueError(f"--budget must be a time, such as 90s, 5min or 2h, got {budget!r}")
    minutes, hours = seconds // 60 % 60, seconds // 3600 % 24
    text = f"{seconds // 86400:02d}:{hours:02d}:{minutes:02d}:{seconds % 60:02d}"
    timed = [*without_option(words, "--budget"), f"--trainer.max_time={text}"]
    limit = option_value(words, "--trainer.max_steps")
    return timed if limit else [*timed, "--trainer.max_steps=-1"]


def position_of_key(name: str, words: Sequence[str]) -> str:
    """``" (file, line n)"`` if the key ``name`` occurs exactly once in the files, else ``""``."""
    leaf = name.rpartition(".")[2]
    places = [
        f" ({path}, line {line})" for path in config_files(words) for line in lines_with(leaf, path)
    ]
    return places[0] if len(places) == 1 else ""


def _option_values(words: Sequence[str], *options: str) -> list[str]:
    values = []
    for word, following in zip(words, [*words[1:], ""], strict=False):
        option, joined, value = word.partition("=")
        if option in options:
            values.append(value if joined else following)
    return values
