"""Semi-supervised learning."""

from supercm_pl.ssl.datamodule import SSLDataModule
from supercm_pl.ssl.module import SSLModule

__all__ = ["SSLDataModule", "SSLModule"]
