"""What base methods of both tasks share: a weighted, scheduled term of the objective."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from supercm_pl.checks import as_objects, is_number
from supercm_pl.clustering import ClusteringHead
from supercm_pl.training.batch_norm import BatchNormPolicy
from supercm_pl.training.ramps import CosineRampUp, LinearRampUp, Ramp, SigmoidRampUp
from supercm_pl.training.step import Step


class MethodLoss(NamedTuple):
    """What a term returns for a step.

    Attributes:
        loss: A scalar, not yet weighted.
        logs: More scalars, logged under ``train/<name>_<key>``.
        supervised: The labeled samples' own loss, a scalar, of a term that
            ``replaces_supervised``.
    """

    loss: Tensor
    logs: Mapping[str, Tensor] = {}
    supervised: Tensor | None = None


class Method(nn.Module, ABC):
    """A term of the objective, ``weight * ramp(progress) * forward(step).loss``.

    Its parameters and buffers are trained and saved with the model because it is a module. It never
    touches the optimizer, the trainer or the data, and takes its schedule from ``step.progress``.

    A subclass implements ``forward(step)``, and says in class attributes what it needs.

    Args:
        weight: Weight of the term, ``>= 0``.
        ramp: How the weight grows over training. A number in ``(0, 1]`` is the fraction of it at
            which the method's usual ramp ends, a
            :class:`~supercm_pl.training.ramps.SigmoidRampUp` unless its class says otherwise;
            ``None``: full from the start.

    Raises:
        ValueError: If ``weight`` is negative or not finite, or a number for ``ramp`` out of range.
    """

    views: tuple[str, ...] = ("weak",)
    """Unlabeled views that go through the step's forward pass, with gradients. They are ``"weak"``
    and ``"strong"``; ``"weak_2"`` is a second, independent draw of the weak view."""

    labeled_views: tuple[str, ...] = ("weak",)
    """Labeled views that go through the step's forward pass."""

    input_views: tuple[str, ...] = ()
    """Unlabeled views of which the inputs alone are needed."""

    needs_index: bool = False
    """Whether ``step.index`` is needed."""

    replaces_supervised: bool = False
    """Whether the value's ``supervised`` takes the place of the labeled rows' cross-entropy."""

    batch_norm_policy: BatchNormPolicy = "all"
    """What batch norm does with unlabeled samples in the method's paper; see
    :class:`~supercm_pl.SSLModule`."""

    step_type: ClassVar[type[Step]] = Step
    """What ``forward`` takes: the modules of one task alone can make a subclass."""

    ramp_of: ClassVar[type[LinearRampUp | SigmoidRampUp | CosineRampUp]] = SigmoidRampUp
    """The method's usual ramp, made of the fraction of training at which it ends."""

    def __init__(self, weight: float = 1.0, ramp: Ramp | float | None = None) -> None:
        super().__init__()
        if not (is_number(weight) and 0.0 <= weight < float("inf")):
            raise ValueError(f"weight must be a number of 0 or more, got {weight!r}")
        if not (ramp is None or isinstance(ramp, Ramp) or (is_number(ramp) and 0.0 < ramp <= 1.0)):
            raise ValueError(f"ramp must be a Ramp, a number in (0, 1], or None, got {ramp!r}")
        self.weight = weight
        self.ramp = self.ramp_of(ramp) if isinstance(ramp, (int, float)) else ramp

    @abstractmethod
    def forward(self, step: Any) -> MethodLoss:
        """Return the loss of a :class:`~supercm_pl.training.step.Step`, or of ``step_type``."""

    def build(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Make what depends on the model, as copies and buffers; called once, when it is built.

        Args:
            backbone: Maps inputs ``(N, ...)`` to features ``(N, d)``. Not to be kept.
            head: Knows ``in_features``, ``d``, and ``num_classes``, ``K``. Not to be kept.
        """

    def after_step(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Follow the model, as a moving average does; called after every optimizer step."""

    @property
    def name(self) -> str:
        """The name in logs, which is the class name in snake case."""
        return snake_case(type(self).__name__)

    def weight_at(self, progress: float) -> float:
        """The weight of the term at ``progress``."""
        return self.weight * (1.0 if self.ramp is None else self.ramp(progress))


def as_methods(given: Method | Sequence[Method], step_type: type[Step]) -> list[Method]:
    """One base method or several as a list.

    Args:
        given: What the module was given.
        step_type: The steps that it makes.

    Raises:
        TypeError: If one is no object of a base method's class, or takes other steps.
    """
    terms: list[Method] = as_objects("a base method", given, Method, "VAT() or DANN()")  # type: ignore[type-abstract]
    for term in terms:
        if not issubclass(step_type, term.step_type):
            raise TypeError(
                f"{type(term).__name__} is a base method for the steps of domain adaptation: "
                "train it with UDAModule"
            )
    return terms


def snake_case(name: str) -> str:
    """A class's name as it is written in logs.

    Example:
        >>> snake_case("FixMatch"), snake_case("VAT"), snake_case("DeepCORAL")
        ('fix_match', 'vat', 'deep_coral')
    """
    return re.sub(r"([a-z0-9])([A-Z])|([A-Z])(?=[A-Z][a-z])", r"\1\3_\2", name).lower()
