"""Faults of the data that would raise no error in training are found before it."""

from __future__ import annotations

import re
from typing import Any

import kornia.augmentation as K
import numpy as np
import pytest
import torch
from torch import nn
from torchvision import transforms as v1
from torchvision.transforms import v2

from supercm_pl import SSLDataModule, SSLModule
from supercm_pl.backbones import ConvNet
from supercm_pl.data import DatasetSource
from supercm_pl.data.transforms.augment import Compose, FlipCrop
from supercm_pl.export import Classifier

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
        v1.Compose([v1.RandomHorizontalFlip()]),
        v2.Compose([v2.RandomCrop(16, padding=2)]),
        [FlipCrop(), v1.RandomVerticalFlip()],
        lambda images: images.roll(int(torch.randint(9, ())), 3),
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
        nn.Sequential(nn.Dropout(0.1), FlipCrop(2)),
        nn.Identity(),
        [FlipCrop(), K.RandomHorizontalFlip()],
        lambda images: images + 0.1 * torch.randn_like(images),
    ],
    ids=["flip", "crop", "normalized", "identity", "list", "function"],
)
def test_transforms_that_draw_for_each_image(transform: nn.Module) -> None:
    before = torch.get_rng_state()
    data(weak=transform).setup("fit")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "transform",
    [v2.Normalize([0.5] * 3, [0.5] * 3), [FlipCrop(), v2.Resize(8)], lambda images: images / 2],
)
def test_transforms_that_evaluation_lacks_are_reported(transform: Any) -> None:
    message = r"in weak=\.\.\. changes all images alike, but only those of training: pass it as pre"
    with pytest.warns(RuntimeWarning, match=message):
        data(weak=transform).setup("fit")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (v1.ToTensor(), "of single images go into a Dataset, for SSLDataModule"),
        (lambda images: {"image": images}, "must be a floating-point tensor, got dict"),
        (lambda images: images.numpy(), "must be a floating-point tensor, got ndarray"),
        (lambda images: images.mul(255).byte(), "a floating-point tensor, got torch.uint8"),
        (lambda images: None, "must be a floating-point tensor, got NoneType"),
        (lambda images: images[:1], "must return one output per input, got 1 for 8"),
    ],
)
def test_transforms_of_something_else_are_refused(transform: Any, message: str) -> None:
    start = r"weak transform must take a batch of shape \(8, 3, 16, 16\), but fails: .*"
    with pytest.raises(ValueError, match=start + message):
        data(weak=transform).setup("fit")


@pytest.mark.bad_input
def test_a_test_of_another_size_is_refused() -> None:
    big = torch.utils.data.TensorDataset(torch.rand(8, 3, 20, 20), torch.arange(8) % 2)
    train = torch.utils.data.TensorDataset(torch.from_numpy(IMAGES), torch.from_numpy(LABELS))
    made = SSLDataModule(DatasetSource(train, big), labels_per_class=2)
    with pytest.raises(ValueError, match=r"part have the shape \(3, 16, 16\), those of the test"):
        made.setup("test")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("images", "divisor"),
    [
        (IMAGES * 255, 255),
        ((IMAGES * 255).astype("int64"), 255),
        ((IMAGES * 16).round(), 16),
        ((IMAGES * 65535).astype("uint16"), 65535),
        ((IMAGES * 4000).astype("uint16"), 4095),
    ],
    ids=["floats", "int64", "digits", "uint16", "12 bits"],
)
def test_images_out_of_range(images: Any, divisor: int) -> None:
    with pytest.raises(ValueError, match=rf"labeled part are floats from 0 .* divide by {divisor}"):
        data(images).setup("fit")


@pytest.mark.parametrize(
    "images",
    [IMAGES, (IMAGES * 255).astype("uint8"), IMAGES * 1.3 - 0.2, IMAGES.round()],
    ids=["floats", "uint8", "noisy", "black and white"],
)
def test_images_in_range(images: Any) -> None:
    data(images).setup("fit")


@pytest.mark.bad_input
@pytest.mark.parametrize("images", [(IMAGES - 0.5) / 0.2, (IMAGES - 0.5) * 2, IMAGES * 16])
def test_normalized_images_are_said(images: Any, recwarn: pytest.WarningsRecorder) -> None:
    message = r" are floats from .*: leave out Normalize, and pass floats in \[0, 1\] or uint8"
    data(images).setup("fit")
    (warning,) = recwarn
    assert re.search(f"^images of the labeled part{message}", str(warning.message))
    model = SSLModule(ConvNet(3, (8,)), 2)
    images = torch.from_numpy(images)
    with pytest.warns(RuntimeWarning, match=f"^inputs{message}"):
        model(images)
    with pytest.warns(RuntimeWarning, match=f"^inputs{message}"):
        Classifier(model, ["a", "b"], images.shape[1:]).predict(images)
    data(images[:, :1].expand(-1, 4, -1, -1)).setup("fit")  # of four channels: no photographs
    assert len(recwarn) == 1


CONSTANT = np.ascontiguousarray(np.broadcast_to(IMAGES[:, :1, :1, :1], IMAGES.shape))


def test_a_part_of_few_gray_levels_is_reported() -> None:
    digits = np.random.default_rng(0).integers(0, 17, (40, 1, 8, 8)).astype("uint8")
    with pytest.warns(RuntimeWarning, match=r"the largest value of 8 looked at is 16: .* x / 16"):
        SSLDataModule.from_arrays(digits, np.arange(40) % 2, labels_per_class=4).setup("fit")


@pytest.mark.parametrize(
    ("part", "stage"), [("labeled", "fit"), ("validation", "fit"), ("test", "test")]
)
def test_a_part_of_constant_images_is_reported(part: str, stage: str) -> None:
    images = IMAGES.copy()
    made = SSLDataModule.from_arrays(
        images, LABELS, CONSTANT if part == "test" else IMAGES, LABELS, labels_per_class=4, seed=0
    )
    if part != "test":
        split = made.split
        rows = split.labeled if part == "labeled" else split.val
        images[rows] = CONSTANT[rows]
    with pytest.warns(RuntimeWarning, match=f"all of 8 images looked at in the {part} part are"):
        made.setup(stage)


@pytest.mark.bad_input
def test_a_test_set_on_another_scale_is_reported(recwarn: pytest.WarningsRecorder) -> None:
    table = np.random.default_rng(0).normal(size=(40, 5))
    for factor in (1, 5):
        made = SSLDataModule.from_arrays(table, LABELS, factor * table, LABELS, labels_per_class=4)
        made.setup("test")
    assert not recwarn.list
    made = SSLDataModule.from_arrays(table, LABELS, 300 * table, LABELS, labels_per_class=4)
    with pytest.warns(RuntimeWarning, match="labeled part are of the size .*, those of the test"):
        made.setup("test")
    pixels = (IMAGES * 255).round()
    made = SSLDataModule.from_arrays(IMAGES, LABELS, pixels, LABELS, labels_per_class=4)
    with pytest.raises(ValueError, match="images of the test part are floats from 0 to 255"):
        made.setup("test")
