"""Ramps of the regularizers, by a number that a configuration can hold."""

from __future__ import annotations

from supercm_pl.core.ramps import Ramp, SigmoidRampUp


def as_ramp(ramp: Ramp | float | None) -> Ramp | None:
    """The ramp that is meant.

    Args:
        ramp: As it is; or the fraction of training, in ``(0, 1]``, at which a
            :class:`~supercm_pl.core.ramps.SigmoidRampUp` ends.

    Raises:
        ValueError: If the fraction is out of range.
    """
    if ramp is None or isinstance(ramp, Ramp):
        return ramp
    if not 0.0 < ramp <= 1.0:
        raise ValueError(f"ramp must be a Ramp, a number in (0, 1], or None, got {ramp}")
    return SigmoidRampUp(ramp)
