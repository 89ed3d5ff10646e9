"""Feature dimension of a backbone, and a bottleneck layer."""

from __future__ import annotations

from torch import nn

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
