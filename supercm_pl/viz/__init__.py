"""Figures of a model's results.

Functions that plot return the axes or the figure. They require matplotlib (``pip install
'supercm-pl[plot]'``) and raise ``ModuleNotFoundError`` without it.
"""

from supercm_pl.viz.classification import (
    Reliability,
    plot_confidence,
    plot_confusion_matrix,
    plot_reliability,
    reliability,
)
from supercm_pl.viz.curves import Curve, plot_curves, read_curves
from supercm_pl.viz.domain_shift import (
    class_accuracy,
    plot_a_distance,
    plot_class_accuracy,
    proxy_a_distance,
)
from supercm_pl.viz.embedding import Embedding, plot_embedding, plot_embeddings
from supercm_pl.viz.projection import project

__all__ = [
    "Curve",
    "Embedding",
    "Reliability",
    "class_accuracy",
    "plot_a_distance",
    "plot_class_accuracy",
    "plot_confidence",
    "plot_confusion_matrix",
    "plot_curves",
    "plot_embedding",
    "plot_embeddings",
    "plot_reliability",
    "project",
    "proxy_a_distance",
    "read_curves",
    "reliability",
]
