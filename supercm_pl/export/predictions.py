"""Predictions of folders, files and arrays, outside a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from supercm_pl.callbacks.prediction_csv import PredictionWriter
from supercm_pl.data.datasets import Indices, fetch_inputs
from supercm_pl.data.sources.folder import images_to_predict


class Predictions(NamedTuple):
    """Predictions for ``N`` inputs.

    Attributes:
        ids: ``N`` paths below the folder, file paths, or numbers.
        classes: Name of each input's most probable class.
        probabilities: ``(N, K)`` on the CPU.
    """

    ids: list[str]
    classes: list[str]
    probabilities: Tensor

    def save(
        self, path: str | PathLike[str], names: Sequence[str], min_confidence: float = 0.0
    ) -> int:
        """Write a CSV file as ``supercm predict --config`` does, with ``names`` of all classes.

        Returns the number of rows below ``min_confidence``, where the class is left empty.
        """
        file = PredictionWriter(Path(path), names, min_confidence)
        file.write(self.ids, self.probabilities)
        file.close()
        return file.left_empty


def inputs_by_row(
    inputs: Any, input_shape: tuple[int, ...]
) -> tuple[list[str], Callable[[Indices], Tensor]]:
    """Return the ids of inputs, and a function that loads inputs by row number.

    Inputs are a folder or file, a list of files, whose images take ``input_shape``, or an array. A
    folder without images, or an array of another shape, is a ``ValueError``.
    """
    images = inputs
    if isinstance(inputs, str | PathLike):
        images = [inputs] if Path(inputs).is_file() else Path(inputs)
    listed = isinstance(images, list | tuple) and all(isinstance(p, str | PathLike) for p in images)
    if listed or isinstance(images, Path):
        found = images_to_predict(images, input_shape)
        return list(found.ids), lambda rows: fetch_inputs(found.samples.dataset, rows)
    array = torch.as_tensor(inputs)
    if tuple(array.shape[1:]) != input_shape:
        raise ValueError(
            f"inputs must have shape (N, {', '.join(map(str, input_shape))}), "
            f"got {tuple(array.shape)}"
        )
    return [str(row) for row in range(len(array))], lambda rows: array[torch.from_numpy(rows)]
