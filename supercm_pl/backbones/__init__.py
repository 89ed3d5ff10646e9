"""Networks that map inputs to ``(N, d)`` features; any ``nn.Module`` that does so will do."""

from supercm_pl.backbones.convnet import ConvNet
from supercm_pl.backbones.mlp import MLP
from supercm_pl.backbones.wide_resnet import WideResNet

__all__ = ["MLP", "ConvNet", "WideResNet"]
