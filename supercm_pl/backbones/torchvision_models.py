"""Classification networks of torchvision as backbones."""

from __future__ import annotations

import warnings
from enum import Enum
from os import PathLike, fspath
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import nn

from supercm_pl.backbones.pretrained import (
    LOADING,
    Finetune,
    PretrainedBackbone,
    load_weights,
    unknown_name,
)
from supercm_pl.checks import check_object, shown

_NUM_CLASSES = 1000


class TorchvisionBackbone(PretrainedBackbone):
    """Classification network of torchvision without its last layer and the dropout before it.

    ``"resnet50"`` has 2048 features, ``"resnet18"`` 512 and ``"vit_b_16"`` 768. Images have values
    in ``[0, 1]``; a gray channel is repeated three times.

    Args:
        name: As in ``torchvision.models.list_models(module=torchvision.models)``, such as
            ``"resnet50"``.
        weights: ``None`` for random ones; a name to download, ``"DEFAULT"`` or for example
            ``"IMAGENET1K_V1"``, or torchvision's enum; or the path of a state dict of this network,
            with or without a classifier.
        normalize: Normalize images by the mean and standard deviation of the named weights, or of
            ``"DEFAULT"``.
        finetune: What is trained: ``"all"``, the ``"last_block"``, ``"lora"`` or ``"none"``, see
            :class:`.PretrainedBackbone`.
        image_size: Height and width to which images are resized; ``None`` keeps their size. Vision
            transformers require one size, usually 224.

    Raises:
        ValueError: If a name is unknown, or the file does not match the network.
        FileNotFoundError: If weights cannot be downloaded.

    Example:
        >>> backbone = TorchvisionBackbone("resnet18", finetune="none")
        >>> backbone(torch.rand(2, 1, 64, 64)).shape
        torch.Size([2, 512])
    """

    def __init__(
        self,
        name: str,
        weights: str | PathLike[str] | None = None,
        normalize: bool = True,
        finetune: Finetune = "all",
        image_size: int | None = None,
    ) -> None:
        from torchvision import models

        known = models.list_models(module=models)
        check_object("name", name, str, '"resnet18"')
        if name not in known:
            raise unknown_name(name, known, "torchvision")
        family: Any = models.get_model_weights(name)
        named, path = _resolve(name, weights, family)
        model = _build(name, named)
        classifier, out_features = _take_off_classifier(model)
        if path is not None and LOADING.get() is None:
            load_weights(model, path, without=(classifier, "aux1", "aux2", "AuxLogits"))
        if weights is not None and hasattr(model, "transform_input"):
            # Inception normalizes its inputs differently, by itself.
            model.transform_input = True
        preset = (named or family.DEFAULT).transforms()
        super().__init__(
            model,
            out_features,
            mean=preset.mean if normalize else None,
            std=preset.std if normalize else None,
            finetune=finetune,
            image_size=image_size,
        )


def _resolve(name: str, weights: Any, family: Any) -> tuple[Any, Path | None]:
    if weights is None:
        return None, None
    if isinstance(weights, bool):
        raise TypeError(f'weights must be a name or a path, got {weights}: write weights="DEFAULT"')
    if not isinstance(weights, str | PathLike | Enum):
        raise TypeError(
            f"weights must be a name or a path, got {shown(weights)}: save a state dict by "
            'torch.save(state, "weights.pt"), and write weights="weights.pt"'
        )
    weights = str(weights) if isinstance(weights, Enum) else weights
    entry = fspath(weights).removeprefix(f"{family.__name__}.")
    if entry in family.__members__:
        return family[entry], None
    if LOADING.get() is None and not Path(weights).is_file():
        raise ValueError(
            f"weights of {name} must be one of {', '.join(family.__members__)} or the path of a "
            f"file, got {fspath(weights)!r}"
        )
    return None, Path(weights)


def _build(name: str, weights: Any) -> Any:
    from torchvision import models

    size: dict[str, Any] = {}
    if weights is not None and LOADING.get() is not None:
        if name.startswith("vit_"):  # its shape depends on the image size
            size = {"image_size": weights.meta["min_size"][0]}
        weights = None
    with warnings.catch_warnings():
        # GoogLeNet and Inception announce another random initialization.
        warnings.filterwarnings("ignore", "The default weight initialization", FutureWarning)
        try:
            model: Any = models.get_model(name, weights=weights, **size)
        except (OSError, RuntimeError) as error:
            if weights is None:
                raise
            file = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(weights.url).path).name)
            raise FileNotFoundError(
                f"cannot download weights {weights.name} of {name} from {weights.url} to {file} "
                f"({error}); put the file there, or pass its path as weights=..."
            ) from error
    if getattr(model, "aux_logits", False):
        model.aux_logits = False
        for head in ("aux1", "aux2", "AuxLogits"):
            if hasattr(model, head):
                setattr(model, head, None)
    return model


def _take_off_classifier(model: nn.Module) -> tuple[str, int]:
    """Replace the last layer by an identity, and return its name and number of inputs."""
    modules = list(model.named_modules())
    name, layer, before = "", None, 0
    for index, (candidate, module) in enumerate(modules):
        outputs = getattr(module, "out_features", getattr(module, "out_channels", None))
        if isinstance(module, nn.Linear | nn.Conv2d) and outputs == _NUM_CLASSES:
            name, layer, before = candidate, module, index - 1
    assert layer is not None, "all classification networks of torchvision have 1000 classes"
    _replace(model, name)
    if isinstance(modules[before][1], nn.Dropout):
        _replace(model, modules[before][0])
    return name, int(layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels)


def _replace(model: nn.Module, name: str) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Identity())
