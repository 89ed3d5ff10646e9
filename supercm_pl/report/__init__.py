"""One HTML file that shows one or more runs; requires ``pip install 'supercm-pl[report]'``."""

from supercm_pl.report.page import render_report
from supercm_pl.report.runs import Run, read_run
from supercm_pl.report.snapshot import Snapshot

__all__ = ["Run", "Snapshot", "read_run", "render_report"]
