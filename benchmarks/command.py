"""The ``supercm`` command in this process, so that a benchmark can inspect the trained model."""

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
    """Build trainer, model and data as ``supercm`` does for these arguments, without running."""
    with patch.object(SuperCMCLI, "_run_subcommand", lambda self, subcommand: None):
        return run(words)


def run(words: Sequence[str]) -> SuperCMCLI:
    """Run ``supercm`` with these arguments silently; return trainer, model and data."""
    options = ["--no_report"] if words[0] == "fit" else []
    with (
        patch.object(sys, "argv", ["supercm", *words, *options]),
        redirect_stdout(io.StringIO()),
        redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        return SuperCMCLI(time.monotonic())
