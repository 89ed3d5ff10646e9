"""The nearest right name for a wrong one: of an argument, an option, a class or a file."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

# Where a class is looked for that is named without its module, or by one that it is not in.
_CLASS_HOMES = (
    "supercm_pl",
    "supercm_pl.backbones",
    "supercm_pl.data",
    "supercm_pl.training.optim",
    "supercm_pl.training.ramps",
    "supercm_pl.ssl.methods",
    "torch.optim",
    "torch.optim.lr_scheduler",
    "lightning.pytorch.callbacks",
    "lightning.pytorch.loggers",
)


def did_you_mean(name: str, names: Iterable[str] | Mapping[str, str]) -> str:
    """``"; did you mean <the nearest of names>?"``, or nothing where none is near.

    Args:
        name: The wrong one.
        names: The right ones; or a mapping from what to compare with to what to suggest.

    Example:
        >>> did_you_mean("cm_wieght", ["cm_ramp", "cm_weight"])
        '; did you mean cm_weight?'
        >>> did_you_mean("colour", ["cm_ramp", "cm_weight"])
        ''
    """
    found = _nearest(name, names)
    return f"; did you mean {found}?" if found else ""


def nearest_class(class_path: str) -> str:
    """``"; did you mean ...?"`` for a class path that leads nowhere, or a class's name alone.

    Example:
        >>> nearest_class("supercm_pl.backbone.ConvNett")
        '; did you mean supercm_pl.backbones.ConvNet?'
        >>> nearest_class("AdmaW")
        '; did you mean torch.optim.AdamW?'
    """
    first, *parts = class_path.split(".")
    corrected = _nearest(first, {home.partition(".")[0] for home in _CLASS_HOMES}) if parts else ""
    for part in parts:
        names = _classes_in(corrected) if part is parts[-1] else _modules_in(corrected)
        name = _nearest(part, names) if corrected else ""
        corrected = f"{corrected}.{name}" if name else ""
    if not corrected:
        homes = {name: f"{home}.{name}" for home in _CLASS_HOMES for name in _classes_in(home)}
        corrected = _nearest(class_path.rpartition(".")[2], homes)
    return f"; did you mean {corrected}?" if corrected else ""


def nearest_file(path: str | Path) -> str:
    """``"; did you mean ...?"`` for a missing path; its first wrong part is put right."""
    path = Path(path)
    parent, rest = path.parent, [path.name]
    while not parent.is_dir() and parent != parent.parent:
        rest.insert(0, parent.name)
        parent = parent.parent
    found = _nearest(rest[0], [entry.name for entry in parent.iterdir()]) if parent.is_dir() else ""
    if not found:
        return ""
    whole = parent.joinpath(found, *rest[1:])
    return f"; did you mean {whole if whole.exists() else parent / found}?"


def argument_names(function: Any) -> list[str]:
    """Names that a class or function takes, those of parents through ``**kwargs`` included."""
    levels = inspect.getmro(function)[:-1] if inspect.isclass(function) else (function,)
    names: dict[str, None] = {}
    for level in levels:
        if inspect.isclass(level) and "__init__" not in vars(level):
            continue
        try:
            parameters = inspect.signature(level).parameters.values()
        except (TypeError, ValueError):  # written in C, without a signature
            break
        variadic = [p for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        names.update(dict.fromkeys(p.name for p in parameters if p not in variadic))
        if all(p.kind is p.VAR_POSITIONAL for p in variadic):
            break
    return list(names)


def object_at(class_path: str) -> Any:
    """The object at ``class_path``, or ``None`` where there is none."""
    module, _, name = class_path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name, None)
    except (ImportError, ValueError):
        return None


def _nearest(name: str, names: Iterable[str] | Mapping[str, str]) -> str:
    pairs = names.items() if isinstance(names, Mapping) else ((each, each) for each in names)
    by_lower = {each.lower(): suggestion for each, suggestion in pairs}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.65)
    return by_lower[found[0]] if found else ""


def _classes_in(module_path: str) -> list[str]:
    try:
        module = importlib.import_module(module_path)
    except (ImportError, ValueError):
        return []
    return [name for name in dir(module) if callable(getattr(module, name, None))]


def _modules_in(module_path: str) -> list[str]:
    try:
        module = importlib.import_module(module_path)
    except (ImportError, ValueError):
        return []
    return [entry.name for entry in pkgutil.iter_modules(getattr(module, "__path__", ()))]
