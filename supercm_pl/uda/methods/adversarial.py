"""What adversarial adapters share: the strength of gradient reversal over training."""

from __future__ import annotations

from supercm_pl.checks import check_not_negative, check_object
from supercm_pl.training.method import Method, Ramp
from supercm_pl.training.ramps import AdversarialRampUp
from supercm_pl.uda.step import UDAStep


class AdversarialMethod(Method):
    """An adapter whose features learn against what reads them, by reversed gradients.

    The gradient that reaches the features is that of the loss times ``-λ``. What reads them learns
    from the loss as it is. The term's ``weight`` scales both.

    Args:
        weight: Weight of the term, ``>= 0``.
        ramp: How the weight grows over training; ``None``: full from the start.
        reversal: How ``λ`` grows over training; ``None``:
            :class:`~supercm_pl.training.ramps.AdversarialRampUp`.
        max_reversal: ``λ`` where ``reversal`` is 1, ``>= 0``.

    Raises:
        ValueError: If ``weight`` or ``max_reversal`` is negative or not finite.
    """

    step_type = UDAStep

    def __init__(
        self,
        weight: float = 1.0,
        ramp: Ramp | None = None,
        *,
        reversal: Ramp | None = None,
        max_reversal: float = 1.0,
    ) -> None:
        super().__init__(weight=weight, ramp=ramp)
        if reversal is not None:
            check_object("reversal", reversal, Ramp, "AdversarialRampUp()")
        self.reversal = AdversarialRampUp() if reversal is None else reversal
        self.max_reversal = check_not_negative("max_reversal", max_reversal)

    def reversal_at(self, progress: float) -> float:
        """``λ`` at ``progress``."""
        return self.max_reversal * self.reversal(progress)
