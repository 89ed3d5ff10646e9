"""Mistakes on the command line that need no import of PyTorch to be found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from supercm_pl.cli.arguments import config_files, given_files, option_value
from supercm_pl.cli.config_files import check_keys, lines_with, shipped_file
from supercm_pl.cli.errors.suggestions import nearest_file
from supercm_pl.cli.option_names import FLAGS, TOP_LEVEL, all_options, arguments_of
from supercm_pl.names import did_you_mean

_OURS = ("SSLModule", "UDAModule", "SSLDataModule", "UDADataModule")
# Values of `--ckpt_path` that Lightning accepts besides a path.
_CHECKPOINT_NAMES = ("best", "last", "hpc")
_INNER = ("init_args", "dict_kwargs", "class_path", "help")
_REQUIRED = {
    "fit": "a folder of images or a configuration: supercm fit photos/, or "
    "supercm fit --config configs/ssl/digits.yaml",
    "predict": "a checkpoint and images: supercm predict CKPT photos/",
}
_CONFIG = "a configuration and a checkpoint: supercm {0} --config FILE --ckpt_path CKPT"


def early_mistake(words: Sequence[str]) -> str:
    """Describe the first mistake of a Lightning command in one line; empty if there is none.

    Raises:
        ValueError: For a configuration that can't be read or has a key twice.
    """
    command, *rest = words
    if not rest:
        return f"{command} requires {_REQUIRED.get(command, _CONFIG.format(command))}"
    return next(_mistakes(command, rest), "")


def checkpoint_mistake(command: str, path: str | None) -> str:
    """Describe what is wrong with a ``--ckpt_path``; empty if nothing is."""
    named = path in _CHECKPOINT_NAMES
    # If Lightning finds no checkpoint by such a name, it continues with random weights.
    if command != "fit" and (named or not path):
        return (
            f"{command} requires a checkpoint: pass --ckpt_path, such as "
            "runs/ssl_digits/version_0/checkpoints/last.ckpt"
        )
    if path and not named and "://" not in path and not Path(path).is_file():
        return f"there is no checkpoint {path}{nearest_file(path)}"
    return ""


def _mistakes(command: str, words: Sequence[str]) -> Iterator[str]:
    for before, word, after in zip(["", *words], words, [*words[1:], "--"], strict=False):
        name = word.partition("=")[0].rstrip("+")
        if name.startswith("-") and not _is_number(name):
            yield from _option(name, words)
            if "=" not in word and name not in FLAGS and after == "--":
                yield f"{word} requires a value"
        elif not before.startswith("-") or "=" in before or before in FLAGS:
            yield from _positional(command, word, is_first=before == "")
    for file in given_files(words):
        yield from _file(file)
    check_keys(config_files(words))
    path = option_value(words, "--ckpt_path")
    if path or not any(lines_with("ckpt_path", file) for file in config_files(words)):
        yield from filter(None, [checkpoint_mistake(command, path)])
    source, target = (option_value(words, f"--{name}") for name in ("source", "target"))
    for folder in filter(None, (source, target)):
        if not Path(folder).is_dir():
            yield f"there is no folder {folder}{nearest_file(folder)}"
    if bool(source) != bool(target):
        yield "adaptation requires two folders: supercm fit --source FOLDER --target FOLDER"


def _option(name: str, words: Sequence[str]) -> Iterator[str]:
    group, _, argument = name.removeprefix("--").partition(".")
    first = argument.partition(".")[0]
    if name not in ("-h", "-c") and group not in TOP_LEVEL:
        known = {f"--{short}": f"--{full}" for short, full in all_options().items()}
        yield f"unknown option {name}{did_you_mean(name, known)}"
    elif first and first not in _INNER and (group == "trainer" or _is_ours(group, words)):
        known = {each: f"--{group}.{each}" for each in arguments_of(group)}
        if first not in known:
            yield f"unknown option {name}{did_you_mean(first, known)}"


def _positional(command: str, word: str, is_first: bool) -> Iterator[str]:
    if word.endswith((".yaml", ".yml")):
        yield f"unexpected argument {word}; did you mean --config {word}?"
    elif command != "fit" or not is_first:
        yield f"unexpected argument {word}"
    elif Path(word).exists() and not Path(word).is_dir():
        yield f"{word} is a file, not a folder of images"
    elif not Path(word).exists():
        yield f"there is no folder {word}{nearest_file(word)}"


def _file(path: Path) -> Iterator[str]:
    if path.is_dir():
        yield f"{path} is a folder, not a file"
    elif not path.exists():
        shipped = shipped_file(Path("configs/base.yaml"))
        found = nearest_file(path)
        if not found and path.parts[:1] == ("configs",) and shipped is not None:
            home = shipped.parents[1]
            found = nearest_file(home / path).replace(f"{home}/", "")
        yield f"there is no file {path}{found}"


def _is_ours(group: str, words: Sequence[str]) -> bool:
    """Whether the class of a group is one of this package, and not of the user's own."""
    if group not in ("model", "data"):
        return False
    name = option_value(words, f"--{group}") or option_value(words, f"--{group}.class_path")
    for file in [] if name else config_files(words):
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError):  # the parser reports it
            return False
        part = content.get(group) if isinstance(content, dict) else None
        name = part.get("class_path", name) if isinstance(part, dict) else name
    return str(name).rpartition(".")[2] in _OURS


def _is_number(text: str) -> bool:
    return text[1:2].isdigit() or text[1:2] == "."
