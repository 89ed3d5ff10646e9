"""Suggestions for a wrong name: the nearest argument, option, class or file."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from supercm_pl.names import nearest

# Where to search for a class that is named without its module, or with a wrong one.
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


def nearest_class(class_path: str) -> str:
    """``"; did you mean ...?"`` for a class path, or the name of a class, that does not exist.

    Example:
        >>> nearest_class("supercm_pl.backbone.ConvNett")
        '; did you mean supercm_pl.backbones.ConvNet?'
        >>> nearest_class("AdmaW")
        '; did you mean torch.optim.AdamW?'
    """
    first, *parts = class_path.split(".")
    corrected = nearest(first, {home.partition(".")[0] for home in _CLASS_HOMES}) if parts else ""
    for part in parts:
        names = _classes_in(corrected) if part is parts[-1] else _modules_in(corrected)
        name = nearest(part, names) if corrected else ""
        corrected = f"{corrected}.{name}" if name else ""
    if not corrected:
        homes = {name: f"{home}.{name}" for home in _CLASS_HOMES for name in _classes_in(home)}
        corrected = nearest(class_path.rpartition(".")[2], homes)
    return f"; did you mean {corrected}?" if corrected else ""


def nearest_file(path: str | Path) -> str:
    """``"; did you mean ...?"`` for a missing path: its first wrong part is corrected."""
    path = Path(path)
    parent, rest = path.parent, [path.name]
    while not parent.is_dir() and parent != parent.parent:
        rest.insert(0, parent.name)
        parent = parent.parent
    names = {entry.name for entry in parent.iterdir()} if parent.is_dir() else set()
    found = nearest(rest[0], names - {rest[0]})  # which exists, but is not a file
    if not found:
        return ""
    whole = parent.joinpath(found, *rest[1:])
    return f"; did you mean {whole if whole.exists() else parent / found}?"


def argument_names(function: Any) -> list[str]:
    """Argument names of a class or function, including those of parents through ``**kwargs``."""
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
    """The object at ``class_path``, or ``None``."""
    module, _, name = class_path.rpartition(".")
    return getattr(_module(module), name, None)


def import_fault(class_path: str) -> str:
    """The error that importing the module of a class raises, with file and line, or nothing.

    A module that does not exist has no fault: its name is wrong.
    """
    module = class_path.rpartition(".")[0]
    try:
        importlib.import_module(module)
    except (ImportError, SyntaxError) as error:
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            return ""
        if isinstance(error, SyntaxError):
            file, line, text = error.filename, error.lineno, error.msg
        else:
            frames = traceback.extract_tb(error.__traceback__)
            frame = next(each for each in reversed(frames) if "importlib" not in each.filename)
            file, line, text = frame.filename, frame.lineno, str(error).partition(" (/")[0]
        return f"{type(error).__name__}: {text} ({file}, line {line})"
    return ""


def _module(path: str) -> ModuleType | None:
    try:
        return importlib.import_module(path)
    except (ImportError, SyntaxError, ValueError):
        return None


def _classes_in(path: str) -> list[str]:
    module = _module(path)
    return [name for name in dir(module) if module and callable(getattr(module, name, None))]


def _modules_in(path: str) -> list[str]:
    return [entry.name for entry in pkgutil.iter_modules(getattr(_module(path), "__path__", ()))]
