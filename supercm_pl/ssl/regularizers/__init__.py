"""Base methods of semi-supervised learning, one file each."""

from supercm_pl.core.step import Step
from supercm_pl.core.term import TermValue
from supercm_pl.ssl.regularizers.adamatch import AdaMatch
from supercm_pl.ssl.regularizers.base import BatchNormPolicy, Regularizer
from supercm_pl.ssl.regularizers.entropy import EntropyMinimization
from supercm_pl.ssl.regularizers.fixmatch import FixMatch
from supercm_pl.ssl.regularizers.flexmatch import FlexMatch
from supercm_pl.ssl.regularizers.freematch import FreeMatch
from supercm_pl.ssl.regularizers.ict import ICT
from supercm_pl.ssl.regularizers.mean_teacher import MeanTeacher
from supercm_pl.ssl.regularizers.mixmatch import MixMatch
from supercm_pl.ssl.regularizers.pi_model import PiModel
from supercm_pl.ssl.regularizers.pseudo_label import PseudoLabel
from supercm_pl.ssl.regularizers.softmatch import SoftMatch
from supercm_pl.ssl.regularizers.uda import UDA
from supercm_pl.ssl.regularizers.vat import VAT

__all__ = [
    "ICT",
    "UDA",
    "VAT",
    "AdaMatch",
    "BatchNormPolicy",
    "EntropyMinimization",
    "FixMatch",
    "FlexMatch",
    "FreeMatch",
    "MeanTeacher",
    "MixMatch",
    "PiModel",
    "PseudoLabel",
    "Regularizer",
    "SoftMatch",
    "Step",
    "TermValue",
]
