"""A CSV file of predictions."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor


class PredictionCSV(Callback):
    """Writes a row for each predicted sample: id, class, probability and all assignments.

    The id is what the batch says in ``ids`` (a file's path, or a row of the data), else a running
    number. Rows are written batch by batch, so that memory stays flat and a run that is stopped
    leaves whole rows. With several processes, each but the first adds its rank to the file's name.

    Args:
        path: The file to write; its folder is made where it is missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.rows_written = 0

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the file and write its header."""
        rank = trainer.global_rank
        if rank:
            self.path = self.path.with_stem(f"{self.path.stem}.rank{rank}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.rows_written = 0
        self._classes = _class_names(trainer, pl_module)
        self._file = self.path.open("w", newline="", encoding="utf-8", errors="surrogateescape")
        self._writer = csv.writer(self._file)
        self._writer.writerow(["id", "class", "probability", *self._classes])

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the rows of one batch."""
        labels = outputs["class"].tolist()
        ids = batch.get("ids") if isinstance(batch, dict) else None
        if ids is None:
            ids = range(self.rows_written, self.rows_written + len(labels))
        elif isinstance(ids, Tensor):
            ids = ids.tolist()
        columns = (ids, labels, outputs["probability"].tolist(), outputs["assignments"].tolist())
        for sample, label, probability, assignments in zip(*columns, strict=True):
            shares = [f"{share:.6f}" for share in assignments]
            self._writer.writerow([sample, self._classes[label], f"{probability:.6f}", *shares])
        self._file.flush()
        self.rows_written += len(labels)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the file."""
        self._file.close()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Close the file, whose rows so far are whole."""
        if hasattr(self, "_file"):
            self._file.close()


def _class_names(trainer: L.Trainer, pl_module: L.LightningModule) -> Sequence[str]:
    size = int(pl_module.num_classes)  # type: ignore[arg-type]
    names = getattr(getattr(trainer, "datamodule", None), "classes", None) or ()
    return list(names) if len(names) == size else [str(k) for k in range(size)]
