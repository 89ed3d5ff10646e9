"""Classify errors: a user's mistake is reported in one line, a bug keeps its traceback."""

from __future__ import annotations

import argparse
import errno
import os
import re
import traceback
from pathlib import Path

from lightning.fabric.utilities.exceptions import MisconfigurationException

import supercm_pl

_LIGHTNING = f"{os.sep}lightning{os.sep}"
# Writing to a full disk raises an error without the name of the file.
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_JSONARGPARSE = f"{os.sep}jsonargparse{os.sep}"


def is_users_mistake(error: BaseException) -> bool:
    """Whether ``error`` reports a mistake in the user's configuration, data or files.

    The parser, this package, Lightning and constructors that check their arguments raise such
    errors explicitly. Anything else is a bug.
    """
    if isinstance(error, argparse.ArgumentError | MisconfigurationException):
        return True
    origin = origin_of(error)
    if isinstance(origin, OSError) and (origin.filename or origin.errno in _NO_SPACE):
        return True
    if is_about_checkpoint(origin):
        return True
    frame = _last_frame(origin)
    if frame is None or not (frame.line or "").startswith("raise "):
        return False
    by_lightning = _LIGHTNING in frame.filename
    if isinstance(origin, RuntimeError):
        return by_lightning
    ours = str(Path(supercm_pl.__file__).parent) in frame.filename
    checks = by_lightning or ours or _JSONARGPARSE in frame.filename or frame.name == "__init__"
    return checks and isinstance(origin, ValueError | TypeError | ImportError | FileNotFoundError)


def origin_of(error: BaseException) -> BaseException:
    """The error itself, or the error of a constructor if the parser wrapped one."""
    origin: BaseException | None = error
    while origin is not None and not isinstance(origin, argparse.ArgumentError):
        frame = _last_frame(origin)
        if frame is None or _JSONARGPARSE not in frame.filename:
            return origin
        origin = origin.__cause__
    return error


def is_about_checkpoint(error: BaseException) -> bool:
    """Whether reading a checkpoint, or loading weights that do not fit, raised ``error``."""
    if isinstance(error, FileNotFoundError | MisconfigurationException):
        return False
    frames = traceback.extract_tb(error.__traceback__)
    places = " ".join(f"{frame.filename}:{frame.name}" for frame in frames)
    loads = f"torch{os.sep}serialization.py:" in places
    reads_checkpoint = ":read_checkpoint" in places or "torch_io.py:" in places
    unfit = isinstance(error, RuntimeError) and "loading state_dict" in str(error)
    # A file without the keys of a Lightning checkpoint.
    lacking = isinstance(error, KeyError) and bool(frames) and _LIGHTNING in frames[-1].filename
    return (loads and reads_checkpoint) or unfit or lacking


def without_worker_traceback(text: str) -> str:
    """The message of an error, without the traceback that a loader's worker process adds."""
    if not text.startswith("Caught "):
        return text
    return re.split(r"^[\w.]+: ", text, flags=re.M)[-1]


def _last_frame(error: BaseException) -> traceback.FrameSummary | None:
    worker = re.findall(r'^ *File "(.+)", line (\d+), in (\w+)\n *(.*)$', str(error), re.M)
    if worker and str(error).startswith("Caught "):
        filename, number, name, line = worker[-1]
        return traceback.FrameSummary(filename, int(number), name, line=line)
    frames = traceback.extract_tb(error.__traceback__)
    return frames[-1] if frames else None
