"""Base methods of semi-supervised learning, one file each."""

from supercm_pl.core.step import Step
from supercm_pl.core.term import TermValue
from supercm_pl.ssl.regularizers.base import BatchNormPolicy, Regularizer

__all__ = ["BatchNormPolicy", "Regularizer", "Step", "TermValue"]
