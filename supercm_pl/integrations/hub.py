"""A trained module as a folder of two files, in the format of the Hugging Face Hub, and back.

``model.safetensors`` holds the weights, ``config.json`` how the module is built; neither can run
code. The network is used where a name on the Hub is said, and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from importlib import import_module
from os import PathLike, fspath
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from supercm_pl._version import __version__
from supercm_pl.checkpoints.building import hyperparameters_of, load_module
from supercm_pl.checkpoints.files import read_checkpoint
from supercm_pl.training.module import SuperCMModule

__all__ = ["from_pretrained", "push_to_hub", "save_pretrained"]

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
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
    """Write weights, how the module is built, and a model card to a folder.

    A checkpoint of ``supercm fit`` says how all of the module is built. A module that you built in
    Python says so of its plain arguments alone: the objects among them, as its backbone, have to be
    given to :func:`from_pretrained` again. What the data module did to the inputs is not the
    module's: ``supercm export`` writes it along.

    Args:
        model: A checkpoint of ``supercm fit``, or a module, on any device.
        folder: Made if it is not there; a ``README.md`` that is there is kept.
        classes: Names of the classes, for ``config.json`` and the card.

    Raises:
        ModuleNotFoundError: If safetensors is not installed.
        ValueError: If ``classes`` are not as many as the module has, or a checkpoint does not say
            how its module is built.
    """
    safetensors = _package("safetensors.torch")
    class_path, hyper_parameters, state = _parts(model)
    count = hyper_parameters.get("num_classes")
    if classes is not None and len(classes) != count:
        raise ValueError(
            f"classes must be {count} names, as many as the module has, got {len(classes)}"
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # Copies: the format has neither tensors that share memory nor an order of channels.
    weights = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in state.items()
    }
    safetensors.save_file(weights, folder / _WEIGHTS, {"format": "pt"})
    config = {
        "class_path": class_path,
        "supercm_pl_version": __version__,
        "classes": None if classes is None else list(classes),
        "hyper_parameters": hyper_parameters,
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
        source: A folder; or the name of a repository on the Hub, such as ``"me/model"``, which is
            downloaded once and cached.
        revision: Branch, tag or commit of the repository; name a commit to always get the same.
        local_files_only: Take a repository from the cache and never from the network.
        trust: Packages whose classes the folder may name beside those of this package, PyTorch,
            torchvision, timm and torchmetrics.
        arguments: Of the module's class, such as ``backbone=...``, where they are not in the
            folder, or in place of those.

    Returns:
        The module, on the CPU.

    Raises:
        ModuleNotFoundError: If safetensors, or huggingface_hub for a repository, is not installed.
        FileNotFoundError: If there is no such folder or repository.
        ValueError: If the folder is of another kind, or names classes that are not trusted.
    """
    folder = Path(source)
    if not folder.is_dir():
        folder = _download(str(source), revision, local_files_only)
    for name in (_CONFIG, _WEIGHTS):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} is not a folder of save_pretrained: it has no {name}")
    config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    class_path = config.get("class_path") if isinstance(config, dict) else None
    if not isinstance(class_path, str) or not isinstance(config.get("hyper_parameters"), dict):
        raise ValueError(f"{folder / _CONFIG} does not say how the module is built")
    named = {**config["hyper_parameters"], "_class_path": class_path}
    weights = _package("safetensors.torch").load_file(folder / _WEIGHTS)
    content = {"state_dict": weights, "hyper_parameters": named}
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
    """Upload what :func:`save_pretrained` writes to a repository on the Hub.

    Args:
        model: A checkpoint of ``supercm fit``, or a module.
        repo_id: ``"name/repository"``; made if it is not there.
        classes: Names of the classes.
        private: Whether a new repository is private; ``None`` leaves that to the Hub.
        token: ``None`` takes the one of ``hf auth login``.
        message: Of the commit.

    Returns:
        The address of the commit.

    Raises:
        ModuleNotFoundError: If safetensors or huggingface_hub is not installed.
        ValueError: As :func:`save_pretrained`.
    """
    api = _package("huggingface_hub").HfApi(token=token)
    with TemporaryDirectory() as parent:
        folder = Path(parent, repo_id)  # whose name the card gives
        save_pretrained(model, folder, classes=classes)
        api.create_repo(repo_id, private=private, exist_ok=True)
        done = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
    return str(done)


def _parts(
    model: SuperCMModule | str | PathLike[str],
) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """Class path, hyperparameters and state of a module, or of a checkpoint."""
    if isinstance(model, SuperCMModule):
        kind = type(model)
        return f"{kind.__module__}.{kind.__qualname__}", dict(model.hparams), model.state_dict()
    content = read_checkpoint(fspath(model), "cpu")
    hyper_parameters = hyperparameters_of(content)
    if "_class_path" not in hyper_parameters:
        raise ValueError(
            f"{model} does not say how its module is built, as the checkpoints of supercm fit do: "
            "load it, and give the module"
        )
    return hyper_parameters["_class_path"], hyper_parameters, content["state_dict"]


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
    except Exception as error:  # which ones depends on the libraries beneath it
        raise FileNotFoundError(
            f"{repo_id} is not a folder, and no repository on the Hub that can be had: {error}"
        ) from error


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        if error.name != package:
            raise
        raise ModuleNotFoundError(
            f"supercm_pl.integrations.hub needs {package}: pip install 'supercm-pl[hf]'",
            name=package,
        ) from error
