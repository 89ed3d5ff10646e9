"""``supercm report RUN_DIR [RUN_DIR ...]``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from supercm_pl.cli.commands.one_line_parser import OneLineParser
from supercm_pl.report.page import render_report
from supercm_pl.report.runs import read_run


def report(args: Sequence[str]) -> None:
    """Write the report of one or more runs.

    Args:
        args: Arguments after ``supercm report``.

    Raises:
        SystemExit: With status 2 and one line on standard error for a usage error.
    """
    parser = OneLineParser("report", "Write a self-contained HTML report on one or more runs.")
    add = parser.add_argument
    help_of_runs = "a logger's folder, such as runs/ssl_digits/version_0"
    add("runs", nargs="+", type=Path, metavar="RUN_DIR", help=help_of_runs)
    add("--output", type=Path, default=Path("report.html"), help="(default: %(default)s)")
    options = parser.parse_args(args)
    try:
        runs = [read_run(folder) for folder in options.runs]
        page = render_report(runs)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        # File names may contain bytes that are not valid text.
        options.output.write_text(page, encoding="utf-8", errors="replace")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "plotly":
            raise
        parser.error("the report requires Plotly: pip install 'supercm-pl[report]'")
    except (ValueError, OSError) as error:
        parser.error(str(error))
    size = options.output.stat().st_size / 1e6
    count = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    print(f"wrote {options.output}: {count}, {size:.1f} MB")
