"""Sources from what users have at hand."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

from torch.utils.data import DataLoader, Dataset, IterableDataset

from supercm_pl.checks import check_object
from supercm_pl.data.sources.arrays import DatasetSource
from supercm_pl.data.sources.base import Source
from supercm_pl.data.sources.hugging_face import HuggingFaceSource


def as_source(name: str, given: Any) -> Source:
    """Return a source, or that of a data set of PyTorch or Hugging Face, else a ``TypeError``."""
    if isinstance(given, DataLoader):
        raise TypeError(
            f"{name} must be a source or a data set, got a DataLoader: pass loader.dataset, and "
            "labeled_batch_size"
        )
    hugging_face = type(given).__module__.partition(".")[0] == "datasets"
    if hugging_face:
        splits = given if isinstance(given, Mapping) else {}
        names = ("test", "validation", "unlabeled")
        test, val, unlabeled = (name if name in splits else None for name in names)
        return HuggingFaceSource(given, test=test, val=val, unlabeled=unlabeled)
    if isinstance(given, Dataset) and not isinstance(given, IterableDataset):
        return DatasetSource(given)
    several = given.values() if isinstance(given, Mapping) else given
    if isinstance(given, Mapping | tuple | list) and any(isinstance(d, Dataset) for d in several):
        raise TypeError(
            f"{name} must be one source or data set: write DatasetSource(train, test, unlabeled)"
        )
    if isinstance(given, IterableDataset):
        raise TypeError(
            f"{name} must have a length, got an IterableDataset: write DatasetSource(train, "
            "unlabeled=...)"
        )
    if hasattr(given, "shape") or isinstance(given, tuple | list):
        raise TypeError(f"{name} must be a source or a data set: pass arrays to from_arrays(x, y)")
    if isinstance(given, str | PathLike):
        raise TypeError(
            f"{name} must be a source or a data set, got {str(given)!r}: pass folders to "
            "from_folder, or from_folders for adaptation"
        )
    return check_object(name, given, Source, "Digits()")  # type: ignore[type-abstract]
