"""Files: ``torch.export`` and ONNX, each compared with the module that it was made from."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from supercm_pl.export.classifier import OUTPUTS, Classifier

TOLERANCE = 1e-4
"""How far an output of a file may be from the module's, absolutely and relatively."""
METADATA_FILE = "supercm.json"


def export_torch(classifier: Classifier, path: str | PathLike[str]) -> float:
    """Write a file for ``torch.export.load``, for any number of rows.

    It holds a JSON of ``classes``, ``input_shape`` and ``input_dtype`` as its extra file
    ``supercm.json``.

    Args:
        classifier: What to export.
        path: The file; its name ends in ``.pt2``. Its folder is made where it is missing.

    Returns:
        The largest difference of the file's outputs from the classifier's.

    Raises:
        ValueError: If the name ends otherwise, or the outputs differ by more than ``TOLERANCE``.
    """
    target = _prepared(path, ".pt2")
    with _replacing(target) as temporary:
        metadata = {METADATA_FILE: json.dumps(_metadata(classifier))}
        with warnings.catch_warnings():
            # Of weights with channels last; what was written is compared below.
            warnings.filterwarnings("ignore", "No complete tensor found in the group")
            torch.export.save(_program(classifier), str(temporary), extra_files=metadata)
        loaded = torch.export.load(str(temporary)).module()
        return _largest_difference(classifier, loaded, target)


def export_onnx(classifier: Classifier, path: str | PathLike[str]) -> float | None:
    """Write an ONNX file with input ``inputs``, for any number of rows.

    Rows are ``probabilities``, ``logits`` and ``features``. The metadata hold ``classes``,
    ``input_shape`` and ``input_dtype``, each as JSON.

    Args:
        classifier: What to export.
        path: The file; its name ends in ``.onnx``. Its folder is made where it is missing.

    Returns:
        The largest difference of what ONNX Runtime computes from the classifier's outputs; ``None``
        where ONNX Runtime is not installed.

    Raises:
        ImportError: If onnx or onnxscript is not installed, or PyTorch is older than 2.5.
        ValueError: If the name ends otherwise, or the outputs differ by more than ``TOLERANCE``.
    """
    target = _prepared(path, ".onnx")
    if torch.__version__ < "2.5":
        raise ImportError(f"to write ONNX, PyTorch 2.5 or later is needed, got {torch.__version__}")
    try:
        import onnx
        import onnxscript  # noqa: F401 - PyTorch's exporter needs it
    except ImportError as error:
        raise ImportError(
            f'to write ONNX, {error.name} is needed: pip install "supercm-pl[export]"'
        ) from error
    with _replacing(target) as temporary:
        with _quiet_exporter():
            program: Any = torch.onnx.export(
                _program(classifier),
                dynamo=True,
                input_names=["inputs"],
                output_names=list(OUTPUTS),
                verbose=False,
            )
        proto = program.model_proto
        texts = {name: json.dumps(value) for name, value in _metadata(classifier).items()}
        onnx.helper.set_model_props(proto, texts)
        onnx.checker.check_model(proto)
        onnx.save(proto, str(temporary))
        return _compare_onnx(classifier, temporary, target)


def _compare_onnx(classifier: Classifier, file: Path, target: Path) -> float | None:
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def run(inputs: Tensor) -> list[Tensor]:
        outputs = session.run(None, {"inputs": inputs.cpu().numpy()})
        return [torch.from_numpy(output) for output in outputs]

    return _largest_difference(classifier, run, target)


def _program(classifier: Classifier) -> ExportedProgram:
    # Not of 1 row: that would be taken for a constant.
    with torch.no_grad():
        return torch.export.export(
            classifier.eval(),
            (classifier.example(2),),
            dynamic_shapes={"inputs": {0: Dim("batch", min=1)}},
            strict=False,
        )


def _metadata(classifier: Classifier) -> dict[str, Any]:
    return {
        "classes": list(classifier.classes),
        "input_shape": list(classifier.input_shape),
        "input_dtype": "uint8" if classifier.uint8 else "float32",
    }


@torch.no_grad()
def _largest_difference(classifier: Classifier, run: Any, target: Path) -> float:
    largest = 0.0
    for count in (1, 5):
        inputs = classifier.example(count)
        expected: Sequence[Tensor] = classifier(inputs)
        for name, mine, other in zip(OUTPUTS, expected, run(inputs), strict=True):
            difference = (mine.cpu() - other.cpu()).abs()
            if not (difference <= TOLERANCE * (1.0 + mine.cpu().abs())).all():
                raise ValueError(
                    f"{target} would not compute what the module does: {name} differ by "
                    f"{float(difference.max()):.2g}, more than {TOLERANCE}"
                )
            largest = max(largest, float(difference.max()))
    return largest


def _prepared(path: str | PathLike[str], suffix: str) -> Path:
    target = Path(path)
    if target.suffix != suffix:
        raise ValueError(f"the file's name must end in {suffix}, got {target}")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    # A file that fails its comparison is not left behind, and the one before stays.
    temporary = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    # It tells of its passes, and of operators of packages that are not installed.
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
