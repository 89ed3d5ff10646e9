"""The files of a run that make a second one the same."""

from __future__ import annotations

from pathlib import Path

import lightning.pytorch as L
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_warn


class SaveRun(SaveConfigCallback):
    """Saves beside the logs what makes a second run the same: the configuration and the split."""

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
        super().setup(trainer, pl_module, stage)
        save_split = getattr(getattr(trainer, "datamodule", None), "save_split", None)
        if stage == "fit" and save_split and trainer.is_global_zero:
            save_split(Path(folder) / "split.json")
