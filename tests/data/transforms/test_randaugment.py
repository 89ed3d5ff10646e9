"""RandAugment and Cutout against torchvision and a naive reading, image by image."""

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as reference

from supercm_pl.data import Cutout, RandAugment, StrongAugment
from supercm_pl.data.transforms.image_operations import OPERATIONS

STRENGTHS = torch.tensor([-1.0, -0.55, -0.1, 0.0, 0.3, 0.77, 1.0])
BILINEAR = InterpolationMode.BILINEAR


def pictures(shape=(7, 3, 11, 16)):
    """Images whose values are among the 256 levels of a file."""
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(0)) / 255


def factor(strength):
    return 0.95 - 0.9 * abs(strength)


def posterized(image, strength):
    bits = 8 - min(int(5 * abs(strength)), 4)
    return reference.posterize((image * 255).round().to(torch.uint8), bits) / 255


def affine(image, *, angle=0.0, translate=(0, 0), shear=(0.0, 0.0)):
    return reference.affine(image, angle, list(translate), 1.0, list(shear), BILINEAR)


def slope(strength):
    return torch.rad2deg(torch.atan(torch.tensor(0.3 * strength))).item()


BY_TORCHVISION = {
    "identity": lambda image, s: image,
    "autocontrast": lambda image, s: reference.autocontrast(image),
    "brightness": lambda image, s: reference.adjust_brightness(image, factor(s)),
    "color": lambda image, s: reference.adjust_saturation(image, factor(s)),
    "contrast": lambda image, s: reference.adjust_contrast(image, factor(s)),
    "posterize": posterized,
    # Its angle has the other sign.
    "rotate": lambda image, s: affine(image, angle=-30.0 * s),
    "sharpness": lambda image, s: reference.adjust_sharpness(image, factor(s)),
    "shear_x": lambda image, s: affine(image, shear=(slope(s), 0.0)),
    "shear_y": lambda image, s: affine(image, shear=(0.0, slope(s))),
    "solarize": lambda image, s: reference.solarize(image, min(256 / 255 * (1.0 - abs(s)), 1.0)),
}


# Blends start at a factor of 0.95, and two operations have no strength.
BLENDS = {"brightness", "color", "contrast", "sharpness"}
CHANGES_WITHOUT_STRENGTH = BLENDS | {"autocontrast", "equalize"}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", BY_TORCHVISION)
def test_operations_are_those_of_torchvision(name, channels):
    images = pictures((len(STRENGTHS), channels, 11, 16))
    expected = [
        BY_TORCHVISION[name](image, strength)
        for image, strength in zip(images, STRENGTHS.tolist(), strict=True)
    ]
    torch.testing.assert_close(
        OPERATIONS[name](images, STRENGTHS), torch.stack(expected), atol=2e-5, rtol=0.0
    )


@pytest.mark.parametrize(
    "name", [name for name in OPERATIONS if name not in CHANGES_WITHOUT_STRENGTH]
)
def test_without_strength_an_operation_changes_no_value(name):
    levels = torch.arange(256.0).view(1, 1, 16, 16) / 255  # black and white included
    same = OPERATIONS[name](levels, torch.zeros(1))
    torch.testing.assert_close(same, levels, atol=2e-6, rtol=0.0)


def test_solarize_at_full_strength_inverts_every_value():
    levels = torch.arange(256.0).view(1, 1, 16, 16) / 255
    torch.testing.assert_close(OPERATIONS["solarize"](levels, torch.ones(1)), 1 - levels)


@pytest.mark.parametrize(("name", "axis"), [("translate_x", 3), ("translate_y", 2)])
def test_translation_is_a_fraction_of_the_side(name, axis):
    images = pictures((3, 3, 20, 20))
    moved = OPERATIONS[name](images, torch.tensor([1.0, -0.5, 0.0]))
    for image, result, pixels in zip(images, moved, (6, -3, 0), strict=True):
        shift = (pixels, 0) if axis == 3 else (0, pixels)
        torch.testing.assert_close(result, affine(image, translate=shift), atol=2e-5, rtol=0.0)


def test_equalize_is_torchvisions_where_pixels_are_many():
    # Unevenly spread over the levels, and differently so in each channel.
    images = pictures((2, 3, 256, 256)) ** torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)
    images = (images * 255).round() / 255
    expected = reference.equalize((images * 255).round().to(torch.uint8)) / 255
    equalized = OPERATIONS["equalize"](images, torch.ones(2))
    torch.testing.assert_close(equalized, expected, atol=2.5 / 255, rtol=0.0)


def test_equalize_is_the_share_of_darker_pixels():
    images = pictures((3, 2, 8, 8))
    equalized = OPERATIONS["equalize"](images, torch.ones(3))
    for image, result in zip(images.flatten(0, 1), equalized.flatten(0, 1), strict=True):
        values = image.flatten().tolist()
        others = len(values) - values.count(max(values))
        naive = [sum(other < value for other in values) / others for value in values]
        torch.testing.assert_close(result.flatten(), torch.tensor(naive))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(8, 8), (32, 32), (1, 1), (2, 5)])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", OPERATIONS)
