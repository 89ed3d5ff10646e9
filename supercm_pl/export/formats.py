"""Export to ``torch.export`` and ONNX files, compared with the module's outputs."""

from __future__ import annotations

import io
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

from supercm_pl.checks import shown
from supercm_pl.export.classifier import OUTPUTS, Classifier

TOLERANCE = 1e-4
"""Absolute and relative tolerance between the outputs of a file and of the module."""
METADATA_FILE = "supercm.json"


def export_torch(classifier: Classifier, path: str | PathLike[str]) -> float:
    """Write a file for ``torch.export.load``, with any batch size.

    Its extra file ``supercm.json`` holds ``classes``, ``input_shape`` and ``input_dtype``.

    Args:
        classifier: Classifier to export; its ``uint8`` decides whether the file takes ``uint8``.
        path: Path that ends in ``.pt2``; its folder is created if needed.

    Returns:
        Largest absolute difference between the outputs of the file and of the classifier.

    Raises:
        TypeError: If it is not a :class:`Classifier`.
        ValueError: If the suffix differs, or the outputs differ by more than ``TOLERANCE``.
    """
    target = _prepared(classifier, path, ".pt2")
    with _replacing(target) as temporary:
        metadata = {METADATA_FILE: json.dumps(_metadata(classifier))}
        with warnings.catch_warnings():
            # About channels-last weights; the outputs are compared below.
            warnings.filterwarnings("ignore", "No complete tensor found in the group")
            content = io.BytesIO()  # PyTorch's own writer aborts the process on a full disk
            torch.export.save(_program(classifier), content, extra_files=metadata)
        temporary.write_bytes(content.getbuffer())
        loaded = torch.export.load(str(temporary)).module()
        return _largest_difference(classifier, loaded, target)


def export_onnx(classifier: Classifier, path: str | PathLike[str]) -> float | None:
    """Write an ONNX file with input ``inputs``, with any batch size.

    Its outputs are ``probabilities``, ``logits`` and ``features``. Its metadata hold ``classes``,
    ``input_shape`` and ``input_dtype``, each as JSON.

    Args:
        classifier: Classifier to export; its ``uint8`` decides whether the file takes ``uint8``.
        path: Path that ends in ``.onnx``; its folder is created if needed.

    Returns:
        Largest absolute difference between the outputs of ONNX Runtime and of the classifier;
        ``None`` if ONNX Runtime is not installed.

    Raises:
        TypeError: If it is not a :class:`Classifier`.
        ImportError: If onnx or onnxscript is not installed, or PyTorch is older than 2.5.
        ValueError: If the suffix differs, or the outputs differ by more than ``TOLERANCE``.
    """
    target = _prepared(classifier, path, ".onnx")
    if torch.__version__ < "2.5":
        raise ImportError(f"ONNX export requires PyTorch 2.5 or later, got {torch.__version__}")
    try:
        import onnx
        import onnxscript  # noqa: F401 - PyTorch's exporter needs it
    except ImportError as error:
        raise ImportError(
            f'ONNX export requires {error.name}: pip install "supercm-pl[export]"'
        ) from error
    with _replacing(target) as temporary:
        names: dict[str, Any] = {"input_names": ["inputs"], "output_names": list(OUTPUTS)}
        with _quiet_exporter():
            program: Any = torch.onnx.export(
                _program(classifier), dynamo=True, verbose=False, **names
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
    # A batch size of 1 would become a constant.
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
                    f"{name} of {target} must equal those of the module within {TOLERANCE}, got "
                    f"a difference of {float(difference.max()):.2g}"
                )
            largest = max(largest, float(difference.max()))
    return largest


def _prepared(classifier: object, path: str | PathLike[str], suffix: str) -> Path:
    if not isinstance(classifier, Classifier):
        raise TypeError(
            f"classifier must be a Classifier, got {shown(classifier)}: write Classifier(module, "
            "data.classes, data.input_shape), or load_classifier(checkpoint)"
        )
    target = Path(path)
    if target.suffix != suffix:
        raise ValueError(f"path must end in {suffix}, got {target}")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    # A file that fails its comparison is deleted, and an earlier file stays.
    temporary = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        yield temporary
        temporary.replace(target)
    except OSError as error:  # of a full disk, without the name of the file
        raise OSError(error.errno, error.strerror, str(target)) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    # The exporter logs its passes, and operators of packages that are not installed.
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
