"""The ``supercm`` command; help and version come without the wait for PyTorch's import."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from supercm_pl._version import __version__

_HELP = """\
supercm: train, test and use classifiers that learn from few labels, by SuperCM in PyTorch Lightning

  supercm fit --config FILE                        train, then test the last weights
  supercm validate --config FILE --ckpt_path CKPT  measure on the validation data
  supercm test --config FILE --ckpt_path CKPT      measure on the test data
  supercm predict --config FILE --ckpt_path CKPT   write class and probabilities to --output
  supercm predict CKPT FOLDER                      the same of images, with a checkpoint alone
  supercm report RUN_DIR [RUN_DIR ...]             write one HTML page on one run or several
  supercm export CKPT --format torch|onnx          write a file that runs without this package

  --config A --config B          the second file changes what it names of the first
  --model.cm_weight 0.2          any argument of model, data and trainer by its name
  --optimizer SGD --optimizer.lr 0.1
  --quiet                        no progress: warnings, errors and the closing table alone
  --print_config                 show the whole configuration and stop
  fit --ckpt_path CKPT           go on with a run that was stopped
  fit --help, fit --model.help supercm_pl.SSLModule    every option, or those of a class

A mistake ends with one line on standard error and status 2; SUPERCM_DEBUG=1 shows the traceback.
"""
_COMMANDS = ("fit", "validate", "test", "predict")
# Commands that are not LightningCLI's: where their `main` is.
_EXTRA = {"export": "supercm_pl.cli.commands.export", "report": "supercm_pl.cli.commands.report"}
_PREDICT_ALONE = "supercm_pl.cli.commands.predict"  # `predict CKPT FOLDER`, without a configuration
# For `--optimizer SGD`: the optimizer is an argument of the model, so that a checkpoint knows it.
_SHORT_FORMS = ("optimizer", "lr_scheduler")

# Warnings that say nothing to who runs the command, each with the reason why.
_NOISE = (
    # Lightning and torchmetrics use what newer versions of PyTorch and jsonargparse deprecate.
    r".*isinstance\(treespec, LeafSpec\)",
    r"Sparse invariant checks are implicitly disabled",
    r"(?s).*JsonargparseDeprecationWarning",
    r"(?s).*(add_instantiator|instantiate_classes|skip_none).* deprecated in v4",
    # A run that goes on from a checkpoint, or tests one, writes to a folder of its own.
    r"The dirpath has changed from",
    # A checkpoint of a run with averaged weights holds the average: nothing else is wanted.
    r"You're using the WeightAveraging callback, but loading a checkpoint outside the 'fit' stage",
    # Of `source_val_size: 0`; the line that describes the data says so.
    r"Total length of `\w+` across ranks is zero",
    # Short runs and runs with short epochs are logged at their end as well.
    r"The number of training batches .* is smaller than the logging interval",
    # Data in memory are read faster without workers, which is why the default has none.
    r"The '\w+' does not have many workers",
)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        args: Words after the command's name; ``None`` takes them from ``sys.argv``.

    Raises:
        SystemExit: With status 2 and one line on standard error for a mistake of the user's, 130
            where the user stops it. Success returns.
    """
    started = time.monotonic()  # before the imports: they count for who waits
    words = [_long_form(word) for word in (sys.argv[1:] if args is None else args)]
    if not words or words[0] in ("-h", "--help", "help"):
        print(_HELP, end="")
    elif words[0] == "--version":
        print(f"supercm {__version__}")
    elif words[0] in _EXTRA:
        _run_extra(_EXTRA[words[0]], words)
    elif words[0] == "predict" and words[1:] and not words[1].startswith("-"):
        _run_extra(_PREDICT_ALONE, words)
    elif words[0] not in _COMMANDS:
        _stop(_unknown_command(words[0]))
    else:
        _run(words, started)


def _run(words: list[str], started: float) -> None:
    from supercm_pl.cli.command import SuperCMCLI
    from supercm_pl.cli.errors.classify import is_users_mistake
    from supercm_pl.cli.errors.messages import plain_line
    from supercm_pl.cli.words import with_shipped_configs

    words = with_shipped_configs(words)
    with _quiet(), _argv(words):
        try:
            SuperCMCLI(started)
        except Exception as error:
            if os.environ.get("SUPERCM_DEBUG") or not is_users_mistake(error):
                raise
            _stop(plain_line(error, words))
        except KeyboardInterrupt:
            sys.exit(130)


def _run_extra(module: str, words: list[str]) -> None:
    from importlib import import_module

    with _quiet():
        try:
            import_module(module).main(words[1:])
        except KeyboardInterrupt:
            sys.exit(130)


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        for message in _NOISE:
            warnings.filterwarnings("ignore", message=message)
        yield


@contextmanager
def _argv(words: list[str]) -> Iterator[None]:
    # Not handed over as arguments: where Lightning starts more processes, these read `sys.argv`.
    given, sys.argv = sys.argv, [sys.argv[0], *words]
    try:
        yield
    finally:
        sys.argv = given


def _long_form(word: str) -> str:
    for name in _SHORT_FORMS:
        if word == f"--{name}" or word.startswith((f"--{name}.", f"--{name}=")):
            return f"--model.{word[2:]}"
    return word


def _unknown_command(word: str) -> str:
    import difflib

    known = (*_COMMANDS, *_EXTRA)
    if word.startswith("-"):
        return f"a command comes first, one of {', '.join(known)}, got {word}"
    near = difflib.get_close_matches(word, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else f", but {', '.join(known)} are"
    return f"{word} is not a command{hint}"


def _stop(line: str) -> None:
    print(f"supercm: error: {line}", file=sys.stderr)
    sys.exit(2)
