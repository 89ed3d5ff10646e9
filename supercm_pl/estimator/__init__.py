"""SuperCM as a scikit-learn estimator, for vectors; needs neither Lightning nor a configuration."""

from supercm_pl.estimator.classifier import SuperCMClassifier

__all__ = ["SuperCMClassifier"]
