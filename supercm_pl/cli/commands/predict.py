"""``supercm predict CKPT INPUTS``: predict from a checkpoint, without a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from supercm_pl.cli.commands.one_line_parser import OneLineParser


def predict(args: Sequence[str]) -> None:
    """Write the classes of images to a CSV file.

    Args:
        args: Arguments after ``supercm predict``.

    Raises:
        SystemExit: With status 2 and one line on standard error for a usage error.
    """
    parser = OneLineParser("predict", "Write classes and probabilities of images to a CSV file.")
    parser.add_checkpoint()
    add = parser.add_argument
    add(
        "inputs",
        type=Path,
        metavar="INPUTS",
        help="a folder of images, flat or nested; an image; or an array (N, ...) in a .npy file",
    )
    add("--output", type=Path, default=Path("predictions.csv"), help="(default: %(default)s)")
    add("--batch_size", type=int, default=256, help="(default: %(default)s)")
    options = parser.parse_args(args)
    # These imports take seconds: only after the arguments are parsed.
    import torch

    from supercm_pl.export import load_classifier

    with parser.reporting_errors(options.checkpoint):
        classifier = load_classifier(options.checkpoint, options.config, trust=options.trust)
        if torch.cuda.is_available():
            classifier.to("cuda")
        inputs = _array(options.inputs) if options.inputs.suffix == ".npy" else options.inputs
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
