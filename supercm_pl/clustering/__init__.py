"""The clustering module of SuperCM in plain PyTorch: head, loss and centroids."""

from supercm_pl.clustering.centroids import CentroidMode, ClassCentroids
from supercm_pl.clustering.functional import (
    ClassSums,
    ClusteringLoss,
    class_sums,
    clustering_loss,
    dirichlet_prior,
    squared_distances,
)
from supercm_pl.clustering.head import ClusteringHead, ClusteringOutput
from supercm_pl.options import suggest_arguments

suggest_arguments(ClusteringHead)

__all__ = [
    "CentroidMode",
    "ClassCentroids",
    "ClassSums",
    "ClusteringHead",
    "ClusteringLoss",
    "ClusteringOutput",
    "class_sums",
    "clustering_loss",
    "dirichlet_prior",
    "squared_distances",
]
