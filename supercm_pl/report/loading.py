"""The trained model and the data of a run, rebuilt from its folder."""

from __future__ import annotations

import pkgutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch.utilities import rank_zero_warn

from supercm_pl.checkpoints.building import build, hyperparameters_of, load_module
from supercm_pl.checkpoints.data_state import DATA_OPTIONS, data_state
from supercm_pl.checkpoints.files import read_checkpoint
from supercm_pl.checkpoints.trust import named_in, trusted_names
from supercm_pl.data.datamodule import SuperCMDataModule
from supercm_pl.data.sources.base import Source
from supercm_pl.data.sources.hugging_face import HuggingFaceSource
from supercm_pl.data.splits.distortion import Distortion
from supercm_pl.report.runs import runs_inside
from supercm_pl.training.module import SuperCMModule


class TrainedRun(NamedTuple):
    """The model of a checkpoint and its opened data, with optimizer steps and epochs from 0."""

    module: SuperCMModule
    data: SuperCMDataModule
    step: int
    epoch: int


def load_run(folder: str | Path, trust: str | Collection[str] = ()) -> TrainedRun:
    """Rebuild model and data from the last checkpoint in a run's folder.

    Nothing is unpickled, and nothing is downloaded. Relative paths of data start from the current
    folder, as in the run.

    Args:
        folder: A logger's folder, such as ``runs/ssl_digits/version_0``; or a checkpoint.
        trust: Packages whose classes the checkpoint may name.

    Raises:
        ValueError: If there is no checkpoint that ``supercm fit`` wrote, or it names classes that
            are not trusted, or the data are not there any more.
    """
    path = _checkpoint(Path(folder))
    content = read_checkpoint(path, "cpu")
    options = content.get(DATA_OPTIONS)
    if not isinstance(options, Mapping) or "_class_path" not in hyperparameters_of(content):
        raise ValueError(f"{path} does not name its data, since supercm fit did not write it")
    trusted = trusted_names(trust)
    module = load_module(SuperCMModule, content, trust=trusted)
    data = build(options, trusted | _own_data_classes(options))
    if not isinstance(data, SuperCMDataModule):
        raise ValueError(f"{path}: the data must be a module of supercm_pl, got {data!r:.100}")
    state = data_state(content)
    data.seed = state.get("seed", data.seed)
    data.load()
    if state and data.fingerprint() != state["fingerprint"]:
        rank_zero_warn(
            f"the data have changed since {path} was written: labeled, unlabeled and validation "
            "samples are not those of the run",
            category=RuntimeWarning,
        )
    data.load_state_dict(dict(state))
    return TrainedRun(module, data, content.get("global_step", 0), content.get("epoch", 0))


def _checkpoint(folder: Path) -> Path:
    if folder.is_file():
        return folder
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    last = folder / "checkpoints" / "last.ckpt"
    found = sorted(folder.glob("checkpoints/*.ckpt"), key=lambda path: path.stat().st_mtime)
    if last.is_file() or found:
        return last if last.is_file() else found[-1]
    raise ValueError(f"there is no checkpoint in {folder / 'checkpoints'}{runs_inside(folder)}")


def _own_data_classes(options: Any) -> frozenset[str]:
    """Names of sources and data modules of this package that read files, and run no code.

    That of Hugging Face is not among them: its library may download data, and run their code.
    """
    found = set()
    for name in named_in(options):
        if not name.startswith("supercm_pl."):
            continue
        try:
            kind = pkgutil.resolve_name(name)
        except (ImportError, AttributeError, ValueError):
            continue
        own = Source | SuperCMDataModule | Distortion
        if isinstance(kind, type) and issubclass(kind, own) and kind is not HuggingFaceSource:
            found.add(name)
    return frozenset(found)
