"""Checks of arguments that the data modules of both tasks share."""

from __future__ import annotations


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
