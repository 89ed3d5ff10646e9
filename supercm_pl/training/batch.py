"""Parsing and checking of training batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


@dataclass(frozen=True, kw_only=True)
class ParsedBatch:
    """A parsed training batch.

    Attributes:
        labeled: Inputs ``(N_l, ...)`` by view.
        labels: ``(N_l,)`` int64.
        unlabeled: Inputs ``(N_u, ...)`` by view.
        index: ``(N_u,)`` int64, the numbers of the unlabeled samples in their part of the data.
    """

    labeled: Mapping[str, Tensor]
    labels: Tensor
    unlabeled: Mapping[str, Tensor]
    index: Tensor | None


def check_form(batch: object, labeled: str, unlabeled: str) -> None:
    """Require a mapping with the labeled part, else a ``TypeError``."""
    if isinstance(batch, Mapping) and labeled in batch:
        return
    if isinstance(batch, Mapping):
        found = f"a mapping with {sorted(str(name) for name in batch)}"
    else:
        found = type(batch).__name__
    raise TypeError(
        f'a training batch must be {{"{labeled}": (x, y), "{unlabeled}": x}}, got {found}: pass '
        f'a data module to fit, or {{"{labeled}": loader, "{unlabeled}": other_loader}}'
    )


def needed_views(
    part: str, given: Any, required: Mapping[str, tuple[str, ...]]
) -> dict[str, Tensor]:
    """Select the views of a part that methods require.

    ``given`` is a mapping from views to tensors; a tensor ``(N, ...)`` is the weak view.
    ``required`` has the names of the methods for each view.

    Raises:
        TypeError: If a view is not a tensor.
        ValueError: If a view is missing, or views have different numbers of samples.
    """
    if isinstance(given, Tensor):
        given = {"weak": given}
    if isinstance(given, list | tuple) and len(given) == 1:  # of a TensorDataset
        given = {"weak": given[0]}
    if not isinstance(given, Mapping):
        raise TypeError(
            f"{part} inputs must be a tensor or a mapping from views to tensors, "
            f"got {type(given).__name__}" + (": leave out labels" if _is_pair(given) else "")
        )
    for view, methods in required.items():
        if view not in given:
            raise ValueError(
                f'the batch has no {part} view "{view}", required by {" and ".join(methods)}; '
                f"it has {sorted(given) or 'none'}"
            )
    views = {view: given[view] for view in required}
    for view, inputs in views.items():
        if not isinstance(inputs, Tensor) or inputs.ndim < 1:
            kind = "a number" if isinstance(inputs, Tensor) else type(inputs).__name__
            raise TypeError(f'the {part} view "{view}" must be a tensor (N, ...), got {kind}')
    if len({len(inputs) for inputs in views.values()}) > 1:
        sizes = ", ".join(f"{view} {len(inputs)}" for view, inputs in views.items())
        raise ValueError(f"{part} views must have the same number of samples, got {sizes}")
    if "index" in views and (views["index"].is_floating_point() or views["index"].ndim != 1):
        index = views["index"]
        raise TypeError(
            f'the {part} view "index" must be integers (N,), got {index.dtype} '
            f"of shape {tuple(index.shape)}"
        )
    return views


def _is_pair(given: object) -> bool:
    return isinstance(given, list | tuple) and len(given) == 2


def unpack_labeled(part: str, given: object, most: int) -> Sequence[Any]:
    """Require a tuple of inputs, labels and more, of up to ``most`` items, else a ``TypeError``."""
    if isinstance(given, tuple | list) and 2 <= len(given) <= most:
        return given
    found = type(given).__name__
    if isinstance(given, tuple | list):
        found = f"a {found} of {len(given)}"
    raise TypeError(f"{part} samples must be (x, y), inputs and labels, got {found}")


def class_labels(
    part: str, labels: object, views: Mapping[str, Tensor], name: str = "labels"
) -> Tensor:
    """Convert the labels of a part with these views to int64 ``(N,)``, one for each input."""
    kind = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
    if not isinstance(labels, Tensor) or labels.dtype not in _INTEGERS:
        raise TypeError(f"{part} {name} must be a tensor of integers, got {kind}")
    size = len(next(iter(views.values()))) if views else len(labels)
    if labels.shape != (size,):
        raise ValueError(
            f"{part} {name} must have shape (N={size},), one for each input, "
            f"got {tuple(labels.shape)}"
        )
    return labels.long()


def check_joinable(parts: Mapping[tuple[str, str], Tensor]) -> None:
    """Require inputs ``(N, ...)``, by part and view, of one shape and device."""
    kinds = {(inputs.shape[1:], inputs.device) for inputs in parts.values()}
    if len(kinds) > 1:
        found = ", ".join(
            f'{part} "{view}" {tuple(inputs.shape[1:])} on {inputs.device}'
            for (part, view), inputs in parts.items()
        )
        raise ValueError(f"inputs of one forward pass must have one shape and device, got {found}")


def inputs_to_predict(batch: Any) -> Tensor:
    """Return the inputs of a batch: a tensor, a sequence that starts with one, or a mapping."""
    inputs = batch
    if isinstance(batch, Mapping):
        inputs = batch.get("inputs")
    elif isinstance(batch, Sequence) and batch:
        inputs = batch[0]
    if not isinstance(inputs, Tensor):
        found = type(batch).__name__
        if isinstance(batch, Mapping):
            found = f"a mapping with {sorted(map(str, batch))}"
        raise TypeError(
            "a batch to predict must be a tensor of inputs, a sequence that starts with one, or a "
            f'mapping with "inputs", got {found}'
        )
    return inputs
