"""Private names of Lightning and PyTorch that the package needs, each with its reason.

``tests/test_lightning_internals.py`` checks that every name exists. Lightning gives no promise for
them, so ``setup.cfg`` excludes its next minor version until these tests have passed with it.
PyTorch has no upper bound: without its name, DDP sends some buffers needlessly, and nothing breaks.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as L
from lightning.fabric.utilities.cloud_io import _load
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.core.mixins import hparams_mixin
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector
from lightning.pytorch.trainer.states import TrainerStatus
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.model_helpers import _restricted_classmethod
from lightning_utilities.core.inheritance import get_all_subclasses
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import BatchSampler, DataLoader

# `load_from_checkpoint` is a class method that must not be called on an object.
restricted_classmethod = _restricted_classmethod

# The base class of every batch norm, those of users and of torchvision included.
BatchNorm = _BatchNorm

# Reads a checkpoint from a URL such as s3://, which the public plugin does only with a trainer.
load_file = _load

# What a subclass of LightningCLI overrides without a public hook: the defaults of one subcommand,
# the moment before a checkpoint's hyperparameters are merged into the configuration, and the run.
CLI_HOOKS = ("_prepare_subcommand_parser", "_parse_ckpt_path", "_run_subcommand")


def hide_unknown_epochs(trainer: L.Trainer) -> None:
    """Keep Lightning's bar from ``Epoch 0/-2`` where steps or time limit a run, not epochs."""
    bar = trainer.progress_bar_callback
    if isinstance(bar, RichProgressBar) and trainer.max_epochs == -1:
        width = len(bar.validation_description)  # as wide, so that the bar does not flicker
        bar._get_train_description = lambda current_epoch: (  # type: ignore[method-assign]
            f"Epoch {current_epoch}".ljust(width)
        )


def data_module_of(trainer: Any) -> Any:
    """Return the data module of the running loop, or ``None``.

    ``trainer.datamodule`` remains that of an earlier loop if this one was given loaders.
    """
    if trainer is None or trainer.state.status != TrainerStatus.RUNNING:
        return None
    return trainer._data_connector._datahook_selector.datamodule


def loaders_given(trainer: Any) -> Any:
    """Return the training loaders that were passed to ``fit``, before they are set up."""
    return trainer.fit_loop._data_source.instance


def given_hyperparameters() -> Any:
    """Return the hyperparameters that a module under construction will save, or ``None``."""
    return hparams_mixin._given_hyperparameters.get()


@contextmanager
def hyperparameters_given(
    values: dict[str, Any], instantiator: str | None = None
) -> Iterator[None]:
    """Let modules that are built inside the context save these hyperparameters.

    ``instantiator`` is the dotted name of what builds them; ``None`` if their constructor does.
    """
    if instantiator is not None:
        with hparams_mixin._given_hyperparameters_context(values, instantiator):
            yield
        return
    token = hparams_mixin._given_hyperparameters.set(values)
    try:
        yield
    finally:
        hparams_mixin._given_hyperparameters.reset(token)


def restore_loaders() -> None:
    """Undo Lightning's changes of loader classes, which remain if a ``*_dataloader`` has failed.

    With them, the next trainer can't take a plain ``DataLoader``.
    """
    for base in (DataLoader, BatchSampler):
        for kind in (base, *get_all_subclasses(base)):
            for name in ("__init__", "__setattr__", "__delattr__"):
                original = vars(kind).get(f"__old{name}")
                if original is not None:
                    setattr(kind, name, original)
                    delattr(kind, f"__old{name}")


