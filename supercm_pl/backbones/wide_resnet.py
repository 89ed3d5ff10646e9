"""Wide residual networks, in the variant of the semi-supervised literature."""

from __future__ import annotations

from torch import Tensor, nn

from supercm_pl.checks import check_interval, check_positive, check_size


class WideResNet(nn.Module):
    """WRN-``depth``-``width`` for 32×32 images: pre-activation residual units in three groups.

    Zagoruyko and Komodakis, *Wide Residual Networks* (2016), in the variant of Oliver et al.,
    *Realistic Evaluation of Deep Semi-Supervised Learning Algorithms* (2018): LeakyReLU with slope
    0.1, batch norm with momentum 0.001 and epsilon 0.001, He initialization by fan out. The
    defaults are WRN-28-2; use ``width=8`` for CIFAR-100. SuperCM's code declares the same batch
    norm but does not pass the two values on: its training passes have PyTorch's momentum of 0.1 and
    epsilon of 1e-5.

    Args:
        depth: Convolutions on the main path plus the last layer, ``6n + 4``.
        width: Factor of the channels 16, 32 and 64; the feature dimension is ``64 * width``.
        in_channels: Channels of the images.
        negative_slope: Slope of the LeakyReLU.
        batch_norm_momentum: Weight of the new batch in the running statistics, in ``(0, 1]``. The
            default is for half a million steps; use more for a few thousand.
        batch_norm_eps: Epsilon of batch norm, ``> 0``.

    Raises:
        ValueError: If ``depth`` is not of the form ``6n + 4`` or a number is below 1.

    Example:
        >>> import torch
        >>> WideResNet(depth=10, width=1)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 64])
    """

    def __init__(
        self,
        depth: int = 28,
        width: int = 2,
        in_channels: int = 3,
        negative_slope: float = 0.1,
        batch_norm_momentum: float = 0.001,
        batch_norm_eps: float = 1e-3,
    ) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"depth must be 6n + 4 with n of 1 or more, such as 28, got {depth}")
        check_size("width", width)
        check_size("in_channels", in_channels)
        check_interval("batch_norm_momentum", batch_norm_momentum, "(0, 1]")
        check_positive("batch_norm_eps", batch_norm_eps)

        def activation(channels: int) -> nn.Sequential:
            return nn.Sequential(
                nn.BatchNorm2d(channels, batch_norm_eps, batch_norm_momentum),
                nn.LeakyReLU(negative_slope, inplace=True),
            )

        units: list[nn.Module] = []
        channels = 16
        for group in range(3):
            group_channels = 16 * 2**group * width
            for unit in range((depth - 4) // 6):
                first = unit == 0
                stride = 2 if first and group else 1
                body = nn.Sequential(
                    _convolution(channels, group_channels, 3, stride),
                    activation(group_channels),
                    _convolution(group_channels, group_channels, 3),
                )
                shortcut = _convolution(channels, group_channels, 1, stride) if first else None
                # Only the first unit also activates the input of its shortcut.
                units.append(_Residual(activation(channels), body, shortcut, first and group == 0))
                channels = group_channels

        self.layers = nn.Sequential(_convolution(in_channels, 16, 3), *units, activation(channels))
        self.out_features = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=negative_slope, mode="fan_out")

    def forward(self, images: Tensor) -> Tensor:
        """Return features ``(N, 64 * width)`` of images ``(N, in_channels, H, W)``."""
        features: Tensor = self.layers(images)
        return features.mean(dim=(2, 3))


class _Residual(nn.Module):
    def __init__(
        self,
        activation: nn.Module,
        body: nn.Module,
        shortcut: nn.Module | None,
        activate_shortcut: bool,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.body = body
        self.shortcut = shortcut
        self.activate_shortcut = activate_shortcut

    def forward(self, inputs: Tensor) -> Tensor:
        activated = self.activation(inputs)
        skipped = activated if self.activate_shortcut else inputs
        if self.shortcut is not None:
            skipped = self.shortcut(skipped)
        outputs: Tensor = skipped + self.body(activated)
        return outputs


def _convolution(channels_in: int, channels_out: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, size, stride, padding=size // 2, bias=False)
