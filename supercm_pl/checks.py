"""Checks of arguments, with messages that name the argument, its value and what is right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


def check_size(name: str, value: object) -> None:
    """Require an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {value!r} of type {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")


def check_number(name: str, value: object) -> float:
    """Require a finite real number and return it as a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a float, got {value!r} of type {type(value).__name__}")
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


def check_fraction(name: str, value: object) -> float:
    """Require a number strictly between 0 and 1 and return it as a float."""
    number = check_number(name, value)
    if not 0 < number < 1:
        raise ValueError(f"{name} must be greater than 0 and less than 1, got {value}")
    return number


def check_matrix(name: str, tensor: object, *sizes: tuple[str, int | None]) -> None:
    """Require a floating-point tensor with the named sizes; a size of None may be anything."""
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


def check_flag(name: str, value: object) -> bool:
    """Require True or False and return it: any text, "no" too, would count as True."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return value


def check_labels(
    labels: object, num_samples: int, num_classes: int, mask: Tensor | None = None
) -> None:
    """Require integer class labels, one per sample, in the range 0..K-1 where it can be seen."""
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels must be a tensor, got {type(labels).__name__}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"labels must be a tensor of integers, got {labels.dtype}")
    if labels.shape != (num_samples,):
        raise ValueError(
            f"labels must have shape (N={num_samples},), one per row of features, "
            f"got {tuple(labels.shape)}"
        )
    if mask is not None:
        check_mask(mask, num_samples)
    if values_are_at_hand(labels):
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
            f"mask must have shape (N={num_samples},), one per row of features, "
            f"got {tuple(mask.shape)}"
        )


def check_alpha(alpha: float | Sequence[float] | Tensor, num_classes: int) -> float | Tensor:
    """Require one positive number, or one per class, and return a float or a (K,) tensor."""
    if isinstance(alpha, (list, tuple)):
        numbers = [check_positive("alpha", value) for value in alpha]
        alpha = torch.tensor(numbers, dtype=torch.float32)
    if not isinstance(alpha, Tensor):
        return check_positive("alpha", alpha)
    check_matrix("alpha", alpha, ("K", num_classes))
    if values_are_at_hand(alpha) and not bool(((alpha > 0) & alpha.isfinite()).all()):
        raise ValueError(f"alpha must be finite and greater than 0, got {alpha.tolist()}")
    return alpha


def values_are_at_hand(tensor: Tensor) -> bool:
    """Tell whether looking at values costs nothing: on a device it would wait for the queue."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def is_number(value: object) -> bool:
    """Whether ``value`` is a real number, which texts, ``True`` and ``False`` are not."""
    return isinstance(value, Real) and not isinstance(value, bool)


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


def check_open_fraction(name: str, value: float) -> float:
    """Require a number strictly between 0 and 1, such as a threshold of confidence.

    Raises:
        ValueError: If it is not.
    """
    if not (is_number(value) and 0.0 < value < 1.0):
        raise ValueError(f"{name} must lie in (0, 1), got {value!r}")
    return value


def check_above_zero(name: str, value: float) -> float:
    """Require a finite number above 0, such as a temperature.

    Raises:
        ValueError: If it is not.
    """
    if not (is_number(value) and 0.0 < value < float("inf")):
        raise ValueError(f"{name} must be a number above 0, got {value!r}")
    return value


def check_interval(name: str, value: object, interval: str) -> float:
    """Require a finite number in an interval such as ``"[0, 1)"`` and return it as a float."""
    number = check_number(name, value)
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = number >= low if interval[0] == "[" else number > low
    below = number <= high if interval[-1] == "]" else number < high
    if not (above and below):
        raise ValueError(f"{name} must be in {interval}, got {value}")
    return number


def check_choice(name: str, value: T, choices: Sequence[T]) -> T:
    """Require one of a few values and return it."""
    if value not in choices:
        allowed = ", ".join(map(repr, choices[:-1])) + f" or {choices[-1]!r}"
        raise ValueError(f"{name} must be {allowed}, got {value!r}")
    return value