class StepSignals(_SignalConnector):
    """Handlers that only note a signal while training: the end of a step is the time to act.

    Lightning's handlers broadcast and save at once, between any two instructions of a step. Outside
    training there is nothing to save, and a signal ends the run at once.

    Attributes:
        deferring: Whether signals are noted only.
        stop: The noted signal that ends the run, SIGTERM or SIGINT; 0 if none.
        requeue: Whether SLURM's signal to requeue is noted.
    """

    def __init__(self, trainer: L.Trainer) -> None:
        super().__init__(trainer)
        self.deferring = False
        self.stop = 0
        self.requeue = False

    def register_signal_handlers(self) -> None:
        """Register Lightning's handlers, and the one of SIGTERM for SIGINT as well."""
        super().register_signal_handlers()
        self.deferring, self.stop, self.requeue = False, 0, False
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._register_signal(signal.SIGINT, self._sigterm_notifier_fn)

    def _sigterm_notifier_fn(self, signum: Any, frame: Any) -> None:
        is_repeated = self.stop == signum == signal.SIGINT
        if self.deferring and not is_repeated:
            self.stop = int(signum)
        elif signum == signal.SIGINT:
            signal.default_int_handler(signum, frame)
        else:
            raise SIGTERMException(128 + signum)

    def _slurm_sigusr_handler_fn(self, signum: Any, frame: Any) -> None:
        self.requeue = True

    def save_and_requeue(self) -> None:
        """Save a checkpoint and requeue the job, as Lightning does on SLURM's signal."""
        super()._slurm_sigusr_handler_fn(signal.SIGUSR1, None)  # type: ignore[arg-type]

    def stop_training(self) -> None:
        """Let Lightning raise ``SIGTERMException`` at the end of the running step."""
        self.received_sigterm = True


def step_signals(trainer: L.Trainer) -> StepSignals:
    """Return the trainer's :class:`StepSignals`, which replace Lightning's handlers."""
    if not isinstance(trainer._signal_connector, StepSignals):
        trainer._signal_connector = StepSignals(trainer)
        # Lightning tells the ranks of a signal to rank 0, before each step and with a wait for the
        # device. `SaveOnSignal` tells them of a signal to any rank.
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
    return trainer._signal_connector


def repeat_validation(checkpoint: dict[str, Any]) -> None:
    """Let a run that resumes from this checkpoint first do the validation that was interrupted.

    Otherwise, Lightning skips it. It repeats a validation that stopped within its first batch.
    """
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
    for count in ("total", "current"):
        progress[count] |= {"ready": 1, "started": 1, "processed": 0, "completed": 0}


def end_launched_processes(trainer: L.Trainer, seconds: float) -> None:
    """Wait for the other ranks that this process launched, and kill those that do not end."""
    processes: list[Any] = getattr(trainer.strategy.launcher, "procs", [])
    launched = list(processes)
    processes.clear()  # Lightning kills this process if it sees that one of them was killed
    for process in launched:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:  # it waits for this rank
            process.kill()


def claim_folders(loggers: list[Any]) -> None:
    """Create the next free ``version_N`` of each logger that has no version yet.

    Lightning only looks for the next number, and runs that start together find the same one.
    Loggers of one folder share a version.
    """
    claimed: dict[str, int] = {}
    for logger in loggers:
        if not hasattr(logger, "_get_next_version") or "://" in logger.root_dir:
            continue
        folder = logger.root_dir
        while logger._version is None:
            if folder in claimed:
                logger._version = claimed[folder]
                break
            os.makedirs(folder, exist_ok=True)
            try:
                os.mkdir(os.path.join(folder, f"version_{logger.version}"))
            except FileExistsError:  # another run was faster
                logger._version = None
            else:
                claimed[folder] = logger.version


def is_accumulating(trainer: L.Trainer) -> bool:
    """Return whether the running batch only adds to the gradients, without an optimizer step."""
    return bool(trainer.fit_loop.epoch_loop._should_accumulate())


def batches_done(trainer: L.Trainer) -> int:
    """Return the number of batches that the run has finished, over all epochs and restarts.

    Unlike Lightning's count of started ones, it is right in a checkpoint of an interrupted step.
    """
    return int(trainer.fit_loop.epoch_loop.batch_progress.total.processed)  # type: ignore[attr-defined]


def exclude_from_ddp(module: nn.Module, buffers: list[str]) -> None:
    """Tell DistributedDataParallel not to broadcast these buffers in every step."""
    module._ddp_params_and_buffers_to_ignore = buffers  # type: ignore[assignment]
