"""Rebuilding the module of a checkpoint from trusted classes only."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections import abc
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from enum import Enum
from functools import partial
from os import PathLike
from pathlib import Path, PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import torch
from lightning.pytorch.core.saving import load_hparams_from_tags_csv, load_hparams_from_yaml
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from supercm_pl._lightning import hyperparameters_given
from supercm_pl.backbones.pretrained import weights_follow
from supercm_pl.checkpoints.trust import resolve, trusted_names

_PLAIN = (str, int, float, bool, complex, bytes, NoneType, PathLike)
_CONTAINERS = (list, tuple, set, frozenset, Mapping, Collection)


def hyperparameters_of(content: Any) -> dict[str, Any]:
    """Return the hyperparameters of a checkpoint; empty if it has none."""
    found = content.get("hyper_parameters") if isinstance(content, Mapping) else None
    return dict(found) if isinstance(found, Mapping) else {}


def read_hyperparameters(file: str | Path) -> dict[str, Any]:
    """Read hyperparameters from a file of a Lightning logger, ``.yaml`` or ``.csv``."""
    load = load_hparams_from_tags_csv if Path(file).suffix == ".csv" else load_hparams_from_yaml
    return dict(load(file))


def load_module(
    base: type[Any],
    content: dict[str, Any],
    strict: bool | None = None,
    trust: str | Collection[str] = (),
    **own: Any,
) -> Any:
    """Build the module of a checkpoint by :func:`build_module`, and load its state.

    ``content`` is the result of :func:`~supercm_pl.checkpoints.files.read_checkpoint`. ``strict``
    requires the same names in both; ``None``: the module's ``strict_loading``. A module
    of the other task is a ``ValueError``.
    """
    part = content.get("labeled_part")
    if part is not None and getattr(base, "labeled_part", part) != part:
        raise ValueError(
            f"the checkpoint is of a module that trains on {part} data, not of {base.__name__}: "
            "load it by its own class, and pass the weights on by load_state_dict"
        )
    module = build_module(base, hyperparameters_of(content), trust, **own)
    module.configure_model()
    module.on_load_checkpoint(content)
    state = content["state_dict"]
    strict = module.strict_loading if strict is None else strict
    keys = module.load_state_dict(state, strict=strict)
    for what, names in (("lacks", keys.missing_keys), ("has unknown", keys.unexpected_keys)):
        if names:  # with `strict`, loading has raised
            rank_zero_warn(f"the checkpoint {what} {', '.join(names):.200}")
    devices = (value.device for value in state.values() if isinstance(value, Tensor))
    return module.to(next(devices, torch.device("cpu")))


def build_module(
    base: type[Any],
    hyperparameters: Mapping[str, Any],
    trust: str | Collection[str] = (),
    **own: Any,
) -> Any:
    """Build the module of a checkpoint from trusted classes only.

    No text is parsed. A mapping with ``class_path`` and ``init_args`` is an object. Where a class
    or function is required, text is its dotted name. All other text remains text. ``base`` is
    trusted, and so is the package that defines it.

    Args:
        base: Class of the module; the checkpoint may name a subclass.
        hyperparameters: Those of the checkpoint.
        trust: Further packages, or full names of classes, that the checkpoint may name.
        own: Arguments that replace those of the checkpoint.

    Raises:
        ValueError: If the checkpoint names a class that is not trusted (see
            :func:`~supercm_pl.checkpoints.trust.resolve`) or not a ``base``, or has invalid
            arguments for it.
    """
    home = base.__module__.partition(".")[0]
    trusted = trusted_names(trust) | ({home} if home != "supercm_pl" else set())
    path = hyperparameters.get("_class_path", f"{base.__module__}.{base.__qualname__}")
    is_base = path == f"{base.__module__}.{base.__qualname__}"
    kind = base if is_base else resolve(path, trusted)
    if not isinstance(kind, type) or not issubclass(kind, base):
        raise ValueError(f"the checkpoint's module must be a {base.__name__}, got {path}")
    with weights_follow(trusted), nullcontext() if own else _keep(hyperparameters):
        given = {name: v for name, v in known_arguments(kind, hyperparameters) if name not in own}
        try:
            return kind(**{**_arguments(kind, given, trusted), **own})
        except TypeError as error:
            if "missing" not in str(error):
                raise
            raise TypeError(
                f"{error}: checkpoints contain no objects, so pass these again, as in "
                "load_from_checkpoint(path, backbone=...)"
            ) from error


def known_arguments(kind: Any, hyperparameters: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the hyperparameters that are arguments of the constructor of ``kind``."""
    known, takes_others = _parameters(kind)
    for name, value in hyperparameters.items():
        if name in known or (takes_others and name not in ("_class_path", "_instantiator")):
            yield name, value


def build(value: Any, trust: Collection[str] = ()) -> Any:
    """Build an object from its ``class_path`` and ``init_args``, as :func:`build_module` does."""
    with weights_follow(trust):
        return _build(value, [Any], trust)


def _keep(hyperparameters: Mapping[str, Any]) -> AbstractContextManager[None]:
    # A configured run saves class paths. The module must save them again: its own arguments are
    # objects, which no checkpoint can hold.
    if "_instantiator" not in hyperparameters:
        return nullcontext()
    instantiator = "lightning.pytorch.cli.instantiate_module"
    return hyperparameters_given(dict(hyperparameters), instantiator)


