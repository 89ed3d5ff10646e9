"""The base class of all methods."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from numbers import Real
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn
from torch.optim import Optimizer

from supercm_pl.checks import as_objects, check_interval, check_not_negative, check_object, shown
from supercm_pl.clustering import ClusteringHead
from supercm_pl.options import inherit_descriptions, suggest_arguments
from supercm_pl.training.ramps import Ramp, RampUp, SigmoidRampUp
from supercm_pl.training.step import Step

__all__ = [
    "Method",
    "MethodLoss",
    "Ramp",
    "Step",
    "as_methods",
    "check_joint_batch_norm",
    "loss_of",
    "snake_case",
]


class MethodLoss(NamedTuple):
    """What a method returns for a step.

    Attributes:
        loss: A scalar, not yet weighted, logged under ``train/<name>``.
        logs: More scalars, logged under ``train/<name>_<key>``.
        supervised: The loss of the labeled samples, a scalar, if the method
            ``replaces_supervised``.
    """

    loss: Tensor
    logs: Mapping[str, Tensor | float] = {}
    supervised: Tensor | None = None


class Method(nn.Module, ABC):
    """Adds ``weight * ramp(progress) * forward(step).loss`` to the objective.

    A subclass implements :meth:`forward` and declares what it needs in class attributes. Its
    parameters and buffers are trained, moved and saved with the model. It never touches the
    optimizer, the trainer or the data, and every schedule is a function of ``step.progress``.

    All methods raise ``TypeError`` for an argument of the wrong type and ``ValueError`` for one
    outside its range. Arguments that the docstring of a subclass leaves out are described as here.

    Args:
        weight: Weight of the loss, ``>= 0``.
        ramp: Growth of the weight over training: a :class:`~supercm_pl.training.ramps.Ramp`; or a
            number in ``(0, 1]``, the fraction of training at which the method's ``ramp_type``
            ends; or ``None``, the full weight from the start.
    """

    views: tuple[str, ...] = ("weak",)
    """Unlabeled views to forward with gradients, of ``"weak"``, ``"strong"`` and ``"weak_2"``, a
    second, independent draw of the weak view."""

    labeled_views: tuple[str, ...] = ("weak",)
    """Labeled views to forward with gradients."""

    input_views: tuple[str, ...] = ()
    """Unlabeled views whose inputs are needed, but not their outputs."""

    needs_index: bool = False
    """Whether the method uses ``step.index``."""

    replaces_supervised: bool = False
    """Whether ``MethodLoss.supervised`` replaces the cross-entropy of the labeled samples."""

    joint_batch_norm: bool = False
    """Whether batch norm has to normalize labeled and unlabeled samples together."""

    separate_batch_norm: bool = False
    """Whether ``UDAModule`` normalizes source and target apart unless ``batch_norm`` is set."""

    step_type: ClassVar[type[Step]] = Step
    """The type that ``forward`` takes; ``UDAStep`` restricts the method to domain adaptation."""

    ramp_type: ClassVar[type[RampUp]] = SigmoidRampUp
    """The ramp that is built if ``ramp`` is a number."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ("views", "labeled_views", "input_views"):
            if isinstance(vars(cls).get(name), str):
                raise TypeError(f'{cls.__name__}: write {name} = ("{vars(cls)[name]}",), a tuple')
        inherit_descriptions(cls)
        suggest_arguments(cls)

    def __init__(self, *, weight: float = 1.0, ramp: Ramp | float | None = None) -> None:
        super().__init__()
        self.weight = check_not_negative("weight", weight)
        if ramp is not None and not isinstance(ramp, Ramp):
            check_object("ramp", ramp, Real, "LinearRampUp(0.4), or a number")  # type: ignore[type-abstract]
            ramp = self.ramp_type(check_interval("ramp", ramp, "(0, 1]"))
        self.ramp = ramp

    @abstractmethod
    def forward(self, step: Any) -> MethodLoss:
        """Return the loss of a :class:`~supercm_pl.training.step.Step`, or of ``step_type``."""

    def build(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Create what depends on the model's sizes; called once, when the module is built.

        The backbone maps inputs ``(N, ...)`` to features ``(N, d)``; ``d`` and ``K`` are the head's
        ``in_features`` and ``num_classes``. Copy what you need of them, and keep neither.
        """

    def during_step(self, optimizer: Optimizer) -> AbstractContextManager[None]:
        """Change settings of the optimizer for one step, and restore them after it."""
        return nullcontext()

    @property
    def cm_factor(self) -> float:
        """A factor of the CM loss, below 1 if the method finds that classes are not clusters."""
        return 1.0

    def after_step(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Follow the model, for example by a moving average; called after an optimizer step."""

    @property
    def source_network(self) -> nn.Module | None:
        """Maps source inputs to features in validation; ``None``: the model's backbone."""
        return None

    @property
    def has_begun(self) -> bool:
        """Whether the method has acted on the model; before that, validators are nan."""
        return True

    @property
    def needs_progress(self) -> bool:
        """Whether the method depends on ``step.progress``, which a run without a limit lacks."""
        return self.ramp is not None

    @property
    def name(self) -> str:
        """The name in logs, the class name in snake case."""
        return snake_case(type(self).__name__)

    def weight_at(self, progress: float) -> float:
        """The weight at ``progress``."""
        return self.weight * (1.0 if self.ramp is None else self.ramp(progress))


suggest_arguments(Method)


def as_methods(given: Method | Sequence[Method], step_type: type[Step]) -> list[Method]:
    """Return the ``methods`` of a module as a list.

    A ``TypeError`` if one is not a method, or needs other steps than ``step_type``.
    """
    several = given if isinstance(given, list | tuple) else [given]
    names = [each for each in several if isinstance(each, str)]
    if names:
        raise TypeError(
            f"methods must be objects such as VAT() or DANN(), got {names[0]!r}: import the class "
            "from supercm_pl.ssl.methods or supercm_pl.uda.methods, and create an object"
        )
    for each in several:
        if callable(each) and not isinstance(each, Method | type):
            raise TypeError(
                f"methods must be objects such as VAT() or DANN(), got {shown(each)}: for your own "
                "loss, subclass supercm_pl.ssl.methods.Method, and return MethodLoss(loss) from "
                "forward(step)"
            )
    methods: list[Method] = as_objects("methods", given, Method, "VAT() or DANN()")  # type: ignore[type-abstract]
    if len({id(method) for method in methods}) < len(methods):
        raise ValueError(
            "methods must be different objects, got one of them twice: raise its weight"
        )
    for method in methods:
        kind = type(method).__name__
        if not {"weight", "ramp"} <= vars(method).keys():
            raise TypeError(f"{kind}.__init__ must call super().__init__(weight=weight, ramp=ramp)")
        if not issubclass(step_type, method.step_type):
            raise TypeError(f"{kind} is a method for domain adaptation: train it with UDAModule")
    return methods


def names_in_logs(named: Iterable[Any]) -> list[str]:
    """Names of methods or validators, numbered from the second of a name on: ``vat``, ``vat_2``."""
    names = [each.name for each in named]
    before = (names[:place].count(name) for place, name in enumerate(names))
    return [f"{name}_{n + 1}" if n else name for n, name in zip(before, names, strict=True)]


def loss_of(method: Method, step: Step) -> MethodLoss:
    """Call a method, and explain what it must not do.

    Raises:
        TypeError: If it does not return a :class:`MethodLoss`.
        ValueError: If its loss is not a scalar, or it uses a view that it does not declare.
    """
    kind = type(method).__name__
    with explained_views(f"{kind}.forward"):
        value: Any = method(step)
    if not isinstance(value, MethodLoss):
        raise TypeError(f"{kind}.forward must return MethodLoss(loss), got {type(value).__name__}")
    for loss in (value.loss, *([] if value.supervised is None else [value.supervised])):
        if not isinstance(loss, Tensor) or loss.ndim:
            got = shown(loss) if not isinstance(loss, Tensor) else f"shape {tuple(loss.shape)}"
            raise ValueError(f"the loss of {kind} must be a scalar tensor, got {got}")
    if method.replaces_supervised != (value.supervised is not None):
        has, told = ("no", "return it") if value.supervised is None else ("a", "write True")
        raise ValueError(
            f"{kind} has replaces_supervised = {method.replaces_supervised} and {has} "
            f"MethodLoss(supervised=...): {told}"
        )
    return value


@contextmanager
def explained_views(user: str) -> Iterator[None]:
    """Turn the ``KeyError`` of a view that ``user`` does not declare into a ``ValueError``."""
    try:
        yield
    except KeyError as error:
        view = error.args[0] if error.args else None
        if view not in ("weak", "weak_2", "strong", "strong_2"):
            raise
        raise ValueError(
            f'{user} uses the view "{view}", which its class must declare, as in '
            f'views = ("weak", "{view}")'
        ) from error


def check_joint_batch_norm(methods: Iterable[Method], given: str, joint: str) -> None:
    """Require the joint policy of batch norm if a method has ``joint_batch_norm``."""
    for method in methods:
        if method.joint_batch_norm and given != joint:
            raise ValueError(
                f'batch_norm must be "{joint}" with {method.name}, which needs labeled and '
                f"unlabeled samples normalized together, got {given!r}"
            )


def snake_case(name: str) -> str:
    """Convert a class name to the name in logs.

    Example:
        >>> snake_case("FixMatch"), snake_case("VAT"), snake_case("DeepCORAL")
        ('fix_match', 'vat', 'deep_coral')
    """
    return re.sub(r"([a-z0-9])([A-Z])|([A-Z])(?=[A-Z][a-z])", r"\1\3_\2", name).lower()
