"""Domains that are to share one classifier: the same classes, inputs of one shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from supercm_pl.data.datasets import Indices
from supercm_pl.data.sources.resized import Reshape, first_input


def union_of_classes(domains: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Every class of any domain once, in the order in which they are first met.

    Example:
        >>> union_of_classes([("cat", "dog"), ("dog", "owl")])
        ('cat', 'dog', 'owl')
    """
    return tuple(dict.fromkeys(name for classes in domains for name in classes))


def check_same_classes(source: Sequence[str], target: Sequence[str]) -> None:
    """Refuse domains whose classes differ by name; their order may differ.

    Raises:
        ValueError: Naming the classes that each of them lacks.
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
            f"source and target must have the same classes, but {told}: use the images of the "
            "shared classes alone, or give both domains the same names of classes"
        )


def renumbered(labels: Indices, own: Sequence[str], shared: Sequence[str]) -> Indices:
    """Labels ``(N,)`` of a domain as numbers of the shared classes.

    Args:
        labels: In ``0..len(own)-1``.
        own: The domain's names of its classes.
        shared: Names that contain these, in any order.

    Example:
        >>> renumbered(np.array([0, 1, 1]), ("owl", "cat"), ("cat", "dog", "owl")).tolist()
        [2, 0, 0]
    """
    return np.array([shared.index(name) for name in own], dtype=np.int64)[labels]


def common_reshape(
    sources: Mapping[str, Dataset[Any]],
    target: Dataset[Any],
    size: tuple[int, int] | None,
) -> Reshape:
    """What brings the inputs of all domains to one shape, found by their first samples.

    Grayscale images become RGB where another domain has RGB. Sources, which are joined, get one
    type as well.

    Args:
        sources: Data sets by the names that messages call them by.
        target: The target's data set.
        size: Height and width to resize images to; ``None`` leaves their sizes.

    Raises:
        ValueError: If shapes still differ, naming them; or if there is a size, and a domain has no
            images.
    """
    inputs = {
        name: first_input(dataset, name) for name, dataset in {**sources, "target": target}.items()
    }
    channels = {value.shape[1] if value.ndim == 4 else 0 for value in inputs.values()}
    reshape = Reshape(
        size=size,
        channels=3 if channels == {1, 3} else None,
        floating=len({inputs[name].dtype for name in sources}) > 1,
    )
    shapes = {name: tuple(reshape(value).shape[1:]) for name, value in inputs.items()}
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{name} has {shape}" for name, shape in shapes.items())
        images = all(len(shape) == 3 for shape in shapes.values())
        advice = ": bring them to one size by resize, such as resize=32" if images else ""
        raise ValueError(f"the domains must have inputs of one shape, but {told}{advice}")
    return reshape


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(repr(name) for name in names[:10]) + more
