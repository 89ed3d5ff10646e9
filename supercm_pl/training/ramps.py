"""Ramps: the growth of a loss weight over training.

A ramp is a function of training progress, not of a private counter, so a resumed run continues
where it stopped.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from supercm_pl.checks import check_interval, check_positive
from supercm_pl.options import inherit_descriptions, suggest_arguments


class Ramp(ABC):
    """Maps training progress in ``[0, 1]`` to a factor in ``[0, 1]``."""

    @abstractmethod
    def __call__(self, progress: float) -> float:
        """Return the factor at ``progress``, the fraction of optimizer steps already taken."""


class RampUp(Ramp):
    """Base of the ramps that reach 1 at the fraction ``end`` of training and stay there.

    Args:
        end: Fraction of training at which the factor reaches 1, in ``(0, 1]``.
    """

    def __init_subclass__(cls) -> None:
        inherit_descriptions(cls)
        suggest_arguments(cls)

    def __init__(self, end: float) -> None:
        self.end = check_interval("end", end, "(0, 1]")

    def __call__(self, progress: float) -> float:
        """Return the factor at ``progress``."""
        return self._shape(min(progress / self.end, 1.0))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(end={self.end})"

    @abstractmethod
    def _shape(self, fraction: float) -> float:
        """Return the factor after a fraction of ``end``, in ``[0, 1]``."""


suggest_arguments(RampUp)


class LinearRampUp(RampUp):
    """The factor at progress ``p`` is ``min(p / end, 1)``.

    Example:
        >>> LinearRampUp(end=0.5)(0.25)
        0.5
    """

    def _shape(self, fraction: float) -> float:
        return fraction


class SigmoidRampUp(RampUp):
    r"""The factor at progress :math:`p` is :math:`\exp(-5 (1 - \min(p / \text{end}, 1))^2)`.

    Laine and Aila, *Temporal Ensembling for Semi-Supervised Learning* (2017), section 3. SuperCM's
    experiments use ``end = 0.4`` (200k of 500k iterations) for the weight of the method.

    Example:
        >>> round(SigmoidRampUp(end=0.4)(0.0), 4), SigmoidRampUp(end=0.4)(0.4)
        (0.0067, 1.0)
    """

    def __init__(self, end: float = 0.4) -> None:
        super().__init__(end)

    def _shape(self, fraction: float) -> float:
        return math.exp(-5.0 * (1.0 - fraction) ** 2)


class CosineRampUp(RampUp):
    r"""The factor at progress :math:`p` is :math:`(1 - \cos(\pi \min(p / \text{end}, 1))) / 2`.

    Berthelot et al., *AdaMatch: A Unified Approach to Semi-Supervised Learning and Domain
    Adaptation* (ICLR 2022), section 3.4, with ``end = 0.5``.

    Example:
        >>> [round(CosineRampUp()(p), 3) for p in (0.0, 0.25, 0.5, 1.0)]
        [0.0, 0.5, 1.0, 1.0]
    """

    def __init__(self, end: float = 0.5) -> None:
        super().__init__(end)

    def _shape(self, fraction: float) -> float:
        return (1.0 - math.cos(math.pi * fraction)) / 2.0


class AdversarialRampUp(Ramp):
    r"""The factor at progress :math:`p` is :math:`2 / (1 + e^{-\gamma p}) - 1`.

    Ganin et al., *Domain-Adversarial Training of Neural Networks* (JMLR 2016), section 5.2.2.

    Args:
        gamma: Steepness, ``> 0``.

    Example:
        >>> [round(AdversarialRampUp()(p), 3) for p in (0.0, 0.1, 1.0)]
        [0.0, 0.462, 1.0]
    """

    def __init__(self, gamma: float = 10.0) -> None:
        self.gamma = check_positive("gamma", gamma)

    def __call__(self, progress: float) -> float:
        """Return the factor at ``progress``."""
        return 2.0 / (1.0 + math.exp(-self.gamma * progress)) - 1.0
