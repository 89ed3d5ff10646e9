"""Sources of data, splits, streams of batches, and augmentation on the device."""

from supercm_pl.data.augment import AffineNoise, Compose, FlipCrop, GaussianNoise
from supercm_pl.data.choose import choose_split
from supercm_pl.data.folder import FolderSource
from supercm_pl.data.sources import ArraySource, DatasetSource, Digits, Source, SourceData
from supercm_pl.data.split import Split
from supercm_pl.data.streams import PairedLoader, Stream

__all__ = [
    "AffineNoise",
    "ArraySource",
    "Compose",
    "DatasetSource",
    "Digits",
    "FlipCrop",
    "FolderSource",
    "GaussianNoise",
    "PairedLoader",
    "Source",
    "SourceData",
    "Split",
    "Stream",
    "choose_split",
]
