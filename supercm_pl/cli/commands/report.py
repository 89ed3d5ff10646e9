"""``supercm report RUN_DIR [RUN_DIR ...]``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from supercm_pl.cli.commands.one_line_parser import OneLineParser
from supercm_pl.report.page import render_report
from supercm_pl.report.runs import read_run


def main(args: Sequence[str] | None = None) -> None:
    """Write the report of one or more runs.

    Args:
        args: Arguments after ``supercm report``; ``None`` takes those of the process.

    Raises:
        SystemExit: With status 2 and one line on standard error if an argument is wrong.
    """
    parser = OneLineParser(
        prog="supercm report",
        description="Write one HTML file, which needs no network, on one run or several.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN_DIR",
        help="a logger's folder, such as runs/ssl_digits/version_0",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("report.html"), help="the file (default: report.html)"
    )
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
        parser.error("the report needs Plotly: pip install 'supercm-pl[report]'")
    except (ValueError, OSError) as error:
        parser.error(" ".join(str(error).split()))
    size = options.output.stat().st_size / 1e6
    count = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    print(f"wrote {options.output}: {count}, {size:.1f} MB")
