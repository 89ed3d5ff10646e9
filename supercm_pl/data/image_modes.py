"""PIL images of any mode as 8-bit grayscale or RGB."""

from __future__ import annotations

import warnings

import numpy as np
from PIL import Image

_DEEP_INTEGERS = (255, 1023, 4095, 16383, 65535)  # 8, 10, 12, 14 and 16 bits
_DEEP_FLOATS = (1, 255)


def eight_bit(image: Image.Image) -> Image.Image:
    """Convert to mode ``L`` if the image is grayscale, to ``RGB`` otherwise.

    Transparent pixels are composited over white, as by browsers and viewers; a warning reports an
    image that vanishes there. Integers of more than 8 bits are divided by the
    largest value of 8, 10, 12, 14 or 16 bits that the image fits in, and floats by 1 or 255;
    values beyond them are scaled by the smallest and largest value of the image. A warning says
    so, unless the image uses 16 bits, or floats in ``[0, 1]``.

    Raises:
        ValueError: If a value is NaN or infinite.
    """
    if image.mode.startswith("I") or image.mode == "F":
        return _scaled(image)
    grayscale = image.mode in ("1", "L", "LA", "La")
    if image.mode in ("La", "RGBa") or "transparency" in image.info or image.mode[-1:] == "A":
        image = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        composed = Image.alpha_composite(white, image)
        shown, alpha = (np.asarray(each) for each in (composed.convert("L"), image.getchannel("A")))
        if np.ptp(shown) < 2 <= np.ptp(alpha):
            warnings.warn(
                "an image is white on a transparent background and vanishes on white: save such "
                "images with a background",
                RuntimeWarning,
                stacklevel=2,
            )
        image = composed
    return image.convert("L" if grayscale else "RGB")


def _scaled(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("it contains NaN or infinity")
    ranges = _DEEP_FLOATS if image.mode == "F" else _DEEP_INTEGERS
    fitting: list[float] = [top for top in ranges if low >= 0 and high <= top]
    if not fitting:
        values, fitting = values - low, [(high - low) or 1.0]
    top = fitting[0]
    if top not in (1, 65535):
        kind = "floats" if image.mode == "F" else "integers of more than 8 bits"
        warnings.warn(
            f"images of {kind} are scaled to 0..255 by the range of each image: if that is not "
            "what their values mean, save them with 8 bits",
            RuntimeWarning,
            stacklevel=2,
        )
    return Image.fromarray((values * 255 / top).astype(np.uint8))
