"""Model selection without labels of the target domain.

Validators are `torchmetrics` metrics. Larger is better for all of them: log them under ``val/``
and let `ModelCheckpoint` and `EarlyStopping` monitor them with ``mode="max"``.
"""

from supercm_pl.uda.validators.centroid_fit import CentroidAgreement, TargetClusteringLoss
from supercm_pl.uda.validators.risk import DEV, IWCV
from supercm_pl.uda.validators.soft_neighborhood import SND
from supercm_pl.uda.validators.source_accuracy import SourceAccuracy
from supercm_pl.uda.validators.target_predictions import (
    BatchNuclearNorm,
    Entropy,
    InformationMaximization,
)
from supercm_pl.uda.validators.validator import AssignmentValidator, Domain, Validator

__all__ = [
    "DEV",
    "IWCV",
    "SND",
    "AssignmentValidator",
    "BatchNuclearNorm",
    "CentroidAgreement",
    "Domain",
    "Entropy",
    "InformationMaximization",
    "SourceAccuracy",
    "TargetClusteringLoss",
    "Validator",
]
