"""Any network of timm as a backbone."""

from __future__ import annotations

from importlib import import_module
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from supercm_pl.backbones.pretrained import LOADING, PretrainedBackbone, load_weights, unknown_name


class TimmBackbone(PretrainedBackbone):
    """A network of timm (``pip install timm``) without its classifier, pooled as it pools.

    Images come in ``[0, 1]``; gray ones are repeated in three channels.

    Args:
        name: As in ``timm.list_models()``, with or without a tag of weights, such as
            ``"resnet50.a1_in1k"``; ``"hf-hub:..."`` takes a network from the Hugging Face Hub.
        pretrained: Download the weights of that tag, or the default ones.
        weights: Instead, the path of a file with a state dict of this network, made by
            ``torch.save`` or ``.safetensors``, with or without a classifier.
        normalize: Normalize by the mean and standard deviation that belong to the weights.
        frozen: Never trained: its parameters have no gradient, and it stays in evaluation mode.
        image_size: Side to which images are resized; ``None`` leaves theirs. Vision transformers
            take one size alone, 224 for most.

    Raises:
        ModuleNotFoundError: If timm is not installed.
        ValueError: If there is no network of that name, or a file does not fit.
        FileNotFoundError: If weights cannot be downloaded.
    """

    def __init__(
        self,
        name: str,
        pretrained: bool = False,
        weights: str | PathLike[str] | None = None,
        normalize: bool = True,
        frozen: bool = False,
        image_size: int | None = None,
    ) -> None:
        timm = _timm()
        if pretrained and weights is not None:
            raise ValueError(
                "weights are either downloaded or read from a file, got pretrained=True and "
                f"weights={fspath(weights)!r}"
            )
        loading = LOADING.get() is not None
        if weights is not None and not loading and not Path(weights).is_file():
            raise ValueError(f"weights must be the path of a file, got {fspath(weights)!r}")
        model = _build(timm, name, pretrained and not loading)
        config = timm.data.resolve_model_data_config(model)
        if weights is not None and not loading:
            classifier = model.pretrained_cfg.get("classifier") or ()
            names = (classifier,) if isinstance(classifier, str) else classifier
            load_weights(model, weights, without=names)
        # With a hidden layer between pooling and classifier, the features are that layer's.
        out_features = getattr(model, "head_hidden_size", None) or model.num_features
        super().__init__(
            model,
            int(out_features),
            mean=config["mean"] if normalize else None,
            std=config["std"] if normalize else None,
            frozen=frozen,
            image_size=image_size,
        )


def _timm() -> Any:
    try:
        return import_module("timm")
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise ModuleNotFoundError(
            "TimmBackbone needs timm: pip install timm", name="timm"
        ) from error


def _build(timm: Any, name: str, pretrained: bool) -> Any:
    if ":" not in name:  # "hf-hub:" and the like name no network of timm
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
        # Which errors a failed download raises depends on the libraries beneath timm.
        raise FileNotFoundError(
            f"can't download the weights of {name} from {_origin(timm, name)} ({error}): give the "
            "path of a file with them as weights=..."
        ) from error


def _origin(timm: Any, name: str) -> str:
    config = None if ":" in name else timm.get_pretrained_cfg(name)
    if config is None:
        return name
    return f"huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else str(config.url)
