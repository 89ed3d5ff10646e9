"""Strong views of FixMatch, RandAugment and Cutout, on the device for whole batches.

Each sample draws its own operations and strengths, whereas kornia's and torchvision's RandAugment
draw the operations once per batch. Arguments out of range raise a ``ValueError``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from supercm_pl.checks import check_choice, check_flag, check_interval, check_size
from supercm_pl.data.transforms.augment import Compose, FlipCrop, check_images
from supercm_pl.data.transforms.image_operations import OPERATIONS


class StrongAugment(Compose):
    """Flip and crop, RandAugment, Cutout: a strong view for FixMatch and its successors.

    The defaults are those of TorchSSL and USB: every operation is applied, and the side of the
    square is random. ``StrongAugment(probability=0.5, random_cutout=False)`` is the variant of the
    FixMatch authors' code: each operation is applied to half of the samples, and every square has a
    side of half the image, 16 pixels of 32. There the square covers 19 % of the image on average,
    here 7 %.

    Args:
        padding: Of :class:`~supercm_pl.data.FlipCrop`, in pixels.
        flip: Its probability of a flip; 0 where left and right matter, as in digits.
        num_ops: Of :class:`RandAugment`, as ``magnitude`` and ``operations``.
        magnitude: Of :class:`RandAugment`.
        cutout: Size of :class:`Cutout`; 0 disables it.
        operations: Of :class:`RandAugment`.
        probability: Of :class:`RandAugment`.
        random_cutout: Whether :class:`Cutout` draws the side.

    Example:
        >>> StrongAugment()(torch.rand(8, 3, 32, 32)).shape
        torch.Size([8, 3, 32, 32])
    """

    def __init__(
        self,
        padding: int = 4,
        flip: float = 0.5,
        num_ops: int = 2,
        magnitude: float = 10.0,
        cutout: float = 0.5,
        operations: Sequence[str] | None = None,
        probability: float = 1.0,
        random_cutout: bool = True,
    ) -> None:
        super().__init__(
            [
                FlipCrop(padding, flip),
                RandAugment(num_ops, magnitude, operations, probability),
                Cutout(cutout, random_size=random_cutout),
            ]
        )


class RandAugment(nn.Module):
    """Random operations of random strength, drawn per sample.

    Cubuk et al., *RandAugment: Practical Automated Data Augmentation with a Reduced Search Space*
    (2020), with the ranges of table 12 of FixMatch (Sohn et al., 2020): ``num_ops`` operations are
    applied one after the other, drawn uniformly and with replacement, each with a strength drawn
    uniformly from its range. Geometric operations interpolate bilinearly about the center and pad
    with black.

    Args:
        num_ops: Operations per sample, 1 or more.
        magnitude: Largest strength, in ``[0, 10]``; 10 is the paper's range (rotation by 30
            degrees, shift by 0.3 of the side, ...).
        operations: Names to draw from; ``None`` uses all: ``"identity"``, ``"autocontrast"``,
            ``"brightness"``, ``"color"``, ``"contrast"``, ``"equalize"``, ``"posterize"``,
            ``"rotate"``, ``"sharpness"``, ``"shear_x"``, ``"shear_y"``, ``"solarize"``,
            ``"translate_x"`` and ``"translate_y"``.
        probability: Of applying a drawn operation to a sample, in ``(0, 1]``: 1 in TorchSSL and
            USB, 0.5 in the FixMatch authors' code.

    Raises:
        ValueError: If an operation is unknown, or images have neither 1 nor 3 channels.
    """

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: float = 10.0,
        operations: Sequence[str] | None = None,
        probability: float = 1.0,
    ) -> None:
        super().__init__()
        names = tuple(OPERATIONS) if operations is None else tuple(operations)
        check_size("num_ops", num_ops)
        check_interval("magnitude", magnitude, "[0, 10]")
        self.probability = check_interval("probability", probability, "(0, 1]")
        if not names:
            raise ValueError("operations must name at least one operation, got none")
        for name in names:
            check_choice("operations", name, tuple(OPERATIONS))
        self.num_ops = num_ops
        self.magnitude = magnitude
        self.operations = names

    def forward(self, images: Tensor) -> Tensor:
        """Transform images ``(B, C, H, W)`` with 1 or 3 channels, to values in ``[0, 1]``."""
        check_images(images)
        if images.shape[1] not in (1, 3) or not images.is_floating_point():
            raise ValueError(
                "RandAugment takes floating-point images with 1 or 3 channels, got shape "
                f"{tuple(images.shape)} and {images.dtype}"
            )
        # Drawn on the host, which then knows the sizes of the groups below: each operation
        # processes only its own samples, without a synchronization.
        choices = torch.randint(len(self.operations), (self.num_ops, len(images)))
        scale = self.magnitude / 10.0
        drawn = torch.rand(self.num_ops, len(images), device=images.device, dtype=images.dtype)
        images = images.clamp(0.0, 1.0)
        for choice, strength in zip(choices, scale * (2.0 * drawn - 1.0), strict=True):
            changed = self._one_each(images, choice, strength)
            if self.probability < 1.0:
                kept = torch.rand(len(images), 1, 1, 1, device=images.device) >= self.probability
                changed = torch.where(kept, images, changed)
            images = changed
        return images.clamp(0.0, 1.0)

    def _one_each(self, images: Tensor, choice: Tensor, strength: Tensor) -> Tensor:
        order = choice.argsort()
        sizes = choice.bincount(minlength=len(self.operations)).tolist()
        there = _to_device(order, images.device)
        groups = zip(
            self.operations,
            torch.split(images.index_select(0, there), sizes),
            torch.split(strength.index_select(0, there), sizes),
            strict=True,
        )
        changed = [OPERATIONS[name](*group) for name, *group in groups if len(group[0])]
        return torch.cat(changed).index_select(0, _to_device(order.argsort(), images.device))


class Cutout(nn.Module):
    """Cover a square at a random position of every sample.

    DeVries and Taylor, *Improved Regularization of Convolutional Neural Networks with Cutout*
    (2017): the center is drawn uniformly from the image, so that part of the square may lie
    outside. FixMatch has a gray square.

    Args:
        size: Side, or largest side, as a fraction of the image's shorter side, in ``[0, 1]``.
        fill: Value of the square, in ``[0, 1]``; 0.5 is FixMatch's gray.
        random_size: Whether each side is drawn uniformly from ``[0, size]``, as in TorchSSL and
            USB, or is always ``size``, as in the papers.
    """

    def __init__(self, size: float = 0.5, fill: float = 0.5, random_size: bool = True) -> None:
        super().__init__()
        self.random_size = check_flag("random_size", random_size)
        self.size = check_interval("size", size, "[0, 1]")
        self.fill = check_interval("fill", fill, "[0, 1]")

    def forward(self, images: Tensor) -> Tensor:
        """Transform images ``(B, C, H, W)``."""
        check_images(images)
        batch, _, height, width = images.shape
        device = images.device
        row, column, side = torch.rand(3, batch, 1, device=device)
        half = 0.5 * self.size * min(height, width) * (side if self.random_size else 1.0)
        # A pixel is covered if its center is.
        rows = (torch.arange(height, device=device) + 0.5 - height * row).abs() < half
        columns = (torch.arange(width, device=device) + 0.5 - width * column).abs() < half
        covered = rows[:, None, :, None] & columns[:, None, None, :]
        return images.masked_fill(covered, self.fill)


def _to_device(index: Tensor, device: torch.device) -> Tensor:
    # A copy from pageable memory would synchronize.
    if device.type == "cuda":
        return index.pin_memory(device).to(device, non_blocking=True)
    return index.to(device)
