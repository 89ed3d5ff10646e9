"""The data sets that papers report on, as torchvision downloads and reads them.

Images are kept in memory as ``uint8`` ``(N, C, H, W)`` and served in whole batches.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from supercm_pl.data.sources.base import SourceData
from supercm_pl.data.sources.downloads import (
    DownloadedFile,
    TorchvisionSource,
    as_images,
    labeled_images,
    read_idx,
    unlabeled_images,
)

_DIGITS = tuple("0123456789")


class MNIST(TorchvisionSource):
    """Handwritten digits: 60,000 and 10,000 images of ``1 x 28 x 28``.

    The files are looked for in ``root/MNIST/raw``, where torchvision has them, else in ``root``
    itself, plain or compressed with gzip.

    Args:
        root: Folder of the data sets, or one that directly holds the four files
            ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-...``. The names of the
            files do not tell of which data set they are.
        download: Download what is not there.
    """

    _kind = "MNIST"
    _names = _DIGITS

    def load(self) -> SourceData:
        """Read the four files."""
        return self._read()  # which finds out whether they are whole, checksum or not

    def _files(self) -> list[DownloadedFile]:
        kind = self._torchvision
        raw = self.root / self._kind / "raw"
        stems = [name.removesuffix(".gz") for name, _ in kind.resources]
        flat = not raw.is_dir() and any(_stored(self.root, stem).is_file() for stem in stems)
        files = []
        for stem, (packed, md5) in zip(stems, kind.resources, strict=True):
            path = _stored(self.root if flat else raw, stem)
            # Checksums are published of torchvision's own archives: others may pack them anew.
            known = md5 if path.name == packed and not flat else None
            files.append(DownloadedFile(path, f"{kind.mirrors[0]}{packed}", known))
        return files

    def _download(self) -> None:
        self._torchvision(str(self.root), train=False, download=True)

    def _read(self) -> SourceData:
        files, parts = self._files(), []
        for images, labels in zip(files[::2], files[1::2], strict=True):
            pixels, targets = (read_idx(file, self._kind) for file in (images, labels))
            parts.append(labeled_images(pixels[:, None], targets, f"the labels in {labels.path}"))
        return SourceData(train=parts[0], test=parts[1], classes=self._names)


class FashionMNIST(MNIST):
    """Pictures of clothes: 60,000 and 10,000 images of ``1 x 28 x 28``, in ten classes.

    Args:
        root: As in :class:`MNIST`, with ``root/FashionMNIST/raw``. Debian's package
            ``dataset-fashion-mnist`` has the files in ``/usr/share/datasets/fashion-mnist``, which
            can be named here.
        download: Download what is not there.
    """

    _kind = "FashionMNIST"
    _names = (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )


class KMNIST(MNIST):
    """Cursive Japanese characters: 60,000 and 10,000 images of ``1 x 28 x 28``, in ten classes.

    Args:
        root: As in :class:`MNIST`, with ``root/KMNIST/raw``.
        download: Download what is not there.
    """

    _kind = "KMNIST"
    _names = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


class SVHN(TorchvisionSource):
    """House numbers in photographs: 73,257 and 26,032 images of ``3 x 32 x 32``, in ten classes.

    Args:
        root: Folder with ``train_32x32.mat`` and ``test_32x32.mat``.
        download: Download what is not there or damaged.
        extra: Use the 531,131 images of ``extra_32x32.mat`` as well, as unlabeled ones.
    """

    _kind = "SVHN"
    _names = _DIGITS

    def __init__(
        self, root: str | Path = "data", download: bool = True, extra: bool = False
    ) -> None:
        super().__init__(root, download)
        self.extra = extra

    def _files(self) -> list[DownloadedFile]:
        splits = ("train", "test", "extra") if self.extra else ("train", "test")
        return _listed(self.root, self._torchvision.split_list, splits)

    def _download(self) -> None:
        _download_each(self._files())

    def _read(self) -> SourceData:
        train, test = (self._opened(split=split) for split in ("train", "test"))
        return SourceData(
            train=labeled_images(
                as_images(train.data), train.labels, "the labels of SVHN's training set"
            ),
            test=labeled_images(as_images(test.data), test.labels, "the labels of SVHN's test set"),
            unlabeled=unlabeled_images(self._opened(split="extra")) if self.extra else None,
            classes=self._names,
        )


class USPS(TorchvisionSource):
    """Handwritten digits from envelopes: 7,291 and 2,007 images of ``1 x 16 x 16``.

    Args:
        root: Folder with ``usps.bz2`` and ``usps.t.bz2``.
        download: Download what is not there or damaged.
    """

    _kind = "USPS"
    _names = _DIGITS

    def _files(self) -> list[DownloadedFile]:
        return _listed(self.root, self._torchvision.split_list, ("train", "test"))

    def _download(self) -> None:
        _download_each(self._files())

    def _read(self) -> SourceData:
        train, test = (self._opened(train=train) for train in (True, False))
        return SourceData(
            train=labeled_images(
                as_images(train.data)[:, None], train.targets, "the labels of USPS"
            ),
            test=labeled_images(
                as_images(test.data)[:, None], test.targets, "the test labels of USPS"
            ),
            classes=self._names,
        )


class CIFAR10(TorchvisionSource):
    """Photographs: 50,000 and 10,000 images of ``3 x 32 x 32``, in ten classes.

    Args:
        root: Folder with ``cifar-10-batches-py``.
        download: Download what is not there or damaged.
    """

    _kind = "CIFAR10"
    _names: ClassVar[tuple[str, ...]] = (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    )

    def _files(self) -> list[DownloadedFile]:
        kind = self._torchvision
        meta = (kind.meta["filename"], kind.meta["md5"])
        members = (*kind.train_list, *kind.test_list, meta)
        folder = self.root / kind.base_folder
        return [DownloadedFile(folder / name, kind.url, md5) for name, md5 in members]

    def _download(self) -> None:
        _download_archive(self._torchvision, self.root)

    def _read(self) -> SourceData:
        parts = []
        for train in (True, False):
            dataset = self._opened(train=train)
            images = as_images(dataset.data.transpose(0, 3, 1, 2))
            parts.append(labeled_images(images, dataset.targets, f"the labels of {self._kind}"))
        return SourceData(train=parts[0], test=parts[1], classes=self._names)


class CIFAR100(CIFAR10):
    """Photographs: 50,000 and 10,000 images of ``3 x 32 x 32``, in a hundred classes.

    Args:
        root: Folder with ``cifar-100-python``.
        download: Download what is not there or damaged.
    """

    _kind = "CIFAR100"
    _names = tuple(
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
        download: Download what is not there or damaged.
        fold: 0 to 9 takes one of the ten published sets of 1,000 labeled images; ``None`` takes all
            5,000.

    Raises:
        ValueError: If there is no such fold.
    """

    _kind = "STL10"
    _names = (
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
        kind = self._torchvision
        members = [*kind.train_list, *kind.test_list]
        if self.fold is not None:
            members.append((kind.folds_list_file, None))
        folder = self.root / kind.base_folder
        return [DownloadedFile(folder / name, kind.url, md5) for name, md5 in members]

    def _download(self) -> None:
        _download_archive(self._torchvision, self.root)

    def _read(self) -> SourceData:
        train, test = self._opened(split="train", folds=self.fold), self._opened(split="test")
        return SourceData(
            train=labeled_images(as_images(train.data), train.labels, "the labels of STL-10"),
            test=labeled_images(as_images(test.data), test.labels, "the test labels of STL-10"),
            unlabeled=unlabeled_images(self._opened(split="unlabeled")),
            classes=self._names,
        )


def _stored(folder: Path, stem: str) -> Path:
    packed = folder / f"{stem}.gz"
    return packed if packed.is_file() and not (folder / stem).is_file() else folder / stem


def _listed(
    root: Path, published: dict[str, list[str]], splits: tuple[str, ...]
) -> list[DownloadedFile]:
    chosen = (published[split] for split in splits)
    return [DownloadedFile(root / name, url, md5) for url, name, md5 in chosen]


def _download_each(files: list[DownloadedFile]) -> None:
    from torchvision.datasets.utils import download_url

    for file in files:
        download_url(file.url, str(file.path.parent), file.path.name, file.md5)


def _download_archive(kind: Any, root: Path) -> None:
    from torchvision.datasets.utils import download_and_extract_archive

    download_and_extract_archive(kind.url, str(root), filename=kind.filename, md5=kind.tgz_md5)
