"""Predictions of a model that is taken out of its run: of folders, files and arrays."""

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
from supercm_pl.data.sources.image_reading import ImageFiles


class Predictions(NamedTuple):
    """What a model says of ``N`` inputs.

    Attributes:
        ids: Each input's path below the folder, its file's path, or its number.
        classes: The name of each input's most probable class.
        probabilities: ``(N, K)`` on the CPU.
    """

    ids: list[str]
    classes: list[str]
    probabilities: Tensor

    def save(self, path: str | PathLike[str], names: Sequence[str]) -> None:
        """Write a CSV file with the columns of ``supercm predict --config``.

        Args:
            path: The file; its folder is created if needed.
            names: Of the ``K`` classes.
        """
        file = PredictionWriter(Path(path), names)
        file.write(self.ids, self.probabilities)
        file.close()


def inputs_by_row(
    inputs: Any, input_shape: tuple[int, ...]
) -> tuple[list[str], Callable[[Indices], Tensor]]:
    """The ids of inputs, and what gives some of them by their rows.

    Args:
        inputs: A folder or a file; a list of files; or an array or tensor of inputs.
        input_shape: Of one input; images in files are brought to it.

    Raises:
        ValueError: If a folder holds no image, or inputs have another shape.
    """
    if isinstance(inputs, str | PathLike) and not Path(inputs).is_file():
        found = images_to_predict(Path(inputs), input_shape)
        return list(found.ids), lambda rows: fetch_inputs(found.samples.dataset, rows)
    files = [inputs] if isinstance(inputs, str | PathLike) else inputs
    if isinstance(files, list | tuple) and all(isinstance(p, str | PathLike) for p in files):
        if len(input_shape) != 3 or input_shape[0] not in (1, 3):
            raise ValueError(f"files are for models of images, this one takes {input_shape}")
        channels, height, width = input_shape
        images = ImageFiles([Path(p) for p in files], (height, width), grayscale=channels == 1)
        return [str(path) for path in files], images.fetch
    array = torch.as_tensor(inputs)
    if tuple(array.shape[1:]) != input_shape:
        raise ValueError(
            f"inputs must have shape (N, {', '.join(map(str, input_shape))}), "
            f"got {tuple(array.shape)}"
        )
    return [str(row) for row in range(len(array))], lambda rows: array[torch.from_numpy(rows)]
