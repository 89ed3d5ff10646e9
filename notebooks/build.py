"""Makes the notebooks from their scripts: ``python notebooks/build.py``, or ``--check`` alone.

The scripts in ``src`` are in the percent format, which VS Code, PyCharm, Spyder and Jupytext open
as notebooks: ``# %%`` starts a cell of code, ``# %% [markdown]`` one of text. Notebooks are written
without outputs, and byte for byte the same each time.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def scripts() -> list[Path]:
    """The scripts, in reading order."""
    return sorted((FOLDER / "src").glob("*.py"))


def notebook(script: str) -> str:
    """The notebook, as JSON, of a script in the percent format."""
    cells = []
    for number, text in enumerate(re.split(r"^# %%", script, flags=re.MULTILINE)[1:]):
        title, _, body = text.partition("\n")
        cell: dict[str, Any] = {"id": f"cell-{number}", "metadata": {}}
        if title.strip() == "[markdown]":
            body = re.sub(r"^# ?", "", body, flags=re.MULTILINE)
            cell["cell_type"] = "markdown"
        else:
            cell |= {"cell_type": "code", "execution_count": None, "outputs": []}
        cells.append({**cell, "source": body.strip("\n").splitlines(keepends=True)})
    content = {"cells": cells, "metadata": _METADATA, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main() -> None:
    """Write what differs; with ``--check``, only name it and end with status 1."""
    stale = []
    for path in scripts():
        target, made = FOLDER / f"{path.stem}.ipynb", notebook(path.read_text(encoding="utf-8"))
        if not target.is_file() or target.read_text(encoding="utf-8") != made:
            stale.append(target.name)
            if "--check" not in sys.argv[1:]:
                target.write_text(made, encoding="utf-8")
    print(f"{len(stale)} of {len(scripts())} notebooks differ from their scripts", *stale)
    sys.exit(bool(stale) and "--check" in sys.argv[1:])


if __name__ == "__main__":
    main()
