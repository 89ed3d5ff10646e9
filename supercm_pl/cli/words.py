"""What the words of a command line name: options, and configuration files with their keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml


def option_value(words: Sequence[str], option: str) -> str:
    """The last value of an option, an empty string where it is not given.

    Example:
        >>> option_value(["fit", "--config", "a.yaml", "--config=b.yaml"], "--config")
        'b.yaml'
    """
    return (_option_values(words, option) or [""])[-1]


def without_option(words: Sequence[str], option: str) -> list[str]:
    """The words without an option and its value.

    Example:
        >>> without_option(["fit", "--ckpt_path", "a.ckpt", "--config", "b.yaml"], "--ckpt_path")
        ['fit', '--config', 'b.yaml']
    """
    before = ["", *words[:-1]]
    return [
        word
        for previous, word in zip(before, words, strict=True)
        if option not in (previous, word) and not word.startswith(f"{option}=")
    ]


def config_files(words: Sequence[str]) -> list[Path]:
    """The configuration files, in the order in which they are given."""
    return [Path(value) for value in _option_values(words, "--config", "-c")]


def position_of_key(name: str, words: Sequence[str]) -> str:
    """``" (file, line n)"``, where only one of the files has the key ``name``, and once."""
    leaf = name.rpartition(".")[2]
    places = []
    for path in config_files(words):
        try:
            root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except (OSError, ValueError, yaml.YAMLError):
            continue
        places += [f" ({path}, line {line})" for line in _lines_with(leaf, root)]
    return places[0] if len(places) == 1 else ""


def _option_values(words: Sequence[str], *options: str) -> list[str]:
    values = []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        option, joined, value = word.partition("=")
        if option in options:
            values.append(value if joined else following)
    return values


def _lines_with(name: str, node: yaml.Node | None) -> Iterator[int]:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _lines_with(name, item)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == name:
                yield key.start_mark.line + 1
            yield from _lines_with(name, value)
