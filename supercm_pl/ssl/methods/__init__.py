"""The methods of semi-supervised learning, one file each."""

from supercm_pl.ssl.methods.adamatch import AdaMatch
from supercm_pl.ssl.methods.entropy import EntropyMinimization
from supercm_pl.ssl.methods.fixmatch import FixMatch
from supercm_pl.ssl.methods.flexmatch import FlexMatch
from supercm_pl.ssl.methods.freematch import FreeMatch
from supercm_pl.ssl.methods.ict import ICT
from supercm_pl.ssl.methods.label_propagation import LabelPropagation
from supercm_pl.ssl.methods.mean_teacher import MeanTeacher
from supercm_pl.ssl.methods.mixmatch import MixMatch
from supercm_pl.ssl.methods.pi_model import PiModel
from supercm_pl.ssl.methods.pseudo_label import PseudoLabel
from supercm_pl.ssl.methods.softmatch import SoftMatch
from supercm_pl.ssl.methods.uda import UDA
from supercm_pl.ssl.methods.vat import VAT
from supercm_pl.training.method import Method, MethodLoss
from supercm_pl.training.step import Step

__all__ = [
    "ICT",
    "UDA",
    "VAT",
    "AdaMatch",
    "EntropyMinimization",
    "FixMatch",
    "FlexMatch",
    "FreeMatch",
    "LabelPropagation",
    "MeanTeacher",
    "Method",
    "MethodLoss",
    "MixMatch",
    "PiModel",
    "PseudoLabel",
    "SoftMatch",
    "Step",
]
