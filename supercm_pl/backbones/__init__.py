"""Networks that map inputs to ``(N, d)`` features; any such ``nn.Module`` works."""

from supercm_pl.backbones.convnet import ConvNet
from supercm_pl.backbones.embeddings import Embeddings
from supercm_pl.backbones.mlp import MLP
from supercm_pl.backbones.resnet import ResNet18
from supercm_pl.backbones.timm_models import TimmBackbone
from supercm_pl.backbones.torchvision_models import TorchvisionBackbone
from supercm_pl.backbones.wide_resnet import WideResNet
from supercm_pl.options import suggest_arguments

suggest_arguments(MLP, ConvNet, Embeddings, ResNet18, TimmBackbone, TorchvisionBackbone, WideResNet)

__all__ = [
    "MLP",
    "ConvNet",
    "Embeddings",
    "ResNet18",
    "TimmBackbone",
    "TorchvisionBackbone",
    "WideResNet",
]
