"""The report as one self-contained HTML file."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from supercm_pl._version import __version__
from supercm_pl.checks import as_objects
from supercm_pl.report.charts import (
    calibration_chart,
    confusion_chart,
    curves_chart,
    escaped,
    loss_chart,
)
from supercm_pl.report.embedding_chart import embedding_chart
from supercm_pl.report.runs import Run
from supercm_pl.report.snapshot import KINDS, Array, Evaluation, Snapshot

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_STYLE = Path(__file__).with_name("style.css")

_SIDE_BY_SIDE = 3


def render_report(runs: Sequence[Run]) -> str:
    """Return the HTML page that shows one or more runs side by side; Plotly takes 5 MB of it.

    All text from data and folders is escaped. A content security policy blocks requests, and all
    scripts except Plotly and the charts, identified by their digests.

    Raises:
        TypeError: If one is not a :class:`Run`.
        ValueError: If ``runs`` is empty.
        ModuleNotFoundError: If Plotly is missing.
    """
    runs = as_objects("runs", runs, Run, "read_run(folder)")
    if not runs:
        raise ValueError("runs must have at least one entry, got none")
    charts, curves = _Charts(), curves_chart(runs)
    sections = {
        "Result": _results(runs),
        "Configuration": _configuration(runs),
        **({"Metrics": _wide(charts.html(curves), "")} if curves else {}),
        "Terms of the loss": _wide(charts.html(loss_chart(runs)), "No term was logged twice."),
        "Embedding": _beside(runs, charts.embedding),
        "Confusion": _beside(runs, charts.confusion),
        "Calibration": _beside(runs, charts.calibration),
        "Most confident mistakes": _beside(runs, partial(_gallery, kind="mistake")),
        "Least confident samples": _beside(runs, partial(_gallery, kind="doubtful")),
        "Labels that may be wrong": _beside(runs, partial(_gallery, kind="suspect")),
    }
    if any(run.final and run.snapshots for run in runs):
        sections["Embedding of the validation data, by epoch"] = _beside(runs, charts.epochs)
    body = "\n".join(
        f"<section><h2>{title}</h2>\n{part}</section>" for title, part in sections.items()
    )
    names = ", ".join(escaped(run.name) for run in runs)
    note = f'<div class="note">{names} · supercm_pl {escaped(__version__)}</div>'
    body = f"<h1>supercm report</h1>\n{note}\n{body}"
    return html_page(f"supercm report: {names}", charts.policy(), body)


def html_page(title: str, policy: str, body: str) -> str:
    """A page of escaped text, with a content security policy."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{_STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
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
        shown = run.snapshots if run.final is None else [run.final]
        return f"{_when(shown[-1])}{self.html(embedding_chart(shown))}"

    def epochs(self, run: Run) -> str:
        if not run.snapshots:
            return _note("Not recorded: the run had no callback ReportRecorder.")
        return self.html(embedding_chart(run.snapshots))

    def confusion(self, run: Run) -> str:
        last = _last_record(run)
        parts = [
            f"<div>{_when(last, n)}{self.html(confusion_chart(last, n))}</div>"
            for n in _labeled_parts(last, last.confusion)
        ]
        return "\n".join(parts) or _note("No labels are known, except those of the training.")

    def calibration(self, run: Run) -> str:
        if run.final is None:
            return _note("Not recorded.")
        parts = []
        for n in _labeled_parts(run.final, run.final.calibration):
            bins = run.final.calibration[n]
            gaps = np.abs(bins[:, 1] - bins[:, 2])
            error = float((gaps * bins[:, 0]).sum() / bins[:, 0].sum())
            error_line = f"{_when(run.final, n)}Expected calibration error {error:.3f}"
            parts.append(f"<div>{error_line}{self.html(calibration_chart(bins))}</div>")
        return "\n".join(parts) or _note("No labels are known, except those of the training.")

    def policy(self) -> str:
        digests = (hashlib.sha256(script.encode()).digest() for script in self._scripts)
        known = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
        allowed = " ".join(known) or "'none'"
        return (
            f"default-src 'none'; script-src {allowed}; "
            "style-src 'unsafe-inline'; img-src data: blob:"
        )


def _last_record(run: Run) -> Snapshot:
    """The record of the trained model, else that of the last validation."""
    return run.snapshots[-1] if run.final is None else run.final


def _labeled_parts(record: Snapshot, counts: Array) -> list[int]:
    """Parts whose labels were not trained on; of a record of validations, all with labels."""
    names = [str(name) for name in record.domain_names]
    known = [n for n in range(len(names)) if counts[n].any()]
    held_out = [n for n in known if names[n] == "test" or names[n].endswith("validation")]
    tested = [n for n in held_out if names[n] == "test"]
    return (tested or held_out or known) if isinstance(record, Evaluation) else known


def _wide(chart: str, without: str) -> str:
    if not chart:
        return _note(without)
    # Panels side by side need scrolling on a phone.
    return f'<div class="scroll"><div class="wide">{chart}</div></div>'


