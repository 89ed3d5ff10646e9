"""Constructor arguments that a class passes on, and those of an object."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from functools import wraps
from inspect import Parameter
from typing import Any, TypeVar, get_args, get_type_hints

from supercm_pl.names import did_you_mean, first_of

_LARGEST_ARRAY = 10_000
_Class = TypeVar("_Class", bound=type)

# What other libraries, or the paper, call an argument: what to write instead. Of several answers,
# the first counts whose argument the class has, or that is a sentence.
_OTHER_NAMES = {
    "lr learning_rate": ["optimizer=partial(torch.optim.AdamW, lr=...)", "learning_rate=..."],
    "weight_decay": ["optimizer=partial(torch.optim.AdamW, weight_decay=...)"],
    "beta cm_lambda": [
        "cm_weight=...",
        "weight=...",
        "the weight as a factor of head.loss(...).total",
    ],
    "lambda_ lambda_u loss_weight coef": ["weight=..."],
    "class_weights class_weight": [
        "alpha=[1 + 2 * p for p in proportions], a prior for the sizes of the classes"
    ],
    "label_smoothing criterion loss loss_fn": [
        "methods=[...], or override cross_entropy(step, num_labeled) in a subclass"
    ],
    "feature_dim in_dim input_dim input_size": ["in_features=...", "feature_size=..."],
    "epochs n_epochs max_epochs max_iter": ["max_steps=...", "Trainer (max_epochs=...)"],
    "batch_size": [
        "labeled_batch_size=... and unlabeled_batch_size=...",
        "source_batch_size=... and target_batch_size=...",
    ],
    "model encoder net": ["backbone=..."],
    "scheduler lr_schedule": ["lr_scheduler=..."],
    "transform transforms augmentation train_transform": ["weak=..."],
    "test test_dataset train train_dataset dataset labeled unlabeled": [
        "target=DatasetSource(train, test)",
        "source=DatasetSource(train, test, unlabeled)",
    ],
    "val val_dataset": ["source=DatasetSource(train, val=val)"],
    "val_size val_split": ["val_size=...", "source_val_size=... and target_val_size=..."],
    "x_val y_val": ["source_val_size=... and target_val_size=..."],
    "y_target y_t target_labels": [
        "UDADataModule(ArraySource(x, y), ArraySource(x_target, y_target)), which tests on them"
    ],
    "p_cutoff tau confidence cutoff conf_threshold": ["threshold=..."],
    "ema_decay decay ema": ["methods=[MeanTeacher(momentum=...)]", "momentum=..."],
    "eps": ["epsilon=..."],
    "n_iter num_iters iterations": ["power_iterations=...", "max_steps=..."],
    "T temp": ["temperature=..."],
    "hidden hidden_size hidden_dim hidden_sizes hidden_layer_sizes hidden_channels dims": [
        "hidden_features=..., a list of widths",
        "widths=(32, 64), the channels of each block",
    ],
    "channels": ["widths=(32, 64), the channels of each block"],
    "in_chans num_channels": [
        "in_channels=...",
        "nothing, as a gray channel is repeated",
    ],
    "widen_factor": ["width=..."],
    "pretrained": ['weights="DEFAULT"', "TorchvisionBackbone or TimmBackbone"],
    "freeze freeze_backbone": ['finetune="none"', 'TorchvisionBackbone(..., finetune="none")'],
    "img_size input_shape resize size": ["image_size=...", "resize=...", "size=..."],
    "image_size": ["resize=...", "size=..."],
    "n_clusters num_clusters": ["num_classes=..."],
    "num_classes n_classes": [
        "num_classes=...",
        "SSLModule(backbone, num_classes): a backbone has no classifier",
    ],
    "degrees": ["rotation=..., in radians"],
    "random_state": ["seed=..."],
    "seed": ["random_state=..."],
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
        if not hasattr(cls, "forward"):  # those save their arguments by the frames of constructors
            cls.__init__ = _checked(init)  # type: ignore[misc]
        for name, member in list(vars(cls).items()):
            if isinstance(member, classmethod) and "options" in member.__func__.__annotations__:
                _show_options(cls, member.__func__, cls)
                setattr(cls, name, classmethod(_checked(member.__func__, cls)))
        return cls

    return decorate


def check_options(cls: type, given: Mapping[str, Any], known: type) -> None:
    """Require options of a ``TypedDict``, else a ``TypeError`` that suggests what was meant."""
    for name in given.keys() - known.__annotations__.keys():
        _reject(cls.__name__, name, inspect.signature(cls))


def suggest_arguments(*classes: type) -> None:
    """Make the constructors of classes suggest the nearest argument for a misspelt one."""
    for cls in classes:
        init: Any = vars(cls).get("__init__", object.__init__)
        parameters = inspect.signature(init).parameters.values()
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):
            cls.__init__ = _checked(init)  # type: ignore[misc]


def _checked(function: Any, owner: type | None = None) -> Any:
    """A constructor, or a class method of ``owner``, that explains arguments it does not have."""
    signature = inspect.signature(function)
    signature = signature.replace(parameters=[*signature.parameters.values()][1:])
    kinds = {name: each.kind for name, each in signature.parameters.items()}
    by_place = [name for name, kind in kinds.items() if kind is Parameter.POSITIONAL_OR_KEYWORD]

    @wraps(function)
    def checked(self: Any, *args: Any, **named: Any) -> Any:
        if owner is not None and self is not owner:  # the constructor may take more
            return function(self, *args, **named)
        called = type(self).__name__ if owner is None else f"{owner.__name__}.{function.__name__}"
        for name in named.keys() - kinds.keys():
            _reject(called, name, signature)
        if len(args) > len(by_place) and Parameter.VAR_POSITIONAL not in kinds.values():
            by_name = first_of(list(kinds)[len(by_place) :])
            hint = _written("test", signature) or f": write the names of the others, {by_name}"
            raise TypeError(
                f"{called} takes {first_of(by_place, 9) or 'no argument'} by position, got "
                f"{len(args)} values{hint}"
            )
        return function(self, *args, **named)

    return checked


def _reject(called: str, name: str, signature: inspect.Signature) -> None:
    names = [each for each in signature.parameters if each not in ("args", "kwargs")]
    hint = _written(name, signature) or did_you_mean(name, names)
    raise TypeError(
        f"{called} has no argument {name!r}{hint or f': it takes {first_of(names, 12)}'}"
    )


def _written(name: str, signature: inspect.Signature) -> str:
    """What to write for a name of another library, if anything is known of it."""
    names = signature.parameters
    known = [each for others, each in _OTHER_NAMES.items() if name in others.split()]
    answers = [own for each in known for own in each]
    fitting = [own for own in answers if own.partition("=")[0] in names or " " in own.split("=")[0]]
    return f": write {fitting[0]}" if fitting else ""


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
