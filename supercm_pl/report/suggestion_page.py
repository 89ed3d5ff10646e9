"""Images to label, on one HTML page."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from supercm_pl.report.charts import escaped
from supercm_pl.report.page import data_uri, html_page
from supercm_pl.report.thumbnails import thumbnails

_WHY = {"uncertain": "between two classes", "diverse": "typical of a group without label"}


def render_suggestions(
    rows: Sequence[Sequence[str]], images: Sequence[Tensor], classes: Sequence[str], file: str
) -> str:
    """Return a page with a thumbnail for each row of the CSV ``file``.

    Rows are file, label, predicted class, probability and reason. Images are ``(C, H, W)``; vectors
    have no picture.
    """
    figures = []
    for number, (row, image) in enumerate(zip(rows, thumbnails(images), strict=True), start=1):
        name, _, predicted, probability, why = map(escaped, row)
        picture = f'<img alt="{name}" src="{data_uri(image)}">' if image.size else ""
        figures.append(
            f"<figure>{picture}<figcaption>{number}. <b>{predicted}</b> {probability}?<br>"
            f'<span class="note">{name}<br>{_WHY.get(why, why)}</span></figcaption></figure>'
        )
    body = f"""<h1>{len(rows)} images to label</h1>
<p>Fill in the column <code>label</code> of <code>{escaped(file)}</code>, in the order below. Leave
it empty where you are not sure. Classes: {escaped(", ".join(classes))}. Then train with
<code>--add_labels {escaped(file)}</code>.</p>
<div class="mistakes">{"".join(figures)}</div>"""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return html_page("supercm suggest", policy, body)
