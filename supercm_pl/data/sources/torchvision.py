"""The data sets that papers report on, downloaded and read by torchvision.

Images are kept in memory as ``uint8`` ``(N, C, H, W)`` and fetched in whole batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from supercm_pl.data.datasets import TensorData
from supercm_pl.data.labels import as_labels
from supercm_pl.data.sources.base import Source, SourceData
from supercm_pl.data.sources.downloads import DownloadedFile, downloading

_DIGITS = tuple("0123456789")


class TorchvisionSource(Source):
    """Base of the sources below: folder, download and file checks.

    Args:
        root: Folder as torchvision uses it, so that existing files are found.
        download: Download missing and damaged files, once per machine.

    Raises:
        FileNotFoundError: From :meth:`prepare`, if a download fails; from :meth:`load`, if a file
            is missing.
        ValueError: From :meth:`load`, if a file is damaged.
    """

    _kind: ClassVar[str]
    _class_names: tuple[str, ...]
    _splits: tuple[str, ...] = ("train", "test")

    def __init__(self, root: str | Path = "data", download: bool = True) -> None:
        self.root = Path(root).expanduser()
        self.download = download

    def prepare(self) -> None:
        """Download missing and damaged files, if ``download``."""
        files = self._files()
        if self.download and not all(file.is_whole() for file in files):
            with downloading(files):
                self._download(files)

    def load(self) -> SourceData:
        """Check the files and read the images."""
        for file in self._files():
            file.check()
        return self._read()

    @property
    def _torchvision(self) -> Any:
        from torchvision import datasets

        return getattr(datasets, self._kind)

    def _files(self) -> list[DownloadedFile]:
        """All required files."""
        kind = self._torchvision
        if hasattr(kind, "split_list"):
            published = [kind.split_list[split] for split in self._splits]
        else:
            members = [*kind.train_list, *kind.test_list]
            if hasattr(kind, "meta"):
                members.append((kind.meta["filename"], kind.meta["md5"]))
            published = [(kind.url, f"{kind.base_folder}/{name}", md5) for name, md5 in members]
        return [DownloadedFile(self._kind, self.root / n, url, md5) for url, n, md5 in published]

    def _download(self, files: Sequence[DownloadedFile]) -> None:
        from torchvision.datasets.utils import download_and_extract_archive, download_url

        kind = self._torchvision
        if hasattr(kind, "tgz_md5"):
            download_and_extract_archive(
                kind.url, str(self.root), filename=kind.filename, md5=kind.tgz_md5
            )
            return
        for file in files:
            download_url(file.url, str(file.path.parent), file.path.name, file.md5)

    def _read(self) -> SourceData:
        """Read the files, which exist and are whole."""
        train, test = (self._part(train=train) for train in (True, False))
        return SourceData(train, self._class_names, test=test)

    def _part(self, labeled: bool = True, **options: Any) -> TensorData:
        # `load` has just checked the checksums, which takes time for three gigabytes.
        unchecked = {"_check_integrity": lambda self: True}
        dataset = type(self._kind, (self._torchvision,), unchecked)(str(self.root), **options)
        pixels = dataset.data
        if pixels.ndim == 3:
            pixels = pixels[:, None]
        elif pixels.shape[-1] == 3:
            pixels = pixels.transpose(0, 3, 1, 2)
        # Each image is contiguous, so that batches are fetched fast.
        images = torch.from_numpy(np.ascontiguousarray(pixels))
        if not labeled:
            return TensorData(images)
        labels = dataset.labels if hasattr(dataset, "labels") else dataset.targets
        return _labeled(images, labels, f"the labels of {self._kind}")


class MNIST(TorchvisionSource):
    """Handwritten digits: 60,000 and 10,000 images of ``1 x 28 x 28``.

    The files are expected in ``root/MNIST/raw``, where torchvision puts them, or in ``root``
    itself, plain or compressed with gzip.

    Args:
        root: Folder of the data sets, or one that contains the four files
            ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-...``. The names of the
            files do not identify the data set.
    """

    _kind = "MNIST"
    _class_names = _DIGITS

    def load(self) -> SourceData:
        """Read the four files."""
        return self._read()  # which detects damaged files, also those without a checksum

    def _files(self) -> list[DownloadedFile]:
        kind = self._torchvision
        raw = self.root / self._kind / "raw"
        stems = [name.removesuffix(".gz") for name, _ in kind.resources]
        flat = not raw.is_dir() and any(_stored(self.root, stem).is_file() for stem in stems)
        files = []
        for stem, (packed, md5) in zip(stems, kind.resources, strict=True):
            path = _stored(self.root if flat else raw, stem)
            # Checksums are those of torchvision's archives: other people's archives may differ.
            known = md5 if path.name == packed and not flat else None
            files.append(DownloadedFile(self._kind, path, f"{kind.mirrors[0]}{packed}", known))
        return files

    def _download(self, files: Sequence[DownloadedFile]) -> None:
        self._torchvision(str(self.root), train=False, download=True)

    def _read(self) -> SourceData:
        files, parts = self._files(), []
        for images, labels in zip(files[::2], files[1::2], strict=True):
            pixels, targets = images.read_idx()[:, None], labels.read_idx()
            parts.append(_labeled(pixels, targets, f"the labels in {labels.path}"))
        return SourceData(parts[0], self._class_names, test=parts[1])


class FashionMNIST(MNIST):
    """Pictures of clothes: 60,000 and 10,000 images of ``1 x 28 x 28``, in ten classes.

    Args:
        root: As in :class:`MNIST`. Debian's package ``dataset-fashion-mnist`` has the files in
            ``/usr/share/datasets/fashion-mnist``, which you can pass here.
    """

    _kind = "FashionMNIST"
    _class_names = (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )


class KMNIST(MNIST):
    """Cursive Japanese characters: 60,000 and 10,000 images of ``1 x 28 x 28``, in ten classes."""

    _kind = "KMNIST"
    _class_names = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


class SVHN(TorchvisionSource):
    """House numbers in photographs: 73,257 and 26,032 images of ``3 x 32 x 32``, in ten classes.

    Args:
        root: Folder with ``train_32x32.mat`` and ``test_32x32.mat``.
        extra: Add the 531,131 images of ``extra_32x32.mat``, as unlabeled ones.
    """

    _kind = "SVHN"
    _class_names = _DIGITS

    def __init__(
        self, root: str | Path = "data", download: bool = True, extra: bool = False
    ) -> None:
        super().__init__(root, download)
        self.extra = extra
        if extra:
            self._splits = ("train", "test", "extra")

    def _read(self) -> SourceData:
        train, test = (self._part(split=split) for split in ("train", "test"))
        extra = self._part(labeled=False, split="extra") if self.extra else None
        return SourceData(train, self._class_names, test=test, unlabeled=extra)


class USPS(TorchvisionSource):
    """Handwritten digits from envelopes: 7,291 and 2,007 images of ``1 x 16 x 16``.

    Args:
        root: Folder with ``usps.bz2`` and ``usps.t.bz2``.
    """

    _kind = "USPS"
    _class_names = _DIGITS


class CIFAR10(TorchvisionSource):
    """Photographs: 50,000 and 10,000 images of ``3 x 32 x 32``, in ten classes.

    Args:
        root: Folder with ``cifar-10-batches-py``.
    """

    _kind = "CIFAR10"
    _class_names: tuple[str, ...] = (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    )


class CIFAR100(CIFAR10):
    """Photographs: 50,000 and 10,000 images of ``3 x 32 x 32``, in a hundred classes.

    Args:
        root: Folder with ``cifar-100-python``.
    """

    _kind = "CIFAR100"
    _class_names = tuple(
        """
        apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
        butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch
        crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo
        keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain
        mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain
        plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
        skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
        television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
        """.split()  # noqa: SIM905 - a list of a hundred would be as long as this file
    )


class STL10(TorchvisionSource):
    """Photographs of ``3 x 96 x 96``: 5,000 and 8,000 in ten classes, 100,000 without labels.

    Args:
        root: Folder with ``stl10_binary``.
        fold: 0 to 9 selects one of the ten published sets of 1,000 labeled images; ``None`` uses
            all 5,000.
    """

    _kind = "STL10"
    _class_names = (
        *("airplane", "bird", "car", "cat", "deer"),
        *("dog", "horse", "monkey", "ship", "truck"),
    )

    def __init__(
        self, root: str | Path = "data", download: bool = True, fold: int | None = None
    ) -> None:
        super().__init__(root, download)
        if fold is not None and fold not in range(10):
            raise ValueError(f"fold must be in 0..9, or null for all, got {fold}")
        self.fold = fold

    def _files(self) -> list[DownloadedFile]:
        files = super()._files()
        if self.fold is not None:
            kind = self._torchvision
            path = self.root / kind.base_folder / kind.folds_list_file
            files.append(DownloadedFile(self._kind, path, kind.url))
        return files

    def _read(self) -> SourceData:
        train = self._part(split="train", folds=self.fold)
        test = self._part(split="test")
        unlabeled = self._part(labeled=False, split="unlabeled")
        return SourceData(train, self._class_names, test=test, unlabeled=unlabeled)


def _stored(folder: Path, stem: str) -> Path:
    packed = folder / f"{stem}.gz"
    return packed if packed.is_file() and not (folder / stem).is_file() else folder / stem


def _labeled(images: Tensor, labels: ArrayLike | Tensor, name: str) -> TensorData:
    return TensorData(images, torch.from_numpy(as_labels(labels, name, len(images))))
