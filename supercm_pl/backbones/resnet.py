"""Residual network with 18 layers for small images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from supercm_pl.checks import check_size


class ResNet18(nn.Module):
    """ResNet-18 for 32×32 images: a 3×3 stem without pooling, then two residual blocks per stage.

    He et al., *Deep Residual Learning for Image Recognition* (2016). For larger images and
    pretrained weights, use the ImageNet variant, :class:`TorchvisionBackbone`.

    Args:
        in_channels: Channels of the images.
        width: Channels of the first of four stages, doubled in each; the feature dimension is
            ``8 * width``.

    Example:
        >>> import torch
        >>> ResNet18(width=8)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 64])
    """

    def __init__(self, in_channels: int = 3, width: int = 64) -> None:
        super().__init__()
        check_size("in_channels", in_channels)
        check_size("width", width)
        blocks: list[nn.Module] = []
        channels = width
        for stage in range(4):
            stage_channels = width * 2**stage
            for block in range(2):
                stride = 2 if stage and not block else 1
                blocks.append(_BasicBlock(channels, stage_channels, stride))
                channels = stage_channels
        self.layers = nn.Sequential(_normed(in_channels, width, 3), nn.ReLU(inplace=True), *blocks)
        self.out_features = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Return features ``(N, 8 * width)`` of images ``(N, in_channels, H, W)``."""
        features: Tensor = self.layers(images)
        return features.mean(dim=(2, 3))


class _BasicBlock(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _normed(channels_in, channels_out, 3, stride),
            nn.ReLU(inplace=True),
            _normed(channels_out, channels_out, 3),
        )
        same = stride == 1 and channels_in == channels_out
        self.shortcut = nn.Identity() if same else _normed(channels_in, channels_out, 1, stride)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.shortcut(inputs) + self.body(inputs)
        return F.relu(outputs)


def _normed(channels_in: int, channels_out: int, size: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, size, stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(channels_out),
    )
