"""Names of the options, read from source files: importing PyTorch would take seconds."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
# Classes whose constructor, or whose fields, are the arguments of a group.
_CLASSES = {
    "trainer": (("lightning/pytorch/trainer/trainer.py", "Trainer"),),
    "model": (
        ("ssl/module.py", "SSLModule"),
        ("uda/module.py", "UDAModule"),
        ("training/module.py", "NetworkOptions"),
        ("training/module.py", "ModuleOptions"),
        ("training/network.py", "HeadOptions"),
    ),
    "data": (
        ("ssl/datamodule.py", "SSLDataModule"),
        ("uda/datamodule.py", "UDADataModule"),
        ("data/datamodule.py", "DataOptions"),
    ),
}
GROUPS = tuple(_CLASSES)
# Options without a value.
FLAGS = ("--help", "-h", "--quiet", "--no_report", "--print_config")
TOP_LEVEL = (
    *("config", "seed_everything", "trainer", "model", "data", "output", "test_after_fit"),
    *("ckpt_path", "weights_only", "verbose", "optimizer", "lr_scheduler", "trust", "threads"),
    *("source", "target", "quiet", "no_report", "print_config", "help"),
    *("add_labels", "budget", "min_confidence"),
)


@cache
def arguments_of(group: str) -> tuple[str, ...]:
    """Names of the arguments of ``"trainer"``, ``"model"`` or ``"data"``.

    Example:
        >>> "max_steps" in arguments_of("trainer"), "cm_weight" in arguments_of("model")
        (True, True)
    """
    found = (name for file, owner in _CLASSES[group] for name in _names(_path(file), owner))
    return tuple(dict.fromkeys(found))


def all_options() -> dict[str, str]:
    """Every option by its full name, and by its last part, which users often write by itself."""
    full = [f"{group}.{name}" for group in _CLASSES for name in arguments_of(group)]
    short = {name.rpartition(".")[2]: name for name in reversed(full)}
    return {**short, **{name: name for name in (*full, *TOP_LEVEL)}}


def _path(file: str) -> Path:
    if not file.startswith("lightning/"):
        return _PACKAGE / file
    found = find_spec("lightning")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parents[1] / file


def _names(file: Path, owner: str) -> Iterator[str]:
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.ClassDef) or node.name != owner:
            continue
        for part in node.body:
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                yield part.target.id
            elif isinstance(part, ast.FunctionDef) and part.name == "__init__":
                arguments = [*part.args.args, *part.args.kwonlyargs]
                yield from (each.arg for each in arguments if each.arg != "self")
