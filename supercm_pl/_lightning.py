"""Private names of Lightning and PyTorch that the package needs, each with its reason.

``tests/test_lightning_internals.py`` checks that every name exists. Lightning gives no promise for
them, so ``setup.cfg`` excludes its next minor version until these tests have passed with it.
PyTorch has no upper bound: without its name, DDP sends some buffers needlessly, and nothing breaks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as L
from lightning.fabric.utilities.cloud_io import _load
from lightning.pytorch.core.mixins import hparams_mixin
from lightning.pytorch.utilities.model_helpers import _restricted_classmethod
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

# `load_from_checkpoint` is a class method that must not be called on an object.
restricted_classmethod = _restricted_classmethod

# The base class of every batch norm, those of users and of torchvision included.
BatchNorm = _BatchNorm

# Reads a checkpoint from a URL such as s3://, which the public plugin does only with a trainer.
load_file = _load

# What a subclass of LightningCLI overrides without a public hook: the defaults of one subcommand,
# and the moment before a checkpoint's hyperparameters are merged into the configuration.
CLI_HOOKS = ("_prepare_subcommand_parser", "_parse_ckpt_path")


def given_hyperparameters() -> Any:
    """Return the hyperparameters that a module under construction will save, or ``None``."""
    return hparams_mixin._given_hyperparameters.get()


@contextmanager
def hyperparameters_given(
    values: dict[str, Any], instantiator: str | None = None
) -> Iterator[None]:
    """Let modules that are built inside the context save these hyperparameters.

    Args:
        values: The hyperparameters.
        instantiator: Dotted name of what builds the module from them; ``None`` if its constructor.
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


def cluster_environment(trainer: L.Trainer) -> Any:
    """Return the environment that started the processes; it knows SLURM's signal to requeue."""
    return trainer._accelerator_connector.cluster_environment


def is_accumulating(trainer: L.Trainer) -> bool:
    """Return whether the running batch only adds to the gradients, without an optimizer step."""
    return bool(trainer.fit_loop.epoch_loop._should_accumulate())


def batches_done(trainer: L.Trainer) -> int:
    """Return the number of batches that the run has finished, over all epochs and restarts.

    Lightning's count of processed batches: unlike that of started ones, it is right in a checkpoint
    of an interrupted step as well.
    """
    return int(trainer.fit_loop.epoch_loop.batch_progress.total.processed)  # type: ignore[attr-defined]


def exclude_from_ddp(module: nn.Module, buffers: list[str]) -> None:
    """Tell DistributedDataParallel not to broadcast these buffers in every step."""
    module._ddp_params_and_buffers_to_ignore = buffers  # type: ignore[assignment]
