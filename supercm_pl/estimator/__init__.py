"""SuperCM as a scikit-learn estimator for vectors, without Lightning or configurations."""

from supercm_pl.estimator.labeled_k_fold import LabeledKFold
from supercm_pl.estimator.supercm_classifier import SuperCMClassifier
from supercm_pl.options import suggest_arguments

suggest_arguments(LabeledKFold, SuperCMClassifier)

__all__ = ["LabeledKFold", "SuperCMClassifier"]
