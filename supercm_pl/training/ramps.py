"""Ramps: how the weight of a loss term grows over training.

A ramp is a pure function of training progress, not of a private counter, so that a resumed run
continues exactly where it was.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from supercm_pl.checks import is_number


class Ramp(ABC):
    """Maps training progress in ``[0, 1]`` to a factor in ``[0, 1]``."""

    @abstractmethod
    def __call__(self, progress: float) -> float:
        """The factor at ``progress``, the fraction of optimizer steps already taken."""


class _UpTo(Ramp):
    """A ramp that reaches 1 at the fraction ``end`` of training and stays there."""

    def __init__(self, end: float) -> None:
        if not (is_number(end) and 0.0 < end <= 1.0):
            raise ValueError(f"end must lie in (0, 1], got {end!r}")
        self.end = end

    def __repr__(self) -> str:
        return f"{type(self).__name__}(end={self.end})"


class LinearRampUp(_UpTo):
    """``min(progress / end, 1)``.

    Args:
        end: Fraction of training at which the full weight is reached, in ``(0, 1]``.

    Example:
        >>> LinearRampUp(end=0.5)(0.25)
        0.5
    """

    def __call__(self, progress: float) -> float:
        """The factor at ``progress``."""
        return min(progress / self.end, 1.0)


class SigmoidRampUp(_UpTo):
    r"""The ramp of the semi-supervised literature.

    At progress :math:`p` it is :math:`\exp(-5 (1 - \min(p / \text{end}, 1))^2)`: Laine and Aila,
    *Temporal Ensembling for Semi-Supervised Learning* (2017), section 3. SuperCM's experiments use
    ``end = 0.4`` (200k of 500k iterations) for the regularizer's weight.

    Args:
        end: Fraction of training at which the full weight is reached, in ``(0, 1]``.

    Example:
        >>> round(SigmoidRampUp(end=0.4)(0.0), 4), SigmoidRampUp(end=0.4)(0.4)
        (0.0067, 1.0)
    """

    def __init__(self, end: float = 0.4) -> None:
        super().__init__(end)

    def __call__(self, progress: float) -> float:
        """The factor at ``progress``."""
        return math.exp(-5.0 * (1.0 - min(progress / self.end, 1.0)) ** 2)


class CosineRampUp(_UpTo):
    r"""Half a cosine: at progress :math:`p`, :math:`(1 - \cos(\pi \min(p / \text{end}, 1))) / 2`.

    Berthelot et al., *AdaMatch: A Unified Approach to Semi-Supervised Learning and Domain
    Adaptation* (ICLR 2022), section 3.4, where ``end = 0.5``.

    Args:
        end: Fraction of training at which the full weight is reached, in ``(0, 1]``.

    Example:
        >>> [round(CosineRampUp()(p), 3) for p in (0.0, 0.25, 0.5, 1.0)]
        [0.0, 0.5, 1.0, 1.0]
    """

    def __init__(self, end: float = 0.5) -> None:
        super().__init__(end)

    def __call__(self, progress: float) -> float:
        """The factor at ``progress``."""
        return (1.0 - math.cos(math.pi * min(progress / self.end, 1.0))) / 2.0


class AdversarialRampUp(Ramp):
    r"""The ramp of adversarial adaptation: :math:`2/(1 + e^{-\gamma p}) - 1` at progress :math:`p`.

    Ganin et al., *Domain-Adversarial Training of Neural Networks* (JMLR 2016), section 5.2.2.

    Args:
        gamma: Steepness, ``> 0``.

    Raises:
        ValueError: If ``gamma`` is not above 0.

    Example:
        >>> [round(AdversarialRampUp()(p), 3) for p in (0.0, 0.1, 1.0)]
        [0.0, 0.462, 1.0]
    """

    def __init__(self, gamma: float = 10.0) -> None:
        if not (is_number(gamma) and 0.0 < gamma < math.inf):
            raise ValueError(f"gamma must be a number above 0, got {gamma!r}")
        self.gamma = gamma

    def __call__(self, progress: float) -> float:
        """The factor at ``progress``."""
        return 2.0 / (1.0 + math.exp(-self.gamma * progress)) - 1.0
