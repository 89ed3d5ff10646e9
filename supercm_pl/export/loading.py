"""Loading of checkpoints for prediction and export."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from supercm_pl.checkpoints.building import hyperparameters_of, load_module
from supercm_pl.checkpoints.data_state import data_state, load_preprocess
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
    state = data_state(content)
    shape = input_shape or state.get("input_shape")
    if shape is None:
        raise ValueError(f"{path} has no input shape: pass it, such as 3,32,32")
    names = classes or state.get("classes") or [str(k) for k in range(module.num_classes)]
    named = (settings.get("data", {}).get("init_args") or {}).get("preprocess")
    try:
        preprocess = load_preprocess(state, named, trusted)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; pass the config.yaml of the run") from error
    return Classifier(module, names, shape, preprocess=preprocess, uint8=uint8)


def _settings(file: Path) -> dict[str, Any]:
    import yaml

    if not file.is_file():  # reading a pipe could block forever
        raise ValueError(f"there is no file {file}")
    settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(settings, dict) or not isinstance(settings.get("data"), dict):
        raise ValueError(f"{file} is not the configuration of a run: it has no data")
    return settings
