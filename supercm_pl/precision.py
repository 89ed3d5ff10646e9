"""Dtype of the clustering math, independent of autocast."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

# Evaluated once, because torch.compile cannot trace the call in older versions of torch.
_WITHOUT_AUTOCAST = tuple(
    device for device in ("meta", "mps") if not torch.amp.is_autocast_available(device)
)


def math_dtype(features: Tensor) -> torch.dtype:
    """Return float32 for half-precision and float32 features, float64 for float64 ones."""
    return torch.promote_types(features.dtype, torch.float32)


def full_precision(device: torch.device) -> AbstractContextManager[None]:
    """Return a context in which autocast is off for `device`."""
    if device.type in _WITHOUT_AUTOCAST:
        return nullcontext()
    autocast: AbstractContextManager[None] = torch.autocast(device.type, enabled=False)
    return autocast