def _build(value: Any, hints: list[Any], trust: Collection[str]) -> Any:
    inner = [each for hint in hints for arg in get_args(hint) for each in _alternatives(arg)]
    if isinstance(value, Mapping):
        if "class_path" in value:
            return _object(value, hints, trust)
        for kind in filter(dataclasses.is_dataclass, _classes(hints)):
            return kind(**_arguments(kind, value, trust))
        if any("." in str(key) for key in value):  # to a parser, this would be a nested key
            raise ValueError(f"the checkpoint has keys with dots: {[*value]!r:.100}")
        return {key: _build(item, inner or [Any], trust) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_build(item, inner or [Any], trust) for item in value]
        origins = {get_origin(hint) or hint for hint in hints}
        is_tuple = isinstance(value, tuple) or (tuple in origins and list not in origins)
        return tuple(items) if is_tuple else items
    if isinstance(value, str):
        return _text(value, hints, trust)
    if value is None or isinstance(value, bool | int | float):
        return value
    raise ValueError(f"hyperparameters are plain values, the checkpoint has {type(value).__name__}")


def _object(value: Mapping[Any, Any], hints: list[Any], trust: Collection[str]) -> Any:
    kind = resolve(value["class_path"], trust)
    others = [value.get(name) or {} for name in ("init_args", "dict_kwargs")]
    if value.keys() - {"class_path", "init_args", "dict_kwargs"} or not all(
        isinstance(each, Mapping) for each in others
    ):
        raise ValueError(f"{value['class_path']} must have init_args, got {list(value)!r:.100}")
    arguments = _arguments(kind, {**others[0], **others[1]}, trust)
    returns = kind if isinstance(kind, type) else _hints(kind).get("return")
    # The model itself calls what builds an optimizer or the like, and adds arguments.
    made = [get_args(hint)[-1:] for hint in hints if get_origin(hint) is Callable]
    makes = _classes(each for one in made for hint in one for each in _alternatives(hint))
    if isinstance(returns, type) and issubclass(returns, (Optimizer, LRScheduler, *makes)):
        return partial(kind, **arguments)
    return _call(kind, arguments)


def _arguments(kind: Any, given: Mapping[Any, Any], trust: Collection[str]) -> dict[str, Any]:
    known, takes_others = _parameters(kind)
    foreign = [] if takes_others else [repr(name) for name in given if name not in known]
    if foreign:
        raise ValueError(f"{kind.__qualname__} has no argument {', '.join(foreign):.100}")
    return {
        str(name): _build(value, list(_alternatives(known.get(name, Any))), trust)
        for name, value in given.items()
    }


def _call(kind: Any, arguments: Mapping[str, Any]) -> Any:
    try:
        return kind(**arguments)
    except (ValueError, ImportError):
        raise
    except Exception as error:
        raise ValueError(
            f"{kind.__qualname__} can't be built from the arguments in the checkpoint: {error}"
        ) from error


def _parameters(kind: Any) -> tuple[dict[str, Any], bool]:
    """Return the types of the arguments by name, and whether other arguments are accepted."""
    known: dict[str, Any] = {}
    is_class = isinstance(kind, type)
    for call in [each.__init__ for each in kind.__mro__] if is_class else [kind]:
        parameters = list(inspect.signature(call).parameters.values())[is_class:]
        hints = _hints(call)
        for each in parameters:
            if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY):
                # Options of another class are in the signature, but not in the annotations.
                named = isinstance(each.annotation, str) or each.annotation is each.empty
                known.setdefault(each.name, hints.get(each.name, Any if named else each.annotation))
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):
            return known, False
    return known, True


def _hints(call: Any) -> dict[str, Any]:
    # PyTorch imports some names in its annotations only for type checkers.
    names = {**vars(abc), **vars(typing), **getattr(inspect.unwrap(call), "__globals__", {})}
    try:
        return get_type_hints(call, names)
    except Exception:  # unknown types: each argument may be a text or a function
        return dict.fromkeys(getattr(call, "__annotations__", ()), str | Callable)


def _text(value: str, hints: list[Any], trust: Collection[str]) -> Any:
    for kind in _classes(hints):
        if issubclass(kind, Enum) and value in kind.__members__:
            return kind[value]
        if issubclass(kind, PurePath) and str not in hints:
            return kind(value)
    # A resumed run saves its configuration. Reject text that a parser would later change.
    if Any in hints:
        if re.search(r"[:{\[\n]", value):
            raise ValueError(f"the checkpoint has {value!r:.100} where such text is not allowed")
        return value
    texts = [hint for hint in hints if _is_text(hint) and hint is not NoneType]
    if len(texts) >= len({*hints} - {NoneType}) or (texts and re.fullmatch(r"[\w-]*", value)):
        return value
    if {Callable, type} & {get_origin(hint) or hint for hint in hints}:
        return resolve(value, trust)
    raise ValueError(f"the checkpoint has the text {value!r:.100} where an object is required")


def _is_text(hint: Any) -> bool:
    """Whether text for this type is never the name of a class or function."""
    origin = get_origin(hint) or hint
    if origin is Literal or origin in _PLAIN or _is_path(origin):
        return True
    inside = [each for arg in get_args(hint) for each in _alternatives(arg) if arg is not ...]
    is_container = isinstance(origin, type) and issubclass(origin, _CONTAINERS)
    return is_container and bool(inside) and all(map(_is_text, inside))


def _is_path(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, PurePath)


def _classes(hints: Iterable[Any]) -> Iterator[type]:
    return (hint for hint in hints if isinstance(hint, type) and get_origin(hint) is None)


def _alternatives(hint: Any) -> Iterator[Any]:
    """Yield the types of a union, or the type itself; unknown kinds of types become ``Any``."""
    if get_origin(hint) in (Union, UnionType, Annotated):
        for arg in get_args(hint)[: 1 if get_origin(hint) is Annotated else None]:
            yield from _alternatives(arg)
    elif hint is None:
        yield NoneType
    else:
        yield hint if isinstance(hint, type) or get_origin(hint) is not None else Any
