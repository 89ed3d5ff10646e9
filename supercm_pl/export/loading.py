"""From a checkpoint of ``supercm fit`` to what can be exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn

from supercm_pl.checkpoints.files import check_class_paths, class_paths
from supercm_pl.export.classifier import Classifier
from supercm_pl.training.module import SuperCMModule

# A checkpoint may name these alone.
_OWN = ("supercm_pl.", "torch.nn.")


def load_classifier(
    checkpoint: str | PathLike[str],
    config: str | PathLike[str] | None = None,
    *,
    classes: Sequence[str] | None = None,
    input_shape: Sequence[int] | None = None,
    uint8: bool = False,
) -> Classifier:
    """Rebuild the model of a checkpoint that ``supercm fit`` wrote, with what its data did before.

    Nothing is unpickled. The file alone is enough: it says how the model is built, how inputs are
    preprocessed, what classes are called and what shape inputs have. Only a preprocessing of your
    own needs the configuration that names it.

    Args:
        checkpoint: The file.
        config: The run's ``config.yaml``, whose classes are trusted; ``None`` builds classes of
            this package and of PyTorch alone.
        classes: Names of the classes; ``None`` takes those of the data.
        input_shape: Of one input; ``None`` takes that of the data.
        uint8: Let the model take bytes from 0 to 255 in place of floats in ``[0, 1]``.

    Raises:
        ValueError: If the file is not a checkpoint, names classes that nobody vouches for, or does
            not say what shape inputs have or how they are preprocessed.
        OSError: If a file can't be read.
    """
    path = Path(checkpoint)
    content = _read(path)
    settings = {} if config is None else _settings(Path(config))
    check_class_paths(path)  # before the module's class is imported
    module = _module_class(content).load_from_checkpoint(
        path, map_location="cpu", weights_only=True
    )
    state = _data_state(content)
    shape = input_shape or state.get("input_shape")
    if shape is None:
        raise ValueError(f"{path} does not say what shape inputs have: give it, such as 3,32,32")
    names = classes or state.get("classes") or [str(k) for k in range(module.num_classes)]
    preprocess = _preprocess(path, state, settings)
    return Classifier(module, names, shape, preprocess=preprocess, uint8=uint8)


def _read(path: Path) -> Mapping[str, Any]:
    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    content = None
    if is_zip:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(content, Mapping) or "state_dict" not in content:
        raise ValueError(f"{path} is not a checkpoint of supercm fit")
    if "_class_path" not in content.get("hyper_parameters", {}):
        raise ValueError(
            f"{path} does not say how its model is built, as the checkpoints of supercm fit do: in "
            "Python, load it and give it to supercm_pl.export.Classifier"
        )
    return content


def _module_class(content: Mapping[str, Any]) -> type[SuperCMModule]:
    class_path: str = content["hyper_parameters"]["_class_path"]
    home, _, name = class_path.rpartition(".")
    found = getattr(import_module(home), name)
    if not issubclass(found, SuperCMModule):
        raise ValueError(f"the checkpoint's module must be a SuperCMModule, got {class_path}")
    return found  # type: ignore[no-any-return]


def _settings(file: Path) -> Mapping[str, Any]:
    """The data module's arguments of a configuration, whose classes are imported."""
    import yaml

    settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(settings, dict) or not isinstance(settings.get("data"), dict):
        raise ValueError(f"{file} is not a configuration of a run: it has no data")
    for name in class_paths(settings.get("model")):
        import_module(name.rpartition(".")[0])
    arguments: Mapping[str, Any] = settings["data"].get("init_args", {})
    return arguments


def _data_state(content: Mapping[str, Any]) -> Mapping[str, Any]:
    # Lightning saves what a data module gives by the name of its class.
    states = (state for state in content.values() if isinstance(state, dict))
    return next((state for state in states if "fingerprint" in state), {})


def _preprocess(
    path: Path, state: Mapping[str, Any], settings: Mapping[str, Any]
) -> nn.Module | None:
    if "preprocess" not in state:
        return None
    known = settings.get("preprocess") or state.get("preprocess_class")
    known = {"class_path": known} if isinstance(known, str) else known
    if known is None or not (settings or known["class_path"].startswith(_OWN)):
        raise ValueError(
            f"the inputs of {path} were preprocessed by a class that is not of supercm_pl or "
            "PyTorch: if you trust it, give the run's configuration, its config.yaml"
        )
    home, _, name = known["class_path"].rpartition(".")
    found = getattr(import_module(home), name)
    if not isinstance(found, type) or not issubclass(found, nn.Module):
        raise ValueError(f"the preprocessing of {path} must be a module, got {known['class_path']}")
    preprocess: nn.Module = found(**known.get("init_args", {}))
    preprocess.load_state_dict(state["preprocess"])
    return preprocess
