"""Command-line arguments: values of options, and the configuration files among them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from supercm_pl.cli.config_files import layers, lines_with, shipped_file


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
