"""Atomic writing of checkpoints, and reading that executes no code from them."""

from __future__ import annotations

import errno
import os
import socket
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import lightning.pytorch as L
import torch
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]
from lightning.fabric.utilities.cloud_io import get_filesystem
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from supercm_pl._lightning import load_file


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically, and loads only tensors and plain values.

    A checkpoint is written to a temporary file in the same folder, which is then renamed. If the
    process is killed or the disk is full, the previous file is unchanged. Lightning writes to the
    system's temporary folder, which may be on another file system, and first builds the whole file
    in memory.

    Loading is restricted unless ``weights_only=False``, with every version of PyTorch.

    Raises:
        OSError: On saving, if the file can't be written.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write to ``path``; Lightning writes to URLs such as ``s3://``."""
        if storage_options is not None or "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        # A hidden name with another suffix: an incomplete file is never taken for a checkpoint.
        temporary = target.with_name(f"{_own_prefix()}{uuid4().hex[:8]}.tmp")
        try:
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())  # or a crash may keep the new name, but not the data
            temporary.replace(target)
        except Exception as error:
            cause = _system_error(error)
            if cause is None:
                raise
            kept = "; the previous one is unchanged" if target.exists() else ""
            raise OSError(
                cause.errno, f"{cause.strerror}: can't write the checkpoint{kept}", str(target)
            ) from error
        finally:
            temporary.unlink(missing_ok=True)
        _remove_leftovers(target.parent)

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any = lambda storage, location: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint."""
        weights_only = True if weights_only is None else weights_only
        loaded: dict[str, Any] = super().load_checkpoint(path, map_location, weights_only)
        if weights_only:
            _check_values(loaded)
        return loaded

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint, the folder of a sharded one, or a link, and nothing else."""
        file = Path(path)
        if "::" in str(path):  # a chained URL of fsspec
            return
        if "://" in str(path):
            system = get_filesystem(path)
            if not isinstance(system, LocalFileSystem) and system.isfile(str(path)):
                system.rm_file(str(path))
        elif file.is_symlink() or _is_checkpoint(file):
            file.unlink()
        elif all((file / name).is_file() for name in ("meta.pt", ".metadata")):  # it is sharded
            super().remove_checkpoint(path)


def _own_prefix() -> str:
    """Start of the names of this process's temporary files, with machine and process."""
    return f".{zlib.crc32(socket.gethostname().encode()):08x}.{os.getpid()}."


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of processes of this machine that do not exist any more."""
    if os.name == "nt":  # there, `os.kill` ends a process
        return
    for leftover in folder.glob(f"{_own_prefix()[:10]}*.????????.tmp"):
        process = leftover.name.split(".")[2]
        with suppress(OSError, ValueError):
            try:
                os.kill(int(process), 0)
            except ProcessLookupError:
                leftover.unlink(missing_ok=True)


def _is_checkpoint(file: Path) -> bool:
    if not file.is_file() or not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("/data.pkl") for name in archive.namelist())


def use_atomic_checkpoints(trainer: L.Trainer) -> None:
    """Use :class:`AtomicCheckpointIO` in ``trainer``, unless it has another checkpoint plugin."""
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = AtomicCheckpointIO()


def read_checkpoint(source: str | Path | IO[bytes], map_location: Any = None) -> dict[str, Any]:
    """Read a checkpoint from a path, a URL or an open file: only tensors and plain values.

    Tensors go to ``map_location``; ``None``: to the device from which they were saved, if this
    machine has it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a checkpoint, or contains a class or function.
        pickle.UnpicklingError: If it contains other objects.
    """
    where: Any = _where_it_was if map_location is None else map_location
    is_local = isinstance(source, str | Path) and "://" not in str(source)
    if is_local and not Path(str(source)).is_file():  # reading a pipe could block forever
        raise FileNotFoundError(errno.ENOENT, "No such file", str(source))
    content: Any = None
    try:
        if is_local:
            # Memory-mapped: of a large file, only the tensors in use are read.
            mapped = zipfile.is_zipfile(str(source)) or None
            content = torch.load(source, map_location=where, weights_only=True, mmap=mapped)
        else:
            content = load_file(source, map_location=where, weights_only=True)
        content["state_dict"].values()
    except Exception as error:
        if isinstance(error, OSError) or "GLOBAL" in str(error):
            raise
        told = "it is damaged, or not a checkpoint"
        values = content.values() if isinstance(content, Mapping) else [None]
        if all(isinstance(value, Tensor) for value in values):
            told = "it is a state_dict: write module.load_state_dict(torch.load(path))"
        raise ValueError(f"{source} can't be loaded: {told}") from error
    _check_values(content)
    return dict(content)


def _where_it_was(storage: Any, location: str) -> Any:
    try:
        return torch.serialization.default_restore_location(storage, location)  # type: ignore[no-untyped-call]
    except RuntimeError:
        return storage


def _check_values(content: Any) -> None:
    # PyTorch allows a file to name some functions and classes. They must never be called.
    seen: set[int] = set()
    rest = [content]
    while rest:
        value = rest.pop()
        if isinstance(value, Mapping | list | tuple | set | frozenset):
            if id(value) not in seen:
                seen.add(id(value))
                rest += [*value, *(value.values() if isinstance(value, Mapping) else ())]
        elif callable(value):
            raise ValueError(f"a checkpoint must contain only plain values, got {value!r:.100}")


def forget_other_files(trainer: L.Trainer, checkpoint: Mapping[str, Any]) -> None:
    """Remove files outside the trainer's checkpoint folders from the states of its callbacks.

    A ``ModelCheckpoint`` restores the paths of its files from the checkpoint, and later removes or
    loads them. If one of them is outside every checkpoint folder of this run, its state is reset,
    in place.
    """
    states = checkpoint.get("callbacks")
    states = states if isinstance(states, dict) else {}
    folders = [str(getattr(each, "dirpath", None) or "") for each in trainer.checkpoint_callbacks]
    for key, state in states.items():
        if not isinstance(state, Mapping):
            continue
        names = ("best_model_path", "last_model_path", "kth_best_model_path")
        best = state.get("best_k_models")
        best = best if isinstance(best, Mapping) else ()
        files = filter(None, [*(state.get(name) for name in names), *best])
        if not all(any(_is_inside(str(f), folder) for folder in folders) for f in files):
            states[key] = {**state, "best_model_path": "", "dirpath": None}


class OwnFilesOnly(L.Callback):
    """Applies :func:`forget_other_files` before the states of the callbacks are restored."""

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remove files outside the checkpoint folders, whatever the module's own hook does."""
        forget_other_files(trainer, checkpoint)


def _is_inside(file: str, folder: str) -> bool:
    if "::" in file:  # a chained URL of fsspec, which may point anywhere
        return False
    if "://" in file:
        return file.startswith(f"{folder.rstrip('/')}/") and ".." not in file.split("/")
    return bool(folder) and Path(folder).resolve() in Path(file).resolve().parents


def _system_error(error: BaseException | None) -> OSError | None:
    # On a full disk, PyTorch raises its own error from the error of the system.
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error if isinstance(error, OSError) and error.errno is not None else None
