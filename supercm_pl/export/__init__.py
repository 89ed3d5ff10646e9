"""Models out of the package: ``torch.export`` and ONNX files that need nothing of it to run.

The file holds everything from inputs to probabilities: the fitted preprocessing, the backbone with
its normalization, the head, and the names of the classes. ``docs/export.md`` shows how to use it
without this package and Lightning, in twelve lines.
"""

from supercm_pl.export.classifier import Classifier
from supercm_pl.export.formats import export_onnx, export_torch
from supercm_pl.export.loading import load_classifier
from supercm_pl.export.predictions import Predictions

__all__ = ["Classifier", "Predictions", "export_onnx", "export_torch", "load_classifier"]
