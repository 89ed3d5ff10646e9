"""Models out of the package: ``torch.export`` and ONNX files that need nothing of it to run.

The file holds everything from inputs to probabilities: the fitted preprocessing, the backbone with
its normalization, the head, and the names of the classes. It needs neither this package nor
Lightning; with ONNX Runtime, ``supercm export last.ckpt --format onnx --output digits.onnx`` is
used as in::

    import json
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession("digits.onnx")
    about = session.get_modelmeta().custom_metadata_map
    classes, shape = json.loads(about["classes"]), json.loads(about["input_shape"])
    images = np.random.rand(5, *shape).astype("float32")  # floats in [0, 1]; any number of rows

    probabilities, logits, features = session.run(None, {"inputs": images})
    for row in probabilities:
        print(f"{classes[row.argmax()]}: {row.max():.1%}")

and with PyTorch alone, the file of ``--format torch``::

    import json
    import torch

    files = {"supercm.json": ""}
    model = torch.export.load("digits.pt2", extra_files=files).module()
    about = json.loads(files["supercm.json"])
    images = torch.rand(5, *about["input_shape"])  # floats in [0, 1]; any number of rows

    probabilities, logits, features = model(images)
    for row in probabilities:
        print(f"{about['classes'][int(row.argmax())]}: {float(row.max()):.1%}")
"""

from supercm_pl.export.classifier import Classifier
from supercm_pl.export.formats import export_onnx, export_torch
from supercm_pl.export.loading import load_classifier

__all__ = ["Classifier", "export_onnx", "export_torch", "load_classifier"]
