"""The ``supercm`` command. Help and version do not import PyTorch."""

from __future__ import annotations

import os
import re
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from supercm_pl._version import __version__

_HELP = """\
supercm: semi-supervised learning and domain adaptation with SuperCM, in PyTorch Lightning

  supercm fit --config FILE                        train, then test the last weights
  supercm validate --config FILE --ckpt_path CKPT  compute the metrics of the validation data
  supercm test --config FILE --ckpt_path CKPT      compute the metrics of the test data
  supercm predict --config FILE --ckpt_path CKPT   write classes and probabilities to --output
  supercm predict CKPT FOLDER                      the same for images, without a configuration
  supercm report RUN_DIR [RUN_DIR ...]             write an HTML report on one or more runs
  supercm suggest RUN_DIR --number 20              choose unlabeled images to label next
  supercm export CKPT --format torch|onnx          write a model that runs without this package

  --config A --config B          B overrides A
  --model.cm_weight 0.2          set any argument of the model, data or trainer
  --optimizer SGD --optimizer.lr 0.1
  --add_labels FILE              labels of further images, from a CSV file with file and label
  --no_report                    do not end fit with a report
  --quiet                        print only warnings, errors and the closing table
  --print_config                 print the complete configuration and exit
  fit --ckpt_path CKPT           resume a run
  fit --help, fit --model.help supercm_pl.SSLModule    list every option, or those of a class

A usage error prints one line on standard error and exits with status 2. SUPERCM_DEBUG=1 shows
the traceback.
"""
_COMMANDS = ("fit", "validate", "test", "predict", "export", "report", "suggest")
# `--optimizer` is short for `--model.optimizer`: an argument of the model, saved in checkpoints.
_ADDED_LABELS = re.compile(r"^--add_labels(?=$|=)")
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
    started = time.monotonic()  # includes the imports
    given = sys.argv[1:] if args is None else args
    words = [_ADDED_LABELS.sub("--data.source.labels", word) for word in given]
    words = [_SHORT_FORM.sub("--model.", word) for word in words]
    if not words or words[0] in ("-h", "--help", "help"):
        print(_HELP, end="")
    elif words[0] == "--version":
        print(f"supercm {__version__}")
    elif words[0] not in _COMMANDS:
        _stop(_unknown_command(words[0]))
    else:
        try:
            with _without_noise():
                _run(words, started)
        except KeyboardInterrupt:
            sys.exit(130)


def _run(words: list[str], started: float) -> None:
    command, *arguments = words
    if command == "export":
        from supercm_pl.cli.commands.export import export

        export(arguments)
    elif command == "report":
        from supercm_pl.cli.commands.report import report

        report(arguments)
    elif command == "suggest":
        from supercm_pl.cli.commands.suggest import suggest

        suggest(arguments)
    elif command == "predict" and arguments and not arguments[0].startswith("-"):
        from supercm_pl.cli.commands.predict import predict

        predict(arguments)
    else:
        _run_lightning(words, started)


def _run_lightning(words: list[str], started: float) -> None:
    from supercm_pl.cli.arguments import with_shipped_configs
    from supercm_pl.cli.command import SuperCMCLI
    from supercm_pl.cli.errors.classify import is_users_mistake
    from supercm_pl.cli.errors.messages import plain_line

    given = sys.argv
    try:
        words = with_shipped_configs(words)
        sys.argv = [sys.argv[0], *words]  # which Lightning's further processes read
        SuperCMCLI(started)
    except Exception as error:
        if os.environ.get("SUPERCM_DEBUG") or not is_users_mistake(error):
            raise
        _stop(plain_line(error, words))
    finally:
        sys.argv = given


@contextmanager
def _without_noise() -> Iterator[None]:
    with warnings.catch_warnings():
        for message in _NOISE:
            warnings.filterwarnings("ignore", message=message)
        yield


def _unknown_command(word: str) -> str:
    import difflib

    listed = ", ".join(_COMMANDS)
    if word.startswith("-"):
        return f"the first argument must be a command ({listed}), got {word}"
    near = difflib.get_close_matches(word, _COMMANDS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"the commands are {listed}"
    return f"unknown command {word}; {hint}"


def _stop(line: str) -> None:
    print(f"supercm: error: {line}", file=sys.stderr)
    sys.exit(2)
