import math

import pytest
import torch
from torch import nn

from supercm_pl.data import (
    AffineNoise,
    Compose,
    Cutout,
    FlipCrop,
    GaussianNoise,
    RandAugment,
    StrongAugment,
)


def still(**changes):
    return AffineNoise(**{"rotation": 0.0, "shift": 0.0, "scale": 0.0, "noise": 0.0, **changes})


def dot(row, column, size=21):
    image = torch.zeros(1, 1, size, size)
    image[0, 0, row, column] = 1.0
    return image


def centre_of_mass(images):
    weights = images[:, 0] / images[:, 0].sum((1, 2), keepdim=True)
    size = images.shape[-1]
    rows = (weights.sum(2) * torch.arange(size)).sum(1)
    columns = (weights.sum(1) * torch.arange(size)).sum(1)
    return rows, columns


@pytest.mark.parametrize("transform", [AffineNoise(), FlipCrop(2), GaussianNoise()])
@pytest.mark.parametrize("shape", [(6, 1, 8, 8), (3, 3, 7, 12)])
def test_shape_and_type_are_kept(transform, shape):
    images = torch.rand(shape)
    assert transform(images).shape == shape
    assert transform(images.double()).dtype == torch.float64


@pytest.mark.parametrize(
    ("transform", "distinct"),
    [
        (AffineNoise(), 63),
        (GaussianNoise(), 63),
        (FlipCrop(2), 24),  # of 50 that there are
        (RandAugment(), 50),
        (Cutout(), 50),
        (StrongAugment(), 50),
    ],
)
def test_the_seed_repeats_and_samples_differ(transform, distinct):
    images = torch.rand(1, 3, 16, 16).expand(64, -1, -1, -1)
    torch.manual_seed(0)
    one = transform(images)
    torch.manual_seed(0)
    assert torch.equal(transform(images), one)
    assert not torch.equal(transform(images), one)
    assert len({tuple(image.flatten().tolist()) for image in one}) > distinct


def test_no_range_is_the_identity():
    images = torch.rand(4, 3, 9, 6)
    assert torch.allclose(still()(images), images, atol=1e-5)
    assert torch.equal(FlipCrop(0, flip=0.0)(images), images)
    assert GaussianNoise(0.0)(images) is images
    assert torch.equal(Cutout(0.0)(images), images)


def test_rotation_is_in_radians_about_the_centre():
    torch.manual_seed(0)
    images = dot(10, 17).expand(500, -1, -1, -1)
    rows, columns = centre_of_mass(still(rotation=0.5)(images))
    angles = torch.atan2(rows - 10, columns - 10)
    assert angles.abs().max() < 0.52
    assert angles.max() > 0.45
    assert angles.min() < -0.45
    assert torch.allclose((rows - 10) ** 2 + (columns - 10) ** 2, torch.tensor(49.0), atol=1.5)


def test_rotation_keeps_its_angle_in_images_that_are_not_square():
    torch.manual_seed(0)
    image = torch.zeros(1, 1, 41, 21)
    image[0, 0, 20, 17] = 1.0
    moved = still(rotation=math.pi / 4)(image.expand(300, -1, -1, -1))
    best = moved.flatten(1).argmax(1)
    distance = ((best // 21 - 20) ** 2 + (best % 21 - 10) ** 2).float().sqrt()
    assert (distance - 7).abs().max() < 1.0


def test_shift_is_a_fraction_of_the_side():
    torch.manual_seed(0)
    rows, columns = centre_of_mass(still(shift=0.2)(dot(10, 10, 21).expand(500, -1, -1, -1)))
    for moved in (rows - 10, columns - 10):
        assert 4.0 < moved.max() <= 4.2 + 1e-3  # 0.2 of 21 pixels
        assert -4.2 - 1e-3 <= moved.min() < -4.0


def test_scale_is_the_change_of_size():
    torch.manual_seed(0)
    rows, _ = centre_of_mass(still(scale=0.3)(dot(18, 10, 21).expand(500, -1, -1, -1)))
    assert 10 + 8 * 0.7 - 0.3 < rows.min() < 10 + 8 * 0.75
    assert 10 + 8 * 1.22 < rows.max() < 10 + 8 * 1.3 + 0.3


def test_noise_has_its_standard_deviation():
    torch.manual_seed(0)
    zeros = torch.zeros(10, 1, 64, 64)
    assert still(noise=0.2)(zeros).std().item() == pytest.approx(0.2, rel=0.02)
    assert GaussianNoise(0.3)(zeros).std().item() == pytest.approx(0.3, rel=0.02)


def test_flip_crop_against_a_naive_reading():
    torch.manual_seed(0)
    image = torch.rand(2, 5, 6)
    padded = torch.nn.functional.pad(image[None], [2] * 4, mode="reflect")[0]
    allowed = set()
    for top in range(5):
        for left in range(5):
            crop = padded[:, top : top + 5, left : left + 6]
            allowed |= {tuple(crop.flatten().tolist()), tuple(crop.flip(2).flatten().tolist())}
    out = FlipCrop(2)(image.expand(2000, -1, -1, -1))
    assert {tuple(one.flatten().tolist()) for one in out} == allowed


def test_without_flip_nothing_is_mirrored():
    image = torch.arange(5.0).expand(1, 5, 5)[None]
    out = FlipCrop(0, flip=0.0)(image.expand(50, -1, -1, -1))
    assert torch.equal(out, image.expand(50, -1, -1, -1))
    mirrored = FlipCrop(0, flip=1.0)(image)
    assert torch.equal(mirrored, image.flip(3))


def test_compose_applies_in_order():
    transform = Compose([nn.Threshold(0.5, 0.0), nn.Upsample(scale_factor=2)])
    images = torch.rand(2, 1, 4, 4)
    expected = nn.functional.interpolate(torch.where(images > 0.5, images, 0.0), scale_factor=2)
    assert torch.equal(transform(images), expected)
