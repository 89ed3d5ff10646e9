"""Checks of arguments that modules, base methods and data modules share."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, TypeVar

from torch import nn

T = TypeVar("T")


def is_number(value: object) -> bool:
    """Whether ``value`` is a real number, which texts, ``True`` and ``False`` are not."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_flag(name: str, value: object) -> None:
    """Refuse what is neither ``True`` nor ``False``, such as the text ``"no"``.

    Raises:
        TypeError: If it is something else.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")


def check_object(name: str, value: object, kind: type | tuple[type, ...], example: str) -> None:
    """Refuse what is no object of a class, such as the class itself or its name.

    Args:
        name: Of the argument.
        value: What was given.
        kind: The class, or several.
        example: What would be right.

    Raises:
        TypeError: If it is something else.
    """
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be an object such as {example}, got {value!r}")


def as_objects(name: str, given: object, kind: type[T], example: str) -> list[T]:
    """One object of a class, or several, as a list.

    Args:
        name: What to call each of them in a message.
        given: What was given.
        kind: The class.
        example: What would be right.

    Raises:
        TypeError: If one is something else.
    """
    several = isinstance(given, Sequence | nn.ModuleList) and not isinstance(given, str)
    objects: list[Any] = list(given) if several else [given]  # type: ignore[call-overload]
    for each in objects:
        check_object(name, each, kind, example)
    return objects


def check_maker(name: str, value: Any, example: str) -> None:
    """Refuse what can't be called to make something, such as the name of a class.

    Raises:
        TypeError: If it is something else.
    """
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be a class or function such as {example}, got {value!r}")


def check_at_least(name: str, value: int, least: int) -> None:
    """Refuse an argument that is no whole number of ``least`` or more.

    Raises:
        TypeError: If it is not an ``int``.
        ValueError: If it is too small.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be {least} or more, got {value}")
