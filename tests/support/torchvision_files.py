"""Small data in the file formats of torchvision's data sets.

Each function writes one format and returns the images and labels by part. Checksums are patched to
be those of what was written.
"""

import bz2
import gzip
import hashlib
import pickle
from functools import partial

import numpy as np
import torchvision.datasets
from scipy.io import savemat

from supercm_pl.data import CIFAR10, CIFAR100, KMNIST, MNIST, STL10, SVHN, USPS, FashionMNIST

SIZES = {"train": 20, "test": 10}


def pictures(n, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def md5(path):
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def write_idx(folder, packed=False):
    folder.mkdir(parents=True, exist_ok=True)
    truth = {}
    for seed, (part, n) in enumerate(SIZES.items()):
        x, y = pictures(n, 28, 28, seed=seed), np.arange(n, dtype=np.uint8) % 10
        stem = "train" if part == "train" else "t10k"
        for name, values in (("images-idx3", x), ("labels-idx1", y)):
            header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
            content = header + values.tobytes()
            path = folder / f"{stem}-{name}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(content) if packed else content)
        truth[part] = x[:, None], y
    return truth


def write_cifar(root, monkeypatch, kind=torchvision.datasets.CIFAR10):
    folder = root / kind.base_folder
    folder.mkdir(parents=True)
    hundred = kind is torchvision.datasets.CIFAR100
    labels = "fine_labels" if hundred else "labels"
    truth, lists = {}, {"train_list": kind.train_list, "test_list": kind.test_list}
    for part, members in zip(("train", "test"), lists.values(), strict=True):
        images, targets = [], []
        for i, (name, _) in enumerate(members):
            x, y = pictures(10, 3, 32, 32, seed=i), np.arange(10)
            entry = {"data": x.reshape(10, -1), labels: y.tolist()}
            (folder / name).write_bytes(pickle.dumps(entry, protocol=2))
            images.append(x)
            targets.append(y)
        truth[part] = np.concatenate(images), np.concatenate(targets)
    names = CIFAR100().class_names() if hundred else CIFAR10().class_names()
    meta = folder / kind.meta["filename"]
    meta.write_bytes(pickle.dumps({kind.meta["key"]: list(names)}, protocol=2))
    for name, members in lists.items():
        monkeypatch.setattr(kind, name, [[n, md5(folder / n)] for n, _ in members])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5(meta)})
    return truth


def publish(kind, root, monkeypatch):
    monkeypatch.setattr(
        kind,
        "split_list",
        {
            split: [url, name, md5(root / name) if (root / name).exists() else checksum]
            for split, (url, name, checksum) in kind.split_list.items()
        },
    )


def write_svhn(root, monkeypatch):
    root.mkdir(parents=True, exist_ok=True)
    truth = {}
    for seed, part in enumerate(("train", "test", "extra")):
        x = pictures(20, 3, 32, 32, seed=seed)
        y = np.arange(20) % 10
        ten_is_zero = np.where(y == 0, 10, y).astype(np.uint8)[:, None]
        savemat(root / f"{part}_32x32.mat", {"X": x.transpose(2, 3, 1, 0), "y": ten_is_zero})
        truth[part] = x, y
    publish(torchvision.datasets.SVHN, root, monkeypatch)
    return truth


def write_usps(root, monkeypatch):
    root.mkdir(parents=True, exist_ok=True)
    truth = {}
    for seed, (part, name) in enumerate((("train", "usps.bz2"), ("test", "usps.t.bz2"))):
        x, y = pictures(20, 1, 16, 16, seed=seed), np.arange(20) % 10
        lines = (
            f"{label + 1} " + " ".join(f"{i + 1}:{v / 127.5 - 1:.6f}" for i, v in enumerate(image))
            for image, label in zip(x.reshape(20, -1), y, strict=True)
        )
        (root / name).write_bytes(bz2.compress("\n".join(lines).encode()))
        truth[part] = x, y
    publish(torchvision.datasets.USPS, root, monkeypatch)
    return truth


def write_stl(root, monkeypatch):
    kind = torchvision.datasets.STL10
    folder = root / kind.base_folder
    folder.mkdir(parents=True)
    truth = {}
    for seed, (part, n) in enumerate((("train", 20), ("test", 10), ("unlabeled", 7))):
        x, y = pictures(n, 3, 96, 96, seed=seed), np.arange(n) % 10
        (folder / f"{part}_X.bin").write_bytes(x.transpose(0, 1, 3, 2).tobytes())  # by columns
        if part != "unlabeled":
            (folder / f"{part}_y.bin").write_bytes((y + 1).astype(np.uint8).tobytes())
        truth[part] = x, y
    folds = (" ".join(str((i + j) % 20) for j in range(3)) for i in range(10))
    (folder / "fold_indices.txt").write_text("\n".join(folds))
    for name in ("train_list", "test_list"):
        published = [[n, md5(folder / n)] for n, _ in getattr(kind, name)]
        monkeypatch.setattr(kind, name, published)
    return truth


WRITERS = {
    MNIST: lambda root, _: write_idx(root / "MNIST/raw"),
    FashionMNIST: lambda root, _: write_idx(root / "FashionMNIST/raw"),
    KMNIST: lambda root, _: write_idx(root / "KMNIST/raw"),
    SVHN: write_svhn,
    USPS: write_usps,
    CIFAR10: write_cifar,
    CIFAR100: partial(write_cifar, kind=torchvision.datasets.CIFAR100),
    STL10: write_stl,
}
