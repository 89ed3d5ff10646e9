"""Argument checks: one function for each kind of value, one wording for all.

A check raises `TypeError` for a value of the wrong type and `ValueError` for a value out of range.
The message is "<argument> must be <what is allowed>, got <value>".
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, signature
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from supercm_pl.names import nearest

T = TypeVar("T")
MISSING_AS_TEXT = ("nan", "None", "<NA>", "NaT")
"""What ``str`` makes of missing values."""
_VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


def check_at_least(name: str, value: int, least: int) -> int:
    """Require an integer of at least ``least`` and return it."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {shown(value)}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return value


def check_size(name: str, value: Any) -> int:
    """Require an integer of at least 1, of NumPy too, and return it as an int."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    return check_at_least(name, int(value) if whole else value, 1)


def check_sizes(name: str, values: Any, *, least: int = 1) -> tuple[int, ...]:
    """Require integers of at least 1, ``least`` of them or more, and return them."""
    if not isinstance(values, Sequence) and not hasattr(values, "tolist"):
        raise TypeError(f"{name} must be a list of integers, got {shown(values)}: write [{values}]")
    if len(values) < least:
        raise ValueError(f"{name} must be {least} or more integers, got {values!r}")
    return tuple(check_size(name, value) for value in values)


def check_number(name: str, value: object) -> float:
    """Require a finite real number and return it as a float."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {shown(value)}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
    return float(value)


def check_positive(name: str, value: object) -> float:
    """Require a finite number greater than 0 and return it as a float."""
    number = check_number(name, value)
    if number <= 0:
        raise ValueError(f"{name} must be greater than 0, got {value}")
    return number


def check_not_negative(name: str, value: object) -> float:
    """Require a finite number of at least 0 and return it as a float."""
    number = check_number(name, value)
    if number < 0:
        raise ValueError(f"{name} must be at least 0, got {value}")
    return number


def check_interval(name: str, value: object, interval: str) -> float:
    """Require a finite number in an interval and return it as a float.

    Example:
        >>> check_interval("momentum", 1, "[0, 1)")
        Traceback (most recent call last):
        ValueError: momentum must be in [0, 1), got 1
    """
    number = check_number(name, value)
    low, high = map(float, interval[1:-1].split(","))
    excluded = [bound for bound, end in ((low, interval[0]), (high, interval[-1])) if end in "()"]
    if not low <= number <= high or number in excluded:
        raise ValueError(f"{name} must be in {interval}, got {value}")
    return number


def check_fraction(name: str, value: object) -> float:
    """Require a number strictly between 0 and 1 and return it as a float."""
    return check_interval(name, value, "(0, 1)")


def check_flag(name: str, value: object) -> bool:
    """Require True or False and return it: any text, "no" too, would count as True."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {shown(value)}")
    return value


def check_choice(name: str, value: T, choices: Sequence[T]) -> T:
    """Require one of a few values and return it."""
    if value not in choices:
        known = ", ".join(map(repr, choices))
        raise ValueError(f"{name} must be one of {known}, got {shown(value)}")
    return value


def check_at_most_one(arguments: Mapping[str, object]) -> dict[str, Any]:
    """Require that no more than one argument is given, the others ``None``, and return that one."""
    given = {name: value for name, value in arguments.items() if value is not None}
    if len(given) > 1:
        names = ", ".join(arguments)
        raise ValueError(f"only one of {names} may be given, got {' and '.join(given)}")
    return given


def check_object(name: str, value: object, kind: type[T], example: str) -> T:
    """Require an instance of a class, not the class itself or its name, and return it."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be an object such as {example}, got {shown(value)}")
    return value


def check_optional(check: Callable[..., T], name: str, value: object, *limits: Any) -> T | None:
    """``None``, or what ``check(name, value, *limits)`` returns."""
    return None if value is None else check(name, value, *limits)


def shown(value: object) -> str:
    """A value for a message of one line: its text if that is short, else its type."""
    if isinstance(value, type):
        return f"the class {value.__name__}: write {value.__name__}(...)"
    text = repr(value)
    return text if len(text) < 80 and "\n" not in text else f"an object of {type(value).__name__}"


def check_path(name: str, value: object) -> Path:
    """Require a path and return it."""
    if not isinstance(value, str | PathLike):
        hint = ""
        if isinstance(value, list | tuple) and len(value) == 1:
            hint = f": write {value[0]!r}"
        elif name in ("labeled", "list_file"):
            hint = ": write file and label of each image into labels.csv, and SSLDataModule."
            hint += 'from_folder("labels.csv")'
        raise TypeError(f"{name} must be a path, got {shown(value)}{hint}")
    return Path(value)


def as_objects(name: str, given: object, kind: type[T], example: str) -> list[T]:
    """Require one instance of a class or several, and return them as a list."""
    several = isinstance(given, Sequence | nn.ModuleList) and not isinstance(given, str)
    objects: list[Any] = list(given) if several else [given]  # type: ignore[call-overload]
    for each in objects:
        check_object(name, each, kind, example)
    return objects


