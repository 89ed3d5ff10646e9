"""A parser whose every complaint is one line on standard error."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn


class OneLineParser(argparse.ArgumentParser):
    """Ends with status 2 and one line for a mistake of the user's."""

    def error(self, message: str) -> NoReturn:
        """Print the line and end."""
        print(f"supercm: error: {message}", file=sys.stderr)
        sys.exit(2)

    @contextmanager
    def complaints_about(self, checkpoint: Path) -> Iterator[None]:
        """Turn errors that a user's mistake has caused into the line."""
        from supercm_pl.cli.errors.classify import is_about_checkpoint, is_users_mistake
        from supercm_pl.cli.errors.messages import plain_line

        try:
            yield
        except Exception as error:
            if is_about_checkpoint(error):
                self.error(plain_line(error, ["--ckpt_path", str(checkpoint)]))
            if not is_users_mistake(error):
                raise
            self.error(" ".join(str(error).split()))
