"""Lightning's parser, with bases of configuration files and some repairs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jsonargparse import ActionConfigFile  # type: ignore[attr-defined]
from lightning.pytorch.cli import LightningArgumentParser

from supercm_pl.cli.arguments import given_files
from supercm_pl.cli.config_files import layers, name_loggers, without_base


class ConfigWithBases(ActionConfigFile):
    """The option ``--config``: the bases of a file apply before it."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: Any = None) -> None:
        """Add the settings of the file and its bases to ``cfg``."""
        for file in [*map(str, layers(Path(values))[:-1]), values]:
            super().__call__(parser, cfg, file, option_string)  # type: ignore[no-untyped-call]


class SuperCMArgumentParser(LightningArgumentParser):
    """Lightning's parser, with bases of configuration files and complete saved configurations."""

    def add_argument(self, *args: Any, **kwargs: Any) -> Any:
        """Add an argument; ``--config`` supports bases."""
        if kwargs.get("action") is ActionConfigFile:
            kwargs["action"] = ConfigWithBases
        return super().add_argument(*args, **kwargs)

    def parse_args(self, args: Any = None, *others: Any, **kwargs: Any) -> Any:
        """Parse arguments, and name the loggers that have no name.

        jsonargparse passes the null of ``--model.backbone.weights null`` to the parser of the
        nested class as the text ``None``, which would be read as the name of a file.
        """
        if args is not None:
            args = [re.sub(r"^(--[^=]+=)None$", r"\1null", word) for word in args]
        config = super().parse_args(args, *others, **kwargs)
        for path in given_files(args or ())[:1]:
            name_loggers(config.get("trainer.logger"), path)
        return config

    def parse_string(self, content: str, path: Any = "", *others: Any, **kwargs: Any) -> Any:
        """Parse the text of a configuration; skip the bases of a file, already parsed."""
        text = without_base(content) if path else content
        return super().parse_string(text, path, *others, **kwargs)

    def dump(self, *args: Any, **kwargs: Any) -> str:
        """The configuration as text, including values taken from the data."""
        return str(super().dump(*args, **{"skip_link_targets": False, **kwargs}))
