"""Base methods of domain adaptation, one file each."""

from supercm_pl.core.term import TermValue
from supercm_pl.uda.adapters.adda import ADDA
from supercm_pl.uda.adapters.afn import AFN
from supercm_pl.uda.adapters.base import Adapter, UDAStep
from supercm_pl.uda.adapters.bnm import BNM
from supercm_pl.uda.adapters.cdan import CDAN
from supercm_pl.uda.adapters.coral import DeepCORAL
from supercm_pl.uda.adapters.dan import DAN
from supercm_pl.uda.adapters.dann import DANN
from supercm_pl.uda.adapters.jan import JAN
from supercm_pl.uda.adapters.mcc import MCC
from supercm_pl.uda.adapters.mcd import MCD
from supercm_pl.uda.adapters.mdd import MDD

__all__ = [
    "ADDA",
    "AFN",
    "BNM",
    "CDAN",
    "DAN",
    "DANN",
    "JAN",
    "MCC",
    "MCD",
    "MDD",
    "Adapter",
    "DeepCORAL",
    "TermValue",
    "UDAStep",
]
