"""SuperCM as a scikit-learn estimator for vectors, without Lightning and configurations."""

from supercm_pl.estimator.classifier import SuperCMClassifier

__all__ = ["SuperCMClassifier"]
