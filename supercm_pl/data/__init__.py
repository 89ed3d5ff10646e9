"""Sources of data, splits, paired loaders, and augmentation on the device."""

from supercm_pl.data.loading.iterable.reader import IterableData
from supercm_pl.data.loading.loader import PairedLoader
from supercm_pl.data.loading.steps import Part
from supercm_pl.data.sources.arrays import ArraySource, DatasetSource
from supercm_pl.data.sources.base import Source, SourceData
from supercm_pl.data.sources.digits import Digits, DigitsM, MNIST5k
from supercm_pl.data.sources.folder import DomainFolder, FolderSource, UnlabeledFolder
from supercm_pl.data.sources.hugging_face import HuggingFaceSource
from supercm_pl.data.sources.image_list import ImageList
from supercm_pl.data.sources.resized import Resized
from supercm_pl.data.sources.torchvision import (
    CIFAR10,
    CIFAR100,
    KMNIST,
    MNIST,
    STL10,
    SVHN,
    USPS,
    FashionMNIST,
)
from supercm_pl.data.splits.distortion import Distortion
from supercm_pl.data.splits.split import Split
from supercm_pl.data.splits.stratified import make_split
from supercm_pl.data.transforms.augment import AffineNoise, Compose, FlipCrop, GaussianNoise
from supercm_pl.data.transforms.randaugment import Cutout, RandAugment, StrongAugment
from supercm_pl.data.transforms.whitening import ZCA, GlobalContrastNormalization
from supercm_pl.options import suggest_arguments

suggest_arguments(
    ZCA,
    AffineNoise,
    Cutout,
    Distortion,
    FlipCrop,
    GaussianNoise,
    GlobalContrastNormalization,
    IterableData,
    PairedLoader,
    RandAugment,
    StrongAugment,
)

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "KMNIST",
    "MNIST",
    "STL10",
    "SVHN",
    "USPS",
    "ZCA",
    "AffineNoise",
    "ArraySource",
    "Compose",
    "Cutout",
    "DatasetSource",
    "Digits",
    "DigitsM",
    "Distortion",
    "DomainFolder",
    "FashionMNIST",
    "FlipCrop",
    "FolderSource",
    "GaussianNoise",
    "GlobalContrastNormalization",
    "HuggingFaceSource",
    "ImageList",
    "IterableData",
    "MNIST5k",
    "PairedLoader",
    "Part",
    "RandAugment",
    "Resized",
    "Source",
    "SourceData",
    "Split",
    "StrongAugment",
    "UnlabeledFolder",
    "make_split",
]
