"""Hyperparameters in a checkpoint that ``weights_only=True`` can load."""

from __future__ import annotations

import inspect
from types import FrameType
from typing import Any

import lightning.pytorch as L

from supercm_pl._lightning import given_hyperparameters, hyperparameters_given
from supercm_pl.options import is_plain


def save_hyperparameters(module: L.LightningModule, frame: FrameType | None) -> None:
    """Save the arguments of ``module``'s constructor as Lightning's own method does.

    Args:
        module: Under construction.
        frame: That of the base class's constructor.
    """
    if frame is None or given_hyperparameters() is not None:
        # From a configuration Lightning has class paths and plain values: they rebuild all.
        module.save_hyperparameters()
        return
    # From Python there are live objects, which a file loaded with `weights_only=True` can't
    # hold. They are left out and given again: `load_from_checkpoint(path, backbone=...)`.
    arguments = _constructor_arguments(module, frame)
    plain = {name: value for name, value in arguments.items() if is_plain(value)}
    # Told so, Lightning does not look for arguments among the constructors' variables itself, where
    # those that are handed on by their defaults are missing.
    with hyperparameters_given(plain):
        module.save_hyperparameters()


def _constructor_arguments(module: L.LightningModule, frame: FrameType) -> dict[str, Any]:
    """Arguments in force of the constructor of ``module``'s own class, defaults included."""
    while (outer := frame.f_back) and _is_constructor(outer, module):
        frame = outer
    names, _, variadic, values = inspect.getargvalues(frame)
    parameters = inspect.signature(type(module).__init__).parameters.values()
    arguments = {p.name: p.default for p in parameters if p.default is not p.empty}
    arguments |= {name: values[name] for name in names[1:]}
    arguments |= {} if variadic is None else values[variadic]
    return arguments


def _is_constructor(frame: FrameType, module: L.LightningModule) -> bool:
    names, _, _, values = inspect.getargvalues(frame)
    return frame.f_code.co_name == "__init__" and names[:1] != [] and values[names[0]] is module
