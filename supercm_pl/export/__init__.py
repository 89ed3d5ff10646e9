"""``torch.export`` and ONNX files, which run without this package and Lightning.

A file holds the fitted preprocessing, the backbone with its normalization, the head, and the class
names. ``docs/export.md`` shows how to use it in twelve lines.
"""

from supercm_pl.export.classifier import Classifier
from supercm_pl.export.formats import export_onnx, export_torch
from supercm_pl.export.loading import load_classifier
from supercm_pl.export.predictions import Predictions

__all__ = ["Classifier", "Predictions", "export_onnx", "export_torch", "load_classifier"]
