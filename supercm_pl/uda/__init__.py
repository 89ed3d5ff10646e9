"""Domain adaptation."""

from supercm_pl.uda.datamodule import UDADataModule
from supercm_pl.uda.module import UDAModule

__all__ = ["UDADataModule", "UDAModule"]
