"""Reading of text files, which may be untrusted."""

from __future__ import annotations

from pathlib import Path

_MOST_BYTES = 100_000_000


def read_text(path: str | Path, errors: str = "strict") -> str:
    """The text of a UTF-8 file of at most 100 MB, without its byte order mark.

    Raises:
        OSError: If the file can't be read.
        ValueError: If it is no regular file (reading a pipe may never end), larger, or not UTF-8
            and ``errors`` is ``"strict"``.
    """
    path = Path(path)
    size = path.stat().st_size
    if not path.is_file():
        raise ValueError(f"{path} is not a regular file")
    if size > _MOST_BYTES:
        raise ValueError(f"{path} has more than {_MOST_BYTES:,} bytes")
    return path.read_text(encoding="utf-8-sig", errors=errors)
