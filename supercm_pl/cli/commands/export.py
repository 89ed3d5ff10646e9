"""``supercm export CKPT``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from supercm_pl.cli.commands.one_line_parser import OneLineParser

_SUFFIXES = {"torch": ".pt2", "onnx": ".onnx"}


def main(args: Sequence[str] | None = None) -> None:
    """Write the model of a checkpoint to a file that needs neither this package nor Lightning.

    Args:
        args: Words after ``supercm export``; ``None`` takes those after the program's name.

    Raises:
        SystemExit: With status 2 and one line on standard error for a mistake of the user's.
    """
    parser = _parser()
    options = parser.parse_args(args)
    # After the words are understood: these take seconds.
    from supercm_pl.export import export_onnx, export_torch, load_classifier

    output = options.output or options.checkpoint.with_suffix(_SUFFIXES[options.format])
    with parser.complaints_about(options.checkpoint):
        classifier = load_classifier(
            options.checkpoint,
            options.config,
            classes=options.classes,
            input_shape=options.input_shape,
            uint8=options.uint8,
            trust=options.trust,
        )
        write = {"torch": export_torch, "onnx": export_onnx}[options.format]
        difference = write(classifier, output)
    size = output.stat().st_size / 1e6
    shape = "x".join(map(str, classifier.input_shape))
    kind = "uint8 0..255" if classifier.uint8 else "floats, images in [0, 1]"
    print(f"wrote {output}: {len(classifier.classes)} classes, {size:.1f} MB")
    print(f"takes any number of inputs of {shape}, {kind}; gives probabilities, logits, features")
    if difference is None:
        print("not compared with the checkpoint's model: onnxruntime is not installed")
    else:
        print(f"largest difference from the checkpoint's model: {difference:.1g}")


def _parser() -> OneLineParser:
    parser = OneLineParser(
        prog="supercm export",
        description="Write the model of a checkpoint to a file that runs without this package.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "checkpoint", type=Path, metavar="CKPT", help="a checkpoint that supercm fit wrote"
    )
    parser.add_argument(
        "--format", choices=sorted(_SUFFIXES), default="torch", help="(default: torch)"
    )
    parser.add_argument(
        "--output", type=Path, help="the file (default: the checkpoint's name, .pt2 or .onnx)"
    )
    parser.add_argument(
        "--config",
        type=Path,
        help="the run's config.yaml, whose classes the checkpoint may name",
    )
    parser.add_argument(
        "--trust",
        default="",
        help="packages, separated by commas, whose classes the checkpoint may name",
    )
    parser.add_argument(
        "--classes",
        type=lambda text: text.split(","),
        help="names of the classes, separated by commas (default: those of the data)",
    )
    parser.add_argument(
        "--input_shape",
        type=_shape,
        help="shape of one input, such as 3,32,32 (default: that of the data)",
    )
    parser.add_argument(
        "--uint8", action="store_true", help="take bytes 0..255 in place of floats in [0, 1]"
    )
    return parser


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))
