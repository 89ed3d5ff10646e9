"""Networks of timm as backbones."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path
from typing import Any

from supercm_pl.backbones.pretrained import (
    LOADING,
    Finetune,
    PretrainedBackbone,
    load_weights,
    unknown_name,
)
from supercm_pl.checks import check_object, check_optional, check_path
from supercm_pl.optional import import_optional


class TimmBackbone(PretrainedBackbone):
    """Network of timm (``pip install timm``) without its classifier, with its own pooling.

    Images have values in ``[0, 1]``; a gray channel is repeated three times.

    Args:
        name: As in ``timm.list_models()``, with or without a weights tag, such as
            ``"resnet50.a1_in1k"``; or ``"hf-hub:..."`` for the Hugging Face Hub.
        pretrained: Download the weights of that tag, or the default ones.
        weights: Path of a state dict of this network (``torch.save`` or ``.safetensors``), with or
            without a classifier; excludes ``pretrained``.
        normalize: Normalize images by the mean and standard deviation of the weights.
        finetune: What is trained: ``"all"``, the ``"last_block"``, ``"lora"`` or ``"none"``, see
            :class:`.PretrainedBackbone`.
        image_size: Height and width to which images are resized; ``None`` keeps their size. Vision
            transformers require one size, usually 224.

    Raises:
        ModuleNotFoundError: If timm is not installed.
        ValueError: If the name is unknown, or the file does not match the network.
        FileNotFoundError: If weights cannot be downloaded.
    """

    def __init__(
        self,
        name: str,
        pretrained: bool = False,
        weights: str | PathLike[str] | None = None,
        normalize: bool = True,
        finetune: Finetune = "all",
        image_size: int | None = None,
    ) -> None:
        timm = import_optional("timm", "TimmBackbone", "timm")
        check_object("name", name, str, '"resnet18"')
        if isinstance(weights, bool):
            raise TypeError(f"weights must be a path, got {weights}: write pretrained={weights}")
        if pretrained and weights is not None:
            raise ValueError(
                "weights are either downloaded or read from a file, got pretrained=True and "
                f"weights={fspath(weights)!r}"
            )
        loading = LOADING.get() is not None
        check_optional(check_path, "weights", weights)
        if weights is not None and not loading and not Path(weights).is_file():
            raise ValueError(f"weights must be the path of a file, got {fspath(weights)!r}")
        model = _build(timm, name, pretrained and not loading)
        config = timm.data.resolve_model_data_config(model)
        if weights is not None and not loading:
            classifier = model.pretrained_cfg.get("classifier") or ()
            names = (classifier,) if isinstance(classifier, str) else classifier
            load_weights(model, weights, without=names)
        # A hidden layer between pooling and classifier yields the features.
        out_features = getattr(model, "head_hidden_size", None) or model.num_features
        super().__init__(
            model,
            int(out_features),
            mean=config["mean"] if normalize else None,
            std=config["std"] if normalize else None,
            finetune=finetune,
            image_size=image_size,
        )


def _build(timm: Any, name: str, pretrained: bool) -> Any:
    if ":" not in name:  # not "hf-hub:" and other prefixes
        architecture, _, tag = name.partition(".")
        if not timm.is_model(architecture):
            raise unknown_name(architecture, timm.list_models(), "timm")
        tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")]
        if tag and tag not in tags:
            raise ValueError(
                f"timm has no weights {tag!r} of {architecture}, only {', '.join(tags) or 'none'}"
            )
    elif (trust := LOADING.get()) is not None and "timm" not in trust:
        raise ValueError(
            f"the checkpoint names {name!r:.100}, which is not a network of timm's own; if you "
            "trust it, add --trust timm to the command, or trust='timm' in Python"
        )
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=0)
    except Exception as error:
        if not pretrained:
            raise
        # The error of a failed download depends on the libraries that timm uses.
        raise FileNotFoundError(
            f"cannot download the weights of {name} from {_origin(timm, name)} ({error}); pass the "
            "path of a file as weights=..."
        ) from error


def _origin(timm: Any, name: str) -> str:
    config = None if ":" in name else timm.get_pretrained_cfg(name)
    if config is None:
        return name
    return f"huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else str(config.url)
