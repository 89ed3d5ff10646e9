"""Whose mistake an error is: the user's, or a program's, which keeps its traceback."""

from __future__ import annotations

import argparse
import os
import re
import traceback
from pathlib import Path

from lightning.fabric.utilities.exceptions import MisconfigurationException

import supercm_pl

_LIGHTNING = f"{os.sep}lightning{os.sep}"
_JSONARGPARSE = f"{os.sep}jsonargparse{os.sep}"


def is_users_mistake(error: BaseException) -> bool:
    """Whether ``error`` tells of a mistake in the user's configuration, data or files.

    Those are raised on purpose, in words for the user: by the parser, by this package and by
    Lightning, and by constructors that check their arguments. All else is a program's defect.
    """
    if isinstance(error, argparse.ArgumentError | MisconfigurationException):
        return True
    origin = origin_of(error)
    if is_about_checkpoint(origin) or (isinstance(origin, OSError) and origin.filename):
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
    """The error itself, or the one of a constructor that the parser wrapped."""
    origin: BaseException | None = error
    while origin is not None and not isinstance(origin, argparse.ArgumentError):
        frame = _last_frame(origin)
        if frame is None or _JSONARGPARSE not in frame.filename:
            return origin
        origin = origin.__cause__
    return error


def is_about_checkpoint(error: BaseException) -> bool:
    """Whether ``error`` was raised while a checkpoint was read, or by weights that do not fit."""
    if isinstance(error, FileNotFoundError | MisconfigurationException):
        return False
    frames = traceback.extract_tb(error.__traceback__)
    loads = any(frame.filename.endswith(f"torch{os.sep}serialization.py") for frame in frames)
    by_lightning = any(
        frame.name == "read_checkpoint" or frame.filename.endswith("torch_io.py")
        for frame in frames
    )
    unfit = isinstance(error, RuntimeError) and "loading state_dict" in str(error)
    # What Lightning looks for in a file that is not one of its checkpoints.
    lacking = isinstance(error, KeyError) and bool(frames) and _LIGHTNING in frames[-1].filename
    return (loads and by_lightning) or unfit or lacking


def without_worker_traceback(text: str) -> str:
    """The message in ``text``, which for an error in a loader's process holds a traceback."""
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
