"""SuperCM in PyTorch Lightning.

Differentiable clustering for semi-supervised learning and domain adaptation.
"""

from supercm_pl._version import __version__
from supercm_pl.clustering import ClusteringHead
from supercm_pl.ssl.datamodule import SSLDataModule
from supercm_pl.ssl.module import SSLModule

__all__ = ["ClusteringHead", "SSLDataModule", "SSLModule", "__version__"]
