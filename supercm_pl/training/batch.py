"""A training batch, taken apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


@dataclass(frozen=True, kw_only=True)
class ParsedBatch:
    """A training batch taken apart.

    Attributes:
        labeled: Inputs ``(N_l, ...)`` by view.
        labels: ``(N_l,)`` int64.
        unlabeled: Inputs ``(N_u, ...)`` by view.
        index: ``(N_u,)`` int64, which samples of their stream the unlabeled ones are.
    """

    labeled: Mapping[str, Tensor]
    labels: Tensor
    unlabeled: Mapping[str, Tensor]
    index: Tensor | None


def check_form(batch: object, labeled: str, unlabeled: str) -> None:
    """Refuse what is no training batch.

    Args:
        batch: What the loader gave.
        labeled: Name of the stream that must be there.
        unlabeled: Name of the other one.

    Raises:
        TypeError: If it is not of the documented form.
    """
    if isinstance(batch, Mapping) and labeled in batch:
        return
    if isinstance(batch, Mapping):
        found = f"a mapping with {sorted(str(name) for name in batch)}"
    else:
        found = type(batch).__name__
    raise TypeError(
        f'a training batch must be {{"{labeled}": (x, y), "{unlabeled}": x}}, as the data module '
        f"yields it, got {found}"
    )


def needed_views(
    stream: str, given: Tensor | Mapping[str, Tensor], required: Mapping[str, tuple[str, ...]]
) -> dict[str, Tensor]:
    """The needed views of a stream's inputs.

    Args:
        stream: Its name.
        given: ParsedBatch by view; a tensor alone is the weak view.
        required: Views, each with the names of those who ask for it.

    Raises:
        TypeError: If they are no tensors.
        ValueError: If one is missing, and it names who needs it; or if numbers of rows differ.
    """
    if isinstance(given, Tensor):
        given = {"weak": given}
    if not isinstance(given, Mapping):
        raise TypeError(
            f"{stream} inputs must be a tensor or a mapping from views to tensors, "
            f"got {type(given).__name__}"
        )
    for view, askers in required.items():
        if view not in given:
            raise ValueError(
                f'the batch has no {stream} view "{view}", which {" and ".join(askers)} '
                f"needs; it has {sorted(given) or 'none'}"
            )
    views = {view: given[view] for view in required}
    for view, inputs in views.items():
        if not isinstance(inputs, Tensor) or inputs.ndim < 1:
            kind = "a number" if isinstance(inputs, Tensor) else type(inputs).__name__
            raise TypeError(f'the {stream} view "{view}" must be a tensor (N, ...), got {kind}')
    if len({len(inputs) for inputs in views.values()}) > 1:
        sizes = ", ".join(f"{view} {len(inputs)}" for view, inputs in views.items())
        raise ValueError(f"{stream} views must have one number of rows, got {sizes}")
    if "index" in views and (views["index"].is_floating_point() or views["index"].ndim != 1):
        index = views["index"]
        raise TypeError(
            f'the {stream} view "index" must be integers (N,), got {index.dtype} '
            f"of shape {tuple(index.shape)}"
        )
    return views


def unpack_labeled(stream: str, given: object, most: int) -> Sequence[Any]:
    """A stream's inputs, labels and what else there may be, up to ``most`` things.

    Raises:
        TypeError: If it is something else.
    """
    if isinstance(given, tuple | list) and 2 <= len(given) <= most:
        return given
    found = type(given).__name__
    if isinstance(given, tuple | list):
        found = f"a {found} of {len(given)}"
    raise TypeError(f"{stream} rows must be (x, y), inputs and labels, got {found}")


def class_labels(
    stream: str, labels: object, views: Mapping[str, Tensor], name: str = "labels"
) -> Tensor:
    """Labels ``(N,)`` as int64, of a stream with these views of ``N`` rows.

    Raises:
        TypeError: If they are not integers.
        ValueError: If there is not one for each row.
    """
    kind = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
    if not isinstance(labels, Tensor) or labels.dtype not in _INTEGERS:
        raise TypeError(f"{stream} {name} must be a tensor of integers, got {kind}")
    size = len(next(iter(views.values()))) if views else len(labels)
    if labels.shape != (size,):
        raise ValueError(
            f"{stream} {name} must have shape (N={size},), one for each row of inputs, "
            f"got {tuple(labels.shape)}"
        )
    return labels.long()


def check_joinable(parts: Mapping[tuple[str, str], Tensor]) -> None:
    """Refuse inputs of different shapes or devices in one forward pass.

    Args:
        parts: By stream and view, ``(N, ...)`` each.

    Raises:
        ValueError: Naming all of them.
    """
    kinds = {(inputs.shape[1:], inputs.device) for inputs in parts.values()}
    if len(kinds) > 1:
        told = ", ".join(
            f'{stream} "{view}" {tuple(inputs.shape[1:])} on {inputs.device}'
            for (stream, view), inputs in parts.items()
        )
        raise ValueError(f"inputs of one forward pass must have one shape and device, got {told}")


def inputs_to_predict(batch: Any) -> Tensor:
    """Inputs of a batch that is a tensor, starts with one, or has one by the name ``inputs``.

    Raises:
        TypeError: If there is no tensor of inputs.
    """
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
