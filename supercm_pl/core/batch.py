"""A training batch, taken apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Inputs:
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
        given: Inputs by view; a tensor alone is the weak view.
        required: Views, each with the names of those who ask for it.

    Raises:
        ValueError: If one is missing; it names who needs it.
    """
    if isinstance(given, Tensor):
        given = {"weak": given}
    for view, askers in required.items():
        if view not in given:
            raise ValueError(
                f'the batch has no {stream} view "{view}", which {" and ".join(askers)} '
                f"needs; it has {sorted(given) or 'none'}"
            )
    return {view: given[view] for view in required}
