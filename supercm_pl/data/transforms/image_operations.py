"""The operations of FixMatch's RandAugment, each on a batch with one strength per image.

Table 12 of Sohn et al., *FixMatch: Simplifying Semi-Supervised Learning with Consistency and
Confidence* (2020), as functions of images ``(B, C, H, W)`` in ``[0, 1]`` with one or three channels
and of strengths ``(B,)`` in ``[-1, 1]``. Strengths 1 and −1 are the ends of the paper's range; the
sign is the direction of operations that have two, and otherwise ignored.

No operation synchronizes with the device, and none returns NaN for a constant or tiny image.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_ROTATION = math.radians(30.0)
MAX_SHEAR = 0.3
MAX_TRANSLATION = 0.3


def identity(images: Tensor, strength: Tensor) -> Tensor:
    """The images unchanged."""
    return images


def autocontrast(images: Tensor, strength: Tensor) -> Tensor:
    """Stretch the values of each channel to ``[0, 1]``; a constant channel is unchanged."""
    lowest = images.amin((2, 3), keepdim=True)
    span = images.amax((2, 3), keepdim=True) - lowest
    constant = span <= 0
    return torch.where(constant, images, (images - lowest) / span.masked_fill(constant, 1.0))


def equalize(images: Tensor, strength: Tensor) -> Tensor:
    """Map each of 256 levels of a channel to the share of pixels below it.

    PIL divides by an integer number of pixels per level, and so leaves images of fewer than 256
    pixels unchanged. Without that rounding small images are equalized too, and large ones differ
    from PIL's by about one level.
    """
    levels = (images * 255.0).round().long().clamp_(0, 255).flatten(2)
    # Sums of integers don't depend on their order, so the GPU's are reproducible.
    counts = levels.new_zeros(*levels.shape[:2], 256).scatter_add_(
        2, levels, torch.ones_like(levels)
    )
    below = (counts.cumsum(2) - counts).gather(2, levels).view(images.shape)
    highest = levels.amax(2, keepdim=True)
    others = (levels.shape[2] - counts.gather(2, highest)).unsqueeze(3)
    constant = others == 0
    equalized = below.to(images.dtype) / others.masked_fill(constant, 1)
    return torch.where(constant, images, equalized)


def posterize(images: Tensor, strength: Tensor) -> Tensor:
    """Keep the upper 8 to 4 bits of 256 levels."""
    step = torch.exp2((5.0 * strength.abs()).floor().clamp(max=4.0)).view(-1, 1, 1, 1)
    return ((images * 255.0).round() / step).floor() * step / 255.0


def solarize(images: Tensor, strength: Tensor) -> Tensor:
    """Invert the values above a threshold, which falls from above 1 (no value is inverted) to 0."""
    # 256 thresholds for 255 steps between values, as in PIL: 0 leaves white as it is.
    threshold = 256.0 / 255.0 * (1.0 - strength.abs().view(-1, 1, 1, 1))
    return torch.where(images < threshold, images, 1.0 - images)


def brightness(images: Tensor, strength: Tensor) -> Tensor:
    """Darken; the factor falls from 0.95 to 0.05, as in the next three operations."""
    return _blend(torch.zeros_like(images), images, strength)


def saturation(images: Tensor, strength: Tensor) -> Tensor:
    """Fade towards gray; gray images are unchanged."""
    return images if images.shape[1] == 1 else _blend(_gray(images), images, strength)


def contrast(images: Tensor, strength: Tensor) -> Tensor:
    """Fade towards the mean gray of the image."""
    return _blend(_gray(images).mean((1, 2, 3), keepdim=True), images, strength)


def sharpness(images: Tensor, strength: Tensor) -> Tensor:
    """Fade towards the image smoothed over 3×3 pixels; border pixels are unchanged."""
    if min(images.shape[2:]) < 3:
        return images
    smoothed = images.clone()
    inner = images[:, :, 1:-1, 1:-1]
    # Weight 1 for each neighbor, 5 for the pixel itself.
    smoothed[:, :, 1:-1, 1:-1] = (9.0 * F.avg_pool2d(images, 3, stride=1) + 4.0 * inner) / 13.0
    return _blend(smoothed, images, strength)


def rotate(images: Tensor, strength: Tensor) -> Tensor:
    """Rotate about the center by up to 30 degrees; new pixels are 0, here and below."""
    ratio = images.shape[2] / images.shape[3]
    cosine, sine = torch.cos(MAX_ROTATION * strength), torch.sin(MAX_ROTATION * strength)
    return warp(images, (cosine, -sine * ratio, 0.0), (sine / ratio, cosine, 0.0))


def shear_x(images: Tensor, strength: Tensor) -> Tensor:
    """Shift rows by up to 0.3 of their distance from the center."""
    slope = MAX_SHEAR * images.shape[2] / images.shape[3] * strength
    return warp(images, (1.0, slope, 0.0), (0.0, 1.0, 0.0))


def shear_y(images: Tensor, strength: Tensor) -> Tensor:
    """Shift columns by up to 0.3 of their distance from the center."""
    slope = MAX_SHEAR * images.shape[3] / images.shape[2] * strength
    return warp(images, (1.0, 0.0, 0.0), (slope, 1.0, 0.0))


def translate_x(images: Tensor, strength: Tensor) -> Tensor:
    """Shift horizontally by up to 0.3 of the width."""
    shift = -2.0 * MAX_TRANSLATION * strength
    return warp(images, (1.0, 0.0, shift), (0.0, 1.0, 0.0))


def translate_y(images: Tensor, strength: Tensor) -> Tensor:
    """Shift vertically by up to 0.3 of the height."""
    shift = -2.0 * MAX_TRANSLATION * strength
    return warp(images, (1.0, 0.0, 0.0), (0.0, 1.0, shift))


Operation = Callable[[Tensor, Tensor], Tensor]
# The order is part of what a seed reproduces.
OPERATIONS: dict[str, Operation] = {
    "identity": identity,
    "autocontrast": autocontrast,
    "brightness": brightness,
    "color": saturation,
    "contrast": contrast,
    "equalize": equalize,
    "posterize": posterize,
    "rotate": rotate,
    "sharpness": sharpness,
    "shear_x": shear_x,
    "shear_y": shear_y,
    "solarize": solarize,
    "translate_x": translate_x,
    "translate_y": translate_y,
}


def _gray(images: Tensor) -> Tensor:
    if images.shape[1] == 1:
        return images
    return 0.2989 * images[:, :1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:]


def _blend(degenerate: Tensor, images: Tensor, strength: Tensor) -> Tensor:
    factor = (0.95 - 0.9 * strength.abs()).view(-1, 1, 1, 1)
    return degenerate + factor * (images - degenerate)


def warp(
    images: Tensor,
    x: tuple[Tensor | float, ...],
    y: tuple[Tensor | float, ...],
    padding_mode: str = "zeros",
) -> Tensor:
    """Images sampled at ``matrix @ (x, y, 1)``, with both coordinates in ``[-1, 1]``.

    ``x`` and ``y`` are the rows of the matrices, of ``(B,)`` tensors and of numbers for all images.
    """
    size = (len(images),)
    entries = [v if isinstance(v, Tensor) else images.new_full(size, v) for v in (*x, *y)]
    matrix = torch.stack(entries, dim=1).view(-1, 2, 3).to(images.dtype)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode=padding_mode, align_corners=False)
