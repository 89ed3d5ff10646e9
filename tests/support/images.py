"""Images for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def image(*shape: int) -> Image.Image:
    return Image.fromarray(np.zeros(shape, dtype=np.uint8))


def paint(
    root: Path, *names: str, color: Any = (200, 100, 50), size: tuple[int, int] = (6, 4)
) -> None:
    """Images of one color in files below ``root``."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, color).save(root / name)
