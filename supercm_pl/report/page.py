"""The report as one self-contained HTML file."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from supercm_pl._version import __version__
from supercm_pl.report.charts import confusion_chart, curves_chart, escaped
from supercm_pl.report.plane import embedding_chart
from supercm_pl.report.runs import Run
from supercm_pl.report.snapshot import Array, Snapshot

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 0 auto; max-width: 1500px;
       padding: 1.5rem; }
h1 { font-size: 1.5rem; margin: 0; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid #ddd; }
h3 { font-size: 1rem; margin: .4rem 0; overflow-wrap: anywhere; }
.beside { display: grid; gap: 1.5rem;
  grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); }
.beside > * { min-width: 0; }
.scroll { overflow-x: auto; }
.wide { min-width: 700px; }
table { border-collapse: collapse; }
th, td { border-bottom: 1px solid #eee; padding: .2rem .9rem .2rem 0; text-align: left;
         vertical-align: top; max-width: 28rem; overflow-wrap: break-word; }
td.number { font-variant-numeric: tabular-nums; text-align: right; }
pre { background: #f6f6f6; max-height: 30rem; overflow: auto; padding: .8rem; font-size: 13px; }
.mistakes { display: flex; flex-wrap: wrap; gap: .8rem; }
figure { margin: 0; width: 118px; font-size: 12px; line-height: 1.3; overflow-wrap: anywhere; }
figure img { width: 96px; image-rendering: pixelated; border: 1px solid #ddd; display: block; }
.note { color: #666; }
summary { cursor: pointer; }
@media (max-width: 900px) {
  body { padding: .8rem; }
  .beside { grid-template-columns: minmax(0, 1fr); }
}
"""

_SIDE_BY_SIDE = 3

_NOTHING_RECORDED = (
    "Nothing was recorded. Add the callback <code>supercm_pl.callbacks.ReportRecorder</code> to "
    "<code>trainer.callbacks</code>, and validate."
)


def render_report(runs: Sequence[Run]) -> str:
    """Return the HTML page that shows one or more runs side by side; Plotly takes 5 MB of it.

    All text from data and folders is escaped. A content security policy blocks requests, and all
    scripts except Plotly and the charts, identified by their digests.

    Raises:
        ValueError: If ``runs`` is empty.
        ModuleNotFoundError: If Plotly is missing.
    """
    if not runs:
        raise ValueError("runs must have at least one entry, got none")
    charts = _Charts()
    sections = {
        "Result": _results(runs),
        "Configuration": _configuration(runs),
        "Curves": _curves(charts.html(curves_chart(runs))),
        "Embedding of the validation data": _beside(runs, charts.embedding),
        "Confusion": _beside(runs, charts.confusion),
        "Most confident mistakes": _beside(runs, _mistakes),
    }
    body = "\n".join(
        f"<section><h2>{title}</h2>\n{part}</section>" for title, part in sections.items()
    )
    names = ", ".join(escaped(run.name) for run in runs)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{charts.policy()}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>supercm report: {names}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>supercm report</h1>
