"""Options that differ between a checkpoint and the configuration that resumes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple


class Difference(NamedTuple):
    """An option, by its name without dashes, with the values of checkpoint and configuration."""

    option: str
    saved: Any
    given: Any

    def __str__(self) -> str:
        return f"{self.option} is {_short(self.given)}, the checkpoint has {_short(self.saved)}"


def differences(saved: Any, given: Any, option: str) -> Iterator[Difference]:
    """Find the options below ``option`` that differ.

    The time is bounded by the size of ``given``, whatever an untrusted checkpoint holds.

    Example:
        >>> saved = {"class_path": "Net", "init_args": {"size": 2, "depth": 1}}
        >>> given = {"class_path": "Net", "init_args": {"size": 3, "depth": 1}}
        >>> print(*differences(saved, given, "model"))
        model.size is 3, the checkpoint has 2
    """
    if isinstance(saved, Mapping) and isinstance(given, Mapping):
        if saved.get("class_path") != given.get("class_path"):
            yield Difference(option, saved.get("class_path"), given.get("class_path"))
            return
        for key, value in given.items():
            name = option if key in ("init_args", "dict_kwargs") else f"{option}.{key}"
            yield from differences(saved.get(key), value, name)
    elif _is_list(saved) and _is_list(given) and len(saved) == len(given):
        for one, other in zip(saved, given, strict=True):
            yield from differences(one, other, option)
    elif _is_container(saved) or _is_container(given):
        if saved or given:  # nothing is nothing: no method, or an empty list of methods
            yield Difference(option, saved, given)
    elif str(saved) != str(given):
        yield Difference(option, saved, given)


def is_typed(option: str, words: Sequence[str]) -> bool:
    """Whether an argument of the command line sets ``option``, a part of it or the whole of it.

    Example:
        >>> is_typed("model.optimizer.lr", ["fit", "--model.init_args.optimizer.lr=0.1"])
        True
        >>> is_typed("model.cm_weight", ["fit", "--model.cm_weight_2", "1"])
        False
    """
    for word in words:
        name = (
            word.partition("=")[0].rstrip("+").replace(".init_args", "").replace(".dict_kwargs", "")
        )
        typed = f"{name.removeprefix('--')}."
        if word.startswith("--") and (
            f"{option}.".startswith(typed) or typed.startswith(f"{option}.")
        ):
            return True
    return False


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_container(value: Any) -> bool:
    return _is_list(value) or isinstance(value, Mapping)


def _short(value: Any) -> str:
    value = value.get("class_path", "a mapping") if isinstance(value, Mapping) else value
    if _is_list(value):
        value = f"a list of {len(value)}"
    return f"{value}"[:60].encode("unicode_escape").decode()
