"""The classes that all domains of one classifier share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from supercm_pl.names import first_of


def union_of_classes(domains: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Every class of any domain once, in the order of first occurrence.

    Example:
        >>> union_of_classes([("cat", "dog"), ("dog", "owl")])
        ('cat', 'dog', 'owl')
    """
    return tuple(dict.fromkeys(name for classes in domains for name in classes))


def check_same_classes(source: Sequence[str], target: Sequence[str]) -> None:
    """Require domains with the same names of classes in any order, else a ``ValueError``."""
    lacks = {
        domain: [name for name in theirs if name not in own]
        for domain, own, theirs in (("target", target, source), ("source", source, target))
    }
    if any(lacks.values()):
        told = " and ".join(
            f"the {domain} lacks {first_of([*map(repr, names)], 10)}"
            for domain, names in lacks.items()
            if names
        )
        raise ValueError(
            f"source and target must have the same classes, but {told}: use only the images of the "
            "shared classes, or give both domains the same class names"
        )
