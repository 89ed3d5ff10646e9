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


def check_fits(backbone: nn.Module, inputs: Tensor, error: RuntimeError) -> None:
    """Explain an error that the shape of inputs ``(N, ...)`` causes, by a ``ValueError``."""
    text = str(error)
    channels = re.search(r"to have (\d+) channels", text)
    values = re.search(r"mat1 and mat2 shapes cannot be multiplied \(\d+x(\d+) and (\d+)x", text)
    if channels or values:
        reason = f"a convolution requires {channels[1]} channels" if channels else ""
        if values:
            reason = f"a linear layer requires {values[2]} values, got {values[1]}"
        raise ValueError(
            f"backbone {type(backbone).__name__} does not fit inputs of shape "
            f"{tuple(inputs.shape[1:])}: {reason}"
        ) from error


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
