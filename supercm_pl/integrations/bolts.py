"""What runs of lightning-bolts 0.7, the last of its line: encoders as backbones, data as a source.

Its schedule and its LARS need nothing from here: ``pl_bolts.optimizers.LARS`` and
``pl_bolts.optimizers.lr_scheduler.LinearWarmupCosineAnnealingLR`` are class paths of a
configuration.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from os import PathLike, fspath
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from supercm_pl.backbones.pretrained import PretrainedBackbone, load_state
from supercm_pl.checks import check_choice
from supercm_pl.data.datasets import dataset_length
from supercm_pl.data.labels import checked_classes, labels_of, numbered_classes
from supercm_pl.data.sources.base import Source, SourceData

__all__ = ["BoltsEncoder", "BoltsSource"]

Pretraining = Literal["simclr", "swav"]

_HUB = "https://pl-bolts-weights.s3.us-east-2.amazonaws.com"
_URLS = {
    "simclr": f"{_HUB}/simclr/bolts_simclr_imagenet/simclr_imagenet.ckpt",
    "swav": f"{_HUB}/swav/swav_imagenet/swav_imagenet.pth.tar",
}
_NETWORKS = {
    "simclr": "models.self_supervised.resnets",
    "swav": "models.self_supervised.swav.swav_resnet",
}
# What follows the features in these networks.
_HEADS = ("fc", "projection_head", "prototypes")
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class BoltsEncoder(PretrainedBackbone):
    """A ResNet of lightning-bolts, trained without labels by SimCLR or SwAV, as a backbone.

    The features are those before the projection: 2048 of ``"resnet50"``, 512 of ``"resnet18"``.
    Images come in ``[0, 1]``; gray ones are repeated in three channels.

    Args:
        method: ``"simclr"`` or ``"swav"``; their networks differ in the padding of the first layer.
        arch: Name of the network in the package: ``"resnet50"``, ``"resnet18"``; of SimCLR also
            ``"resnet101"`` and others, of SwAV the wider ``"resnet50w2"``.
        weights: ``None`` draws them at random; ``"imagenet"`` downloads those that the package's
            documentation names, of ``"resnet50"`` alone; else the path of a checkpoint of its
            ``SimCLR`` or ``SwAV``, or of a state dict.
        first_conv: The 7×7 stem of stride 2; ``False`` is the 3×3 one for small images.
        maxpool1: The max pooling after it.
        normalize: Normalize by ImageNet's mean and standard deviation.
        frozen: Never trained: its parameters have no gradient, and it stays in evaluation mode.
        image_size: Side to which images are resized; ``None`` leaves theirs.

    Raises:
        ImportError: If lightning-bolts can't be imported; it says what it needs.
        ValueError: If there is no network of that name, or the weights do not fit.
        FileNotFoundError: If weights cannot be downloaded.
    """

    def __init__(
        self,
        method: Pretraining = "simclr",
        arch: str = "resnet50",
        weights: str | PathLike[str] | None = None,
        first_conv: bool = True,
        maxpool1: bool = True,
        normalize: bool = True,
        frozen: bool = False,
        image_size: int | None = None,
    ) -> None:
        check_choice("method", method, get_args(Pretraining))
        if weights == "imagenet" and arch != "resnet50":
            raise ValueError(f'there are weights "imagenet" of "resnet50" alone, got {arch!r}')
        networks = import_bolts(_NETWORKS[method])
        if not arch.startswith(("resnet", "resnext", "wide_resnet")) or not hasattr(networks, arch):
            known = sorted(name for name in dir(networks) if name.startswith(("resn", "wide_resn")))
            raise ValueError(f"{method} has no network {arch!r}, only {', '.join(known)}")
        with _quiet():
            network = getattr(networks, arch)(first_conv=first_conv, maxpool1=maxpool1)
        features = int(network.layer4[-1].conv1.in_channels)
        if hasattr(network, "fc"):  # never used: parameters without a gradient are an error in DDP
            network.fc = nn.Identity()
        if weights is not None:
            path = _download(method) if weights == "imagenet" else Path(weights)
            load_state(network, _encoder_weights(path), path, without=_HEADS)
        super().__init__(
            _Encoder(network),
            features,
            mean=_IMAGENET_MEAN if normalize else None,
            std=_IMAGENET_STD if normalize else None,
            frozen=frozen,
            image_size=image_size,
        )


class BoltsSource(Source):
    """The data sets of a data module of lightning-bolts, or of any other one for Lightning 1.

    Its training set is split as that of every source, its validation set is that of the run, its
    batch size and its order of samples are not looked at. Data sets that the package has without a
    data module are :class:`~supercm_pl.data.DatasetSource`'s, as those of torchvision are.

    Args:
        datamodule: Its name in ``pl_bolts.datamodules``, such as ``"CIFAR10DataModule"``; or one
            that you made.
        options: Arguments of its class where it is named, such as ``{"data_dir": "data"}``. Without
            ``normalize``, its images are in ``[0, 1]``, as augmentation here takes them.

    Raises:
        ImportError: If lightning-bolts can't be imported; it says what it needs.
        ValueError: If there is no data module of that name.
    """

    def __init__(self, datamodule: Any, options: Mapping[str, Any] | None = None) -> None:
        if not isinstance(datamodule, str):
            if options:
                raise ValueError("options are for a data module that is named, got an object too")
            self.datamodule = datamodule
            return
        datamodules = import_bolts("datamodules")
        if not datamodule.endswith("DataModule") or not hasattr(datamodules, datamodule):
            known = sorted(name for name in dir(datamodules) if name.endswith("DataModule"))
            raise ValueError(f"pl_bolts.datamodules has no {datamodule!r}, only {', '.join(known)}")
        with _quiet():
            self.datamodule = getattr(datamodules, datamodule)(**(options or {}))

    def prepare(self) -> None:
        """Download, as the data module does."""
        with _quiet():
            self.datamodule.prepare_data()

    def load(self) -> SourceData:
        """Take the data sets out of the data module's loaders."""
        with _quiet():
            for stage in ("fit", "test"):
                self.datamodule.setup(stage)
            train = self.datamodule.train_dataloader().dataset
            val, test = (
                _data_set(getattr(self.datamodule, f"{part}_dataloader")())
                for part in ("val", "test")
            )
        names = getattr(getattr(train, "dataset", train), "classes", None)
        if names is None:
            count = getattr(self.datamodule, "num_classes", None)
            names = map(str, range(count)) if count else numbered_classes(labels_of(train))
        return SourceData(train, checked_classes(list(names)), test=test, val=val)


