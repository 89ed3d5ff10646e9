"""Augmentation of batches on the device, with random parameters drawn per sample.

Each class maps images ``(B, C, H, W)`` with values in ``[0, 1]`` to images, never synchronizes with
the device, and draws from the device's global generator, which a data module seeds for every step.
Arguments out of range raise a ``ValueError``. :mod:`supercm_pl.data.transforms.randaugment` has
stronger ones. Other modules with this interface, such as kornia's, are used by their class paths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supercm_pl.checks import (
    check_at_least,
    check_choice,
    check_floats,
    check_interval,
    check_not_negative,
    check_object,
    check_optional,
)
from supercm_pl.data.transforms.image_operations import warp


class Compose(nn.Sequential):
    """Transforms applied one after the other."""

    def __init__(self, transforms: Sequence[nn.Module]) -> None:
        modules = (as_transform("each of transforms", each) for each in transforms)
        super().__init__(*(each for each in modules if each is not None))


class Function(nn.Module):
    """A function of ``(B, ...)`` as a transform."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the function."""
        return self.function(inputs)


def as_transform(name: str, given: Any) -> nn.Module | None:
    """Return a transform of batches: a module as it is, a function or a list as a module."""
    if isinstance(given, list | tuple):
        return Compose(given)
    # torchvision's first transforms, and their Compose, are objects that are called.
    if given is not None and not isinstance(given, nn.Module | type) and callable(given):
        return Function(given)
    return check_optional(check_object, name, given, nn.Module, "AffineNoise()")


class AffineNoise(nn.Module):
    """Rotate about the center, shift, scale, and add Gaussian noise; for digits and other signs.

    Each sample draws its angle from ``[-rotation, rotation]``, its shift along both axes from
    ``[-shift, shift]``, and its scale factor from ``[1 - scale, 1 + scale]``, uniformly. Noise may
    take values out of ``[0, 1]``.

    Args:
        rotation: Largest angle in radians, ``>= 0``.
        shift: Largest shift as a fraction of the image's side, in ``[0, 1]``.
        scale: Largest change of size as a fraction, in ``[0, 1)``.
        noise: Standard deviation of the noise, ``>= 0``.
        padding_mode: Values outside the image: ``"zeros"``, ``"border"`` or ``"reflection"``.
    """

    def __init__(
        self,
        rotation: float = 0.15,
        shift: float = 0.075,
        scale: float = 0.1,
        noise: float = 0.1,
        padding_mode: Literal["zeros", "border", "reflection"] = "zeros",
    ) -> None:
        super().__init__()
        check_not_negative("rotation", rotation)
        check_interval("shift", shift, "[0, 1]")
        check_interval("scale", scale, "[0, 1)")
        check_not_negative("noise", noise)
        check_choice("padding_mode", padding_mode, ("zeros", "border", "reflection"))
        self.rotation = rotation
        self.shift = shift
        self.scale = scale
        self.padding_mode = padding_mode
        self.add_noise = GaussianNoise(noise)

    def forward(self, images: Tensor) -> Tensor:
        """Transform floating-point images ``(B, C, H, W)``."""
        check_images(images)
        check_floats(images)
        angle, right, down, size = torch.rand(4, len(images), device=images.device).mul_(2).sub_(1)
        # The grid maps output to input coordinates in [-1, 1], so angle and size are inverted.
        zoom = 1 / (1 + self.scale * size)
        cosine = zoom * torch.cos(self.rotation * angle)
        sine = zoom * torch.sin(self.rotation * angle)
        right, down = 2 * self.shift * right, 2 * self.shift * down
        ratio = images.shape[2] / images.shape[3]
        x, y = (cosine, -sine * ratio, right), (sine / ratio, cosine, down)
        noisy: Tensor = self.add_noise(warp(images, x, y, self.padding_mode))
        return noisy


class FlipCrop(nn.Module):
    """Flip left to right at random, and shift by cropping from the padded image; for photographs.

    Args:
        padding: Largest shift along each axis in pixels, ``>= 0`` and below the image's sides.
        flip: Probability of the flip, in ``[0, 1]``; 0 where left and right matter, as in digits.
    """

    def __init__(self, padding: int = 4, flip: float = 0.5) -> None:
        super().__init__()
        check_at_least("padding", padding, 0)
        check_interval("flip", flip, "[0, 1]")
        self.padding = padding
        self.flip = flip

    def forward(self, images: Tensor) -> Tensor:
        """Transform images ``(B, C, H, W)``, padded by reflection."""
        check_images(images)
        batch, channels, height, width = images.shape
        if self.padding >= min(height, width):
            raise ValueError(
                f"padding must be smaller than the image's sides, got {self.padding} for images of "
                f"{height} x {width}"
            )
        device, shifts = images.device, 2 * self.padding + 1
        top, left = (torch.randint(shifts, (batch, 1), device=device) for _ in range(2))
        rows = top + torch.arange(height, device=device)
        columns = left + torch.arange(width, device=device)
        flipped = torch.rand(batch, 1, device=device) < self.flip
        columns = torch.where(flipped, columns.flip(1), columns)
        padded = F.pad(images, [self.padding] * 4, mode="reflect")
        wide = padded.gather(2, rows[:, None, :, None].expand(-1, channels, -1, padded.shape[3]))
        return wide.gather(3, columns[:, None, None, :].expand(-1, channels, height, -1))


class GaussianNoise(nn.Module):
    """Add Gaussian noise to every value of images or vectors; the result may leave ``[0, 1]``.

    Args:
        std: Standard deviation, ``>= 0``.
    """

    def __init__(self, std: float = 0.15) -> None:
        super().__init__()
        self.std = check_not_negative("std", std)

    def forward(self, inputs: Tensor) -> Tensor:
        """Transform floating-point inputs of any shape."""
        check_floats(inputs)
        return inputs + self.std * torch.randn_like(inputs) if self.std else inputs


def check_images(images: Tensor, hint: str = "use GaussianNoise for vectors") -> None:
    """Require a batch of images ``(B, C, H, W)``; ``hint`` says what to do with others."""
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a tensor (B, C, H, W), got {type(images).__name__}")
    if images.ndim != 4:
        raise ValueError(
            f"this transform takes images (B, C, H, W), got shape {tuple(images.shape)}; {hint}"
        )
