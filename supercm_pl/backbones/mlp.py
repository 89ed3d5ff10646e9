"""A multilayer perceptron for vectors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class MLP(nn.Module):
    """Layers of linear, batch norm and ReLU; inputs of any shape are flattened.

    Args:
        in_features: Number of values per sample after flattening.
        hidden_features: Layer widths; the last is the feature dimension.
        dropout: Probability of dropping a unit after each layer, in ``[0, 1)``.

    Raises:
        ValueError: If a width is below 1, there is none, or ``dropout`` is out of range.

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
        widths = [in_features, *hidden_features]
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(
                f"in_features and hidden_features must be 1 or more, with at least one layer, got "
                f"in_features={in_features}, hidden_features={tuple(hidden_features)}"
            )
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}")
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
