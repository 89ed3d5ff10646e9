"""Recorder of the report's data during training."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import lightning.pytorch as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from supercm_pl.checks import check_choice
from supercm_pl.report.snapshot import FOLDER, Array, Snapshot
from supercm_pl.report.thumbnails import thumbnails
from supercm_pl.viz.projection import Projection, project
from supercm_pl.viz.sampling import Mistakes, ValidationSampler, ValidationSamples


class ReportRecorder(ValidationSampler):
    """Records data for ``supercm report`` beyond the logged numbers.

    Each validation writes a small file to ``report/`` in the logger's folder: projected features of
    sampled validation data with their assignments and labels, the confusion matrix, and thumbnails
    of the most confident mistakes. In a configuration::

        trainer:
          callbacks:
            - class_path: supercm_pl.callbacks.ReportRecorder

    Each projection starts from the previous one, so that points move as little as their features.
    The callback does not change training. Thumbnails show the data: protect the folder and the
    report accordingly.

    Args:
        every_n_epochs: Epochs between records, 1 or more.
        max_samples: Projected samples of all validation data together, 2 or more.
        max_mistakes: Mistakes to show, 0 or more.
        projection: As in :func:`~supercm_pl.viz.project`; t-SNE of 500 samples takes about 1 s.

    Raises:
        TypeError: When training starts, if the module has no clustering head.
    """

    def __init__(
        self,
        every_n_epochs: int = 1,
        max_samples: int = 500,
        max_mistakes: int = 12,
        projection: Projection = "auto",
    ) -> None:
        super().__init__(every_n_epochs, max_samples, max_mistakes)
        check_choice("projection", projection, get_args(Projection))
        self.projection = projection
        self._plane: tuple[Array, Array] | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check that the logger has a folder."""
        super().setup(trainer, pl_module, stage)
        # The folder's name is broadcast, so every process must read it here.
        folder = trainer.log_dir if trainer.loggers else None
        self._folder = Path(folder) / FOLDER if folder else None
        if stage == "fit" and self._folder is None:
            rank_zero_warn("ReportRecorder writes nothing, because no logger has a folder")

    def use(self, trainer: L.Trainer, samples: ValidationSamples) -> None:
        """Write the file of this validation."""
        if self._folder is None:
            return
        stacked = samples.features
        if samples.centroids is not None:
            stacked = torch.cat([stacked, samples.centroids])
        if len(stacked) < 2 or not bool(stacked.isfinite().all()):
            return
        plane = self._project(stacked, samples)
        confidence, predicted = samples.assignments.max(dim=1)
        images, mistaken, sure = _of_mistakes(samples.mistakes)
        count = len(samples.features)
        Snapshot(
            epoch=trainer.current_epoch,
            step=trainer.global_step,
            points=plane[:count],
            centroids=plane[count:],
            labels=samples.labels.int().numpy(),
            predicted=predicted.int().numpy(),
            confidence=confidence.numpy(),
            domains=samples.domains.int().numpy(),
            rows=samples.rows.numpy(),
            classes=np.asarray(samples.classes),
            domain_names=np.asarray(samples.domain_names),
            confusion=samples.confusion.numpy(),
            images=images,
            mistaken=mistaken,
            mistake_confidence=sure,
        ).save(self._folder)

    def _project(self, stacked: Tensor, samples: ValidationSamples) -> Array:
        key = torch.stack([samples.domains, samples.rows]).numpy()
        start = None
        if self._plane is not None and len(self._plane[1]) == len(stacked):
            before, plane = self._plane
            start = plane if np.array_equal(before, key) else None
        found = project(stacked.double().numpy(), self.projection, start=start)
        self._plane = key, found
        return found.astype(np.float32)


def _of_mistakes(mistakes: Mistakes | None) -> tuple[Array, Array, Array]:
    if mistakes is None:
        return thumbnails([]), np.zeros((0, 4), dtype=np.int64), np.zeros(0, dtype=np.float32)
    columns = (mistakes.labels, mistakes.predicted, mistakes.domains, mistakes.rows)
    mistaken = torch.stack(columns, dim=1).numpy()
    return thumbnails(mistakes.inputs), mistaken, mistakes.confidence.numpy()
