"""``supercm new NAME``."""

from __future__ import annotations

import keyword
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from supercm_pl.cli.commands.one_line_parser import OneLineParser
from supercm_pl.cli.config_files import shipped_folder

_TEMPLATE = "my_method"


def parser() -> OneLineParser:
    """The parser of the arguments."""
    parser = OneLineParser(
        "new",
        "Make a project: configurations, a method, a backbone and a data source to edit, a test.",
    )
    parser.add_argument("name", type=Path, metavar="NAME", help="folder and package to create")
    return parser


def new(args: Sequence[str]) -> None:
    """Copy the template project under a new name."""
    own = parser()
    folder: Path = own.parse_args(args).name
    name = folder.name.replace("-", "_").lower()
    if not name.isidentifier() or keyword.iskeyword(name):
        own.error(f"NAME must be the name of a Python package, such as my_project, got {folder}")
    if folder.exists():
        own.error(f"{folder} exists")
    if find_spec(name) is not None:
        own.error(f"{name} is the name of an installed package: choose another name")
    template = shipped_folder(f"examples/{_TEMPLATE}")
    for file in sorted(template.rglob("*")):
        if file.suffix in (".md", ".py", ".toml", ".yaml"):
            target = folder / str(file.relative_to(template)).replace(_TEMPLATE, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            text = file.read_text(encoding="utf-8").replace(_TEMPLATE, name)
            text = text.replace(_TEMPLATE.replace("_", "-"), name.replace("_", "-"))
            target.write_text(text, encoding="utf-8")
    print(f"wrote {folder}; next:\n  cd {folder} && pip install -e .")
    print("  supercm fit --config configs/ssl.yaml")