def _results(runs: Sequence[Run]) -> str:
    logged = dict.fromkeys(name for run in runs for name in run.curves)
    names = [name for stage in ("test/", "val/") for name in logged if name.startswith(stage)]
    last = [{name: f"{curve.values[-1]:.4f}" for name, curve in run.curves.items()} for run in runs]
    rows = [[escaped(name), *(found.get(name, "") for found in last)] for name in names]
    rows += _baselines(runs)
    counts = [_counts(run) for run in runs]
    for name in dict.fromkeys(name for found in counts for name in found):
        rows.append([f"{escaped(name)} samples", *(found.get(name, "") for found in counts)])
    if not rows:
        return _note("No metric was logged: there is no <code>metrics.csv</code>.")
    return _table(["last value", *(escaped(run.name) for run in runs)], rows, "number")


def _baselines(runs: Sequence[Run]) -> list[list[str]]:
    """Accuracy of simple classifiers on the samples of the test that were read."""
    found: list[dict[str, str]] = []
    for run in runs:
        scores = {}
        if run.final is not None:
            pairs = zip(run.final.baselines, run.final.baseline_accuracy, strict=True)
            scores = {escaped(name): f"{score:.4f}" for name, score in pairs}
        found.append(scores)
    names = dict.fromkeys(name for scores in found for name in scores)
    return [[f"test/acc of {name}", *(each.get(name, "") for each in found)] for name in names]


def _counts(run: Run) -> dict[str, str]:
    if run.final is None:
        return {name.replace("val", "validation"): f"{n:,}" for name, n in run.split.items()}
    sizes = zip(run.final.domain_names, run.final.sizes, strict=True)
    return {str(name): f"{size:,}" for name, (_, size) in sizes}


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


def _gallery(run: Run, kind: str) -> str:
    last = _last_record(run)
    final = last if isinstance(last, Evaluation) else None
    if final is None and kind != "mistake":
        return _note("Not recorded.")
    figures = []
    for n, (image, numbers, share) in enumerate(
        zip(last.images, last.mistaken, last.mistake_confidence, strict=True)
    ):
        if final is not None and KINDS[final.kinds[n]] != kind:
            continue
        label, predicted, domain, row = (int(number) for number in numbers)
        class_name, true = escaped(last.classes[predicted]), escaped(last.classes[label])
        where = f"{escaped(last.domain_names[domain])}, row {row}"
        if final is not None and not str(final.ids[n]).isdigit():
            where = escaped(final.ids[n])
        told = f"{true} taken for <b>{class_name}</b>, {share:.2f}"
        if kind == "suspect":
            told = f"labeled {true}, <b>{class_name}</b> by others, {share:.2f}"
        elif label < 0 or label == predicted:
            told = f"<b>{class_name}</b>, {share:.2f}"
        picture = f'<img alt="{where}" src="{data_uri(image)}">' if image.size else ""
        caption = f'<figcaption>{told}<br><span class="note">{where}</span></figcaption>'
        figures.append(f"<figure>{picture}{caption}</figure>")
    without = {"mistake": "No mistake", "doubtful": "No sample", "suspect": "No suspect label"}
    if not figures:
        return _when(last) + _note(f"{without[kind]} was recorded.")
    return f'{_when(last)}<div class="mistakes">{"".join(figures)}</div>'


def data_uri(image: Array) -> str:
    """An image ``(H, W, C)`` uint8 as the address of a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    gray = image.shape[2] == 1
    Image.fromarray(np.ascontiguousarray(image[:, :, 0] if gray else image)).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _when(snapshot: Snapshot, part: int | None = None) -> str:
    told = [f"epoch {snapshot.epoch}, step {snapshot.step:,}"]
    if isinstance(snapshot, Evaluation):
        told = [f"step {snapshot.step:,}"]
    if part is not None:
        name = escaped(snapshot.domain_names[part])
        if isinstance(snapshot, Evaluation):
            read, size = snapshot.sizes[part]
            samples = f"{size:,}" if read == size else f"{read:,} of {size:,}"
            name = f"{name}, {samples} samples"
        told = [name, *told]
    return f'<div class="note">{", ".join(told)}</div>'


def _beside(runs: Sequence[Run], part: Callable[[Run], str]) -> str:
    cells = "\n".join(
        f"<div><h3>{escaped(run.name)}</h3>"
        f"{part(run) if run.final or run.snapshots else _note(_not_recorded(run))}</div>"
        for run in runs
    )
    # A fixed number of columns: a chart is drawn with the width of its column, and the columns
    # of `auto-fit` shrink when the page grows.
    columns = min(len(runs), _SIDE_BY_SIDE)
    return f'<div class="beside" style="--columns: {columns}">{cells}</div>'


def _not_recorded(run: Run) -> str:
    return f"The model was not evaluated: {escaped(run.problem or 'there is no checkpoint')}."


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
