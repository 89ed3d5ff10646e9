"""Lightning's parser, mended."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jsonargparse import ActionConfigFile  # type: ignore[attr-defined]
from lightning.pytorch.cli import LightningArgumentParser

from supercm_pl.cli.compose import layers, name_loggers, without_base
from supercm_pl.cli.words import given_files


class ConfigWithBases(ActionConfigFile):
    """The option ``--config``: the bases of a file apply first, as if they were given before it."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: Any = None) -> None:
        """Add the settings of the file and its bases to ``cfg``."""
        for file in [*map(str, layers(Path(values))[:-1]), values]:
            super().__call__(parser, cfg, file, option_string)  # type: ignore[no-untyped-call]


class SuperCMArgumentParser(LightningArgumentParser):
    """Lightning's parser, with bases of configurations, and saved configurations that are whole."""

    def add_argument(self, *args: Any, **kwargs: Any) -> Any:
        """Add an argument; a configuration file may name bases."""
        if kwargs.get("action") is ActionConfigFile:
            kwargs["action"] = ConfigWithBases
        return super().add_argument(*args, **kwargs)

    def parse_args(self, args: Any = None, *others: Any, **kwargs: Any) -> Any:
        """Parse words, ``None`` as what it means, and name the loggers that have no name.

        For ``--model.backbone.weights null`` jsonargparse reads null, and hands it to the parser of
        the class below as the text ``None``, which would be the name of a file.
        """
        if args is not None:
            args = [re.sub(r"^(--[^=]+=)None$", r"\1null", word) for word in args]
        config = super().parse_args(args, *others, **kwargs)
        for path in given_files(args or ())[:1]:
            name_loggers(config.get("trainer.logger"), path)
        return config

    def parse_string(self, content: str, path: Any = "", *others: Any, **kwargs: Any) -> Any:
        """Parse the text of a configuration; that of a file without its bases, parsed already."""
        text = without_base(content) if path else content
        return super().parse_string(text, path, *others, **kwargs)

    def dump(self, *args: Any, **kwargs: Any) -> str:
        """The configuration as text, with values that are taken from the data."""
        return str(super().dump(*args, **{"skip_link_targets": False, **kwargs}))
