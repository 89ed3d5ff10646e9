"""Save the files that reproduce a run."""

from __future__ import annotations

import copy
import functools
import os
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import yaml
from lightning.fabric.utilities.cloud_io import get_filesystem
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_warn

from supercm_pl.checkpoints.data_state import DATA_OPTIONS


class SaveRun(SaveConfigCallback):
    """Save the configuration and the split next to the logs.

    ``model``, the class path and arguments of a checkpoint's model, replaces the configuration's.
    Other arguments are those of Lightning's class.
    """

    def __init__(self, *given: Any, model: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(*given, **options)
        self.model = model

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Save, if the run has a folder."""
        if not trainer.loggers:  # without one, the run has no folder
            return
        folder = trainer.log_dir  # a collective call: rank 0 broadcasts it
        if folder is None:  # a logger that writes to a server
            if stage == "fit" and not getattr(trainer, "fast_dev_run", False):
                rank_zero_warn(
                    f"{type(trainer.loggers[0]).__name__} has no local folder: config.yaml and "
                    "split.json are not saved; add a CSVLogger before it"
                )
            return
        self._file = os.path.join(folder, self.config_filename)
        super().setup(trainer, pl_module, stage)
        save_split = getattr(getattr(trainer, "datamodule", None), "save_split", None)
        if stage == "fit" and save_split and trainer.is_global_zero:
            save_split(Path(folder) / "split.json")

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the options of the data, which a resumed run compares with its own."""
        checkpoint[DATA_OPTIONS] = copy.deepcopy(self._data_options)

    @functools.cached_property
    def _data_options(self) -> dict[str, Any]:
        # a fifth of a second, which a run with frequent checkpoints would pay for each of them
        options: dict[str, Any] = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        return dict(options["data"])

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Replace the configuration's model by that of the checkpoint."""
        if self.model is not None:
            files = get_filesystem(self._file)
            with files.open(self._file) as file:
                saved = yaml.safe_load(file)
            with files.open(self._file, "w") as file:
                yaml.safe_dump({**saved, "model": self.model}, file, sort_keys=False)
