"""Wrong folders: each an error or a warning that names the folder, the class or the file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from supercm_pl import SSLDataModule, UDADataModule
from supercm_pl.data import DomainFolder, FolderSource, ImageList, Resized
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


def test_classes_that_differ_in_blanks(labeled: Path) -> None:
    try:
        (labeled / "cat ").mkdir()
    except OSError:
        pytest.skip("this file system refuses such names")
    with pytest.raises(ValueError, match=r"labeled has several folders 'cat' that differ in blank"):
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


SSL, UDA = SSLDataModule.from_folder, UDADataModule.from_folders
LISTED = "a/0.png 0\nb/0.png 1\n"


@pytest.mark.filterwarnings("ignore:4 images of the test folder are in")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UDA("one", "one"), "one/a/0.png is in the source and in the target part: keep"),
        (lambda: UDA("one", "two", "one"), "one/a/0.png is in the source and in the test part"),
        (lambda: UDA(["one", "one"], "two"), "is in the source 0 and in the source 1 part"),
        (
            lambda: UDADataModule(DomainFolder(".", "one"), DomainFolder(".", "one")),
            "is in the source and in the target part",
        ),
        (
            lambda: UDADataModule(*[Resized(FolderSource("one"), size=4)] * 2),
            "is in the source and in the target part",
        ),
        (
            lambda: SSLDataModule(ImageList("one/list", test_list="one/list"), num_labels=2),
            "is in the training and in the test part",
        ),
        (lambda: SSL("one", "one"), "same folder one, and it has no images beside .* omit unlabe"),
        (lambda: SSL("alone", "two"), r"at least two classes are needed, got \['a'\]"),
        (lambda: UDA("alone", "two"), r"at least two classes are needed, got \['a'\]"),
    ],
)
def test_folders_given_twice_or_of_one_class(
    make: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paint(
        tmp_path,
        *(f"{part}/{name}/{i}.png" for part in ("one", "two") for name in "ab" for i in (0, 1)),
    )
    paint(tmp_path, "alone/a/0.png", "alone/a/1.png")
    Path("one/list").write_text(LISTED)
    with pytest.raises(ValueError, match=message):
        make().load()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("cat/1.png,nan", "labels.csv has the label 'nan', the text of .* leave the label empty"),
        ("cat/1.png,None", "labels.csv has the label 'None', the text of a missing value"),
        ("./cat/0.png,dog", "line 4: ./cat/0.png is labeled dog, and cat before: keep one of"),
        ("cat/1.png,-1", None),
        ("cat/0.png,cat", None),
        ("cat/0.png,", None),
    ],
)
def test_labels_of_no_class_or_of_two(lines: str, message: str | None, labeled: Path) -> None:
    table = labeled / "labels.csv"
    table.write_text(f"file,label\ncat/0.png,cat\ndog/0.png,dog\n{lines}\n")
    data = SSL(table, labeled)
    if message is None:
        assert (
            data.describe()
            == "2 labeled · 6 unlabeled · 0 validation · 0 test, 2 classes (cat, dog)"
        )
    else:
        with pytest.raises(ValueError, match=message):
            data.load()
