"""The classes that all domains of one classifier share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from supercm_pl.data.datasets import Indices


def union_of_classes(domains: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Every class of any domain once, in the order of first occurrence.

    Example:
        >>> union_of_classes([("cat", "dog"), ("dog", "owl")])
        ('cat', 'dog', 'owl')
    """
    return tuple(dict.fromkeys(name for classes in domains for name in classes))


def check_same_classes(source: Sequence[str], target: Sequence[str]) -> None:
    """Reject domains whose classes differ by name; their order may differ.

    Raises:
        ValueError: With the classes that each of them lacks.
    """
    lacks = {
        domain: [name for name in theirs if name not in own]
        for domain, own, theirs in (("target", target, source), ("source", source, target))
    }
    if any(lacks.values()):
        told = " and ".join(
            f"the {domain} lacks {_listed(names)}" for domain, names in lacks.items() if names
        )
        raise ValueError(
            f"source and target must have the same classes, but {told}: use only the images of the "
            "shared classes, or give both domains the same class names"
        )


def renumbered(labels: Indices, own: Sequence[str], shared: Sequence[str]) -> Indices:
    """Labels ``(N,)`` of a domain in the numbering of the shared classes.

    Args:
        labels: In ``0..len(own)-1``.
        own: Class names of the domain.
        shared: Names that contain these, in any order.

    Example:
        >>> renumbered(np.array([0, 1, 1]), ("owl", "cat"), ("cat", "dog", "owl")).tolist()
        [2, 0, 0]
    """
    return np.array([shared.index(name) for name in own], dtype=np.int64)[labels]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(repr(name) for name in names[:10]) + more