def test_constant_and_tiny_images_stay_finite_and_in_range(name, value, size, channels):
    images = torch.full((len(STRENGTHS), channels, *size), value)
    out = OPERATIONS[name](images, STRENGTHS)
    assert out.shape == images.shape
    assert out.isfinite().all()
    assert out.min() >= -1e-6
    assert out.max() <= 1 + 1e-6


@pytest.mark.parametrize("transform", [RandAugment(), Cutout(), StrongAugment(padding=2)])
@pytest.mark.parametrize("shape", [(64, 1, 8, 8), (64, 3, 32, 32), (1, 3, 8, 8), (30, 3, 9, 17)])
def test_shape_type_and_range_are_kept(transform, shape):
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.float64):
        images = torch.rand(shape, dtype=dtype)
        before = images.clone()
        out = transform(images)
        assert (out.shape, out.dtype) == (images.shape, dtype)
        assert out.min() >= 0.0
        assert out.max() <= 1.0
        assert torch.equal(images, before)


def test_each_sample_draws_its_operation_uniformly():
    torch.manual_seed(0)
    names = ("identity", "autocontrast", "equalize", "brightness")
    ramp = torch.linspace(0.1, 0.9, 9).square().view(1, 1, 3, 3)
    out = RandAugment(1, operations=names)(ramp.expand(4000, -1, -1, -1))
    rest = torch.ones(4000, dtype=torch.bool)
    for name in names[:3]:
        found = (out - OPERATIONS[name](ramp, torch.ones(1))).abs().amax((1, 2, 3)) < 1e-6
        rest &= ~found
        assert 0.22 < found.float().mean() < 0.28  # a quarter, with a standard error of 0.007
    assert 0.22 < rest.float().mean() < 0.28
    assert (out[rest] / ramp).std((1, 2, 3)).max() < 1e-5


def test_every_image_comes_back_to_its_place():
    # Without strength the operations that have one leave it nearly as it is.
    names = ("identity", "rotate", "shear_x", "translate_y", "posterize")
    images = pictures((40, 3, 9, 9))
    out = RandAugment(3, magnitude=0.0, operations=names)(images)
    torch.testing.assert_close(out, images, atol=1e-4, rtol=0.0)


def test_operations_follow_one_another():
    torch.manual_seed(0)
    image = torch.full((500, 1, 2, 2), 0.5)
    once, twice = (RandAugment(n, operations=["brightness"])(image).mean() for n in (1, 2))
    assert once.item() == pytest.approx(0.5 * 0.5, abs=0.04)  # the mean factor is 0.5
    assert twice.item() == pytest.approx(0.5 * 0.25, abs=0.04)


def test_magnitude_is_the_largest_strength():
    torch.manual_seed(0)
    image = torch.ones(1000, 1, 2, 2)
    for magnitude, lowest in ((10.0, 0.05), (5.0, 0.5)):
        out = RandAugment(1, magnitude, operations=["brightness"])(image)
        assert out.max().item() == pytest.approx(0.95, abs=0.01)
        assert out.min().item() == pytest.approx(lowest, abs=0.01)


def test_cutout_covers_one_square_of_gray():
    torch.manual_seed(0)
    images = torch.ones(400, 3, 20, 30)
    out = Cutout(0.5)(images)
    covered = out[:, 0] != 1.0
    assert (out[:, :1].expand_as(out) == out).all()
    assert set(out.unique().tolist()) == {0.5, 1.0}
    for mask in covered:
        height, width = int(mask.any(1).sum()), int(mask.any(0).sum())
        assert int(mask.sum()) == height * width
        assert max(height, width) <= 10  # half of the shorter side
    inside = ~(covered[:, [0, -1]].any(2).any(1) | covered[:, :, [0, -1]].any(2).any(1))
    heights, widths = covered[inside].any(2).sum(1), covered[inside].any(1).sum(1)
    assert (heights - widths).abs().max() <= 1
    assert heights.min() == 0
    assert heights.max() == 10
    assert (covered.float().mean(0) > 0.0).all()


def test_the_variant_of_the_fixmatch_authors_changes_half_the_samples_and_cuts_out_one_size():
    torch.manual_seed(0)
    image = torch.ones(2000, 1, 32, 32)
    twice = RandAugment(2, operations=["brightness"], probability=0.5)(image)
    assert (twice == image).all(dim=(1, 2, 3)).float().mean().item() == pytest.approx(
        0.25, abs=0.03
    )
    shares = [
        (Cutout(0.5, random_size=drawn)(image) != 1).float().mean() for drawn in (False, True)
    ]
    # 16 pixels of 32, less what lies outside: 14 on average along each axis.
    assert shares[0].item() == pytest.approx((14 / 32) ** 2, abs=0.005)
    assert shares[1].item() == pytest.approx(0.068, abs=0.005)
    authors = StrongAugment(probability=0.5, random_cutout=False)
    assert (authors[1].probability, authors[2].random_size) == (0.5, False)


@pytest.mark.parametrize(
    "transform",
    [RandAugment(), RandAugment(probability=0.5), Cutout(), Cutout(random_size=False)],
)
def test_nothing_waits_for_the_device(transform):
    # The meta device has no values: to read one is an error.
    images = torch.empty(20, 3, 16, 16, device="meta")
    assert transform(images).shape == images.shape
