"""A network: any module that maps inputs to ``(N, d)`` features and has ``d`` as an attribute."""

from __future__ import annotations

from torch import Tensor, nn


class SeparableNet(nn.Module):
    """Blocks of depthwise and pointwise convolutions, then the mean over all places.

    Args:
        in_channels: Of the images.
        widths: Channels of the blocks, each at half the resolution of the one before.
    """

    def __init__(self, in_channels: int = 1, widths: tuple[int, ...] = (16, 32)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = in_channels
        for width in widths:
            layers += [
                nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False),
                nn.Conv2d(before, width, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            before = width
        self.layers = nn.Sequential(*layers)
        self.out_features = before

    def forward(self, images: Tensor) -> Tensor:
        """Features ``(N, out_features)`` of images ``(N, C, H, W)``."""
        features: Tensor = self.layers(images).mean(dim=(2, 3))
        return features
