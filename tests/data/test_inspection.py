"""Faults of the data that would raise no error in training are found before it."""

from __future__ import annotations

from typing import Any

import kornia.augmentation as K
import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from supercm_pl import SSLDataModule
from supercm_pl.data.transforms.augment import Compose, FlipCrop

IMAGES = np.random.default_rng(0).random((40, 3, 16, 16), dtype=np.float32)
LABELS = np.arange(40) % 2


def data(images: Any = IMAGES, **options: Any) -> SSLDataModule:
    return SSLDataModule.from_arrays(images, LABELS, labels_per_class=2, **options)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "transform",
    [
        v2.RandomCrop(16, padding=2),
        v2.RandomHorizontalFlip(),
        v2.RandomRotation(10),
        v2.ColorJitter(0.5),
        Compose([FlipCrop(0, 0.0), v2.RandomErasing(1.0)]),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_transforms_that_draw_once_for_the_batch(transform: nn.Module) -> None:
    with pytest.raises(ValueError, match="the weak transform draws once for the whole batch"):
        data(weak=transform).setup("fit")


@pytest.mark.parametrize(
    "transform",
    [
        K.RandomHorizontalFlip(),
        Compose([K.RandomCrop((16, 16), padding=2), FlipCrop()]),
        nn.Sequential(v2.Normalize([0.5] * 3, [0.5] * 3), FlipCrop(2)),
        nn.Identity(),
    ],
    ids=["flip", "crop", "normalized", "identity"],
)
def test_transforms_that_draw_for_each_image(transform: nn.Module) -> None:
    before = torch.get_rng_state()
    data(weak=transform).setup("fit")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("images", "divisor"),
    [
        (IMAGES * 255, 255),
        ((IMAGES * 255).astype("int64"), 255),
        ((IMAGES * 16).round(), 16),
    ],
    ids=["floats", "int64", "digits"],
)
def test_images_out_of_range(images: Any, divisor: int) -> None:
    with pytest.raises(ValueError, match=rf"labeled part are floats from 0 .* divide by {divisor}"):
        data(images).setup("fit")


@pytest.mark.parametrize(
    "images",
    [IMAGES, (IMAGES * 255).astype("uint8"), (IMAGES - 0.5) / 0.2, IMAGES * 80, IMAGES.round()],
    ids=["floats", "uint8", "standardized", "decibels", "black and white"],
)
def test_images_in_range(images: Any) -> None:
    data(images).setup("fit")


def test_a_part_of_constant_images_is_reported() -> None:
    images = IMAGES.copy()
    images[:4] = images[:4, :1, :1, :1]
    rows = [0, 1, 2, 3]
    made = SSLDataModule.from_arrays(images, LABELS, labeled_indices=rows)
    with pytest.warns(RuntimeWarning, match="all of 4 images looked at in the labeled part are"):
        made.setup("fit")
