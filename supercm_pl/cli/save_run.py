"""The files of a run that make a second one the same."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import yaml
from lightning.fabric.utilities.cloud_io import get_filesystem
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_warn


class SaveRun(SaveConfigCallback):
    """Saves beside the logs what makes a second run the same: the configuration and the split.

    Args:
        given: Arguments of Lightning's class.
        model: Class path and arguments of a model that a checkpoint named; ``None``: the
            configuration's own.
        options: Further arguments of Lightning's class.
    """

    def __init__(self, *given: Any, model: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(*given, **options)
        self.model = model

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Save, where the run has a folder."""
        if not trainer.loggers:  # then there is no folder of the run's own
            return
        folder = trainer.log_dir  # asked of every rank, for the first one broadcasts it
        if folder is None:  # a logger that writes to a server
            if stage == "fit" and not getattr(trainer, "fast_dev_run", False):
                rank_zero_warn(
                    f"{type(trainer.loggers[0]).__name__} has no folder: config.yaml and "
                    "split.json of this run are not saved; name a CSVLogger before it"
                )
            return
        self._file = os.path.join(folder, self.config_filename)
        super().setup(trainer, pl_module, stage)
        save_split = getattr(getattr(trainer, "datamodule", None), "save_split", None)
        if stage == "fit" and save_split and trainer.is_global_zero:
            save_split(Path(folder) / "split.json")

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Write the model of the checkpoint in place of the configuration's."""
        if self.model is not None:
            files = get_filesystem(self._file)
            with files.open(self._file) as file:
                saved = yaml.safe_load(file)
            with files.open(self._file, "w") as file:
                yaml.safe_dump({**saved, "model": self.model}, file, sort_keys=False)
