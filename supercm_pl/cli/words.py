"""What the words of a command line name: options, and configuration files with their keys."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from supercm_pl.cli.compose import layers, shipped_file


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


def given_files(words: Sequence[str]) -> list[Path]:
    """The configuration files that are given, in their order."""
    return [Path(value) for value in _option_values(words, "--config", "-c")]


def config_files(words: Sequence[str]) -> list[Path]:
    """The configuration files that are given and their bases, in the order in which they apply."""
    return list(dict.fromkeys(file for path in given_files(words) for file in layers(path)))


def with_shipped_configs(words: Sequence[str]) -> list[str]:
    """The words, with ``configs/...`` that does not exist replaced by the package's own file.

    So the documentation's commands work from any folder, also with an installed package.
    """
    found = {}
    for path in given_files(words):
        shipped = None if path.exists() else shipped_file(path)
        if shipped is not None:
            found[str(path)] = str(shipped)
            print(f"supercm: {path} is that of the package: {shipped}", file=sys.stderr)
    pairs = [word.rpartition("=") for word in words]
    return [start + joined + found.get(path, path) for start, joined, path in pairs]


def check_keys(words: Sequence[str]) -> None:
    """Refuse a configuration file that says a key twice, of which YAML would drop the first.

    Raises:
        ValueError: Naming file, line and key; or if a part of it holds itself, or it is no text.
    """
    for path in config_files(words):
        try:
            _check_node(_composed(path), path, ())
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not YAML: {error}") from error


def position_of_key(name: str, words: Sequence[str]) -> str:
    """``" (file, line n)"``, where only one of the files has the key ``name``, and once."""
    leaf = name.rpartition(".")[2]
    places = []
    for path in config_files(words):
        places += [f" ({path}, line {line})" for line in _lines_with(leaf, _composed(path))]
    return places[0] if len(places) == 1 else ""


def _option_values(words: Sequence[str], *options: str) -> list[str]:
    values = []
    for word, following in zip(words, [*words[1:], ""], strict=False):
        option, joined, value = word.partition("=")
        if option in options:
            values.append(value if joined else following)
    return values


def _composed(path: Path) -> yaml.Node | None:
    try:
        text = path.read_text(encoding="utf-8")
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except (OSError, yaml.YAMLError):
        return None  # the parser says what is wrong with it


def _check_node(node: yaml.Node | None, path: Path, above: tuple[yaml.Node, ...]) -> None:
    if node is None or isinstance(node, yaml.ScalarNode):
        return
    if any(node is each for each in above):
        raise ValueError(f"{path}, line {node.start_mark.line + 1}: an anchor must not hold itself")
    seen: set[str] = set()
    for child in node.value:
        key, value = child if isinstance(node, yaml.MappingNode) else (None, child)
        if isinstance(key, yaml.ScalarNode) and key.value != "<<":
            if key.value in seen:
                line = key.start_mark.line + 1
                raise ValueError(f"{path}, line {line}: the key {key.value} is there twice")
            seen.add(key.value)
        _check_node(value, path, (*above, node))


def _lines_with(name: str, node: yaml.Node | None) -> Iterator[int]:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _lines_with(name, item)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == name:
                yield key.start_mark.line + 1
            yield from _lines_with(name, value)
