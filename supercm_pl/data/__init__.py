"""Sources of data, splits, streams of batches, and augmentation on the device."""

from supercm_pl.data.augment import AffineNoise, Compose, FlipCrop, GaussianNoise
from supercm_pl.data.choose import choose_split
from supercm_pl.data.distortion import Distortion
from supercm_pl.data.domain_folder import DomainFolder
from supercm_pl.data.domains import DigitsM
from supercm_pl.data.folder import FolderSource
from supercm_pl.data.hugging_face import HuggingFaceSource
from supercm_pl.data.image_list import ImageList
from supercm_pl.data.preprocess import ZCA, GlobalContrastNormalization
from supercm_pl.data.resize import Resized
from supercm_pl.data.sources import ArraySource, DatasetSource, Digits, MNIST5k, Source, SourceData
from supercm_pl.data.split import Split
from supercm_pl.data.streamed import StreamedData
from supercm_pl.data.streams import PairedLoader, Stream
from supercm_pl.data.strong import Cutout, RandAugment, StrongAugment
from supercm_pl.data.torchvision_sources import (
    CIFAR10,
    CIFAR100,
    KMNIST,
    MNIST,
    STL10,
    SVHN,
    USPS,
    FashionMNIST,
)
from supercm_pl.data.unlabeled import UnlabeledArrays, UnlabeledFolder

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
    "MNIST5k",
    "PairedLoader",
    "RandAugment",
    "Resized",
    "Source",
    "SourceData",
    "Split",
    "Stream",
    "StreamedData",
    "StrongAugment",
    "UnlabeledArrays",
    "UnlabeledFolder",
    "choose_split",
]
