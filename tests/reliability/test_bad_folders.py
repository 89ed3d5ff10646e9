"""Wrong folders: each an error or a warning that names the folder, the class or the file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from supercm_pl.data import FolderSource
from tests.support.images import paint

pytestmark = pytest.mark.bad_input


@pytest.fixture
def labeled(tmp_path: Path) -> Path:
    paint(tmp_path / "labeled", *(f"{name}/{i}.png" for name in ("cat", "dog") for i in range(4)))
    return tmp_path / "labeled"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("image_size", size) for size in ("32", 8.5, (8, 8), True, None, 0)),
        *(("damaged", "ignore"), ("duplicates", "ignore")),
    ],
)
def test_an_argument(name: str, value: Any, labeled: Path) -> None:
    with pytest.raises((TypeError, ValueError), match=f"{name} must be .*, got") as caught:
        FolderSource(labeled, **{name: value})
    assert repr(value) in str(caught.value)


def test_an_empty_class(labeled: Path) -> None:
    (labeled / "owl").mkdir()
    with pytest.raises(ValueError, match=r"class 'owl' of the labeled folder .* has no images"):
        FolderSource(labeled).load()


@pytest.mark.parametrize("to", [".", "..", "../.."])
def test_a_class_that_is_a_link_to_all_classes(to: str, labeled: Path) -> None:
    (labeled / "loop").symlink_to(labeled / to)
    with pytest.raises(
        ValueError, match=r"class 'loop' .* is a link to .*, which contains the other"
    ):
        FolderSource(labeled).load()


def test_a_link_in_a_class_to_all_classes_brings_no_others_images(labeled: Path) -> None:
    (labeled / "cat" / "loop").symlink_to(labeled)
    data = FolderSource(labeled).load()
    assert data.train.targets == [0] * 4 + [1] * 4  # type: ignore[attr-defined]


def test_names_that_are_no_text(labeled: Path) -> None:
    path = os.path.join(os.fsencode(labeled / "cat"), b"c\xff\xfe.png")
    try:
        with open(path, "wb") as file:
            file.write(b"no image")
    except OSError:
        pytest.skip("this file system refuses such names")
    with pytest.raises(ValueError, match=r"can't read the image .*labeled/cat/c"):
        FolderSource(labeled, damaged="unchecked").load().train.fetch(np.arange(9))  # type: ignore[attr-defined]
    with pytest.warns(RuntimeWarning, match=r"1 image is damaged \(.*labeled/cat/c.*: left out"):
        data = FolderSource(labeled).load()
    assert len(data.train) == 8  # type: ignore[arg-type]
