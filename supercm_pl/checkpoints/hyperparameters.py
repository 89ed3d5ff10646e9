"""Hyperparameters that checkpoints can hold with ``weights_only=True``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import suppress
from types import FrameType
from typing import Any

import lightning.pytorch as L

from supercm_pl._lightning import given_hyperparameters, hyperparameters_given
from supercm_pl.options import as_plain


def save_hyperparameters(module: L.LightningModule, frame: FrameType | None) -> None:
    """Save the constructor arguments of a module as Lightning does.

    ``frame`` is that of the base class's constructor, while the module is built.
    """
    if frame is None or given_hyperparameters() is not None:
        # From a configuration, Lightning has class paths and plain values of all arguments.
        module.save_hyperparameters()
        return
    # From Python, arguments may be objects, which `weights_only=True` rejects. They are left out,
    # and passed again on loading: `load_from_checkpoint(path, backbone=...)`.
    arguments = _constructor_arguments(module, frame)
    plain = plain_values(arguments)
    # By itself, Lightning reads the local variables of the constructors, and misses the defaults of
    # options that one class passes on to another.
    with hyperparameters_given(plain):
        module.save_hyperparameters()


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that ``weights_only=True`` can read, those of NumPy converted."""
    plain = {}
    for name, value in values.items():
        with suppress(TypeError):
            plain[name] = as_plain(value)
    return plain


def _constructor_arguments(module: L.LightningModule, frame: FrameType) -> dict[str, Any]:
    """Return the arguments of the constructor of ``module``'s own class, with defaults."""
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
