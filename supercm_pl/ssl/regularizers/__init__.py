"""Base methods of semi-supervised learning, one file each."""

from supercm_pl.ssl.regularizers.base import Regularizer, SSLStep

__all__ = ["Regularizer", "SSLStep"]
