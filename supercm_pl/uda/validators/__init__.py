"""Selection of models and checkpoints without a label of the target domain.

Validators are `torchmetrics` metrics, and of all of them larger is better: log them under ``val/``
and let `ModelCheckpoint` and `EarlyStopping` monitor them with ``mode="max"``.
"""

from supercm_pl.uda.validators.accuracy import SourceAccuracy
from supercm_pl.uda.validators.base import Domain, Validator
from supercm_pl.uda.validators.centroids import CentroidAgreement, TargetClusteringLoss
from supercm_pl.uda.validators.neighborhood import SND
from supercm_pl.uda.validators.predictions import BNM, Entropy, InformationMaximization
from supercm_pl.uda.validators.risk import DEV, IWCV

__all__ = [
    "BNM",
    "DEV",
    "IWCV",
    "SND",
    "CentroidAgreement",
    "Domain",
    "Entropy",
    "InformationMaximization",
    "SourceAccuracy",
    "TargetClusteringLoss",
    "Validator",
]
