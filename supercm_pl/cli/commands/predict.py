"""``supercm predict CKPT INPUTS``: a checkpoint alone says what is in images."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from supercm_pl.cli.commands.one_line_parser import OneLineParser


def main(args: Sequence[str] | None = None) -> None:
    """Write the classes of images to a CSV file.

    Args:
        args: Words after ``supercm predict``; ``None`` takes those after the program's name.

    Raises:
        SystemExit: With status 2 and one line on standard error for a mistake of the user's.
    """
    parser = _parser()
    options = parser.parse_args(args)
    # After the words are understood: these take seconds.
    import torch

    from supercm_pl.export import load_classifier

    with parser.complaints_about(options.checkpoint):
        classifier = load_classifier(options.checkpoint, options.config, trust=options.trust)
        if torch.cuda.is_available():
            classifier.to("cuda")
        inputs = options.inputs
        if inputs.suffix == ".npy":
            inputs = _array(inputs)
        found = classifier.predict(inputs, options.batch_size)
        found.save(options.output, classifier.classes)
    counts = {name: found.classes.count(name) for name in classifier.classes}
    print(f"wrote {options.output}: {len(found.ids):,} inputs")
    print(", ".join(f"{name} {count:,}" for name, count in counts.items() if count))


def _array(path: Path) -> Any:
    import numpy as np

    try:
        return np.load(path, allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{path} is not a file that numpy.save wrote: {error}") from error


def _parser() -> OneLineParser:
    parser = OneLineParser(
        prog="supercm predict",
        description="Write class and probabilities of images to a CSV file.",
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "checkpoint", type=Path, metavar="CKPT", help="a checkpoint that supercm fit wrote"
    )
    parser.add_argument(
        "inputs",
        type=Path,
        metavar="INPUTS",
        help="a folder of images, flat or nested; an image; or an array (N, ...) in a .npy file",
    )
    parser.add_argument("--output", type=Path, default=Path("predictions.csv"), help="the CSV file")
    parser.add_argument("--batch_size", type=int, default=256, help="inputs of a forward pass")
    parser.add_argument("--config", type=Path, help="as in supercm export")
    parser.add_argument("--trust", default="", help="as in supercm export")
    return parser
