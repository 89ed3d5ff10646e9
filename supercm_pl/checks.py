"""Argument checks: one function for each kind of value, one wording for all.

A check raises `TypeError` for a value of the wrong type and `ValueError` for a value out of range.
The message is "<argument> must be <what is allowed>, got <value>".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


def check_at_least(name: str, value: int, least: int) -> int:
    """Require an integer of at least ``least`` and return it."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return value


def check_size(name: str, value: int) -> int:
    """Require an integer of at least 1 and return it."""
    return check_at_least(name, value, 1)


def check_number(name: str, value: object) -> float:
    """Require a finite real number and return it as a float."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
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
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return value


def check_choice(name: str, value: T, choices: Sequence[T]) -> T:
    """Require one of a few values and return it."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


def check_object(name: str, value: object, kind: type | tuple[type, ...], example: str) -> None:
    """Require an instance of a class, not the class itself or its name."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be an object such as {example}, got {value!r}")


def as_objects(name: str, given: object, kind: type[T], example: str) -> list[T]:
    """Require one instance of a class or several, and return them as a list."""
    several = isinstance(given, Sequence | nn.ModuleList) and not isinstance(given, str)
    objects: list[Any] = list(given) if several else [given]  # type: ignore[call-overload]
    for each in objects:
        check_object(name, each, kind, example)
    return objects


def check_maker(name: str, value: Any, example: str) -> None:
    """Require None or a class or function that builds something, not the name of one."""
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be a class or function such as {example}, got {value!r}")


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


def check_device(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    """Require two tensors on one device."""
    if tensor.device != other.device:
        raise ValueError(
            f"{name} must be on {other.device}, where {other_name} are, got {tensor.device}"
        )


def check_labels(
    labels: object, num_samples: int, num_classes: int, mask: Tensor | None = None
) -> None:
    """Require integer labels, one for each sample, in 0..K-1 where reading them is free."""
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels must be a tensor, got {type(labels).__name__}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"labels must be a tensor of integers, got {labels.dtype}")
    if labels.shape != (num_samples,):
        raise ValueError(
            f"labels must have shape (N={num_samples},), one for each sample, "
            f"got {tuple(labels.shape)}"
        )
    if mask is not None:
        check_mask(mask, num_samples)
    if is_readable(labels):
        used = labels if mask is None else labels[mask]
        wrong = used[(used < 0) | (used >= num_classes)]
        if wrong.numel() > 0:
            raise ValueError(
                f"labels must be in 0..{num_classes - 1} for num_classes={num_classes}, "
                f"got {wrong[0].item()}"
            )


def check_mask(mask: object, num_samples: int) -> None:
    """Require one bool per sample."""
    if not isinstance(mask, Tensor):
        raise TypeError(f"mask must be a tensor, got {type(mask).__name__}")
    if mask.dtype != torch.bool:
        raise TypeError(f"mask must be a tensor of bool, got {mask.dtype}")
    if mask.shape != (num_samples,):
        raise ValueError(
            f"mask must have shape (N={num_samples},), one for each sample, got {tuple(mask.shape)}"
        )


def check_alpha(alpha: float | Sequence[float] | Tensor, num_classes: int) -> float | Tensor:
    """Require one positive number, or one per class, and return a float or a (K,) tensor."""
    if isinstance(alpha, (list, tuple)):
        numbers = [check_positive("alpha", value) for value in alpha]
        alpha = torch.tensor(numbers, dtype=torch.float32)
    if not isinstance(alpha, Tensor):
        return check_positive("alpha", alpha)
    check_matrix("alpha", alpha, ("K", num_classes))
    if is_readable(alpha) and not bool(((alpha > 0) & alpha.isfinite()).all()):
        raise ValueError(f"alpha must be finite and greater than 0, got {alpha.tolist()}")
    return alpha


def is_readable(tensor: Tensor) -> bool:
    """Whether reading values is free: on another device it waits for all queued work."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()
