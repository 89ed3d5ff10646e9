"""``supercm report RUN_DIR [RUN_DIR ...]``."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from supercm_pl.cli.commands.one_line_parser import OneLineParser

if TYPE_CHECKING:
    from supercm_pl.report.runs import Run


def parser() -> OneLineParser:
    """The parser of the arguments."""
    parser = OneLineParser("report", "Write a self-contained HTML report on one or more runs.")
    add = parser.add_argument
    help_of_runs = "a logger's folder, such as runs/ssl_digits/version_0"
    parser.add_path("runs", "run", nargs="+", metavar="RUN_DIR", help=help_of_runs)
    add("--output", type=Path, default=Path("report.html"), help="(default: %(default)s)")
    add("--no_baselines", action="store_true", help="do not fit simple classifiers")
    parser.add_trust()
    return parser


def report(args: Sequence[str]) -> None:
    """Write the report of one or more runs."""
    own = parser()
    options = own.parse_args(args)
    try:
        runs = [_evaluated(folder, options) for folder in options.runs]
        write_page(runs, options.output)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "plotly":
            raise
        own.error("the report requires Plotly: pip install 'supercm-pl[report]'")
    except ValueError as error:
        own.error(str(error))
    except OSError as error:
        own.error(f"{error.strerror}: {error.filename or options.output}")
    size = options.output.stat().st_size / 1e6
    count = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    print(f"wrote {options.output}: {count}, {size:.1f} MB")


def write_page(runs: Sequence[Run], output: Path) -> None:
    """Write the page of runs to a file; its folder is created if needed."""
    from supercm_pl.report.page import render_report

    page = render_report(runs)
    output.parent.mkdir(parents=True, exist_ok=True)
    # File names may contain bytes that are not valid text.
    output.write_text(page, encoding="utf-8", errors="replace")


def _evaluated(folder: Path, options: Namespace) -> Run:
    """Read a run, and evaluate its last checkpoint unless this has been done."""
    # These imports take seconds: only after the arguments are parsed.
    from supercm_pl.report.evaluation import save_evaluation
    from supercm_pl.report.loading import load_run
    from supercm_pl.report.runs import read_run

    run = read_run(folder)
    if run.final is not None:
        return run
    try:
        found = load_run(folder, options.trust)
        print(f"evaluating {folder}", file=sys.stderr)
        places = {"step": found.step, "epoch": found.epoch}
        save_evaluation(
            folder, found.module, found.data, **places, baselines=not options.no_baselines
        )
    except Exception as error:  # whatever is wrong with the data, the rest can be shown
        return replace(run, problem=" ".join(str(error).split()))
    return read_run(folder)
