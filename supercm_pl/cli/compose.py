"""Configuration files that build on others: ``base: digits.yaml``, then only what differs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from supercm_pl.cli.errors.suggestions import nearest_file

_BASE = "base"
_PACKAGE = Path(__file__).parents[1]
# Lightning's default, which says nothing about the run.
_UNNAMED = "lightning_logs"


def layers(path: Path, above: tuple[Path, ...] = ()) -> list[Path]:
    """The files that a configuration consists of, in the order in which they apply.

    A base is a path relative to the file that names it, or ``configs/...`` of the package. Each
    file changes what the ones before it set, like one more ``--config``.

    Args:
        path: The file; the parser reports one that is missing or not YAML.
        above: The files that build on this one.

    Returns:
        The bases, their own bases before them, and ``path`` last.

    Raises:
        ValueError: If a base is missing, is not a path or builds on itself.
    """
    chain = (*above, path)
    if path.resolve() in {each.resolve() for each in above}:
        raise ValueError(f"{path} builds on itself: {' -> '.join(map(str, chain))}")
    found = []
    for line, base in _bases(path):
        file = _base_file(path, base)
        if file is None:
            near = nearest_file(path.parent / base)
            raise ValueError(f"{path}, line {line}: there is no base {base}{near}")
        found += layers(file, chain)
    return [*found, path]


def without_base(text: str) -> str:
    """The text of a configuration without its key ``base``."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:  # the parser says what is wrong with it
        return text
    if isinstance(node, yaml.MappingNode) and any(key.value == _BASE for key, _ in node.value):
        node.value = [pair for pair in node.value if pair[0].value != _BASE]
        return str(yaml.serialize(node, Dumper=yaml.SafeDumper))
    return text


def shipped_file(path: Path) -> Path | None:
    """The package's own file for ``configs/...``; ``None`` where it has no such file."""
    if path.parts[:1] != ("configs",):
        return None
    # In a wheel the folder is part of the package, in a clone it is next to the package.
    home = _PACKAGE if (_PACKAGE / "configs").is_dir() else _PACKAGE.parent
    return home / path if (home / path).is_file() else None


def name_loggers(loggers: Any, path: Path) -> None:
    """Name the loggers that have no name after a configuration file.

    Args:
        loggers: The value of ``trainer.logger``: one, several or none. It is changed in place.
        path: The file. ``configs/ssl/digits.yaml`` in any folder gives ``ssl_digits``, a file that
            is not below ``configs`` its stem.
    """
    folders = path.absolute().parent.parts
    below = folders[len(folders) - folders[::-1].index("configs") :] if "configs" in folders else ()
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        arguments = getattr(logger, "init_args", None) or {}
        if arguments.get("name") == _UNNAMED:
            arguments["name"] = "_".join((*below, path.stem))


def _bases(path: Path) -> Iterator[tuple[int, str]]:
    """Line and value of each base of a file."""
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError):  # the parser says what is wrong with it
        return
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if key.value != _BASE:
            continue
        for each in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            line = each.start_mark.line + 1
            if not isinstance(each, yaml.ScalarNode) or not each.value:
                raise ValueError(f"{path}, line {line}: base must be a path or a list of paths")
            yield line, each.value


def _base_file(path: Path, base: str) -> Path | None:
    file = Path(os.path.normpath(path.parent / base))
    return file if file.exists() else shipped_file(Path(base))
