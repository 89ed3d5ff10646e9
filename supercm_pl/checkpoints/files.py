"""Checkpoints that are never half a file, and that run no code of who wrote them."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import lightning.pytorch as L
import torch
from lightning.fabric.utilities.cloud_io import _load
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import nn

from supercm_pl.training.ramps import Ramp

# Whose networks, methods, ramps, optimizers and schedules a checkpoint may name: to build them
# with any arguments writes no file and starts nothing.
_TRUSTED = ("supercm_pl.", "torch.nn.", "torch.optim.")
_INSTANTIATORS = (
    "lightning.pytorch.cli.instantiate_module",
    "pytorch_lightning.cli.instantiate_module",
)
_TRUSTED_BASES = (nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and moves it there when it is whole.

    Whenever the process is killed, or the disk is full, the file of that name is either the one
    before or the new one. Lightning's own way writes to the folder for temporary files, which on
    another file system means to copy into place; and makes the whole file in memory first.

    Loading is restricted to tensors and plain values unless ``weights_only=False`` is said, on
    every version of PyTorch.

    Raises:
        OSError: On saving, if the file can't be written; it names the file, and the one before is
            untouched.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write to ``path``; one with a protocol such as ``s3://`` is left to Lightning."""
        if storage_options is not None or "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Hidden, and with another suffix: nobody takes what a killed process left for a checkpoint.
        temporary = target.with_name(f".{target.name}.{uuid4().hex[:8]}.tmp")
        try:
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())  # else the new name may outlive a crash and the data not
            temporary.replace(target)
        except Exception as error:
            temporary.unlink(missing_ok=True)
            cause = _system_error(error)
            if cause is None:
                raise
            kept = "; the one before is whole" if target.exists() else ""
            raise OSError(
                cause.errno, f"{cause.strerror}: can't write the checkpoint{kept}", str(target)
            ) from error
        self._remove_leftovers(target)

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any = lambda storage, location: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """The content of the file at ``path``."""
        weights_only = True if weights_only is None else weights_only
        loaded: dict[str, Any] = super().load_checkpoint(path, map_location, weights_only)
        return loaded

    def _remove_leftovers(self, target: Path) -> None:
        for leftover in target.parent.glob(f".{target.name}.????????.tmp"):
            leftover.unlink(missing_ok=True)


def use_atomic_checkpoints(trainer: L.Trainer) -> None:
    """Let ``trainer`` save by :class:`AtomicCheckpointIO`, unless it was given a plugin for it."""
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = AtomicCheckpointIO()


def check_class_paths(
    checkpoint: str | Path | IO[bytes], own: Collection[str] = ()
) -> dict[str, Any]:
    """Refuse a checkpoint whose hyperparameters name classes that nobody vouches for.

    A checkpoint of the command says which classes build the model, and with which arguments. Their
    modules are imported, so who writes a checkpoint chooses code to run among all that is
    installed. Trusted are the networks, methods, ramps, optimizers and schedules of this
    package, of PyTorch, and of modules that are imported already; others must be in ``own``.

    Args:
        checkpoint: The file.
        own: Class paths that the user trusts: those in the configuration.

    Returns:
        The hyperparameters; empty where it has none.

    Raises:
        ValueError: If it names another one.
    """
    content = _read(checkpoint)
    found = content.get("hyper_parameters") if isinstance(content, Mapping) else None
    for path in sorted(class_paths(found) - set(own)):
        if not _is_trusted(path):
            raise ValueError(
                f"the checkpoint {checkpoint} wants to build {path}, which is not of supercm_pl or "
                "PyTorch: if you trust it, name it in the configuration, or import it before you "
                "load the checkpoint"
            )
    return dict(found) if isinstance(found, Mapping) else {}


def class_paths(configuration: Any) -> set[str]:
    """Every class path in a configuration, at any depth, and every text that may be one."""
    return set(_class_paths(configuration))


def _class_paths(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key in ("class_path", "_class_path"):
                yield str(item)
            elif key == "_instantiator":  # Lightning calls it; before 2.6.6 without a look at it
                yield from () if item in _INSTANTIATORS else (str(item),)
            else:
                yield from _class_paths(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _class_paths(item)
    elif isinstance(value, str) and _may_be_import_path(value):
        yield value


def _may_be_import_path(text: str) -> bool:
    # The parser takes `module.function` for a callable; names of networks have dots as well.
    parts = text.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        return False
    return parts[0] in sys.modules or find_spec(parts[0]) is not None


def _is_trusted(path: str) -> bool:
    module_path, _, name = path.rpartition(".")
    if path.startswith(_TRUSTED):
        try:
            import_module(module_path)
        except ImportError as error:
            # With a package missing that it needs, nobody can build it either.
            return not f"{error.name}.".startswith(_TRUSTED)
    found = getattr(sys.modules.get(module_path), name, None)
    if not isinstance(found, type) or not issubclass(found, (*_TRUSTED_BASES, Ramp)):
        return False
    # Not what a trusted module has imported from elsewhere.
    return not path.startswith(_TRUSTED) or f"{found.__module__}.".startswith(_TRUSTED)


def _read(checkpoint: str | Path | IO[bytes]) -> Any:
    if not isinstance(checkpoint, str | Path):
        start = checkpoint.tell()
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        checkpoint.seek(start)
        return content
    if "://" in str(checkpoint):
        return _load(checkpoint, map_location="cpu", weights_only=True)
    with Path(checkpoint).open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    # Mapped, of a large file this reads the names and shapes alone.
    return torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=is_zip or None)


def _system_error(error: BaseException | None) -> OSError | None:
    # PyTorch's writer says that the disk is full by an error of its own, raised from the system's.
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error if isinstance(error, OSError) and error.errno is not None else None
