"""Base methods of domain adaptation, one file each."""

from supercm_pl.core.term import TermValue
from supercm_pl.uda.adapters.base import Adapter, UDAStep

__all__ = ["Adapter", "TermValue", "UDAStep"]
