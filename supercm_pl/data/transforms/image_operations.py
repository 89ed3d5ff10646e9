"""The operations of FixMatch's RandAugment, each on a batch with a strength for every image.

Table 12 of Sohn et al., *FixMatch: Simplifying Semi-Supervised Learning with Consistency and
Confidence* (2020), as functions of images ``(B, C, H, W)`` in ``[0, 1]`` with one or three channels
and of strengths ``(B,)`` in ``[-1, 1]``. At strength 1 or −1 an operation is at the far end of the
paper's range; the sign is the direction of those that have two, and of no account for the others.

None waits for the device, and none gives NaN where an image is constant or tiny.
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
    """The images as they are."""
    return images


def autocontrast(images: Tensor, strength: Tensor) -> Tensor:
    """Stretch each channel so that its values reach from 0 to 1; a constant one stays."""
    lowest = images.amin((2, 3), keepdim=True)
    span = images.amax((2, 3), keepdim=True) - lowest
    constant = span <= 0
    return torch.where(constant, images, (images - lowest) / span.masked_fill(constant, 1.0))


def equalize(images: Tensor, strength: Tensor) -> Tensor:
    """Map each of 256 levels of a channel to the share of pixels below it.

    PIL divides by a whole number of pixels per level, which leaves images of fewer than 256 pixels
    as they are. Without that rounding it serves small ones as well, and for large ones it differs
    by about a level.
    """
    levels = (images * 255.0).round().long().clamp_(0, 255).flatten(2)
    # Integers: their sums need no order, so that the GPU's are the same in every run.
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
    """Invert the values from a threshold on; it falls from 1 to 0."""
    return torch.where(images < 1.0 - strength.abs().view(-1, 1, 1, 1), images, 1.0 - images)


def brightness(images: Tensor, strength: Tensor) -> Tensor:
    """Darken; the factor falls from 0.95 to 0.05, as it does for the next three."""
    return _blend(torch.zeros_like(images), images, strength)


def color(images: Tensor, strength: Tensor) -> Tensor:
    """Fade towards gray; gray images stay."""
    return images if images.shape[1] == 1 else _blend(_gray(images), images, strength)


def contrast(images: Tensor, strength: Tensor) -> Tensor:
    """Fade towards the mean gray of the image."""
    return _blend(_gray(images).mean((1, 2, 3), keepdim=True), images, strength)


def sharpness(images: Tensor, strength: Tensor) -> Tensor:
    """Fade towards the image smoothed over 3×3 pixels; the pixels at its borders stay."""
    if min(images.shape[2:]) < 3:
        return images
    smoothed = images.clone()
    inner = images[:, :, 1:-1, 1:-1]
    # Weight 1 for each neighbor, 5 for the pixel itself.
    smoothed[:, :, 1:-1, 1:-1] = (9.0 * F.avg_pool2d(images, 3, stride=1) + 4.0 * inner) / 13.0
    return _blend(smoothed, images, strength)


def rotate(images: Tensor, strength: Tensor) -> Tensor:
    """Rotate about the centre by up to 30 degrees; what comes in is 0, here and below."""
    ratio = images.shape[2] / images.shape[3]
    cosine, sine = torch.cos(MAX_ROTATION * strength), torch.sin(MAX_ROTATION * strength)
    zero = torch.zeros_like(strength)
    return _warp(images, (cosine, -sine * ratio, zero), (sine / ratio, cosine, zero))


def shear_x(images: Tensor, strength: Tensor) -> Tensor:
    """Shift rows by up to 0.3 of their distance from the centre."""
    zero, one = torch.zeros_like(strength), torch.ones_like(strength)
    slope = MAX_SHEAR * images.shape[2] / images.shape[3] * strength
    return _warp(images, (one, slope, zero), (zero, one, zero))


def shear_y(images: Tensor, strength: Tensor) -> Tensor:
    """Shift columns by up to 0.3 of their distance from the centre."""
    zero, one = torch.zeros_like(strength), torch.ones_like(strength)
    slope = MAX_SHEAR * images.shape[3] / images.shape[2] * strength
    return _warp(images, (one, zero, zero), (slope, one, zero))


def translate_x(images: Tensor, strength: Tensor) -> Tensor:
    """Shift along the rows by up to 0.3 of the width."""
    zero, one = torch.zeros_like(strength), torch.ones_like(strength)
    return _warp(images, (one, zero, -2.0 * MAX_TRANSLATION * strength), (zero, one, zero))


def translate_y(images: Tensor, strength: Tensor) -> Tensor:
    """Shift along the columns by up to 0.3 of the height."""
    zero, one = torch.zeros_like(strength), torch.ones_like(strength)
    return _warp(images, (one, zero, zero), (zero, one, -2.0 * MAX_TRANSLATION * strength))


Operation = Callable[[Tensor, Tensor], Tensor]
OPERATIONS: dict[str, Operation] = {
    operation.__name__: operation
    for operation in (
        identity,
        autocontrast,
        brightness,
        color,
        contrast,
        equalize,
        posterize,
        rotate,
        sharpness,
        shear_x,
        shear_y,
        solarize,
        translate_x,
        translate_y,
    )
}


def _gray(images: Tensor) -> Tensor:
    if images.shape[1] == 1:
        return images
    return 0.2989 * images[:, :1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:]


def _blend(degenerate: Tensor, images: Tensor, strength: Tensor) -> Tensor:
    factor = (0.95 - 0.9 * strength.abs()).view(-1, 1, 1, 1)
    return degenerate + factor * (images - degenerate)


def _warp(images: Tensor, horizontal: tuple[Tensor, ...], vertical: tuple[Tensor, ...]) -> Tensor:
    """Images read at ``matrix @ (x, y, 1)``, with coordinates in ``[-1, 1]`` along each axis."""
    matrix = torch.stack((*horizontal, *vertical), dim=1).view(-1, 2, 3)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
