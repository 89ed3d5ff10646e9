"""What a stranger's file may not do even where the versions of what reads it have known holes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supercm_pl.data.sources.image_folders import IMAGE_SUFFIXES
from supercm_pl.data.sources.image_reading import read_image

PICTURE = Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", ["EPS", "ICO", "PCX", "TGA", "SGI", "DDS", "PDF"])
def test_a_format_that_nobody_asked_for_is_not_decoded_under_another_name(
    kind: str, tmp_path: Path
) -> None:
    content = io.BytesIO()
    PICTURE.save(content, format=kind)
    (tmp_path / "x.png").write_bytes(content.getvalue())
    with pytest.raises(ValueError, match=r"can't read the image .*x\.png: cannot identify"):
        read_image(tmp_path / "x.png", (8, 8))


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_every_suffix_that_is_looked_for_can_be_read(suffix: str, tmp_path: Path) -> None:
    picture = PICTURE.convert("L") if suffix == ".pgm" else PICTURE
    picture.save(tmp_path / f"x{suffix}")
    assert read_image(tmp_path / f"x{suffix}", (4, 4)).shape == (3, 4, 4)


def test_an_image_named_by_another_suffix_is_read(tmp_path: Path) -> None:
    PICTURE.save(tmp_path / "x.png", format="JPEG")
    assert read_image(tmp_path / "x.png", (8, 8)).shape == (3, 8, 8)
