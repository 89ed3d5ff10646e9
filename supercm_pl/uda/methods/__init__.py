"""The methods of domain adaptation, one file each."""

from supercm_pl.training.method import Method, MethodLoss
from supercm_pl.uda.methods.adda import ADDA
from supercm_pl.uda.methods.afn import AFN
from supercm_pl.uda.methods.bnm import BNM
from supercm_pl.uda.methods.cdan import CDAN
from supercm_pl.uda.methods.coral import DeepCORAL
from supercm_pl.uda.methods.dan import DAN
from supercm_pl.uda.methods.dann import DANN
from supercm_pl.uda.methods.jan import JAN
from supercm_pl.uda.methods.mcc import MCC
from supercm_pl.uda.methods.mcd import MCD
from supercm_pl.uda.methods.mdd import MDD
from supercm_pl.uda.step import UDAStep

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
    "DeepCORAL",
    "Method",
    "MethodLoss",
    "UDAStep",
]
