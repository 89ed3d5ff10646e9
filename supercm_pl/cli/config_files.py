"""Configuration files: their bases (``base: digits.yaml``), keys and names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from supercm_pl.cli.errors.suggestions import nearest_file

_BASE = "base"
_PACKAGE = Path(__file__).parents[1]
_UNNAMED = "lightning_logs"  # Lightning's default


def layers(path: Path, above: tuple[Path, ...] = ()) -> list[Path]:
    """List a configuration file and its bases, in the order in which they apply.

    A base is a path relative to the file that names it, or ``configs/...`` of the package. Each
    file overrides the ones before it, like a further ``--config``.

    Args:
        path: The file. The parser reports one that is missing or not YAML.
        above: The files that build on this one.

    Raises:
        ValueError: If a base is missing, is not a path or builds on itself, or a file is not text.
    """
    chain = (*above, path)
    if path.resolve() in {each.resolve() for each in above}:
        raise ValueError(f"{path} is a base of itself: {' -> '.join(map(str, chain))}")
    found = []
    for line, base in _bases(path):
        file = Path(os.path.normpath(path.parent / base))
        base_file = file if file.exists() else shipped_file(Path(base))
        if base_file is None:
            near = nearest_file(path.parent / base)
            raise ValueError(f"{path}, line {line}: there is no base {base}{near}")
        found += layers(base_file, chain)
    return [*found, path]


def without_base(text: str) -> str:
    """The text of a configuration without its key ``base``."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:  # the parser reports it
        return text
    if isinstance(node, yaml.MappingNode) and any(key.value == _BASE for key, _ in node.value):
        node.value = [pair for pair in node.value if pair[0].value != _BASE]
        return str(yaml.serialize(node, Dumper=yaml.SafeDumper))
    return text


def shipped_file(path: Path) -> Path | None:
    """The package's own file for ``configs/...``, or ``None``."""
    if path.parts[:1] != ("configs",):
        return None
    file = shipped_folder("configs").joinpath(*path.parts[1:])
    return file if file.is_file() else None


def shipped_folder(name: str) -> Path:
    """The package's own folder ``name``: a wheel has it inside the package, a clone beside it."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def name_loggers(loggers: Any, path: Path) -> None:
    """Name the loggers that have no name after a configuration file.

    Args:
        loggers: The value of ``trainer.logger``: one, several or none. Changed in place.
        path: The file. ``configs/ssl/digits.yaml`` in any folder gives ``ssl_digits``; a file
            outside ``configs`` gives its stem.
    """
    folders = path.absolute().parent.parts
    below = folders[len(folders) - folders[::-1].index("configs") :] if "configs" in folders else ()
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        arguments = getattr(logger, "init_args", None) or {}
        if arguments.get("name") == _UNNAMED:
            arguments["name"] = "_".join((*below, path.stem))


def check_keys(paths: Iterable[Path]) -> None:
    """Reject files with a duplicate key, which YAML would silently drop.

    Raises:
        ValueError: With file, line and key; also if a node contains itself.
    """
    for path in paths:
        _check_node(_root(path), path, ())


def lines_with(name: str, path: Path) -> list[int]:
    """Numbers of the lines with the key ``name``."""
    return list(_lines_with(name, _root(path)))


def _root(path: Path) -> yaml.Node | None:
    try:
        return yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    except (OSError, yaml.YAMLError):  # the parser reports it
        return None


def _bases(path: Path) -> Iterator[tuple[int, str]]:
    """Line and value of each base of a file."""
    node = _root(path)
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if key.value != _BASE:
            continue
        for each in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            line = each.start_mark.line + 1
            if not isinstance(each, yaml.ScalarNode) or not each.value:
                raise ValueError(f"{path}, line {line}: base must be a path or a list of paths")
            yield line, each.value


def _check_node(node: yaml.Node | None, path: Path, above: tuple[yaml.Node, ...]) -> None:
    if node is None or isinstance(node, yaml.ScalarNode):
        return
    if any(node is each for each in above):
        line = node.start_mark.line + 1
        raise ValueError(f"{path}, line {line}: an anchor must not contain itself")
    seen: set[str] = set()
    for child in node.value:
        key, value = child if isinstance(node, yaml.MappingNode) else (None, child)
        if isinstance(key, yaml.ScalarNode) and key.value != "<<":
            if key.value in seen:
                raise ValueError(
                    f"{path}, line {key.start_mark.line + 1}: duplicate key {key.value}"
                )
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
