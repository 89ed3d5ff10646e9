"""Images for tests."""

from __future__ import annotations

import numpy as np
from PIL import Image


def image(*shape: int) -> Image.Image:
    return Image.fromarray(np.zeros(shape, dtype=np.uint8))
