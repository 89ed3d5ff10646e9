"""The classes and functions that a checkpoint may name."""

from __future__ import annotations

import pkgutil
from collections.abc import Collection, Iterator, Mapping
from importlib import import_module
from typing import Any

import torch
from torch import nn

_BASES = (nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)
# Ramps of loss weights have a base class of their own.
_RAMPS = "supercm_pl.training.ramps"
# Constructors of public classes in these modules, called with numbers and text, read no file,
# compile nothing and call no function. Those in torch.fx, torch.jit, timm's wrappers and
# torchmetrics' networks do.
_LISTED = (
    "lightning.pytorch.cli",  # ReduceLROnPlateau with a metric to monitor
    *("torch.nn", "torch.optim", "torch.optim.lr_scheduler", "torchvision.models", "timm.models"),
    *("torchmetrics.classification", "torchmetrics.clustering", "torchmetrics.regression"),
)


def trusted_names(trust: str | Collection[str]) -> frozenset[str]:
    """Parse names of packages and classes: a collection, or text separated by commas."""
    return frozenset(filter(None, trust.split(",") if isinstance(trust, str) else trust))


def named_in(configuration: Any) -> frozenset[str]:
    """Collect every dotted name in the user's own configuration, which makes it trusted."""
    return frozenset(_names(configuration))


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _names(item)
    elif isinstance(value, str) and "." in value:
        yield value
    elif callable(value):
        yield f"{value.__module__}.{getattr(value, '__qualname__', '')}"


def resolve(path: object, trust: Collection[str] = ()) -> Any:
    """Import the class or function that a checkpoint names.

    Accepted are modules (``nn.Module``), optimizers, schedules and ramps that are public classes of
    this package or of the listed modules of PyTorch, torchvision, timm and torchmetrics; and any
    class or function that ``trust`` contains, or whose package it contains. It must also be defined
    there: names that a module imports from elsewhere are rejected, unless ``trust`` contains them.

    Args:
        path: The dotted name.
        trust: Packages, and full names of classes, that the user trusts.

    Raises:
        ValueError: If the name is not accepted. Nothing outside trusted packages is imported.
    """
    parts = path.split(".") if isinstance(path, str) else []
    if len(parts) > 1 and all(part.isidentifier() for part in parts):
        above = {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
        found = _trusted(str(path), trust) if above & set(trust) else _listed(parts)
        if found is not None:
            return found
    package = parts[0] if parts else "PACKAGE"
    raise ValueError(
        f"the checkpoint names {path!r:.100}, which is not a trusted class; if you trust its code, "
        f"add --trust {package:.50} to the command, or trust={package!r:.50} in Python"
    )


def _trusted(path: str, trust: Collection[str]) -> Any:
    try:
        found = pkgutil.resolve_name(path)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"can't import {path}, which the checkpoint names: {error}") from error
    home = f"{getattr(found, '__module__', None)}."
    return found if path in trust or home.startswith(tuple(f"{n}." for n in trust)) else None


def _listed(parts: list[str]) -> Any:
    *above, name = parts
    module = ".".join(above)
    for home in [module] if above[0] == "supercm_pl" else _LISTED:
        if not f"{module}.".startswith(f"{home}."):
            continue
        try:
            found = getattr(import_module(home), name, None)
        except ImportError:
            continue
        if not isinstance(found, type):
            continue
        if not issubclass(found, _BASES) and found.__module__ != _RAMPS:
            continue
        defined = f"{found.__module__}."
        own = defined.startswith("supercm_pl." if above[0] == "supercm_pl" else f"{home}.")
        if own and "._" not in defined and f"{module}." in (f"{home}.", defined):
            return found
    return None
