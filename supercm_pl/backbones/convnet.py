"""A small convolutional network for small images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from supercm_pl.checks import check_optional, check_size, check_sizes


class ConvNet(nn.Module):
    """Blocks of convolution, batch norm and SiLU, with 2×2 max pooling between blocks.

    For images from 8×8 to 64×64. Global average pooling follows the last block.

    Args:
        in_channels: Channels of the images.
        widths: Channels of each block.
        layers_per_block: 3×3 convolutions per block.
        out_features: Feature dimension ``d`` of a final linear layer, or ``None`` to omit it. Few
            dimensions help clusters to form.

    Raises:
        ValueError: If a number is below 1 or ``widths`` is empty; in the forward pass, if images
            are too small for ``len(widths) - 1`` poolings.

    Example:
        >>> import torch
        >>> backbone = ConvNet(in_channels=1, widths=(16, 32, 64))
        >>> backbone(torch.zeros(4, 1, 8, 8)).shape
        torch.Size([4, 64])
    """

    def __init__(
        self,
        in_channels: int = 1,
        widths: Sequence[int] = (32, 64, 128),
        layers_per_block: int = 1,
        out_features: int | None = None,
    ) -> None:
        super().__init__()
        check_size("in_channels", in_channels)
        check_sizes("widths", widths)
        check_size("layers_per_block", layers_per_block)
        check_optional(check_size, "out_features", out_features)
        layers: list[nn.Module] = []
        channels = in_channels
        for block, width in enumerate(widths):
            if block:
                layers.append(nn.MaxPool2d(2))
            for _ in range(layers_per_block):
                layers += [
                    nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.SiLU(),
                ]
                channels = width
        self.in_channels = in_channels
        self.min_size = 2 ** (len(widths) - 1)
        self.layers = nn.Sequential(*layers)
        self.projection = (
            nn.Identity() if out_features is None else nn.Linear(channels, out_features)
        )
        self.out_features = channels if out_features is None else out_features

    def forward(self, images: Tensor) -> Tensor:
        """Return features ``(N, d)`` of images ``(N, in_channels, H, W)``."""
        if (
            images.ndim != 4
            or images.shape[1] != self.in_channels
            or min(images.shape[2:]) < self.min_size
        ):
            last = images.ndim == 4 and images.shape[-1] == self.in_channels
            hint = ": write images.permute(0, 3, 1, 2) for (N, H, W, C)" if last else ""
            raise ValueError(
                f"images must have shape (N, {self.in_channels}, H, W) with H and W of "
                f"{self.min_size} or more, got {tuple(images.shape)}{hint}"
            )
        features: Tensor = self.projection(self.layers(images).mean(dim=(2, 3)))
        return features
