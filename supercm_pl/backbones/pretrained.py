"""Base of pretrained networks without their classifier, and their weight files."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from importlib import import_module
from os import PathLike
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supercm_pl.checks import check_choice, check_optional, check_size
from supercm_pl.names import first_of
from supercm_pl.optional import import_optional

Finetune = Literal["all", "last_block", "lora", "none"]
_RANK = 8  # of the matrices that LoRA adds
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)

# Packages that may use the network while a checkpoint loads; ``None`` at other times.
LOADING: ContextVar[Collection[str] | None] = ContextVar("LOADING", default=None)


@contextmanager
def weights_follow(trust: Collection[str] = ()) -> Iterator[None]:
    """Build networks without weights, which follow from a checkpoint.

    Only packages in ``trust`` may use the network.
    """
    token = LOADING.set(trust)
    try:
        yield
    finally:
        LOADING.reset(token)


class PretrainedBackbone(nn.Module):
    """Classification network without its classifier, with its own normalization of images.

    Base of :class:`.TorchvisionBackbone` and :class:`.TimmBackbone`.

    Args:
        model: Maps images ``(N, 3, H, W)`` to features of ``out_features`` values.
        out_features: Feature dimension ``d``.
        mean: Mean of each channel, subtracted from the images; ``None`` disables normalization.
        std: Standard deviation of each channel.
        finetune: What is trained: ``"all"`` parameters; the ``"last_block"`` and the layers after
            it; ``"lora"``, matrices of rank 8 that are added to those of the linear layers, and of
            the convolutions if these have more weights (Hu et al., *LoRA*, ICLR 2022; ``pip install
            'supercm-pl[lora]'``); or ``"none"``. For ``"last_block"`` and ``"lora"``, batch norm
            without trained parameters stays in evaluation mode, for ``"none"`` the whole network.
            Gradients of the inputs remain.
        image_size: Height and width to which images are resized; ``None`` keeps their size.

    Raises:
        ModuleNotFoundError: If LoRA's library is not installed.
        ValueError: If ``finetune`` is unknown or ``image_size`` below 1; in the forward pass, if
            images have neither one nor three channels.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(
        self,
        model: nn.Module,
        out_features: int,
        *,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        finetune: Finetune,
        image_size: int | None,
    ) -> None:
        super().__init__()
        self.model = model
        self.out_features = out_features
        self.finetune = check_choice("finetune", finetune, ("all", "last_block", "lora", "none"))
        self.image_size = check_optional(check_size, "image_size", image_size)
        for name, values in (("mean", mean), ("std", std)):
            buffer = None if values is None else torch.tensor(values).view(-1, 1, 1)
            self.register_buffer(name, buffer, persistent=False)
        if finetune != "all":
            self.model.requires_grad_(False)
        if finetune == "last_block":
            _train_last_block(self.model)
        elif finetune == "lora":
            _add_lora(self.model)
        self.train()

    def train(self, mode: bool = True) -> PretrainedBackbone:
        """Set the mode; what is not trained stays in evaluation mode."""
        super().train(mode)
        if self.finetune == "none":
            self.model.eval()
        if self.finetune in ("last_block", "lora"):
            for module in self.model.modules():
                own = module.parameters(recurse=False)
                if isinstance(module, _BATCH_NORMS) and not any(each.requires_grad for each in own):
                    module.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return features ``(N, d)`` of images ``(N, 3 or 1, H, W)`` in ``[0, 1]``."""
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ValueError(
                f"images must have shape (N, 3, H, W) or (N, 1, H, W), got {tuple(images.shape)}"
            )
        if self.image_size is not None and images.shape[2:] != (self.image_size, self.image_size):
            size = [self.image_size, self.image_size]
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        images = images.expand(-1, 3, -1, -1)
        if self.mean is not None and self.std is not None:
            images = (images - self.mean) / self.std
        features: Tensor = self.model(images)
        return features.flatten(1)


def _train_last_block(model: nn.Module) -> None:
    """Train the numbered block with the last matrix or kernel, and what follows it."""
    parameters = dict(model.named_parameters())
    names = list(parameters)
    last = max(place for place, name in enumerate(names) if parameters[name].ndim > 1)
    path = names[last].rpartition(".")[0]
    # layer4.1 of layer4.1.conv2, blocks.11 of blocks.11.mlp.fc2
    found = re.match(r"(.*\d)\.", path)
    block = f"{found[1] if found else path}."
    for place, name in enumerate(names):
        if name.startswith(block) or place > last:
            parameters[name].requires_grad_(True)


def _add_lora(model: nn.Module) -> None:
    peft = import_optional("peft", "finetune='lora'", "'supercm-pl[lora]'")
    modules = dict(model.named_modules())
    # Attention of torch.nn and torchvision reads the weights of its layers itself, without LoRA's.
    own = tuple(f"{name}." for name, module in modules.items() if _reads_weights(module))
    linear, convolutions = [], []
    for name, module in modules.items():
        if isinstance(module, nn.Linear) and not name.startswith(own):
            linear.append(name)
        elif isinstance(module, nn.Conv2d) and module.groups == 1:
            convolutions.append(name)
    sizes = [sum(modules[n].weight.numel() for n in names) for names in (linear, convolutions)]
    names = linear if sizes[0] >= sizes[1] else linear + convolutions
    config = peft.LoraConfig(r=_RANK, lora_alpha=2 * _RANK, target_modules=names)
    peft.inject_adapter_in_model(config, model)


def _reads_weights(module: nn.Module) -> bool:
    return isinstance(module, nn.MultiheadAttention) or "WindowAttention" in type(module).__name__


def unknown_name(name: str, known: Iterable[str], library: str) -> ValueError:
    """Return the error for an unknown network, with similar names."""
    close = get_close_matches(name, list(known), n=4)
    hint = f"did you mean {', '.join(close)}?" if close else "see its list_models()"
    return ValueError(f"{library} has no classification model named {name!r}; {hint}")


def load_weights(model: nn.Module, path: str | PathLike[str], without: Iterable[str] = ()) -> None:
    """Load the weights of a file into a network, without running code of the file.

    The file is a state dict of ``torch.save``, or ``.safetensors``. ``without`` names modules that
    only the file has, the classifier. Other weights, or another format, are a ``ValueError``.
    """
    load_state(model, _read(Path(path)), path, without)


def load_state(
    model: nn.Module,
    state: Mapping[str, Tensor],
    path: str | PathLike[str],
    without: Iterable[str] = (),
) -> None:
    """Load a state dict from a file at ``path`` as :func:`load_weights` does."""
    own = model.state_dict()
    excess = tuple(f"{name}." for name in without)
    state = {
        # Files of torchvision's DenseNets have norm.1 for norm1.
        current if (current := re.sub(r"\.([12])\.", r"\1.", key)) in own else key: value
        for key, value in state.items()
        if not key.startswith(excess)
    }
    missing, foreign = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    unfit = [k for k in own if k in state and own[k].shape != state[k].shape]
    for what, keys in {
        "lacks": missing,
        "has unknown": foreign,
        "has other shapes of": unfit,
    }.items():
        if keys:
            raise ValueError(
                f"the weights in {path} are not for this network: the file {what} {first_of(keys)}"
            )
    model.load_state_dict(state)


def _read(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        safetensors: Any = import_module("safetensors.torch")  # a dependency of timm
        try:
            loaded: dict[str, Any] = safetensors.load_file(path)
        except Exception as error:
            raise ValueError(f"{path} is not a file of weights: {error}") from error
        return loaded
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError) as error:
        raise ValueError(f"{path} is not a file of weights: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(
            f"{path} is not a file of weights: it must hold a state dict, as saved by "
            "torch.save(model.state_dict(), path)"
        )
    return content
