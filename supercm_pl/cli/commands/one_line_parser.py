"""The argument parser shared by the commands. Its errors are one line on standard error."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn


class OneLineParser(argparse.ArgumentParser):
    """A parser that reports a usage error in one line and exits with status 2.

    Args:
        command: Name of the command.
        description: First line of its help.
    """

    def __init__(self, command: str, description: str) -> None:
        super().__init__(prog=f"supercm {command}", description=description, allow_abbrev=False)

    def add_checkpoint(self) -> None:
        """Add the checkpoint, and the options that decide which classes it may name."""
        self.add_argument("checkpoint", type=Path, metavar="CKPT", help="a checkpoint of a run")
        self.add_argument(
            "--config", type=Path, help="the run's config.yaml; its classes are trusted"
        )
        self.add_trust()

    def add_trust(self) -> None:
        """Add the option that names trusted packages."""
        self.add_argument(
            "--trust", default="", help="comma-separated packages whose classes are trusted"
        )

    def error(self, message: str) -> NoReturn:
        """Print ``message`` in one line and exit."""
        print(f"supercm: error: {' '.join(message.split())}", file=sys.stderr)
        sys.exit(2)

    @contextmanager
    def reporting_errors(self, checkpoint: Path) -> Iterator[None]:
        """Report errors that the user can correct in one line."""
        from supercm_pl.cli.errors.classify import is_about_checkpoint, is_users_mistake
        from supercm_pl.cli.errors.messages import plain_line

        try:
            yield
        except Exception as error:
            if is_about_checkpoint(error):
                self.error(plain_line(error, ["--ckpt_path", str(checkpoint)]))
            if not is_users_mistake(error):
                raise
            self.error(str(error))
