"""Descriptors of small images that need no training, of gradients and of pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from supercm_pl.precision import full_precision

_BINS, _CELLS = 8, 8  # directions of a gradient; cells along a side
_SMALLEST, _LARGEST = 32, 64  # pixels along a side
_SIDE, _COMPONENTS = 16, 40  # pixels along a side, and components of them
_LEVELS = 5  # of a color
_GRAY = 0.02  # mean range of a pixel's three values, each from 0 to 1, up to which images are gray
_CHUNK = 1024

Array = NDArray[np.float32]


def describe(inputs: Tensor) -> tuple[Tensor, ...]:
    """Describe a batch, without statistics of other samples.

    The gradients are those of Dalal and Triggs, *Histograms of Oriented Gradients for Human
    Detection* (CVPR 2005), of the mean channel, without overlapping blocks, and with square roots
    of the bins. scikit-image has them too, but image by image, which takes a hundred times as long.

    Args:
        inputs: ``(B, ...)``; images have shape ``(B, C, H, W)``.

    Returns:
        Of images, oriented gradients ``(B, 512)`` and a smaller image ``(B, C, <= 16, <= 16)``; of
        other inputs, these as ``(B, m)``; nothing of images above 64 pixels, of which a pretrained
        network knows more. On the device of the inputs.
    """
    inputs = inputs.float()
    if inputs.ndim != 4:
        return (inputs.flatten(1),)
    if max(inputs.shape[2:]) > _LARGEST:
        return ()
    height, width = (min(_SIDE, side) for side in inputs.shape[2:])
    with full_precision(inputs.device):
        small = F.adaptive_avg_pool2d(inputs, (height, width))
        return _oriented_gradients(inputs), small


def views_of(described: Sequence[Tensor]) -> list[Array]:
    """Views of all ``N`` samples, for a graph each, from what :func:`describe` returned.

    Of images, they are oriented gradients ``(N, 512)``, whitened principal components
    ``(N, <= 40)`` and, if the images have colors, histograms of these ``(N, 125)``; of other inputs
    the standardized inputs ``(N, m)``. The first one is the best where nothing else is known.
    """
    if not described:
        return []
    if len(described) == 1:
        vectors = described[0].numpy()
        deviations = vectors.std(axis=0)
        return [(vectors - vectors.mean(axis=0)) / np.where(deviations > 0, deviations, 1)]
    gradients, images = described
    views: list[Array] = [gradients.numpy(), _whitened(images.flatten(1).numpy())]
    low, high = images.amin((0, 2, 3), keepdim=True), images.amax((0, 2, 3), keepdim=True)
    colors = (images - low) / (high - low).clamp(min=1e-12)
    if colors.shape[1] == 3 and (colors.amax(1) - colors.amin(1)).mean() > _GRAY:
        views.append(torch.cat([_colors(part) for part in torch.split(colors, _CHUNK)]).numpy())
    return views


def _oriented_gradients(images: Tensor) -> Tensor:
    gray = images.mean(dim=1, keepdim=True)
    if min(gray.shape[2:]) < _SMALLEST:  # fewer pixels show too little of a direction
        height, width = (max(_SMALLEST, side) for side in gray.shape[2:])
        gray = F.interpolate(gray, (height, width), mode="bilinear", align_corners=False)
    gray = F.pad(gray, (1, 1, 1, 1), mode="replicate")
    sobel = gray.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    x, y = F.conv2d(gray, torch.stack([sobel, sobel.T])[:, None]).chunk(2, dim=1)
    place = torch.atan2(y, x) % (2 * math.pi) * (_BINS / (2 * math.pi))
    lower = place.floor()
    length, share = x.hypot(y), place - lower
    bins = length.new_zeros(len(x), _BINS, *x.shape[2:])
    bins.scatter_add_(1, lower.long() % _BINS, length * (1 - share))
    bins.scatter_add_(1, (lower.long() + 1) % _BINS, length * share)
    found = F.adaptive_avg_pool2d(bins, _CELLS).flatten(1)
    return F.normalize(found, dim=1).sqrt()


def _whitened(pixels: Array) -> Array:
    centered = pixels - pixels.mean(axis=0)
    values, vectors = np.linalg.eigh(centered.T @ centered)
    count = min(_COMPONENTS, int((values > 1e-6 * values[-1]).sum()))
    return np.asarray(centered @ vectors[:, -count:] / np.sqrt(values[-count:]), dtype=np.float32)


def _colors(images: Tensor) -> Tensor:
    """Square roots of histograms ``(N, 125)`` of colors from 0 to 1, linear between levels."""
    levels = torch.arange(_LEVELS)[:, None]
    distances = images.flatten(2)[:, :, None] * (_LEVELS - 1) - levels  # (N, 3, levels, pixels)
    red, green, blue = (1 - distances.abs()).clamp(min=0).unbind(1)
    both = (red[:, :, None] * green[:, None]).flatten(1, 2)
    return (both @ blue.mT / images[0, 0].numel()).flatten(1).sqrt()
