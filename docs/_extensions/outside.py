"""Site pages for files outside ``docs``, and links to them.

Pages of ``docs`` link to ``../SECURITY.md``, which works on GitHub. On the site, such a link
leads to the page that includes the file, and a link to a notebook leads to the notebook's page.
MyST turns links to other files, such as configurations, into downloads.
"""

import re
import shutil
from pathlib import Path
from typing import Any

_PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
_PAGES["SECURITY.md"] = "security.md"
_LINK = re.compile(r"\]\((?:\.\./)+(notebooks/\w+\.ipynb|" + "|".join(_PAGES) + r")")


def copy_notebooks(app: Any) -> None:
    """Copy the notebooks to where Sphinx finds them."""
    copies = Path(app.srcdir) / "notebooks"
    copies.mkdir(exist_ok=True)
    originals = sorted((Path(app.srcdir).parent / "notebooks").glob("*.ipynb"))
    for gone in {path.name for path in copies.iterdir()} - {path.name for path in originals}:
        (copies / gone).unlink()
    for notebook in originals:
        copy = copies / notebook.name
        if not copy.exists() or copy.read_bytes() != notebook.read_bytes():
            shutil.copyfile(notebook, copy)  # only if changed: Sphinx reads a new copy again


def point_to_pages(app: Any, name: str, source: list[str]) -> None:
    """Point links to files that have a page to that page."""
    source[0] = _LINK.sub(lambda link: f"](/{_PAGES.get(link[1], link[1])}", source[0])


def setup(app: Any) -> dict[str, bool]:
    """Connect both hooks."""
    app.connect("builder-inited", copy_notebooks)
    app.connect("source-read", point_to_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
