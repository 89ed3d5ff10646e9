"""Files that torchvision downloads: checks, and errors for missing or damaged ones."""

from __future__ import annotations

import gzip
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError

from torch import Tensor

# Raised by downloading and unpacking; a `URLError` is an `OSError`.
_FAILURES = (OSError, RuntimeError, EOFError, HTTPException, tarfile.TarError, zlib.error)
# Raised by torchvision's reader for a damaged idx file, and by gzip for a damaged archive.
_DAMAGES = (
    *(AssertionError, KeyError, RuntimeError, TypeError, ValueError),
    *(EOFError, gzip.BadGzipFile, zlib.error),
)
# Of an unpacked file; the largest one of MNIST has 47 million.
_MOST_BYTES = 200_000_000


@dataclass(frozen=True)
class DownloadedFile:
    """A file of a data set, with the URL of it or its archive, and its MD5 checksum if known."""

    dataset: str
    path: Path
    url: str
    md5: str | None = None

    def is_whole(self) -> bool:
        """Whether the file exists and has the right checksum."""
        from torchvision.datasets.utils import check_integrity

        return bool(check_integrity(str(self.path), self.md5))

    def check(self) -> None:
        """Require the file, else a ``FileNotFoundError``; a ``ValueError`` for another checksum."""
        if not self.path.is_file():
            raise FileNotFoundError(
                f"{self.dataset}: there is no file {self.path.name} in {self.path.parent}; with "
                "download: true, the Trainer or prepare_data() of the data module downloads it "
                f"from {self.url}, else put it there by hand"
            )
        if not self.is_whole():
            raise self.damage()

    def damage(self) -> ValueError:
        """The error for a damaged file."""
        return ValueError(
            f"{self.dataset}: the file {self.path.name} in {self.path.parent} is damaged; delete "
            f"it, and with download: true it is downloaded again from {self.url}"
        )

    def read_idx(self) -> Tensor:
        """Images ``(N, H, W)`` or labels ``(N,)`` of an idx file, which may be a ``.gz``.

        Raises:
            FileNotFoundError: If the file does not exist.
            ValueError: If it is damaged.
        """
        from torchvision.datasets.mnist import read_image_file, read_label_file

        if not self.path.is_file():
            self.check()
        read = read_image_file if "idx3" in self.path.name else read_label_file
        try:
            if self.path.suffix != ".gz":
                return read(str(self.path))  # type: ignore[no-any-return]
            with tempfile.TemporaryDirectory() as folder:
                plain = Path(folder) / self.path.stem
                with gzip.open(self.path) as packed:
                    plain.write_bytes(packed.read(_MOST_BYTES))  # one that is cut off is damaged
                return read(str(plain))  # type: ignore[no-any-return]
        except _DAMAGES:
            raise self.damage() from None


@contextmanager
def downloading(files: Sequence[DownloadedFile]) -> Iterator[None]:
    """Context of a download; its ``FileNotFoundError`` explains how to do it by hand."""
    try:
        yield
    except _FAILURES as error:
        if isinstance(error, HTTPError):  # a response, which is still open
            error.close()
        missing = [file for file in files if not file.is_whole()] or files
        reason = " ".join(str(error).split())
        raise FileNotFoundError(
            f"{missing[0].dataset} can't be downloaded ({reason}): put "
            f"{', '.join(file.path.name for file in missing)} into {missing[0].path.parent} by "
            f"hand, from {', '.join(dict.fromkeys(file.url for file in missing))}"
        ) from None
