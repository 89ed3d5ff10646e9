"""A multilayer perceptron for vectors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from supercm_pl.checks import check_interval, check_size, check_sizes


class MLP(nn.Module):
    """Layers of linear, batch norm and ReLU; inputs of any shape are flattened.

    Args:
        in_features: Number of values per sample after flattening.
        hidden_features: Layer widths; the last is the feature dimension.
        dropout: Probability of dropping a unit after each layer, in ``[0, 1)``.

    Example:
        >>> import torch
        >>> backbone = MLP(64, hidden_features=(32, 16))
        >>> backbone(torch.zeros(4, 1, 8, 8)).shape
        torch.Size([4, 16])
    """

    def __init__(
        self, in_features: int, hidden_features: Sequence[int] = (256, 128), dropout: float = 0.0
    ) -> None:
        super().__init__()
        check_size("in_features", in_features)
        check_interval("dropout", dropout, "[0, 1)")
        widths = [in_features, *check_sizes("hidden_features", hidden_features)]
        layers: list[nn.Module] = [nn.Flatten()]
        for width_in, width_out in pairwise(widths):
            # No bias, because batch norm has a shift.
            layers += [
                nn.Linear(width_in, width_out, bias=False),
                nn.BatchNorm1d(width_out),
                nn.ReLU(),
            ]
            if dropout:
                layers.append(nn.Dropout(dropout))
        self.in_features = in_features
        self.layers = nn.Sequential(*layers)
        self.out_features = widths[-1]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return features ``(N, hidden_features[-1])`` of inputs ``(N, ...)``."""
        if inputs.ndim < 2 or inputs.shape[1:].numel() != self.in_features:
            raise ValueError(
                f"inputs must have {self.in_features} values per sample, the in_features, "
                f"got shape {tuple(inputs.shape)}"
            )
        features: Tensor = self.layers(inputs)
        return features
