"""``supercm predict CKPT INPUTS``: predict from a checkpoint, without a configuration."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from supercm_pl.cli.commands.one_line_parser import OneLineParser
from supercm_pl.names import printable


def parser() -> OneLineParser:
    """The parser of the command."""
    parser = OneLineParser(
        "predict",
        "Write classes and probabilities of images to a CSV file.",
        "The test data of a configuration: supercm predict --config FILE --ckpt_path CKPT, with "
        "the options of supercm predict --help all.",
    )
    parser.add_checkpoint()
    add = parser.add_argument
    parser.add_path(
        "inputs",
        "file or folder",
        metavar="INPUTS",
        help="a folder of images, flat or nested; an image; or an array (N, ...) in a .npy file",
    )
    add("--output", type=Path, default=Path("predictions.csv"), help="(default: %(default)s)")
    add("--batch_size", type=int, default=256, help="(default: %(default)s)")
    add(
        "--min_confidence",
        type=float,
        default=0.0,
        help="leave the class of less probable predictions empty, for a person",
    )
    add(
        "--precision",
        type=float,
        help="choose --min_confidence so that this share is right, such as 0.95, on validation or "
        "test samples of the run",
    )
    return parser


def predict(args: Sequence[str]) -> None:
    """Write the classes of images to a CSV file."""
    command = parser()
    options = command.parse_args(args)
    if not 0 <= options.min_confidence <= 1:
        command.error(f"--min_confidence must be in [0, 1], got {options.min_confidence:g}")
    # These imports take seconds: only after the arguments are parsed.
    import torch

    from supercm_pl.export import load_classifier

    with command.reporting_errors(options.checkpoint):
        classifier = load_classifier(options.checkpoint, options.config, trust=options.trust)
        if torch.cuda.is_available():
            classifier.to("cuda")
        inputs = _array(options.inputs) if options.inputs.suffix == ".npy" else options.inputs
        least = options.min_confidence
        if options.precision is not None:
            least = max(least, _threshold(options))
        found = classifier.predict(inputs, options.batch_size)
        left = found.save(options.output, classifier.classes, least)
    counts = {name: found.classes.count(name) for name in classifier.classes}
    print(f"wrote {options.output}: {len(found.ids):,} inputs")
    if least > 0:
        print(f"left to a person: {left:,} with a probability below {least:.3g}")
    print(printable(", ".join(f"{name} {count:,}" for name, count in counts.items() if count)))


def _threshold(options: Namespace) -> float:
    """The smallest probability that gives the precision on samples that were not trained on."""
    from supercm_pl.export.abstaining import FEWEST, threshold_for
    from supercm_pl.report.loading import load_run
    from supercm_pl.report.outputs import outputs, parts_to_show

    run = load_run(options.checkpoint, options.trust)
    held_out = {
        name: part
        for name, part in parts_to_show(run.data).items()
        if part.targets is not None and (name == "test" or name.endswith("validation"))
    }
    enough = [name for name, part in held_out.items() if len(part) >= FEWEST]
    if not enough:
        sizes = ", ".join(f"{len(part)} {name}" for name, part in held_out.items()) or "none"
        raise ValueError(
            f"--precision requires {FEWEST} labeled validation or test samples, the run has "
            f"{sizes}: set --min_confidence"
        )
    found = outputs(run.module, run.data, held_out[enough[0]], enough[0])
    chosen = threshold_for(options.precision, found.assignments, found.labels)
    print(
        f"probability {chosen.confidence:.3g} or more: {chosen.precision:.3f} of {chosen.kept:,} "
        f"{enough[0]} samples are right ({chosen.total - chosen.kept:,} of {chosen.total:,} below)"
    )
    return chosen.confidence


def _array(path: Path) -> Any:
    import numpy as np

    if not path.is_file():  # reading a pipe could block forever
        raise ValueError(f"there is no file {path}")
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not a file that numpy.save wrote: {error}") from error
