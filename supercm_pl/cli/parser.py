"""Lightning's parser, mended."""

from __future__ import annotations

import re
from typing import Any

from lightning.pytorch.cli import LightningArgumentParser


class SuperCMArgumentParser(LightningArgumentParser):
    """Lightning's parser, whose saved configurations are whole."""

    def parse_args(self, args: Any = None, *others: Any, **kwargs: Any) -> Any:
        """Parse words, ``None`` as what it means.

        For ``--model.backbone.weights null`` jsonargparse reads null, and hands it to the parser of
        the class below as the text ``None``, which would be the name of a file.
        """
        if args is not None:
            args = [re.sub(r"^(--[^=]+=)None$", r"\1null", word) for word in args]
        return super().parse_args(args, *others, **kwargs)

    def dump(self, *args: Any, **kwargs: Any) -> str:
        """The configuration as text, with values that are taken from the data."""
        return str(super().dump(*args, **{"skip_link_targets": False, **kwargs}))
