"""Encoders of lightning-bolts 0.7 as backbones, and its data modules as sources.

Configurations can name its LARS and schedule directly: ``pl_bolts.optimizers.LARS`` and
``pl_bolts.optimizers.lr_scheduler.LinearWarmupCosineAnnealingLR``.
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

from supercm_pl.backbones.pretrained import LOADING, Finetune, PretrainedBackbone, load_state
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
# Layers after the features in these networks.
_HEADS = ("fc", "projection_head", "prototypes")
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class BoltsEncoder(PretrainedBackbone):
    """ResNet of lightning-bolts, trained without labels by SimCLR or SwAV.

    Features are those before the projection: 2048 for ``"resnet50"``, 512 for ``"resnet18"``.
    Images have values in ``[0, 1]``; a gray channel is repeated three times.

    Args:
        method: ``"simclr"`` or ``"swav"``; their networks differ in the padding of the first layer.
        arch: Name of the network in the package, such as ``"resnet50"`` and ``"resnet18"``; for
            SimCLR also ``"resnet101"``, for SwAV the wider ``"resnet50w2"``.
        weights: ``None`` for random ones; ``"imagenet"`` to download those of ``"resnet50"``; or
            the path of a checkpoint of ``SimCLR`` or ``SwAV``, or of a state dict.
        first_conv: Use the 7×7 stem with stride 2; ``False`` uses a 3×3 stem for small images.
        maxpool1: Use the max pooling after the stem.
        normalize: Normalize by ImageNet's mean and standard deviation.
        finetune: What is trained: ``"all"``, the ``"last_block"``, ``"lora"`` or ``"none"``, see
            :class:`.PretrainedBackbone`.
        image_size: Height and width to which images are resized; ``None`` keeps their size.

    Raises:
        ImportError: If lightning-bolts cannot be imported.
        ValueError: If the network is unknown, or the weights do not match it.
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
        finetune: Finetune = "all",
        image_size: int | None = None,
    ) -> None:
        check_choice("method", method, get_args(Pretraining))
        if weights == "imagenet" and arch != "resnet50":
            raise ValueError(f'arch must be "resnet50" for weights "imagenet", got {arch!r}')
        networks = import_bolts(_NETWORKS[method])
        if not arch.startswith(("resnet", "resnext", "wide_resnet")) or not hasattr(networks, arch):
            known = sorted(name for name in dir(networks) if name.startswith(("resn", "wide_resn")))
            raise ValueError(f"{method} has no network {arch!r}, only {', '.join(known)}")
        with _quiet():
            network = getattr(networks, arch)(first_conv=first_conv, maxpool1=maxpool1)
        features = int(network.layer4[-1].conv1.in_channels)
        if hasattr(network, "fc"):  # unused parameters are an error in DDP
            network.fc = nn.Identity()
        if weights is not None and LOADING.get() is None:
            path = _download(method) if weights == "imagenet" else Path(weights)
            load_state(network, _encoder_weights(path), path, without=_HEADS)
        super().__init__(
            _Encoder(network),
            features,
            mean=_IMAGENET_MEAN if normalize else None,
            std=_IMAGENET_STD if normalize else None,
            finetune=finetune,
            image_size=image_size,
        )


class BoltsSource(Source):
    """Data sets of a data module of lightning-bolts, or of any other one for Lightning 1.

    The run splits its training set and uses its validation set. Its batch size and order of samples
    are ignored. For data sets of the package without a data module, use
    :class:`~supercm_pl.data.DatasetSource`.

    Args:
        datamodule: Name in ``pl_bolts.datamodules``, such as ``"CIFAR10DataModule"``, or an object.
        options: Arguments of the named class, such as ``{"data_dir": "data"}``. Leave out
            ``normalize``, because augmentation requires images in ``[0, 1]``.

    Raises:
        ImportError: If lightning-bolts cannot be imported.
        ValueError: If the name is unknown.
    """

    def __init__(self, datamodule: Any, options: Mapping[str, Any] | None = None) -> None:
        if not isinstance(datamodule, str):
            if options:
                raise ValueError("options require the name of a data module, got an object")
            self.datamodule = datamodule
            return
        datamodules = import_bolts("datamodules")
        if not datamodule.endswith("DataModule") or not hasattr(datamodules, datamodule):
            known = sorted(name for name in dir(datamodules) if name.endswith("DataModule"))
            raise ValueError(f"pl_bolts.datamodules has no {datamodule!r}, only {', '.join(known)}")
        with _quiet():
            self.datamodule = getattr(datamodules, datamodule)(**(options or {}))

    def prepare(self) -> None:
        """Download the data by the data module."""
        with _quiet():
            self.datamodule.prepare_data()

    def load(self) -> SourceData:
        """Return the data sets of the data module's loaders."""
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
            names = map(str, range(count)) if count else numbered_classes(labels_of(train), "train")
        return SourceData(train, checked_classes(list(names)), test=test, val=val)


def import_bolts(module: str) -> Any:
    """Import ``pl_bolts.<module>``; an ``ImportError`` shows the versions that it requires."""
    try:
        with _quiet():
            return import_module(f"pl_bolts.{module}")
    except Exception as error:  # incompatible packages raise any error
        absent = str(getattr(error, "name", "")).startswith("pl_bolts")
        cause = f"{type(error).__name__}: {error}"
        what = "is not installed" if absent else f"cannot be imported ({cause})"
        raise ImportError(
            f"lightning-bolts {what}: pip install 'supercm-pl[bolts]', which installs "
            "lightning-bolts==0.7.0 with pytorch-lightning<2 and setuptools<81; use a separate "
            "environment"
        ) from error


class _Encoder(nn.Module):
    """Features ``(N, d)`` of a network that may return a list of feature maps."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        features = self.network(images)
        last: Tensor = features[-1] if isinstance(features, list) else features
        return last


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress deprecation and under-review warnings of a package without releases since 2023."""
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
                f"cannot download the weights of {method} from {url} to {path} ({error}); put the "
                "file there, or pass its path as weights=..."
            ) from error
    return path


def _encoder_weights(path: Path) -> dict[str, Tensor]:
    """Return the network's part of a checkpoint, without running code of the file."""
    if not path.is_file():
        raise ValueError(f'weights must be "imagenet" or the path of a file, got {fspath(path)!r}')
    callbacks = import_module("pytorch_lightning.callbacks")
    # Lightning before 1.5 saved the state of callbacks by class.
    torch.serialization.add_safe_globals([callbacks.ModelCheckpoint, callbacks.EarlyStopping])
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError) as error:
        raise ValueError(f"{path} is not a file of weights: {error}") from error
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    # `encoder.conv1.weight` of SimCLR, `model.conv1.weight` of SwAV; blocks have longer names.
    stems = [key for key in state if str(key).endswith("conv1.weight")]
    if not stems:
        raise ValueError(f"{path} has no weights of a ResNet: none has the name conv1.weight")
    prefix = min(stems, key=len).removesuffix("conv1.weight")
    return {key.removeprefix(prefix): w for key, w in state.items() if key.startswith(prefix)}
