"""Folders of images as people have them: damaged, doubled, odd, and hostile."""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from supercm_pl import SSLDataModule
from supercm_pl.data import FolderSource
from supercm_pl.data.sources.image_reading import read_image


def noise(size: tuple[int, int] = (48, 48), channels: int = 3, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, channels), dtype=np.uint8)
    return Image.fromarray(pixels)


def cut(path: Path, keep: float) -> None:
    noise().save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


def chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content)) + kind + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )  # fmt: skip


def bomb(path: Path, side: int) -> None:
    """A PNG of a few hundred bytes that claims ``side * side`` pixels."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


def flipped(path: Path) -> None:
    noise().save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def link_to_nowhere(path: Path) -> None:
    path.symlink_to(path.parent / "gone.png")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path)


DAMAGED: dict[str, Callable[[Path], object]] = {
    "cut_early.jpg": lambda path: cut(path, 0.1),
    "cut_late.jpg": lambda path: cut(path, 0.9),
    "cut_early.png": lambda path: cut(path, 0.1),
    "cut_late.png": lambda path: cut(path, 0.9),
    "cut.bmp": lambda path: cut(path, 0.5),
    "cut.gif": lambda path: cut(path, 0.5),
    "cut.tif": lambda path: cut(path, 0.5),
    "cut.webp": lambda path: cut(path, 0.5),
    "cut.ppm": lambda path: cut(path, 0.5),
    "header_alone.png": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"),
    "header_alone.jpg": lambda path: path.write_bytes(b"\xff\xd8\xff"),
    "zero_bytes.png": lambda path: path.write_bytes(b""),
    "zero_bytes.jpg": lambda path: path.write_bytes(b""),
    "zeros.png": lambda path: path.write_bytes(bytes(1000)),
    "text.png": lambda path: path.write_text("hello"),
    "page.jpg": lambda path: path.write_text("<html>404 not found</html>"),
    "pickle.png": lambda path: path.write_bytes(b"\x80\x04N."),
    "flipped.png": flipped,
    "nowhere.png": link_to_nowhere,
    "itself.png": link_to_itself,
    "bomb_warned_of.png": lambda path: bomb(path, 11_000),
    "bomb.png": lambda path: bomb(path, 60_000),
}


def labeled_folder(folder: Path, count: int = 4) -> Path:
    for number, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            noise(seed=10 * number + i).save(folder / name / f"{i}.png")
    return folder


@pytest.mark.bad_input
@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_image_is_an_error_that_names_it(name: str, tmp_path: Path) -> None:
    DAMAGED[name](tmp_path / name)
    with pytest.raises(ValueError, match=rf"can't read the image .*{re.escape(name)}: "):
        read_image(tmp_path / name, (8, 8))


@pytest.mark.bad_input
@pytest.mark.parametrize("workers", [0, 1])
def test_in_training_too(workers: int, tmp_path: Path) -> None:
    folder = labeled_folder(tmp_path / "labeled")
    for name in ("cat", "dog"):
        for path in (folder / name).iterdir():
            path.write_bytes(b"")
    source = FolderSource(folder, damaged="unchecked")
    data = SSLDataModule(source, labels_per_class=1, num_workers=workers)
    with pytest.raises(ValueError, match=r"can't read the image .*\.png"):
        next(iter(data.train_dataloader()))


def test_or_all_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = labeled_folder(tmp_path / "labeled")
    for name, spoil in DAMAGED.items():
        spoil(folder / "cat" / name)
    source = FolderSource(folder)
    names = r"22 images are damaged \(.*cat/bomb.png, .*cat/bomb_warned_of.png, .* and 19 more"
    with pytest.raises(ValueError, match=f"{names}.*; damaged='skip' leaves them out"):
        FolderSource(folder, damaged="error").load()
    with pytest.warns(RuntimeWarning, match=names):
        data = source.load()
    assert {path.name for path in source.skipped} == set(DAMAGED)
    assert len(data.train) == 8
    assert data.train.targets == [0] * 4 + [1] * 4
    assert data.train.fetch(np.arange(8)).shape == (8, 3, 32, 32)


def test_whole_folders_are_loaded_without_a_word(tmp_path: Path) -> None:
    source = FolderSource(labeled_folder(tmp_path / "labeled"))
    assert len(source.load().train) == 8
    assert source.skipped == ()


@pytest.mark.bad_input
def test_a_folder_of_nothing_but_damaged_images(tmp_path: Path) -> None:
    (tmp_path / "unlabeled").mkdir()
    DAMAGED["text.png"](tmp_path / "unlabeled" / "text.png")
    folder = labeled_folder(tmp_path / "labeled")
    source = FolderSource(folder, tmp_path / "unlabeled")
    with pytest.raises(ValueError, match=r"no image of the unlabeled folder can be read: .*text"):
        source.load()


@pytest.mark.bad_input
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    noise().save(tmp_path / "x.png")
    (tmp_path / "x.png").chmod(0)
    with pytest.raises(ValueError, match=r"can't read the image .*x.png: .*Permission denied"):
        read_image(tmp_path / "x.png", (8, 8))


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1), (3, 5), (500, 300)])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_any_size_becomes_the_square(size: tuple[int, int], suffix: str, tmp_path: Path) -> None:
    noise(size).save(tmp_path / f"x.{suffix}")
    image = read_image(tmp_path / f"x.{suffix}", (16, 16))
    assert image.shape == (3, 16, 16)
    assert image.dtype == torch.uint8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_of_exif_is_undone(orientation: int, tmp_path: Path) -> None:
    upright = np.zeros((16, 16, 3), dtype=np.uint8)
    upright[:8, :8] = 255  # the corner at the top left is white
    # What a camera held that way has stored, by the definition of the tag.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "x.png", exif=exif)
    assert torch.equal(
        read_image(tmp_path / "x.png", (16, 16)), torch.from_numpy(upright).permute(2, 0, 1)
    )


@pytest.mark.bad_input
@pytest.mark.parametrize("other", ["unlabeled", "test", "val"])
def test_the_same_file_in_two_folders_is_found(other: str, tmp_path: Path) -> None:
    folder = labeled_folder(tmp_path / "labeled")
    labeled_folder(tmp_path / other, count=1)
    options = {other: tmp_path / other}
    FolderSource(folder, **options, duplicates="allow").load()
    seen = "2 images of the (test|val) folder are in the labeled folder too, so that the model"
    with nullcontext() if other == "unlabeled" else pytest.warns(RuntimeWarning, match=seen):
        FolderSource(folder, **options).load()
    message = rf"is in the labeled and in the {other} folder: .*labeled/cat/0.png and .*{other}/cat"
    with pytest.raises(ValueError, match=message):
        FolderSource(folder, **options, duplicates="error").load()
    for number, name in enumerate(("cat", "dog")):
        noise(seed=50 + number).save(tmp_path / other / name / "0.png")
    FolderSource(folder, **options, duplicates="error").load()
