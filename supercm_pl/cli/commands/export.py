"""``supercm export CKPT``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from supercm_pl.cli.commands.one_line_parser import OneLineParser

if TYPE_CHECKING:
    from supercm_pl.export import Classifier
    from supercm_pl.report.snapshot import Evaluation

_SUFFIXES = {"torch": ".pt2", "onnx": ".onnx"}


def export(args: Sequence[str]) -> None:
    """Write the model of a checkpoint to a file that needs neither this package nor Lightning."""
    own = parser()
    options = own.parse_args(args)
    # These imports take seconds: only after the arguments are parsed.
    from supercm_pl.export import export_onnx, export_torch, load_classifier

    output = options.output or options.checkpoint.with_suffix(_SUFFIXES[options.format])
    with own.reporting_errors(options.checkpoint):
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
        card = output.with_name(f"{output.stem}_card.md")
        card.write_text(_card(classifier, output.name, options.checkpoint), encoding="utf-8")
    size = output.stat().st_size / 1e6
    shape = "x".join(map(str, classifier.input_shape))
    kind = "uint8 in 0..255" if classifier.uint8 else "floats, images in [0, 1]"
    print(f"wrote {output}: {len(classifier.classes)} classes, {size:.1f} MB")
    print(f"input: a batch of any size, {shape} per sample, {kind}")
    print("output: probabilities, logits, features")
    print(f"model card: {card}")
    if difference is None:
        print("not compared with the checkpoint's model: onnxruntime is not installed")
    else:
        print(f"largest difference from the checkpoint's model: {difference:.1g}")


def parser() -> OneLineParser:
    """The parser of the arguments."""
    parser = OneLineParser(
        "export", "Write the model of a checkpoint to a file that runs without this package."
    )
    parser.add_checkpoint()
    add = parser.add_argument
    add("--format", choices=sorted(_SUFFIXES), default="torch", help="(default: torch)")
    add("--output", type=Path, help="the file (default: CKPT with the suffix .pt2 or .onnx)")
    add(
        "--classes",
        type=lambda text: text.split(","),
        help="comma-separated class names (default: those of the data)",
    )
    add("--input_shape", type=_shape, help="such as 3,32,32 (default: the shape of the data)")
    add("--uint8", action="store_true", help="accept bytes 0..255 instead of floats in [0, 1]")
    return parser


def _card(classifier: Classifier, name: str, checkpoint: Path) -> str:
    from supercm_pl.export.card import model_card
    from supercm_pl.report.runs import read_run

    folders = (folder for folder in checkpoint.resolve().parents[:2])
    run = next((read_run(each) for each in folders if (each / "config.yaml").is_file()), None)
    curves = {} if run is None else run.curves
    final = None if run is None else run.final
    baselines = {} if final is None else _baselines(final)
    return model_card(
        classifier,
        name,
        counts={} if run is None else run.split,
        metrics={key: c.values[-1] for key, c in curves.items() if key.startswith("test/")},
        baselines=baselines,
    )


def _baselines(final: Evaluation) -> dict[str, float]:
    scores = zip(final.baselines.tolist(), final.baseline_accuracy.tolist(), strict=True)
    return {str(name): float(accuracy) for name, accuracy in scores}


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))
