"""The argument parser shared by the commands. Its errors are one line on standard error."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from supercm_pl.cli.errors.suggestions import nearest_file
from supercm_pl.names import did_you_mean, printable


class OneLineParser(argparse.ArgumentParser):
    """A parser that reports a usage error in one line and exits with status 2.

    ``description`` and ``epilog`` are the first and the last line of the command's help.
    """

    def __init__(self, command: str, description: str, epilog: str = "") -> None:
        super().__init__(f"supercm {command}", None, description, epilog, allow_abbrev=False)
        self._paths: dict[str, str] = {}

    def add_checkpoint(self) -> None:
        """Add the checkpoint, and the options that decide which classes it may name."""
        self.add_path("checkpoint", "checkpoint", metavar="CKPT", help="a checkpoint of a run")
        self.add_argument(
            "--config", type=Path, help="the run's config.yaml; its classes are trusted"
        )
        self.add_trust()

    def add_trust(self) -> None:
        """Add the option that names trusted packages."""
        self.add_argument(
            "--trust", default="", help="comma-separated packages whose classes are trusted"
        )

    def add_path(self, name: str, kind: str, **options: Any) -> None:
        """Add a path, or several, that must exist; ``kind`` says in messages what it is."""
        self.add_argument(name, type=Path, **options)
        self._paths[name] = kind

    def parse_args(self, *given: Any, **options: Any) -> Any:
        """Parse arguments and check that paths exist."""
        found = super().parse_args(*given, **options)
        for name, kind in self._paths.items():
            value = getattr(found, name)
            for path in value if isinstance(value, list) else [value]:
                try:
                    if not path.exists():
                        self.error(f"there is no {kind} {path}{nearest_file(path)}")
                except OSError as error:  # such as a name that is too long
                    self.error(f"{error.strerror}: {path}")
        return found

    def error(self, message: str) -> NoReturn:
        """Print ``message`` in one line and exit."""
        unknown = re.match(r"unrecognized arguments: (\S+)", message)
        if unknown:
            word = unknown[1].partition("=")[0]
            kind = "unknown option" if word.startswith("-") else "unexpected argument"
            message = f"{kind} {word}{did_you_mean(word, list(self._option_string_actions))}"
        missing = re.match(r"the following arguments are required: (.*)", message)
        if missing:
            message = f"{self.prog} requires {missing[1]}; see {self.prog} --help"
        print(f"supercm: error: {printable(' '.join(message.split()))}", file=sys.stderr)
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
