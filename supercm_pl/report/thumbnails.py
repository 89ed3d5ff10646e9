"""Small versions of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from supercm_pl.data.datasets import as_float
from supercm_pl.report.snapshot import Array

_THUMBNAIL = 64  # pixels, of the longer side


def reduced(inputs: Tensor, most: int = _THUMBNAIL) -> Tensor:
    """Inputs on the CPU; images ``(M, C, H, W)`` are reduced to at most 64, or ``most``, pixels."""
    inputs = inputs.cpu()
    if inputs.ndim != 4 or max(inputs.shape[2:]) <= most:
        return inputs
    longest = max(inputs.shape[2:])
    height, width = (max(1, side * most // longest) for side in inputs.shape[2:])
    return F.interpolate(as_float(inputs), size=(height, width), mode="area")


def thumbnails(inputs: Tensor | Sequence[Tensor]) -> Array:
    """Reduce images ``(M, C, H, W)``, ``uint8`` or floats, to thumbnails ``(M, h, w, C)`` uint8.

    They have one or three channels and at most 64 pixels; floats outside ``[0, 1]`` are rescaled
    for each image. Of other inputs they are ``(M, 0, 0, 1)``.
    """
    if not isinstance(inputs, Tensor):
        inputs = torch.stack(list(inputs)) if inputs else torch.zeros(0)
    if inputs.ndim != 4:
        return np.zeros((len(inputs), 0, 0, 1), dtype=np.uint8)
    images = reduced(as_float(inputs if inputs.shape[1] in (1, 3) else inputs[:, :1]))
    images = images.nan_to_num()
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    outside = (low < 0.0) | (high > 1.0)
    stretched = (images - low) / (high - low).clamp(min=1e-12)
    images = torch.where(outside, stretched, images)
    return (images * 255.0).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
