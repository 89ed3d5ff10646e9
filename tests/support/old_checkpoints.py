"""Writes the checkpoints of this version that every later version has to load.

python -m tests.support.old_checkpoints

For each configuration of the newest version this runs `supercm fit`, and keeps in the folder of
this version the last checkpoint, the configuration, and the model's assignments of fixed images.
"""

from __future__ import annotations

import json
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from supercm_pl import SSLModule, UDAModule, __version__

KEPT = Path(__file__).parents[1] / "files" / "checkpoints"
MODULES: dict[str, type[Any]] = {"ssl": SSLModule, "uda": UDAModule}
SHAPES = {"ssl": (1, 8, 8), "uda": (3, 8, 8)}


def fixed_images(kind: str) -> Tensor:
    """Five images, uint8, from dark to bright, the same on every machine and in every version."""
    shape = (5, *SHAPES[kind])
    pixels = (torch.arange(torch.Size(shape).numel()) * 37 % 251).view(shape)
    return (pixels * torch.arange(1, 6).view(5, 1, 1, 1) // 5).to(torch.uint8)


def assignments(kind: str, checkpoint: Path) -> Tensor:
    """What the model of a checkpoint says of these images: shares of the classes, shape (5, 10)."""
    module = MODULES[kind].load_from_checkpoint(checkpoint).eval()
    with torch.no_grad():
        found: Tensor = module.predict_step(fixed_images(kind) / 255)["assignments"]
    return found


def kept_versions() -> list[str]:
    """The versions with checkpoints, oldest first."""
    folders = [path.name for path in KEPT.iterdir() if path.is_dir()]
    return sorted(folders, key=lambda name: [int(part) for part in name.split(".")])


def unpacked(version: str, kind: str, folder: Path = Path()) -> Path:
    """A kept checkpoint as a file in ``folder``, the working directory where none is given."""
    path = folder / f"{kind}.ckpt"
    path.write_bytes(lzma.decompress((KEPT / version / f"{kind}.ckpt.xz").read_bytes()))
    return path


def keep(kind: str, folder: Path, newest: str) -> None:
    """Train in ``folder``, and put into it what is kept."""
    command = Path(sys.executable).parent / "supercm"
    config = shutil.copy(KEPT / newest / f"{kind}.yaml", folder)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([command, "fit", "--config", config], cwd=folder, env=environment, check=True)
    run = folder / "runs" / kind / "version_0" / "checkpoints"
    (folder / f"{kind}.ckpt.xz").write_bytes(lzma.compress((run / "last.ckpt").read_bytes()))
    rows = assignments(kind, run / "last.ckpt").tolist()
    lines = ",\n".join(json.dumps([round(value, 6) for value in row]) for row in rows)
    (folder / f"{kind}.json").write_text(f"[\n{lines}\n]\n")


def main() -> None:
    """Fill the folder of this version; checkpoints that are there are what users have, and stay."""
    target = KEPT / __version__
    if any(target.glob("*.ckpt.xz")):
        sys.exit(f"{target} has checkpoints already")
    with tempfile.TemporaryDirectory() as place:
        for kind in MODULES:
            keep(kind, Path(place), kept_versions()[-1])
        shutil.rmtree(Path(place, "runs"))
        shutil.copytree(place, target, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
