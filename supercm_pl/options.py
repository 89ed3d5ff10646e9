"""Constructor arguments that a class passes on, and those of an object."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar, get_args, get_type_hints

from supercm_pl.names import did_you_mean

_LARGEST_ARRAY = 10_000
_Class = TypeVar("_Class", bound=type)

# What other libraries, or the paper, call an argument: what to write instead, if a class has the
# argument of that answer or it is a sentence.
_OTHER_NAMES = {
    ("lr", "learning_rate"): ["optimizer=partial(torch.optim.AdamW, lr=...)", "learning_rate=..."],
    ("weight_decay",): ["optimizer=partial(torch.optim.AdamW, weight_decay=...)"],
    ("beta", "cm_lambda"): ["cm_weight=...", "the weight as a factor of head.loss(...).total"],
    ("lambda_u", "loss_weight"): ["weight=..."],
    ("class_weights", "class_weight"): ["alpha=[...], a prior for the sizes of the classes"],
    ("label_smoothing",): ["methods=[...], or override cross_entropy in a subclass"],
    ("feature_dim", "in_dim", "input_dim"): ["in_features=...", "feature_size=..."],
    ("epochs", "n_epochs", "max_epochs", "max_iter"): ["max_steps=...", "Trainer (max_epochs=...)"],
    ("batch_size",): ["labeled_batch_size=... and unlabeled_batch_size=..."],
    ("model",): ["backbone=..."],
    ("scheduler", "lr_schedule"): ["lr_scheduler=..."],
    ("transform", "augmentation", "train_transform"): ["weak=..."],
    ("test", "test_dataset"): [
        "target=DatasetSource(train, test)",
        "source=DatasetSource(train, test)",
    ],
}

# The section of an unindented docstring, and each argument in it.
_ARGUMENTS = re.compile(r"(?<=^Args:\n)(?: {4}.*\n)+", re.MULTILINE)
_ARGUMENT = re.compile(r"^ {4}([*\w]+):.*\n(?: {5}.*\n)*", re.MULTILINE)


def hands_options_to(target: type) -> Callable[[_Class], _Class]:
    """Show the ``**options`` of a class's constructor, which ``target`` receives, as its own.

    Type checkers and editors read names and types from the annotation, ``Unpack`` of a
    ``TypedDict``. This decorator adds the names, with the defaults of ``target``, to the
    constructor's signature and the descriptions to the class's docstring, for ``help``, Sphinx,
    jsonargparse and checkpoints. It also treats class methods with the same ``**options``.
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


def check_options(cls: type, given: Mapping[str, Any], known: type) -> None:
    """Require options of a ``TypedDict``, else a ``TypeError`` that suggests what was meant."""
    for name in given.keys() - known.__annotations__.keys():
        _reject(cls, name)


def suggest_arguments(*classes: type) -> None:
    """Make the constructors of classes suggest the nearest argument for a misspelt one."""
    for cls in classes:
        init: Any = vars(cls).get("__init__", object.__init__)
        parameters = inspect.signature(init).parameters.values()
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):
            cls.__init__ = _checked(init, {each.name for each in parameters})  # type: ignore[misc]


def _checked(init: Any, known: set[str]) -> Any:
    @wraps(init)
    def checked(self: Any, *args: Any, **named: Any) -> None:
        for name in named.keys() - known:
            _reject(type(self), name)
        init(self, *args, **named)

    return checked


def _reject(cls: type, name: str) -> None:
    names = inspect.signature(cls).parameters
    answers = [own for others, each in _OTHER_NAMES.items() if name in others for own in each]
    fitting = [own for own in answers if own.partition("=")[0] in names or " " in own.split("=")[0]]
    hint = f": write {fitting[0]}" if fitting else did_you_mean(name, list(names))
    raise TypeError(f"{cls.__name__} has no argument {name!r}{hint}")


def inherit_descriptions(cls: type) -> None:
    """Describe arguments that the docstring of a subclass omits as its base class does."""
    base = cls.__mro__[1]
    cls.__doc__ = describe_arguments(inspect.signature(cls), cls.__doc__, base.__doc__)


def describe_arguments(
    signature: inspect.Signature, doc: str | None, base_doc: str | None
) -> str | None:
    """Complete the ``Args`` of a docstring by those of another, in the order of a signature.

    Descriptions in ``doc`` take precedence. Under ``python -OO`` there is none.
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


def class_and_arguments(instance: object) -> dict[str, Any] | None:
    """Return the class path and constructor arguments from which an object can be rebuilt.

    ``None`` unless every argument is a plain value in an attribute of the same name.

    Example:
        >>> from supercm_pl.data import ZCA
        >>> class_and_arguments(ZCA(epsilon=0.5))["init_args"]
        {'epsilon': 0.5, 'contrast_scale': 55.0}
    """
    kind = type(instance)
    arguments = {
        name: getattr(instance, name, instance) for name in inspect.signature(kind).parameters
    }
    if not is_plain(arguments):
        return None
    return {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": arguments}


def is_plain(value: object) -> bool:
    """Whether ``torch.load`` with ``weights_only=True`` can read a value."""
    if isinstance(value, Mapping):
        return all(is_plain(item) for pair in value.items() for item in pair)
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def as_plain(value: Any) -> Any:
    """Return a value as plain ones, also from NumPy and small tensors; a ``TypeError`` for others.

    Example:
        >>> import numpy as np
        >>> as_plain({"alpha": np.array([1.0, 2.0]), "weight": np.float64(0.5)})
        {'alpha': [1.0, 2.0], 'weight': 0.5}
    """
    if callable(getattr(value, "tolist", None)) and math.prod(value.shape) <= _LARGEST_ARRAY:
        value = value.tolist()
    if isinstance(value, Mapping):
        return {as_plain(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return (tuple if isinstance(value, tuple) else list)(map(as_plain, value))
    if not is_plain(value):
        raise TypeError(f"a plain value is required, got {type(value).__name__}")
    return value


def _show_options(cls: type, function: Any, target: type) -> None:
    """Add the options that a function of ``cls`` passes to ``target`` to its signature."""
    signature = inspect.signature(function, locals={cls.__name__: cls}, eval_str=True)
    *own, options = signature.parameters.values()
    types = get_type_hints(get_args(options.annotation)[0])
    theirs = inspect.signature(target).parameters.values()
    handed_on = [p.replace(annotation=types[p.name]) for p in theirs if p.name in types]
    function.__signature__ = signature.replace(parameters=[*own, *handed_on])
