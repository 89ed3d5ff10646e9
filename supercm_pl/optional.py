"""Packages that are installed only with an extra."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def import_optional(module: str, user: str, requirement: str) -> Any:
    """Import a module, or raise a ``ModuleNotFoundError`` with the command to install it.

    Example:
        >>> import_optional("no_such_package.part", "Example", "'supercm-pl[hf]'")
        Traceback (most recent call last):
        ModuleNotFoundError: Example requires no_such_package: pip install 'supercm-pl[hf]'
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if (error.name or "").partition(".")[0] != package:  # one of its own dependencies
            raise
        message = f"{user} requires {package}: pip install {requirement}"
        raise ModuleNotFoundError(message, name=package) from error
