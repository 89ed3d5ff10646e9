"""Names in messages; without PyTorch, so that the command answers fast."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence


def did_you_mean(name: str, names: Iterable[str] | Mapping[str, str]) -> str:
    """``"; did you mean <the nearest of names>?"``, or nothing if none is near.

    Args:
        name: The wrong name.
        names: The valid names, or a mapping from valid names to what to suggest for them.

    Example:
        >>> did_you_mean("cm_wieght", ["cm_ramp", "cm_weight"])
        '; did you mean cm_weight?'
        >>> did_you_mean("colour", ["cm_ramp", "cm_weight"])
        ''
    """
    found = nearest(name, names)
    return f"; did you mean {found}?" if found else ""


def first_of(names: Sequence[object], most: int = 3) -> str:
    """The first names and the number of the others, for a message.

    Example:
        >>> first_of(["cat", "dog", "eel"], 2)
        'cat, dog and 1 more'
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(printable, names[:most])) + more


def printable(text: object) -> str:
    r"""Text in which a terminal finds no control characters, such as a file's name in a message.

    Example:
        >>> print(printable("cat\x1b[2J"))
        cat\x1b[2J
    """
    signs = (c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in str(text))
    return "".join(signs)


def nearest(name: str, names: Iterable[str] | Mapping[str, str]) -> str:
    """The nearest of the names, or what they suggest; empty if none is near."""
    pairs = names.items() if isinstance(names, Mapping) else ((each, each) for each in names)
    by_lower = {each.lower(): suggestion for each, suggestion in pairs}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.65)
    return by_lower[found[0]] if found else ""
