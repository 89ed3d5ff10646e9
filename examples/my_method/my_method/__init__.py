"""A method, a backbone and data of my own for supercm_pl."""

from my_method.backbone import SeparableNet
from my_method.data import Shapes, ShapesDataModule
from my_method.mean_alignment import MeanAlignment
from my_method.view_consistency import ViewConsistency

__all__ = ["MeanAlignment", "SeparableNet", "Shapes", "ShapesDataModule", "ViewConsistency"]