def check_maker(name: str, value: Any, home: Any, example: str) -> None:
    """Require None or a class or function that builds something, not the name of one.

    ``home`` is the module that has such classes, and ``example`` the name of one.
    """
    if value is None or callable(value):
        for argument, text in getattr(value, "keywords", {}).items():  # of a partial
            if isinstance(text, str) and re.fullmatch(r"[-+.\d]+(e[-+]?\d+)?", text):
                raise TypeError(
                    f"{argument} of {name} must be a number, got {text!r}: write {text}"
                )
        return
    given = value if isinstance(value, str) else type(value).__name__
    classes = [each for each, kind in vars(home).items() if isinstance(kind, type)]
    kind = nearest(given, classes) or example
    arguments = list(signature(getattr(home, kind)).parameters.values())[1:]
    needed = [p.name for p in arguments if p.default is p.empty and p.kind not in _VARIADIC]
    meant = f"{home.__name__}.{kind}"
    write = f"{name}={meant}, or partial({meant}, ...) with arguments"
    if needed:
        write = f"{name}=partial({meant}, {', '.join(f'{each}=...' for each in needed)})"
    raise TypeError(f"{name} must be a class or function, got {shown(value)}: write {write}")


def check_matrix(name: str, tensor: object, *sizes: tuple[str, int | None]) -> None:
    """Require a floating-point tensor with the named sizes; None allows any size."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}")
    if not tensor.is_floating_point():
        raise TypeError(f"{name} must be a floating-point tensor, got {tensor.dtype}")
    fits = tensor.ndim == len(sizes) and all(
        size is None or actual == size
        for actual, (_, size) in zip(tensor.shape, sizes, strict=True)
    )
    if not fits:
        wanted = ", ".join(label if size is None else f"{label}={size}" for label, size in sizes)
        raise ValueError(f"{name} must have shape ({wanted}), got {tuple(tensor.shape)}")


def check_sums(assignments: Tensor) -> None:
    """Require rows ``(N, K)`` that sum to 1, else a ``ValueError``; it reads their values."""
    if bool(((assignments.detach().float().sum(dim=1) - 1).abs() > 0.05).any()):
        raise ValueError(
            "assignments must have rows that sum to 1: write head(features).assignments, not "
            ".logits"
        )


def check_floats(tensor: object, name: str = "inputs") -> None:
    """Require a floating-point tensor, else a ``TypeError``."""
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
        raise TypeError(f"{name} must be a floating-point tensor, got {kind}")


def check_device(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    """Require two tensors on one device."""
    if tensor.device != other.device:
        raise ValueError(
            f"{name} must be on {other.device}, where {other_name} are, got {tensor.device}"
        )


def check_labels(
    labels: object,
    num_samples: int,
    num_classes: int,
    mask: Tensor | None = None,
    name: str = "labels",
    hint: str = "leave out samples without a label",
) -> None:
    """Require integer labels, one for each sample, in 0..K-1 where reading them is free.

    ``hint`` says what to do about -1.
    """
    labels = _check_vector(name, labels, num_samples, "integers")
    if mask is not None:
        _check_vector("mask", mask, num_samples, "bool")
    if is_readable(labels):
        used = labels if mask is None else labels[mask]
        wrong = used[(used < 0) | (used >= num_classes)]
        if wrong.numel() > 0:
            raise ValueError(
                f"{name} must be in 0..{num_classes - 1} for num_classes={num_classes}, "
                f"got {wrong[0].item()}" + (f": {hint}" if wrong[0] == -1 else "")
            )


def check_saved_labels(labels: object, num_classes: float, least: int = 0) -> Tensor:
    """Require labels ``(N,)`` of a checkpoint, integers in ``least..K-1``, and return them."""
    if (
        not isinstance(labels, Tensor)
        or labels.ndim != 1
        or labels.dtype not in (torch.int32, torch.int64)
    ):
        raise ValueError(f"the checkpoint must hold labels (N,), integers, got {shown(labels)}")
    if len(labels) and not least <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(
            f"labels of the checkpoint must be in {least}..{num_classes - 1:g}, got "
            f"{int(labels.min())} to {int(labels.max())}"
        )
    return labels


def check_alpha(alpha: float | Sequence[float] | Tensor, num_classes: int) -> float | Tensor:
    """Require one positive number, or one per class, and return a float or a (K,) tensor."""
    if not isinstance(alpha, Tensor) and hasattr(alpha, "tolist"):
        alpha = alpha.tolist()  # of NumPy
    if isinstance(alpha, (list, tuple)):
        numbers = [check_positive("alpha", value) for value in alpha]
        alpha = torch.tensor(numbers, dtype=torch.float32)
    if not isinstance(alpha, Tensor):
        return check_positive("alpha", alpha)
    check_matrix("alpha", alpha, ("K", num_classes))
    if is_readable(alpha) and not bool(((alpha > 0) & alpha.isfinite()).all()):
        raise ValueError(f"alpha must be finite and greater than 0, got {alpha.tolist()}")
    return alpha


def is_missing(value: object) -> bool:
    """Whether a value means that there is none: None, NaN, pandas' NA, or blank text."""
    is_nan = isinstance(value, float) and math.isnan(value)
    is_blank = isinstance(value, str) and not value.strip()
    return value is None or is_nan or is_blank or type(value).__name__ in ("NAType", "NaTType")


def is_readable(tensor: Tensor) -> bool:
    """Whether reading values is free: on another device it waits for all queued work."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def _check_vector(name: str, values: object, num_samples: int, kind: str) -> Tensor:
    if not isinstance(values, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(values).__name__}")
    number = values.is_floating_point() or values.is_complex()
    if number or (values.dtype == torch.bool) != (kind == "bool"):
        raise TypeError(f"{name} must be a tensor of {kind}, got {values.dtype}")
    if values.shape != (num_samples,):
        shape = tuple(values.shape)
        raise ValueError(
            f"{name} must have shape (N={num_samples},), one for each sample, got {shape}"
        )
    return values
