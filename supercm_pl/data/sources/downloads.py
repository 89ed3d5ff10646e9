"""What torchvision downloads: whether the files are there and whole, and what to do if not."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import tempfile
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, ClassVar
from urllib.error import HTTPError

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from supercm_pl.data.datasets import TensorData
from supercm_pl.data.labels import as_labels
from supercm_pl.data.sources.base import Source, SourceData

# What downloading and unpacking raise; an `URLError` is an `OSError`.
_FAILURES = (OSError, RuntimeError, EOFError, HTTPException, tarfile.TarError, zlib.error)
# What torchvision's reader makes of a damaged idx file, and gzip of a damaged archive.
_DAMAGES = (
    *(AssertionError, KeyError, RuntimeError, TypeError, ValueError),
    *(EOFError, gzip.BadGzipFile, zlib.error),
)


class TorchvisionSource(Source):
    """What those sources share: the folder, the download, and the check of the files.

    Args:
        root: Folder as torchvision takes it, so that what is there already is used.
        download: Download what is not there or damaged, once on each machine.

    Raises:
        FileNotFoundError: From :meth:`prepare`, if a download fails; from :meth:`load`, if a file
            is missing.
        ValueError: From :meth:`load`, if a file is damaged.
    """

    _kind: ClassVar[str]
    _names: ClassVar[tuple[str, ...]]

    def __init__(self, root: str | Path = "data", download: bool = True) -> None:
        self.root = Path(root).expanduser()
        self.download = download

    def prepare(self) -> None:
        """Download what is missing, if that is wanted."""
        files = self._files()
        if self.download and not all(file.is_whole() for file in files):
            with downloading(self._kind, files):
                self._download()

    def load(self) -> SourceData:
        """Check the files and read the images."""
        for file in self._files():
            file.check(self._kind)
        return self._read()

    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, known without the files."""
        return self._names

    @property
    def _torchvision(self) -> Any:
        from torchvision import datasets

        return getattr(datasets, self._kind)

    def _opened(self, **options: Any) -> Any:
        # The checksums are right, and those of three gigabytes take time: not a second time.
        unchecked = {"_check_integrity": lambda self: True}
        kind = type(self._kind, (self._torchvision,), unchecked)
        return kind(str(self.root), **options)

    @abstractmethod
    def _files(self) -> list[DownloadedFile]:
        """All files that are needed."""

    @abstractmethod
    def _download(self) -> None:
        """Get them."""

    @abstractmethod
    def _read(self) -> SourceData:
        """Read them; they are there and whole."""


@dataclass(frozen=True)
class DownloadedFile:
    """A file, and where it comes from.

    Attributes:
        path: Where it should be.
        url: What it, or the archive that it is unpacked from, is downloaded from.
        md5: Its MD5 checksum; ``None`` where none is published.
    """

    path: Path
    url: str
    md5: str | None = None

    def is_whole(self) -> bool:
        """Whether it is there, with the right checksum."""
        from torchvision.datasets.utils import check_integrity

        return bool(check_integrity(str(self.path), self.md5))

    def check(self, name: str) -> None:
        """Refuse to go on without it.

        Args:
            name: The data set's, for the message.

        Raises:
            FileNotFoundError: If it is not there.
            ValueError: If it has another checksum.
        """
        if not self.path.is_file():
            raise FileNotFoundError(
                f"{name}: there is no file {self.path.name} in {self.path.parent}; with download: "
                "true the Trainer, or prepare_data() of the data module, gets it from "
                f"{self.url}, else put it there by hand"
            )
        if not self.is_whole():
            raise self.damage(name)

    def damage(self, name: str) -> ValueError:
        """What to raise if it is not whole."""
        return ValueError(
            f"{name}: the file {self.path.name} in {self.path.parent} is damaged; delete it, and "
            f"with download: true it comes again from {self.url}"
        )


@contextmanager
def downloading(name: str, files: Sequence[DownloadedFile]) -> Iterator[None]:
    """A block that downloads files.

    Raises:
        FileNotFoundError: If it fails; in one line, with what to do by hand.
    """
    try:
        yield
    except _FAILURES as error:
        if isinstance(error, HTTPError):  # which is a response, and still open
            error.close()
        missing = [file for file in files if not file.is_whole()] or files
        reason = " ".join(str(error).split())
        raise FileNotFoundError(
            f"{name} can't be downloaded ({reason}): put "
            f"{', '.join(file.path.name for file in missing)} into {missing[0].path.parent} by "
            f"hand, from {', '.join(dict.fromkeys(file.url for file in missing))}"
        ) from None


def read_idx(file: DownloadedFile, name: str) -> Tensor:
    """Images ``(N, H, W)`` or labels ``(N,)`` of an idx file, by torchvision's reader.

    Args:
        file: Its name says which, by ``idx3`` or ``idx1``; it may be compressed, with the suffix
            ``.gz``.
        name: The data set's, for messages.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it is damaged.
    """
    from torchvision.datasets.mnist import read_image_file, read_label_file

    if not file.path.is_file():
        file.check(name)
    read = read_image_file if "idx3" in file.path.name else read_label_file
    try:
        if file.path.suffix != ".gz":
            return read(str(file.path))  # type: ignore[no-any-return]
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder) / file.path.stem
            with gzip.open(file.path) as packed, plain.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
            return read(str(plain))  # type: ignore[no-any-return]
    except _DAMAGES:
        raise file.damage(name) from None


def as_images(array: NDArray[Any]) -> Tensor:
    """A tensor of ``(N, ...)`` whose images are each in one piece, so that batches come fast."""
    return torch.from_numpy(np.ascontiguousarray(array))


def labeled_images(images: Tensor, labels: ArrayLike | Tensor, name: str) -> TensorData:
    """Images ``(N, C, H, W)`` with labels ``(N,)``; ``name`` says whose these are."""
    return TensorData(images, torch.from_numpy(as_labels(labels, name, len(images))))


def unlabeled_images(dataset: Any) -> TensorData:
    """Images ``(N, C, H, W)`` of a torchvision data set, without its labels."""
    return TensorData(as_images(dataset.data))