<div class="note">{names} · supercm_pl {escaped(__version__)}</div>
{body}
</body>
</html>
"""


class _Charts:
    """Charts as HTML; the first one includes Plotly."""

    def __init__(self) -> None:
        self._count = 0
        self._scripts: list[str] = []

    def html(self, figure: Figure | None) -> str:
        if figure is None:
            return ""
        from plotly.io import to_html

        text: str = to_html(
            figure,
            full_html=False,
            include_plotlyjs=self._count == 0,
            include_mathjax=False,
            div_id=f"chart-{self._count}",
            auto_play=False,
            config={"displaylogo": False, "responsive": True},
        )
        self._count += 1
        # Plotly writes JSON without `<`, so data cannot end a script.
        self._scripts += re.findall(r"<script[^>]*>(.*?)</script>", text, flags=re.DOTALL)
        return text

    def embedding(self, run: Run) -> str:
        return self.html(embedding_chart(run.snapshots))

    def confusion(self, run: Run) -> str:
        last = run.snapshots[-1]
        known = [n for n in range(len(last.domain_names)) if last.confusion[n].any()]
        parts = [
            f"<div>{_when(last, escaped(last.domain_names[n]))}"
            f"{self.html(confusion_chart(last, n))}</div>"
            for n in known
        ]
        return "\n".join(parts) or _note("The validation data have no labels.")

    def policy(self) -> str:
        digests = (hashlib.sha256(script.encode()).digest() for script in self._scripts)
        known = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
        allowed = " ".join(known) or "'none'"
        return (
            f"default-src 'none'; script-src {allowed}; "
            "style-src 'unsafe-inline'; img-src data: blob:"
        )


def _curves(chart: str) -> str:
    if not chart:
        return _note("No metric was logged twice.")
    # Panels side by side need scrolling on a phone.
    return f'<div class="scroll"><div class="wide">{chart}</div></div>'


def _results(runs: Sequence[Run]) -> str:
    logged = dict.fromkeys(name for run in runs for name in run.curves)
    names = [name for stage in ("test/", "val/") for name in logged if name.startswith(stage)]
    rows = [[escaped(name), *(_last(run, name) for run in runs)] for name in names]
    parts = {"labeled": "labeled", "unlabeled": "unlabeled", "val": "validation"}
    for part, title in parts.items():
        if any(part in run.split for run in runs):
            counts = [f"{run.split[part]:,}" if part in run.split else "" for run in runs]
            rows.append([f"{title} samples", *counts])
    if not rows:
        return _note("No metric was logged: there is no <code>metrics.csv</code>.")
    return _table(["last value", *(escaped(run.name) for run in runs)], rows, "number")


def _last(run: Run, name: str) -> str:
    return f"{run.curves[name].values[-1]:.4f}" if name in run.curves else ""


def _configuration(runs: Sequence[Run]) -> str:
    parts = []
    if len(runs) > 1:
        paths = dict.fromkeys(path for run in runs for path in run.settings)
        rows = [
            [escaped(path), *(escaped(run.settings.get(path, "–")) for run in runs)]
            for path in paths
            if len({run.settings.get(path) for run in runs}) > 1
        ]
        heads = ["setting", *(escaped(run.name) for run in runs)]
        parts.append(_table(heads, rows) if rows else _note("The configurations are the same."))
    for run in runs:
        text = "no config.yaml" if run.config is None else run.config
        parts.append(
            f"<details><summary>{escaped(run.name)}: full configuration</summary>"
            f"<pre>{escaped(text)}</pre></details>"
        )
    return "\n".join(parts)


def _mistakes(run: Run) -> str:
    last = run.snapshots[-1]
    figures = []
    for image, numbers, sure in zip(
        last.images, last.mistaken, last.mistake_confidence, strict=True
    ):
        label, predicted, domain, row = (int(number) for number in numbers)
        wrong, true = escaped(last.classes[predicted]), escaped(last.classes[label])
        where = escaped(last.domain_names[domain])
        picture = f'<img alt="{where}, row {row}" src="{_data_uri(image)}">' if image.size else ""
        figures.append(
            f"<figure>{picture}<figcaption>{true} taken for <b>{wrong}</b>, {sure:.2f}<br>"
            f'<span class="note">{where}, row {row}</span></figcaption></figure>'
        )
    if not figures:
        return _when(last) + _note("No mistake was recorded.")
    return f'{_when(last)}<div class="mistakes">{"".join(figures)}</div>'


def _data_uri(image: Array) -> str:
    from PIL import Image

    file = io.BytesIO()
    gray = image.shape[2] == 1
    Image.fromarray(np.ascontiguousarray(image[:, :, 0] if gray else image)).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _when(snapshot: Snapshot, what: str = "") -> str:
    when = f"epoch {snapshot.epoch}, step {snapshot.step:,}"
    return f'<div class="note">{f"{what}, {when}" if what else when}</div>'


def _beside(runs: Sequence[Run], part: Callable[[Run], str]) -> str:
    cells = "\n".join(
        f"<div><h3>{escaped(run.name)}</h3>"
        f"{part(run) if run.snapshots else _note(_NOTHING_RECORDED)}</div>"
        for run in runs
    )
    # A fixed number of columns: a chart is drawn with the width of its column, and the columns
    # of `auto-fit` shrink when the page grows.
    columns = min(len(runs), _SIDE_BY_SIDE)
    return f'<div class="beside" style="--columns: {columns}">{cells}</div>'


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """Return a table of cells that are already escaped."""
    # Names of runs are paths, which may wrap after a folder.
    head = "".join(f"<th>{cell.replace('/', '/<wbr>')}</th>" for cell in heads)
    lines = [
        f"<tr><td>{first}</td>" + "".join(f'<td class="{kind}">{cell}</td>' for cell in others)
        for first, *others in rows
    ]
    return f'<div class="scroll"><table><tr>{head}</tr>{"</tr>".join(lines)}</tr></table></div>'


def _note(text: str) -> str:
    return f'<p class="note">{text}</p>'
