"""Arguments that a class hands on to another: written once, shown by both."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar, get_args, get_type_hints

_Class = TypeVar("_Class", bound=type)

# In a docstring without indentation: the section, and each argument in it.
_ARGUMENTS = re.compile(r"(?<=^Args:\n)(?: {4}.*\n)+", re.MULTILINE)
_ARGUMENT = re.compile(r"^ {4}([*\w]+):.*\n(?: {5}.*\n)*", re.MULTILINE)


def hands_options_to(target: type) -> Callable[[_Class], _Class]:
    """Show the ``**options`` of a class's constructor as arguments of its own.

    Type checkers and editors read names and types from the annotation, ``Unpack`` of a
    ``TypedDict``. This decorator adds the same names to the constructor's signature, with the
    defaults of ``target``, and their descriptions to the class's docstring. ``help``, Sphinx,
    jsonargparse and checkpoints then see every argument. A class method whose ``**options`` are
    those of the class shows them too.

    Args:
        target: The class whose constructor receives the options.
    """

    def decorate(cls: _Class) -> _Class:
        init = vars(cls)["__init__"]
        _show_options(cls, init, target)
        cls.__doc__ = describe_arguments(init.__signature__, cls.__doc__, target.__doc__)
        for member in vars(cls).values():
            if isinstance(member, classmethod) and "options" in member.__func__.__annotations__:
                _show_options(cls, member.__func__, cls)
        return cls

    return decorate


def inherit_descriptions(cls: type) -> None:
    """Describe the arguments that the docstring of a subclass leaves out as its base does."""
    base = cls.__mro__[1]
    cls.__doc__ = describe_arguments(inspect.signature(cls), cls.__doc__, base.__doc__)


def describe_arguments(
    signature: inspect.Signature, doc: str | None, base_doc: str | None
) -> str | None:
    """Complete the ``Args`` of a docstring by those of another.

    Args:
        signature: What to describe, in this order.
        doc: The docstring; its own descriptions come first.
        base_doc: Describes the rest.

    Returns:
        The docstring, or None under ``python -OO``.
    """
    if doc is None or base_doc is None:
        return doc
    doc = f"{inspect.cleandoc(doc)}\n"
    found: dict[str, str] = {}
    for text in (f"{inspect.cleandoc(base_doc)}\n", doc):
        section = _ARGUMENTS.search(text)
        if section:
            found |= {entry[1]: entry[0] for entry in _ARGUMENT.finditer(section[0])}
    described = "".join(found[name] for name in signature.parameters if name in found)
    if not _ARGUMENTS.search(doc):
        return f"{doc}\nArgs:\n{described}" if described else doc
    return _ARGUMENTS.sub(lambda _: described, doc, count=1)


def _show_options(cls: type, function: Any, target: type) -> None:
    """Put the options that a function of ``cls`` hands on to ``target`` into its signature."""
    signature = inspect.signature(function, locals={cls.__name__: cls}, eval_str=True)
    *own, options = signature.parameters.values()
    types = get_type_hints(get_args(options.annotation)[0])
    theirs = inspect.signature(target).parameters.values()
    handed_on = [p.replace(annotation=types[p.name]) for p in theirs if p.name in types]
    function.__signature__ = signature.replace(parameters=[*own, *handed_on])
