"""CSV files of predictions."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from supercm_pl.checks import check_interval
from supercm_pl.data.contract import Contract
from supercm_pl.distributed import gather_objects
from supercm_pl.spreadsheet import as_text


class PredictionWriter:
    """Writes predictions to a CSV file with the columns id, class, probability and every class.

    Rows are flushed batch by batch, so an interrupted run leaves complete rows.

    Args:
        path: The file; its folder is created if needed.
        classes: Names of the ``K`` classes.
        min_confidence: Leave the class empty where the probability is smaller.

    Attributes:
        left_empty: Number of rows without a class.
    """

    def __init__(
        self, path: str | Path, classes: Sequence[str], min_confidence: float = 0.0
    ) -> None:
        self.min_confidence = min_confidence
        self.left_empty = 0
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._path = str(path)
        self._classes = [as_text(name) for name in classes]
        self._file = open(path, "w", newline="", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
        self._writer = csv.writer(self._file)
        self._write([["id", "class", "probability", *self._classes]])

    def write(self, ids: Iterable[Any], probabilities: Tensor) -> None:
        """Write a row for each of ``B`` names or numbers with probabilities ``(B, K)``."""
        labels = probabilities.argmax(dim=1).tolist()
        rows = []
        for sample, label, row in zip(ids, labels, probabilities.tolist(), strict=True):
            shares = (f"{share:.6f}" for share in (row[label], *row))
            sure = row[label] >= self.min_confidence
            self.left_empty += not sure
            rows.append([as_text(sample), self._classes[label] if sure else "", *shares])
        self._write(rows)

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # of rows that did not fit on a full disk, raised before
            self._file.close()

    def _write(self, rows: Iterable[Sequence[Any]]) -> None:
        try:
            self._writer.writerows(rows)
            self._file.flush()
        except OSError as error:
            self.close()
            raise OSError(error.errno, error.strerror, self._path) from error


class PredictionCSV(L.Callback):
    """Writes a row for each predicted sample: id, class, probability and all assignments.

    The id is ``ids`` of the batch (a file path or a row of the data), else a running number. Memory
    use does not grow with the number of samples. With several ranks, rank 0 writes the rows of all,
    in the order of the data.

    Args:
        path: The file to write; its folder is created if needed.
        min_confidence: Leave the class empty where the probability is smaller, for a person.

    Raises:
        ValueError: If ``min_confidence`` is not in ``[0, 1]``.
    """

    def __init__(self, path: str | Path, min_confidence: float = 0.0) -> None:
        self.path = Path(path)
        self.min_confidence = check_interval("min_confidence", min_confidence, "[0, 1]")
        self.rows_written = self.left_empty = 0
        self._file: PredictionWriter | None = None

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the file and write its header."""
        self.rows_written = 0
        if trainer.is_global_zero:
            classes = Contract.of(trainer).class_names(int(pl_module.num_classes))  # type: ignore[arg-type]
            self._file = PredictionWriter(self.path, classes, self.min_confidence)

    def on_predict_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Write the rows of one batch of every rank."""
        ids = batch.get("ids") if isinstance(batch, dict) else None
        ids = ids.tolist() if isinstance(ids, Tensor) else ids
        loader = trainer.predict_dataloaders
        # Ranks take turns: with samples, or with batches that the data set makes itself.
        by_sample = getattr(loader, "batch_sampler", None) is not None
        self._write((ids, outputs["assignments"].cpu(), by_sample))

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the rows of ranks that have more batches, and close the file."""
        while self._write(None):
            pass
        self._close()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Close the file; the rows written so far are complete."""
        self._close()

    def _write(self, own: tuple[Any, Tensor, bool] | None) -> bool:
        """Write the rows of this round; return whether any rank has had some."""
        parts = [part for part in gather_objects(own) if part is not None]
        rows = [
            (n if by_sample else 0, rank, name, shares)
            for rank, (ids, found, by_sample) in enumerate(parts)
            for n, (name, shares) in enumerate(zip(ids or [None] * len(found), found, strict=True))
        ]
        rows.sort(key=itemgetter(0, 1))
        if self._file is not None and rows:
            numbered = enumerate(rows, self.rows_written)
            ids = [number if row[2] is None else row[2] for number, row in numbered]
            self._file.write(ids, torch.stack([row[3] for row in rows]))
        self.rows_written += len(rows)
        return bool(parts)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self.left_empty = self._file.left_empty
