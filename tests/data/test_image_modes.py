"""Images of every mode keep what they show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from supercm_pl.data.datasets import image_tensor
from supercm_pl.data.image_modes import eight_bit
from supercm_pl.data.sources.image_reading import read_image


def drawn(mode: str) -> Image.Image:
    """A black square in the corner, transparent elsewhere, where the hidden color is black too."""
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 4, 4))
    if mode == "P":
        palette = Image.new("P", (8, 8), 1)
        palette.putpalette([0, 0, 0, 0, 0, 0])
        palette.paste(0, (0, 0, 4, 4))
        palette.info["transparency"] = 1
        return palette
    return image.convert(mode)


FILES = [(mode, True) for mode in ("RGBA", "LA", "P")]  # palettes with alpha are in no format


@pytest.mark.parametrize(
    ("mode", "through_file"), [*FILES, *((mode, False) for mode in ("RGBA", "LA", "P", "PA"))]
)
def test_transparent_pixels_are_white(mode: str, through_file: bool, tmp_path: Path) -> None:
    image = drawn(mode)
    if not through_file:
        pixels = image_tensor(image)
    else:
        options = {"transparency": 1} if mode == "P" else {}
        image.save(tmp_path / "x.png", **options)
        pixels = read_image(tmp_path / "x.png", (8, 8))
    expected = torch.full((8, 8), 255, dtype=torch.uint8)
    expected[:4, :4] = 0
    assert torch.equal(pixels, expected.expand_as(pixels))
    assert len(pixels) == (1 if mode == "LA" and not through_file else 3)


def test_what_vanishes_on_white_is_reported() -> None:
    image = Image.new("RGBA", (8, 8), (255, 255, 255, 0))
    assert (image_tensor(image) == 255).all()  # nothing to see anyway
    image.paste((255, 255, 255, 255), (0, 0, 4, 4))
    with pytest.warns(RuntimeWarning, match="white on a transparent background and vanishes"):
        image_tensor(image)


def test_half_transparent_is_half_white() -> None:
    image = Image.new("RGBA", (1, 1), (200, 0, 100, 51))
    assert eight_bit(image).getpixel((0, 0)) == (244, 204, 224)


NOTED = pytest.mark.filterwarnings("default:images of :RuntimeWarning")
RAMP = np.linspace(0, 1, 256).reshape(16, 16)
DEEP = {
    "float 0..1": (RAMP.astype("float32"), "tif"),
    "16 bits": ((RAMP * 65535).astype("uint16"), "png"),
    "12 bits": ((RAMP * 4095).astype("uint16"), "png"),
    "12 bits in tiff": ((RAMP * 4095).astype("uint16"), "tif"),
    "float 0..1000": ((RAMP * 1000).astype("float32"), "tif"),
    "float -1..1": ((RAMP * 2 - 1).astype("float32"), "tif"),
    "float 0..255": ((RAMP * 255).astype("float32"), "tif"),
    "32 bits": ((RAMP * 2**31 - 1).astype("int32"), "tif"),
    "32 bits, 0..255": ((RAMP * 255).astype("int32"), "tif"),
}


@NOTED
@pytest.mark.parametrize("name", DEEP)
def test_deep_images_fill_the_range(name: str, tmp_path: Path) -> None:
    values, suffix = DEEP[name]
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(values).save(path)
    pixels = read_image(path, (16, 16), grayscale=True)[0].int().numpy()
    assert np.abs(pixels - RAMP * 255).max() <= 1


def test_scaling_by_an_images_own_range_is_said(tmp_path: Path) -> None:
    Image.fromarray(DEEP["12 bits"][0]).save(tmp_path / "x.png")
    with pytest.warns(RuntimeWarning, match="integers of more than 8 bits are scaled to 0..255 by"):
        read_image(tmp_path / "x.png", (16, 16))
    for name in ("float 0..1", "16 bits"):
        Image.fromarray(DEEP[name][0]).save(tmp_path / "y.tif")
        read_image(tmp_path / "y.tif", (16, 16))


@pytest.mark.bad_input
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_floats_that_are_no_numbers(value: float, tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), value, dtype="float32")).save(tmp_path / "x.tif")
    with pytest.raises(ValueError, match=r"x.tif: it contains NaN or infinity"):
        read_image(tmp_path / "x.tif", (4, 4))


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "CMYK", "YCbCr", "LAB", "HSV", "RGBa", "La"])
def test_other_modes(mode: str) -> None:
    image = Image.new("L", (2, 2), 255)
    if mode in ("RGBa", "La"):
        image = image.convert(mode[:-1].upper() + "A")
    elif mode in ("CMYK", "HSV", "YCbCr"):
        image = image.convert("RGB")
    white = Image.new("LAB", (2, 2), (255, 128, 128)) if mode == "LAB" else image.convert(mode)
    found = image_tensor(white)
    assert int(found.min()) >= 254
    assert len(found) == (1 if mode in ("1", "L", "La") else 3)
