"""The ``supercm`` command within this process, so that a benchmark can look at what it trained."""

from __future__ import annotations

import io
import logging
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

from supercm_pl.cli.command import SuperCMCLI

WITHOUT_FILES = (
    "--trainer.logger=false",
    "--trainer.callbacks=null",
    "--trainer.enable_checkpointing=false",
)


def built(words: Sequence[str]) -> SuperCMCLI:
    """Trainer, model and data as ``supercm`` makes them of these words, and nothing done yet."""
    with patch.object(SuperCMCLI, "_run_subcommand", lambda self, subcommand: None):
        return run(words)


def run(words: Sequence[str]) -> SuperCMCLI:
    """Do what ``supercm`` does with these words, silently; return trainer, model and data."""
    with (
        patch.object(sys, "argv", ["supercm", *words]),
        redirect_stdout(io.StringIO()),
        redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        return SuperCMCLI(time.monotonic())
