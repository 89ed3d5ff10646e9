"""A backbone for precomputed features."""

from __future__ import annotations

from torch import Tensor, nn

from supercm_pl.checks import check_size


class Embeddings(nn.Module):
    """Identity, for embeddings of a frozen network that were computed once and stored.

    Args:
        in_features: Dimension ``d`` of the vectors.

    Raises:
        ValueError: If it is below 1; in the forward pass, if inputs have another shape.

    Example:
        >>> import torch
        >>> Embeddings(384)(torch.zeros(4, 384)).shape
        torch.Size([4, 384])
    """

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.out_features = check_size("in_features", in_features)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the vectors ``(N, in_features)``."""
        if vectors.ndim != 2 or vectors.shape[1] != self.out_features:
            raise ValueError(
                f"vectors must have shape (N, {self.out_features}), got {tuple(vectors.shape)}"
            )
        return vectors
