"""Loading of checkpoints for prediction and export."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from supercm_pl.checkpoints.building import build, hyperparameters_of, load_module
from supercm_pl.checkpoints.files import read_checkpoint
from supercm_pl.checkpoints.trust import named_in, trusted_names
from supercm_pl.export.classifier import Classifier
from supercm_pl.training.module import SuperCMModule


def load_classifier(
    checkpoint: str | PathLike[str],
    config: str | PathLike[str] | None = None,
    *,
    classes: Sequence[str] | None = None,
    input_shape: Sequence[int] | None = None,
    uint8: bool = False,
    trust: str | Collection[str] = (),
) -> Classifier:
    """Rebuild the model and the preprocessing of a checkpoint that ``supercm fit`` wrote.

    Nothing is unpickled. The file contains the arguments of the model and of the preprocessing, the
    names of the classes and the input shape. Your own classes require ``trust``, or the
    configuration that names them.

    Args:
        checkpoint: The file.
        config: The ``config.yaml`` of the run; the classes of its model and preprocessing are
            trusted.
        classes: Names of the classes; ``None``: those of the data.
        input_shape: Shape of one input; ``None``: that of the data.
        uint8: The model takes ``uint8`` from 0 to 255 instead of floats in ``[0, 1]``.
        trust: Further packages whose classes the checkpoint may name.

    Raises:
        ValueError: If the file is not a checkpoint, names classes that are not trusted, or lacks
            the input shape or the class of the preprocessing.
        OSError: If a file can't be read.
    """
    path = Path(checkpoint)
    content = read_checkpoint(path, "cpu")
    if "_class_path" not in hyperparameters_of(content):
        raise ValueError(
            f"{path} has no class path, since it was not written by supercm fit: load it in "
            "Python, and pass the module to supercm_pl.export.Classifier"
        )
    settings = {} if config is None else _settings(Path(config))
    trusted = trusted_names(trust)
    own = named_in(settings.get("model"))
    module = load_module(SuperCMModule, content, trust=trusted | own)
    state = _data_state(content)
    shape = input_shape or state.get("input_shape")
    if shape is None:
        raise ValueError(f"{path} has no input shape: pass it, such as 3,32,32")
    names = classes or state.get("classes") or [str(k) for k in range(module.num_classes)]
    named = (settings.get("data", {}).get("init_args") or {}).get("preprocess")
    preprocess = _preprocess(path, state, named, trusted)
    return Classifier(module, names, shape, preprocess=preprocess, uint8=uint8)


def _settings(file: Path) -> dict[str, Any]:
    import yaml

    if not file.is_file():  # reading a pipe could block forever
        raise ValueError(f"there is no file {file}")
    settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(settings, dict) or not isinstance(settings.get("data"), dict):
        raise ValueError(f"{file} is not the configuration of a run: it has no data")
    return settings


def _data_state(content: Mapping[str, Any]) -> Mapping[str, Any]:
    # Lightning saves the state of a data module under the name of its class.
    states = (state for state in content.values() if isinstance(state, dict))
    return next((state for state in states if "fingerprint" in state), {})


def _preprocess(
    path: Path, state: Mapping[str, Any], named: Any, trust: frozenset[str]
) -> nn.Module | None:
    if "preprocess" not in state:
        return None
    known = named or state.get("preprocess_class")
    known = {"class_path": known} if isinstance(known, str) else known
    if not isinstance(known, Mapping) or "class_path" not in known:
        raise ValueError(
            f"{path} has no class path of its preprocessing: pass the config.yaml of the run"
        )
    preprocess = build(known, trust | named_in(named))
    if not isinstance(preprocess, nn.Module):
        raise ValueError(f"the preprocessing of {path} must be a module, got {known['class_path']}")
    preprocess.load_state_dict(state["preprocess"])
    return preprocess
