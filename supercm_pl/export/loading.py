"""From a checkpoint of ``supercm fit`` to what can be exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn

from supercm_pl.core.checkpoints import check_class_paths, class_paths
from supercm_pl.core.datamodule import SuperCMDataModule
from supercm_pl.core.module import SuperCMModule
from supercm_pl.export.classifier import Classifier

# A configuration that nobody named may name these alone.
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

    Nothing is unpickled. The checkpoint says how the model is built; the configuration that ``fit``
    saved beside it, how inputs are preprocessed, what classes are called and what shape inputs
    have.

    Args:
        checkpoint: The file.
        config: The run's ``config.yaml``, whose classes are trusted; ``None`` takes the one in the
            checkpoint's folder or the folder above, if it names classes of this package and of
            PyTorch alone.
        classes: Names of the classes; ``None`` takes those of the data, or numbers where the data
            are not there.
        input_shape: Of one input; ``None`` takes that of the data.
        uint8: Let the model take bytes from 0 to 255 in place of floats in ``[0, 1]``.

    Raises:
        ValueError: If the file is not a checkpoint, names classes that nobody vouches for, or the
            input's shape or the preprocessing can't be told.
        OSError: If a file can't be read.
    """
    path = Path(checkpoint)
    content = _read(path)
    data = _data_module(path, config, content)
    check_class_paths(path)  # before the module's class is imported
    module = _module_class(content).load_from_checkpoint(
        path, map_location="cpu", weights_only=True
    )
    preprocess = _preprocess(path, data, content)
    shape = input_shape or _input_shape(data, preprocess)
    if shape is None:
        raise ValueError(
            f"the shape of an input can't be told from {path}: give it, such as 3,32,32, or the "
            "run's configuration, with its data in their place"
        )
    names = classes or _classes(data) or [str(k) for k in range(module.num_classes)]
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


def _data_module(
    path: Path, config: str | PathLike[str] | None, content: Mapping[str, Any]
) -> SuperCMDataModule | None:
    named = config is not None
    file = _beside(path) if config is None else Path(config)
    if file is None:
        return None
    import yaml

    settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(settings, dict) or not isinstance(settings.get("data"), dict):
        if named:
            raise ValueError(f"{file} is not a configuration of a run: it has no data")
        return None
    if named:
        for name in class_paths(settings.get("model")):
            import_module(name.rpartition(".")[0])
    elif not all(name.startswith(_OWN) for name in class_paths(settings["data"])):
        return None
    data = _build(settings["data"])
    for state in content.values():
        if isinstance(state, dict) and "fingerprint" in state:
            data.load_state_dict(state)
    return data


def _beside(path: Path) -> Path | None:
    folders = path.resolve().parents[:2]
    return next((f / "config.yaml" for f in folders if (f / "config.yaml").is_file()), None)


def _build(settings: dict[str, Any]) -> SuperCMDataModule:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--data", type=SuperCMDataModule)
    built: SuperCMDataModule = parser.instantiate_classes(
        parser.parse_object({"data": settings})
    ).data
    return built


def _preprocess(
    path: Path, data: SuperCMDataModule | None, content: Mapping[str, Any]
) -> nn.Module | None:
    states = [state for state in content.values() if isinstance(state, dict)]
    if not any("fingerprint" in state and "preprocess" in state for state in states):
        return None
    if data is None or data.preprocess is None:
        raise ValueError(
            f"the inputs of {path} were preprocessed, and the checkpoint does not say by which "
            "class: give the run's configuration, its config.yaml"
        )
    return data.preprocess


def _input_shape(
    data: SuperCMDataModule | None, preprocess: nn.Module | None
) -> Sequence[int] | None:
    mean = getattr(preprocess, "mean", None)
    if isinstance(mean, torch.Tensor) and mean.ndim > 1:
        return tuple(mean.shape)
    try:
        return getattr(data, "input_shape", None)
    except (OSError, ValueError, ImportError):  # the data are not on this machine
        return None


def _classes(data: SuperCMDataModule | None) -> Sequence[str] | None:
    try:
        return getattr(data, "classes", None)
    except (OSError, ValueError, ImportError):
        return None
