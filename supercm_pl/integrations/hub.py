"""Saving and loading of modules in the format of the Hugging Face Hub.

``model.safetensors`` contains the weights and ``config.json`` the constructor arguments; neither
can run code. Only names of repositories on the Hub use the network.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from supercm_pl._version import __version__
from supercm_pl.checkpoints.building import hyperparameters_of, load_module
from supercm_pl.checkpoints.data_state import data_state, preprocess_state
from supercm_pl.checkpoints.files import read_checkpoint
from supercm_pl.optional import import_optional
from supercm_pl.text_files import read_text
from supercm_pl.training.module import SuperCMModule

__all__ = ["from_pretrained", "push_to_hub", "save_pretrained"]

_CONFIG, _WEIGHTS, _PREPROCESS = "config.json", "model.safetensors", "preprocess."
_CARD = """\
---
library_name: supercm_pl
pipeline_tag: image-classification
---

A classifier trained with SuperCM, `{name}` of `supercm_pl` {version}, for {classes}.

```python
from supercm_pl.integrations.hub import from_pretrained

module = from_pretrained("{source}").eval()
```
"""


def save_pretrained(
    model: SuperCMModule | str | PathLike[str],
    folder: str | PathLike[str],
    *,
    classes: Sequence[str] | None = None,
) -> None:
    """Write weights, constructor arguments and a model card to a folder.

    A checkpoint of ``supercm fit`` contains all arguments. For a module that was built in Python,
    only plain arguments are written: pass its objects, such as the backbone, to
    :func:`from_pretrained` again. The fitted ``preprocess`` of the data module is included.

    Args:
        model: A checkpoint of ``supercm fit``, or a module on any device.
        folder: Created if missing; an existing ``README.md`` is kept.
        classes: Names of the classes, for ``config.json`` and the model card.

    Raises:
        ModuleNotFoundError: If safetensors is not installed.
        ValueError: If the number of ``classes`` is wrong, or a checkpoint has no class path.
    """
    safetensors = _package("safetensors.torch")
    class_path, hyper_parameters, state, data = _parts(model)
    count = hyper_parameters.get("num_classes")
    if classes is not None and len(classes) != count:
        raise ValueError(f"classes must be {count} names, one for each class, got {len(classes)}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # The format supports neither shared memory nor channels-last tensors.
    weights = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in state.items()
    }
    for name, value in data.get("preprocess", {}).items():
        weights[f"{_PREPROCESS}{name}"] = value.detach().cpu().contiguous()
    safetensors.save_file(weights, folder / _WEIGHTS, {"format": "pt"})
    config = {
        "class_path": class_path,
        "supercm_pl_version": __version__,
        "classes": None if classes is None else list(classes),
        "hyper_parameters": hyper_parameters,
        **{name: data[name] for name in ("preprocess_class",) if name in data},
    }
    text = json.dumps(config, indent=2, default=str)
    (folder / _CONFIG).write_text(text + "\n", encoding="utf-8")
    if not (folder / "README.md").exists():
        card = _CARD.format(
            version=__version__,
            name=class_path.rpartition(".")[2],
            classes=f"{count} classes" if classes is None else f"the classes {', '.join(classes)}",
            source=folder.name,
        )
        (folder / "README.md").write_text(card, encoding="utf-8")


def from_pretrained(
    source: str | PathLike[str],
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    trust: str | Collection[str] = (),
    **arguments: Any,
) -> Any:
    """Rebuild a module from a folder of :func:`save_pretrained`, or from the Hub.

    Nothing is unpickled, and classes that are not trusted are rejected, as in
    ``SSLModule.load_from_checkpoint``.

    Args:
        source: A folder; or a repository on the Hub, such as ``"me/model"``, which is downloaded
            once and cached.
        revision: Branch, tag or commit of the repository; only a commit never changes.
        local_files_only: Read a repository from the cache, without network access.
        trust: Further packages whose classes the folder may name.
        arguments: Constructor arguments such as ``backbone=...``, which replace or complete those
            of the folder.

    Returns:
        The module, on the CPU.

    Raises:
        ModuleNotFoundError: If safetensors, or huggingface_hub for a repository, is not installed.
        FileNotFoundError: If there is no such folder or repository.
        ValueError: If it was not written by :func:`save_pretrained`, or names classes that are not
            trusted.
    """
    folder = Path(source)
    if not folder.is_dir():
        folder = _download(str(source), revision, local_files_only)
    for name in (_CONFIG, _WEIGHTS):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} was not written by save_pretrained: it has no {name}")
    config = json.loads(read_text(folder / _CONFIG))
    class_path = config.get("class_path") if isinstance(config, dict) else None
    if not isinstance(class_path, str) or not isinstance(config.get("hyper_parameters"), dict):
        raise ValueError(f"{folder / _CONFIG} must have class_path and hyper_parameters")
    named = {**config["hyper_parameters"], "_class_path": class_path}
    weights = _package("safetensors.torch").load_file(folder / _WEIGHTS)
    content = {"state_dict": weights, "hyper_parameters": named}
    if "preprocess_class" in config:  # as the data module writes it to a checkpoint
        names = [name for name in weights if name.startswith(_PREPROCESS)]
        fitted = {name.removeprefix(_PREPROCESS): weights.pop(name) for name in names}
        known = {"preprocess": fitted, "preprocess_class": config["preprocess_class"]}
        content["data"] = {"fingerprint": "", **known}
    return load_module(SuperCMModule, content, trust=trust, **arguments)


def push_to_hub(
    model: SuperCMModule | str | PathLike[str],
    repo_id: str,
    *,
    classes: Sequence[str] | None = None,
    private: bool | None = None,
    token: str | None = None,
    message: str = "A module of supercm_pl",
) -> str:
    """Upload the files of :func:`save_pretrained` to a repository on the Hub.

    Args:
        model: As in :func:`save_pretrained`, as are its errors.
        repo_id: ``"name/repository"``; created if missing.
        classes: As in :func:`save_pretrained`.
        private: Whether a new repository is private; ``None``: the default of the Hub.
        token: Access token; ``None``: that of ``hf auth login``.
        message: Commit message.

    Returns:
        The URL of the commit.
    """
    api = _package("huggingface_hub").HfApi(token=token)
    with TemporaryDirectory() as parent:
        folder = Path(parent, repo_id)  # the model card contains its name
        save_pretrained(model, folder, classes=classes)
        api.create_repo(repo_id, private=private, exist_ok=True)
        done = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
    return str(done)


def _parts(
    model: SuperCMModule | str | PathLike[str],
) -> tuple[str, dict[str, Any], dict[str, Tensor], Mapping[str, Any]]:
    """Return class path, hyperparameters, state and preprocessing of a module or a checkpoint."""
    if isinstance(model, SuperCMModule):
        kind, data = type(model), preprocess_state(model.preprocess)
        return (
            f"{kind.__module__}.{kind.__qualname__}",
            dict(model.hparams),
            model.state_dict(),
            data,
        )
    content = read_checkpoint(fspath(model), "cpu")
    hyper_parameters = hyperparameters_of(content)
    if "_class_path" not in hyper_parameters:
        raise ValueError(
            f"{model} has no class path, since it was not written by supercm fit: load it, and "
            "pass the module"
        )
    path = hyper_parameters["_class_path"]
    return path, hyper_parameters, content["state_dict"], data_state(content)


def _download(repo_id: str, revision: str | None, local_files_only: bool) -> Path:
    hub = _package("huggingface_hub")
    try:
        return Path(
            hub.snapshot_download(
                repo_id,
                revision=revision,
                allow_patterns=[_CONFIG, _WEIGHTS],
                local_files_only=local_files_only,
            )
        )
    except Exception as error:  # its type depends on the versions of several libraries
        raise FileNotFoundError(
            f"{repo_id} is not a folder, and can't be downloaded from the Hub: {error}"
        ) from error


def _package(name: str) -> Any:
    return import_optional(name, __name__, "'supercm-pl[hf]'")
