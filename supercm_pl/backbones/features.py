"""Feature dimension of a backbone, and a bottleneck layer."""

from __future__ import annotations

import re

from torch import Tensor, nn

from supercm_pl.checks import check_size


def feature_size(backbone: nn.Module) -> int:
    """Return the dimension ``d`` of the backbone's ``(N, d)`` features.

    It is ``backbone.out_features`` (this package, ``nn.Linear``) or ``backbone.num_features``
    (timm); for an ``nn.Sequential``, that of the last module that has one.

    Raises:
        ValueError: If the dimension is unknown. Then pass ``feature_size`` to the module.

    Example:
        >>> feature_size(nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU()))
        32
    """
    for name in ("out_features", "num_features"):
        size = getattr(backbone, name, None)
        if isinstance(size, int):
            return size
    if isinstance(backbone, nn.Sequential):
        for module in reversed(backbone):
            try:
                return feature_size(module)
            except ValueError:
                continue
    raise ValueError(
        f"backbone {type(backbone).__name__} has an unknown number of features: give it an integer "
        "attribute `out_features`, or pass `feature_size=...` to the module"
    )


def check_fits(backbone: nn.Module, inputs: Tensor, error: Exception) -> None:
    """Explain an error that the shape of inputs ``(N, ...)`` causes, by a ``ValueError``."""
    text = str(error)
    if text.startswith("Expected more than 1 value per channel"):
        raise ValueError(
            "batch norm needs two samples or more in a forward pass of training, got 1: pass "
            "drop_last=True to your DataLoader"
        ) from error
    if re.search(r"(?i)\b(height|width|size)\b", text) and isinstance(error, AssertionError):
        size = re.search(r"(?i)(?:expected|model) \(?(\d+)", text)
        raise ValueError(
            f"backbone {type(backbone).__name__} does not fit images of shape "
            f"{tuple(inputs.shape[1:])}: {text.rstrip('.')}; resize them, as by image_size="
            f"{size[1] if size else 224} of from_folder or of the backbone"
        ) from error
    if not inputs.is_floating_point() and "type" in text:
        raise ValueError(
            f"backbone {type(backbone).__name__} does not take inputs of {inputs.dtype}: write "
            "inputs.float(), for images inputs.to(torch.uint8)"
        ) from error
    channels = re.search(r"to have (\d+) channels", text)
    values = re.search(r"mat1 and mat2 shapes cannot be multiplied \(\d+x(\d+) and (\d+)x", text)
    if channels or values:
        reason = f"a convolution requires {channels[1]} channels" if channels else ""
        if values:
            reason = f"a linear layer requires {values[2]} values, got {values[1]}"
        if channels and inputs.ndim == 3:
            reason += ": write x[:, None] for gray images (N, H, W)"
        elif channels and inputs.shape[-1] == int(channels[1]):
            reason += ": write x.permute(0, 3, 1, 2) for images (N, H, W, C)"
        raise ValueError(
            f"backbone {type(backbone).__name__} does not fit inputs of shape "
            f"{tuple(inputs.shape[1:])}: {reason}"
        ) from error


def check_no_classifier(backbone: nn.Module) -> None:
    """Require a network of torchvision or timm without its classifier, else a ``ValueError``."""
    library, kind = type(backbone).__module__.partition(".")[0], type(backbone).__name__
    name, last = [*backbone.named_modules()][-1]
    if library in ("torchvision", "timm") and isinstance(last, nn.Linear):
        place = re.sub(r"\.(\d+)", r"[\1]", name)
        raise ValueError(
            f"backbone {kind} has its classifier: write backbone.{place} = nn.Identity() and "
            f"feature_size={last.in_features}, or {library.title()}Backbone(...) with its name"
        )


def check_features(backbone: nn.Module, features: object, size: int) -> None:
    """Require features ``(N, size)`` of a backbone, else a ``ValueError``; other types may pass."""
    if isinstance(features, Tensor) and features.shape[1:] != (size,):
        hint = ""
        if features.ndim == 4:
            pooled = "nn.Sequential(backbone, nn.AdaptiveAvgPool2d(1), nn.Flatten())"
            hint = f": write {pooled} and feature_size={features.shape[1]}"
        elif features.ndim == 2:
            hint = f": write feature_size={features.shape[1]}, or take its classifier off"
        raise ValueError(
            f"features must have shape (N, in_features={size}), got {tuple(features.shape)} from "
            f"backbone {type(backbone).__name__}{hint}"
        )


class Bottleneck(nn.Sequential):
    """Linear layer, batch norm and ReLU between backbone and head, as in domain adaptation.

    Args:
        in_features: Feature dimension of the backbone.
        out_features: Feature dimension of the head.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        check_size("bottleneck", out_features)
        super().__init__(
            nn.Linear(in_features, out_features), nn.BatchNorm1d(out_features), nn.ReLU()
        )
