"""The ``supercm`` command. Help, version and most usage errors do not import PyTorch."""

from __future__ import annotations

import atexit
import gc
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TextIO

from supercm_pl._version import __version__
from supercm_pl.cli.cpu_load import CPULoad
from supercm_pl.cli.help import COMMANDS, LIGHTNING, OVERVIEW, help_of
from supercm_pl.names import did_you_mean, printable

_ADDED_LABELS = re.compile(r"^--add_labels(?=$|=)")
# `--optimizer` is short for `--model.optimizer`: an argument of the model, saved in checkpoints.
_SHORT_FORM = re.compile(r"^--(?=(optimizer|lr_scheduler)($|[.=]))")

# Warnings of no use to the user of the command, each with the reason.
_NOISE = (
    # Lightning and torchmetrics use what newer versions of PyTorch and jsonargparse deprecate.
    r".*isinstance\(treespec, LeafSpec\)",
    r"Sparse invariant checks are implicitly disabled",
    r"(?s).*JsonargparseDeprecationWarning",
    r"(?s).*(add_instantiator|instantiate_classes|skip_none).* deprecated in v4",
    # A run that resumes or tests a checkpoint writes to a folder of its own.
    r"The dirpath has changed from",
    # Checkpoints of a run with averaged weights contain the average, which is what to load.
    r"You're using the WeightAveraging callback, but loading a checkpoint outside the 'fit' stage",
    # Caused by `source_val_size: 0`; the line that describes the data reports it.
    r"Total length of `\w+` across ranks is zero",
    # Short epochs are logged at their end as well.
    r"The number of training batches .* is smaller than the logging interval",
    # In-memory data loads faster without workers, hence the default of none.
    r"The '\w+' does not have many workers",
)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        args: Arguments after the command's name; ``None`` reads ``sys.argv``.

    Raises:
        SystemExit: With status 2 and one line on standard error for a usage error, or status 130
            if the user interrupts the command.
    """
    started, load = time.monotonic(), CPULoad()  # includes the imports
    given = sys.argv[1:] if args is None else args
    if args is None:
        atexit.register(gc.freeze)  # or the interpreter collects for a second before it ends
    words = [_SHORT_FORM.sub("--model.", word) for word in given]
    if not words or words[0] in ("-h", "--help", "help"):
        print(OVERVIEW, end="")
    elif words[0] == "--version":
        print(f"supercm {__version__}")
    elif words[0] not in COMMANDS:
        _stop(_unknown_command(words[0]))
    else:
        try:
            with _without_noise():
                _run(words, started, load)
        except KeyboardInterrupt:
            sys.exit(130)


def _run(words: list[str], started: float, load: CPULoad) -> None:
    command, *arguments = words
    is_help = arguments in (["--help"], ["-h"])
    from_checkpoint = is_help or not (arguments or ["-"])[0].startswith("-")
    if command not in LIGHTNING or (command == "predict" and from_checkpoint):
        module = import_module(f"supercm_pl.cli.commands.{command}")
        getattr(module, command)(arguments)
    elif is_help:
        print(help_of(command), end="")
    else:
        if arguments in (["--help", "all"], ["-h", "all"]):
            words = [command, "--help"]
        _run_lightning(words, started, load)


def _run_lightning(words: list[str], started: float, load: CPULoad) -> None:
    from supercm_pl.cli.arguments import with_budget, with_shipped_configs
    from supercm_pl.cli.errors.early import early_mistake

    try:
        words = with_shipped_configs(with_budget(words))
        if any(map(_ADDED_LABELS.match, words)):
            option = f"--data.{_labeled_later(words)}.labels"
            words = [_ADDED_LABELS.sub(option, word) for word in words]
        mistake = "" if "--help" in words else early_mistake(words)
    except (OSError, ValueError) as error:  # a configuration, or its base, that can't be read
        mistake = " ".join(str(error).split())
    if mistake:
        _stop(mistake)
    with _without_garbage_collection():  # saves a quarter of the seconds that these imports take
        from supercm_pl.cli import from_folder
        from supercm_pl.cli.command import SuperCMCLI, set_verbosity
        from supercm_pl.cli.errors.classify import is_users_mistake
        from supercm_pl.cli.errors.messages import plain_line

    # Lightning's further processes read `sys.argv`.
    given = sys.argv
    try:
        if from_folder.is_given(words):
            words, lines = from_folder.with_options(words)
            words = with_shipped_configs(words, silent=True)
            if "--quiet" not in words:
                print(printable("\n".join(lines)), file=sys.stderr)
        sys.argv = [given[0], *words]
        SuperCMCLI(started, load)
    except Exception as error:
        if os.environ.get("SUPERCM_DEBUG") or not is_users_mistake(error):
            raise
        _stop(plain_line(error, words))
    finally:
        sys.argv = given
        set_verbosity(quiet=False)


def _labeled_later(words: Sequence[str]) -> str:
    """Whose unlabeled images get labels: those of the target of an adaptation."""
    from supercm_pl.cli.arguments import config_files

    adapts = any(word.startswith(("--target", "--data.target")) for word in words)
    files = [] if adapts else config_files(words)
    adapts |= any("UDADataModule" in file.read_text("utf-8", "replace") for file in files)
    return "target" if adapts else "source"


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _without_noise() -> Iterator[None]:
    with warnings.catch_warnings():
        for message in _NOISE:
            warnings.filterwarnings("ignore", message=message)
        warnings.showwarning = _show_warning  # restored at the end of the context
        yield


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning without the place in the source that raised it."""
    text = printable(" ".join(str(message).split()))
    print(f"supercm: warning: {text}", file=file or sys.stderr)


def _unknown_command(word: str) -> str:
    listed = ", ".join(COMMANDS)
    if word.startswith("-"):
        return f"the first argument must be a command ({listed}), got {word}"
    hint = did_you_mean(word, list(COMMANDS)) or f"; the commands are {listed}"
    return f"unknown command {word}{hint}"


def _stop(line: str) -> None:
    print(f"supercm: error: {printable(line)}", file=sys.stderr)
    sys.exit(2)
