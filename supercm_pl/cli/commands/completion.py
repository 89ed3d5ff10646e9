"""``supercm completion bash|zsh|fish``."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from supercm_pl.cli.commands.one_line_parser import OneLineParser
from supercm_pl.cli.help import COMMANDS, LIGHTNING
from supercm_pl.cli.option_names import GROUPS, TOP_LEVEL, arguments_of

_SHELLS = ("bash", "zsh", "fish")
_FILES = ("config", "ckpt_path", "output", "source", "target")


def parser() -> OneLineParser:
    """The parser of the arguments."""
    parser = OneLineParser(
        "completion",
        "Print a script that lets a shell complete the commands and options of supercm.",
        'bash: eval "$(supercm completion bash)" in ~/.bashrc; zsh: supercm completion zsh > '
        "_supercm in a folder of $fpath; fish: supercm completion fish > "
        "~/.config/fish/completions/supercm.fish",
    )
    parser.add_argument("shell", choices=_SHELLS, metavar="SHELL", help=", ".join(_SHELLS))
    return parser


def completion(args: Sequence[str]) -> None:
    """Print the script of a shell."""
    own = parser()
    options = own.parse_args(args)
    try:
        import shtab
    except ModuleNotFoundError:
        own.error("completion requires shtab: pip install 'supercm-pl[completion]'")
    print(shtab.complete(whole_parser(shtab.FILE), options.shell))


def whole_parser(files: Mapping[str, Any]) -> argparse.ArgumentParser:
    """All commands and their options in one parser.

    Args:
        files: What shtab needs to complete paths.
    """
    whole = argparse.ArgumentParser("supercm")
    whole.add_argument("--version", action="store_true", help="print the version")
    commands = whole.add_subparsers()
    for name, summary in COMMANDS.items():
        own = [] if name in LIGHTNING else [_parser_of(name)]
        command = commands.add_parser(name, help=summary, parents=own, add_help=not own)
        if not own:
            _add_options(command)
        for action in command._actions:
            takes_path = action.type is not None or action.dest in _FILES
            if takes_path and not action.choices:
                action.complete = files  # type: ignore[attr-defined]
    return whole


def _parser_of(command: str) -> argparse.ArgumentParser:
    module = importlib.import_module(f"supercm_pl.cli.commands.{command}")
    found: argparse.ArgumentParser = module.parser()
    return found


def _add_options(command: argparse.ArgumentParser) -> None:
    for name in TOP_LEVEL:
        if name not in (*GROUPS, "help"):
            flag = name in ("quiet", "no_report", "print_config")
            command.add_argument(f"--{name}", action="store_true" if flag else "store")
    command.add_argument("--model")
    command.add_argument("--data")
    for group in GROUPS:
        for name in arguments_of(group):
            command.add_argument(f"--{group}.{name}")
