"""SuperCM in PyTorch Lightning.

Differentiable clustering for semi-supervised learning and domain adaptation.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from supercm_pl._version import __version__

if TYPE_CHECKING:
    from supercm_pl.clustering import ClusteringHead
    from supercm_pl.estimator import SuperCMClassifier
    from supercm_pl.ssl.datamodule import SSLDataModule
    from supercm_pl.ssl.module import SSLModule
    from supercm_pl.uda.datamodule import UDADataModule
    from supercm_pl.uda.module import UDAModule

__all__ = [
    "ClusteringHead",
    "SSLDataModule",
    "SSLModule",
    "SuperCMClassifier",
    "UDADataModule",
    "UDAModule",
    "__version__",
]

# Imported when they are asked for: the clustering head must not cost, or need, Lightning.
_HOMES = {
    "ClusteringHead": "supercm_pl.clustering",
    "SSLDataModule": "supercm_pl.ssl.datamodule",
    "SSLModule": "supercm_pl.ssl.module",
    "SuperCMClassifier": "supercm_pl.estimator",
    "UDADataModule": "supercm_pl.uda.datamodule",
    "UDAModule": "supercm_pl.uda.module",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
