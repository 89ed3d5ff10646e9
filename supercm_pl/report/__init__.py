"""One HTML file on one run or several, and the callback that records what it needs.

The page takes ``pip install 'supercm-pl[report]'``; the callback needs nothing more than training.
"""

from supercm_pl.callbacks.report_recorder import ReportRecorder
from supercm_pl.cli.commands.report import main
from supercm_pl.report.page import render_report
from supercm_pl.report.runs import Run, read_run
from supercm_pl.report.snapshot import Snapshot

__all__ = ["ReportRecorder", "Run", "Snapshot", "main", "read_run", "render_report"]
