"""Files that can't be written or read: one line that says so, no traceback, and no wait."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from supercm_pl.data.sources.image_reading import read_image
from tests.support.command import Outcome, supercm
from tests.support.images import paint

CONFIG = ("--config", "small.yaml")
FIT = ("fit", *CONFIG, "--trainer.max_steps", "2", "--test_after_fit=false")


@pytest.fixture(autouse=True)
def place(folder: Path, trained: tuple[Path, str]) -> Path:
    """A folder with a configuration, a checkpoint, and a run to report on."""
    shutil.copy(trained[0], "x.ckpt")
    Path("run").mkdir()
    shutil.copy(trained[0].parent.parent / "metrics.csv", "run")
    np.save("images.npy", np.zeros((3, 1, 8, 8), dtype=np.float32))
    return folder


def stopped(*words: str) -> str:
    """The one line with which the command ends."""
    outcome: Outcome = supercm(*words)
    assert outcome.status == 2, outcome
    assert outcome.err.startswith("supercm: error: ")
    assert outcome.err.count("\n") == 1
    return outcome.err


def commands(place: str) -> dict[str, tuple[str, ...]]:
    """What writes to a place."""
    return {
        "fit": (*FIT, "--trainer.logger.save_dir", f"{place}/runs"),
        "predict": ("predict", *CONFIG, "--ckpt_path", "x.ckpt", "--output", f"{place}/p.csv"),
        "predict CKPT": ("predict", "x.ckpt", "images.npy", "--output", f"{place}/p.csv"),
        "export": ("export", "x.ckpt", "--output", f"{place}/m.pt2"),
        "report": ("report", "run", "--output", f"{place}/r.html"),
    }


@pytest.mark.parametrize("command", commands(""))
def test_a_full_disk(command: str, small_disk: Path) -> None:
    with suppress(OSError):
        (small_disk / "filled").write_bytes(bytes(2_000_000))
    assert "No space left on device" in stopped(*commands("disk")[command])
    assert not [*small_disk.rglob("*.partial"), *small_disk.rglob(".m.*")]


@pytest.mark.parametrize(
    "room", [2_000, 5_000, 9_000]
)  # of the configuration, the split, the metrics
def test_a_disk_that_fills_up_while_logging(room: int, small_files: Any) -> None:
    words = (*FIT, "--trainer.max_steps", "300", "--trainer.enable_checkpointing", "false")
    with small_files(room):
        message = stopped(*words, "--trainer.callbacks", "null")
    assert "File too large" in message
    assert not [*Path().rglob("*.partial")]


@pytest.mark.parametrize("command", commands(""))
def test_a_folder_that_is_read_only(command: str, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert "Read-only file system" in stopped(*commands("disk")[command])


@pytest.mark.parametrize("path", ["x" * 300, "/".join(["d" * 200] * 30)])
def test_a_path_that_is_too_long(path: str) -> None:
    assert "File name too long" in stopped("fit", "--config", path)
    for words in (("predict", path, "images.npy"), ("predict", "x.ckpt", path), ("export", path)):
        stopped(*words)
    stopped(*FIT, "--ckpt_path", path)
    for command, words in commands(path).items():
        if command != "report":
            assert "File name too long" in stopped(*words)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_checkpoint_that_is_cut_off(share: float) -> None:
    whole = Path("x.ckpt").read_bytes()
    Path("x.ckpt").write_bytes(whole[: int(share * len(whole))])
    for words in (
        ("predict", "x.ckpt", "images.npy"),
        ("export", "x.ckpt"),
        *((name, *CONFIG, "--ckpt_path", "x.ckpt") for name in ("fit", "test", "predict")),
    ):
        assert "x.ckpt can't be loaded: it is damaged, or not a checkpoint" in stopped(*words)
    assert "no folder x.ckpt" in stopped("report", "x.ckpt")


def test_a_pipe_for_a_checkpoint_or_an_array() -> None:
    os.mkfifo("pipe.ckpt")
    os.mkfifo("pipe.npy")
    for words in (
        ("predict", "pipe.ckpt", "images.npy"),
        ("predict", "x.ckpt", "pipe.npy"),
        ("export", "pipe.ckpt"),
        ("report", "pipe.ckpt"),
        *((name, *CONFIG, "--ckpt_path", "pipe.ckpt") for name in ("fit", "test", "predict")),
    ):
        assert "pipe" in stopped(*words)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def sock(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))


@pytest.mark.filterwarnings("ignore:2 images are damaged", "ignore:all of")
@pytest.mark.parametrize("make", [pipe, device, sock])
def test_no_image_but_a_file_is_read(make: Callable[[Path], None], tmp_path: Path) -> None:
    paint(tmp_path / "photos", *(f"{name}/{i}.png" for name in ("a", "b") for i in range(4)))
    for name in ("a", "b"):  # two of equal size, as duplicates are
        make(tmp_path / "photos" / name / "x.png")
    with pytest.raises(
        ValueError, match=r"can't read the image .*x\.png: it is not a regular file"
    ):
        read_image(tmp_path / "photos" / "a" / "x.png", (8, 8))
    source = (
        "{class_path: supercm_pl.data.FolderSource, init_args: {labeled: photos, image_size: 8}}"
    )
    words = ("--data.source", source, "--data.source.grayscale", "true", "--data.num_workers", "1")
    outcome = supercm(*FIT, *words, "--data.source.damaged", "skip")
    assert outcome.status == 0, outcome.err
    assert "2 images are damaged" in stopped(*FIT, *words, "--data.source.damaged", "error")
    assert ": 8 inputs" in supercm("predict", "x.ckpt", "photos").out