def import_bolts(module: str) -> Any:
    """The module ``pl_bolts.<module>``.

    Raises:
        ImportError: If it can't be imported; it says what lightning-bolts needs.
    """
    try:
        with _quiet():
            return import_module(f"pl_bolts.{module}")
    except Exception as error:  # with packages of another age it is any
        absent = str(getattr(error, "name", "")).startswith("pl_bolts")
        said = f"{type(error).__name__}: {error}"
        what = "is not installed" if absent else f"can't be imported ({said})"
        raise ImportError(
            f"lightning-bolts {what}: pip install 'supercm-pl[bolts]', which takes "
            "lightning-bolts==0.7.0 with pytorch-lightning<2 and setuptools<81; best into an "
            "environment of its own"
        ) from error


class _Encoder(nn.Module):
    """Features ``(N, d)`` of a network that may give a list of feature maps."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        features = self.network(images)
        last: Tensor = features[-1] if isinstance(features, list) else features
        return last


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings of what has changed since 2023, and that most of it is under review."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _data_set(loader: Any) -> Dataset[Any] | None:
    dataset: Dataset[Any] | None = getattr(loader, "dataset", None)
    return dataset if dataset is not None and dataset_length(dataset) else None


def _download(method: str) -> Path:
    url = _URLS[method]
    path = Path(torch.hub.get_dir(), "checkpoints", f"bolts_{Path(url).name}")
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path))
        except (OSError, RuntimeError) as error:
            raise FileNotFoundError(
                f"can't download the weights of {method} from {url} to {path} ({error}): put the "
                "file there, or give its path as weights=..."
            ) from error
    return path


def _encoder_weights(path: Path) -> dict[str, Tensor]:
    """The network's part of a checkpoint; nothing in it is run."""
    if not path.is_file():
        raise ValueError(f'weights must be "imagenet" or the path of a file, got {fspath(path)!r}')
    callbacks = import_module("pytorch_lightning.callbacks")
    # Lightning before 1.5 saved the state of callbacks under their classes: these are only named.
    torch.serialization.add_safe_globals([callbacks.ModelCheckpoint, callbacks.EarlyStopping])
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError) as error:
        raise ValueError(f"{path} is not a file of weights: {error}") from error
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    # `encoder.conv1.weight` of SimCLR, `model.conv1.weight` of SwAV; blocks have longer names.
    stems = [key for key in state if str(key).endswith("conv1.weight")]
    if not stems:
        raise ValueError(f"{path} has no weights of a ResNet: none is called conv1.weight")
    prefix = min(stems, key=len).removesuffix("conv1.weight")
    return {key.removeprefix(prefix): w for key, w in state.items() if key.startswith(prefix)}
