"""Predictions of folders, files and arrays, outside a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from supercm_pl.callbacks.prediction_csv import PredictionWriter
from supercm_pl.checks import shown
from supercm_pl.data.datasets import Indices, fetch_inputs
from supercm_pl.data.sources.folder import images_to_predict
from supercm_pl.data.sources.image_reading import converted


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

    Inputs are a folder, a file or PIL image, a list of these, which take ``input_shape``, or an
    array. A folder without images, or an array of another shape, is a ``ValueError``.
    """
    images: Any = [inputs] if isinstance(inputs, Image.Image) else inputs
    if hasattr(inputs, "columns"):  # a table of pandas
        images = np.array(inputs)
    if getattr(getattr(inputs, "dtype", None), "kind", "") in ("O", "U"):  # a column of files
        images = inputs.tolist()
    if isinstance(inputs, str | PathLike):
        images = [inputs] if Path(inputs).is_file() else Path(inputs)
    listed = isinstance(images, list | tuple) and all(isinstance(p, str | PathLike) for p in images)
    if listed or isinstance(images, Path):
        found = images_to_predict(images, input_shape)
        return list(found.ids), lambda rows: fetch_inputs(found.samples.dataset, rows)
    if isinstance(images, list | tuple) and isinstance(images[0], Image.Image):
        channels, *size = input_shape
        array = torch.stack([converted(each, (size[0], size[1]), channels == 1) for each in images])
    else:
        try:
            array = torch.as_tensor(images)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"inputs must be a folder, files, PIL images or an array, got {shown(inputs)}"
            ) from error
    if array.ndim == 3 == len(input_shape) and input_shape[0] == 1:
        array = array[:, None]
    elif array.ndim == 4 and (array.shape[3], *array.shape[1:3]) == input_shape:
        array = array.permute(0, 3, 1, 2)
    if tuple(array.shape[1:]) != input_shape:
        raise ValueError(
            f"inputs must have shape (N, {', '.join(map(str, input_shape))}), "
            f"got {tuple(array.shape)}"
            + (": write inputs[None] for one sample" if array.shape == input_shape else "")
        )
    return [str(row) for row in range(len(array))], lambda rows: array[torch.from_numpy(rows)]
