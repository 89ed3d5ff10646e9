"""``supercm suggest RUN``: which images to label next."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from supercm_pl.cli.commands.one_line_parser import OneLineParser


def suggest(args: Sequence[str]) -> None:
    """Write a page with images to label, and a CSV file to fill in."""
    own = parser()
    options = own.parse_args(args)
    if options.number < 1:
        own.error(f"--number must be 1 or more, got {options.number}")
    if options.output.suffix == ".html":
        own.error(f"--output must be a CSV file, beside which the page is, got {options.output}")
    with own.reporting_errors(options.run):
        count = _write(options)
    page = options.output.with_suffix(".html")
    print(f"wrote {page} and {options.output}: {count} images to label")
    print(f"fill in the column label, then add to your fit command: --add_labels {options.output}")


def parser() -> OneLineParser:
    """The parser of the arguments."""
    parser = OneLineParser("suggest", "Choose unlabeled images to label next.")
    help_of_run = "a run's folder, such as runs/ssl_digits/version_0"
    parser.add_path("run", "run", metavar="RUN", help=help_of_run)
    add = parser.add_argument
    add("--folder", type=Path, help="choose among these images (default: the run's unlabeled ones)")
    add("--number", type=int, default=20, help="(default: %(default)s)")
    add(
        "--by",
        choices=("both", "uncertain", "diverse"),
        default="both",
        help="images between two classes, typical ones of groups without label, or both in turn",
    )
    add("--output", type=Path, default=Path("suggestions.csv"), help="(default: %(default)s)")
    parser.add_trust()
    return parser


def _write(options: Namespace) -> int:
    # These imports take seconds: only after the arguments are parsed.
    import torch

    from supercm_pl.data.sources.labels_csv import read_labels_csv
    from supercm_pl.report.loading import load_run
    from supercm_pl.report.outputs import outputs, parts_to_show
    from supercm_pl.report.suggestion_page import render_suggestions
    from supercm_pl.report.suggestions import suggest as chosen
    from supercm_pl.spreadsheet import write_rows

    if options.output.is_file() and any(label for _, label in read_labels_csv(options.output)):
        raise ValueError(f"{options.output} has labels already: choose another --output")
    run = load_run(options.run, options.trust)
    parts = parts_to_show(run.data)
    trained = [parts[name] for name in run.data.parts() if parts[name].targets is not None]
    labeled = [outputs(run.module, run.data, part, most=2_000).features for part in trained]
    candidates = _candidates(options.folder, run.data, parts)
    found = outputs(run.module, run.data, candidates, "unlabeled")
    suggestions = chosen(
        found.assignments, found.features, torch.cat(labeled), options.number, options.by
    )
    confidence = found.assignments.amax(dim=1)
    rows = [
        [
            found.ids[position],
            "",
            run.data.classes[int(found.predicted[position])],
            f"{float(confidence[position]):.3f}",
            why,
        ]
        for position, why in suggestions
    ]
    write_rows(options.output, ["file", "label", "predicted", "probability", "why"], rows)
    images = [found.inputs[position] for position, _ in suggestions]
    page = render_suggestions(rows, images, run.data.classes, options.output.name)
    page_file = options.output.with_suffix(".html")
    page_file.write_text(page, encoding="utf-8", errors="replace")
    return len(rows)


def _candidates(folder: Path | None, data: Any, parts: Any) -> Any:
    """The images of a folder that have no label yet, or the unlabeled samples of the run."""
    import os

    import numpy as np

    from supercm_pl.data.datasets import Samples
    from supercm_pl.data.sources.folder import images_to_predict
    from supercm_pl.report.outputs import sample_id

    if folder is None:
        found = next((part for part in parts.values() if part.targets is None), None)
        if found is None:
            raise ValueError("the run has no unlabeled samples to choose from: pass --folder")
        return found
    samples = images_to_predict(folder, data.input_shape).samples
    known = {
        os.path.realpath(sample_id(part.dataset, int(row)))
        for part in parts.values()
        if part.targets is not None
        for row in part.rows
    }
    paths = samples.dataset.paths  # type: ignore[attr-defined]
    rows = [row for row, path in enumerate(paths) if os.path.realpath(path) not in known]
    if not rows:
        raise ValueError(f"all images of {folder} have labels")
    return Samples(samples.dataset, np.asarray(rows))
