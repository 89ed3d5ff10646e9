"""Pages on the site for files that lie outside of ``docs``, and links that lead to them.

A page of ``docs`` links to ``../SECURITY.md`` as GitHub wants it. On the site such a link leads to
the page that includes the file, and one to a notebook to the notebook's page. Links to all other
files, configurations for one, become downloads, as MyST does it.
"""

import re
import shutil
from pathlib import Path
from typing import Any

_PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
_PAGES["SECURITY.md"] = "security.md"
_LINK = re.compile(r"\]\((?:\.\./)+(notebooks/\w+\.ipynb|" + "|".join(_PAGES) + r")")


def copy_notebooks(app: Any) -> None:
    """Put the notebooks where Sphinx finds them."""
    copies = Path(app.srcdir) / "notebooks"
    copies.mkdir(exist_ok=True)
    originals = sorted((Path(app.srcdir).parent / "notebooks").glob("*.ipynb"))
    for gone in {path.name for path in copies.iterdir()} - {path.name for path in originals}:
        (copies / gone).unlink()
    for notebook in originals:
        copy = copies / notebook.name
        if not copy.exists() or copy.read_bytes() != notebook.read_bytes():
            shutil.copyfile(notebook, copy)  # else it would be read anew in every build


def point_to_pages(app: Any, name: str, source: list[str]) -> None:
    """Let links to files that have a page lead there."""
    source[0] = _LINK.sub(lambda link: f"](/{_PAGES.get(link[1], link[1])}", source[0])


def setup(app: Any) -> dict[str, bool]:
    """Do both at the right time."""
    app.connect("builder-inited", copy_notebooks)
    app.connect("source-read", point_to_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
