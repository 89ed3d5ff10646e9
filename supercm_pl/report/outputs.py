"""Outputs of a trained model on samples of every part of its data."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from supercm_pl.data.datamodule import SuperCMDataModule
from supercm_pl.data.datasets import Indices, JoinedData, Samples, as_tuple
from supercm_pl.data.sources.image_reading import ImageFiles
from supercm_pl.data.sources.resized import ReshapedData
from supercm_pl.report.thumbnails import reduced
from supercm_pl.training.modes import evaluation_mode
from supercm_pl.training.network import ClusteringNetwork


@dataclass(frozen=True, kw_only=True, eq=False)
class PartOutputs:
    """Samples of one part of the data, and a model's outputs, on the CPU.

    Attributes:
        name: Name of the part.
        size: Number of samples of the part, of which ``N`` were read.
        rows: ``(N,)`` positions in the part, increasing.
        ids: ``N`` paths of files, or row numbers of the data set.
        inputs: ``(N, ...)``; images are reduced to at most 64 pixels.
        features: ``(N, d)`` float32.
        assignments: ``(N, K)`` float32.
        labels: ``(N,)`` int64; ``-1`` for unknown labels.
    """

    name: str
    size: int
    rows: Indices
    ids: list[str]
    inputs: Tensor
    features: Tensor
    assignments: Tensor
    labels: Tensor

    @property
    def predicted(self) -> Tensor:
        """``(N,)`` the most probable classes."""
        return self.assignments.argmax(dim=1)

    @property
    def has_labels(self) -> bool:
        """Whether the labels of all samples are known."""
        return bool((self.labels >= 0).all())


def parts_to_show(data: SuperCMDataModule) -> dict[str, Samples]:
    """The parts of the data with a length, by name; ``"test"`` last."""
    target = data.domains[-1]
    found = {name: part.samples for name, part in data.parts().items()}
    if target.is_transductive:  # the test shows the same samples, with labels
        found.pop("target", None)
    for domain in data.domains:
        found[f"{domain.name} validation".strip()] = domain.val
    if data.has_test_data:
        found["test"] = target.test
    return {name: part for name, part in found.items() if isinstance(part, Samples) and len(part)}


def outputs_of_parts(
    module: ClusteringNetwork,
    data: SuperCMDataModule,
    *,
    most: int = 2_000,
    seconds: float | None = None,
) -> list[PartOutputs]:
    """Outputs on samples of every part that has a length.

    From a part with more than ``most`` samples they are drawn at random, with a fixed seed. After
    some ``seconds`` for a part, no further batch is read. The model's mode and device stay.
    """
    parts = parts_to_show(data)
    return [outputs(module, data, part, name, most, seconds) for name, part in parts.items()]


@torch.no_grad()
def outputs(
    module: ClusteringNetwork,
    data: SuperCMDataModule,
    samples: Samples,
    name: str = "",
    most: int | None = None,
    seconds: float | None = None,
) -> PartOutputs:
    """Outputs on samples of one part, as :func:`outputs_of_parts` does."""
    order = np.random.default_rng(0).permutation(len(samples))[:most]
    targets = None if samples.targets is None else samples.targets.numpy()[order]
    drawn = Samples(samples.dataset, samples.rows[order], targets)
    columns: list[tuple[Tensor, ...]] = []
    started = time.monotonic()
    with evaluation_mode(module):
        for batch in data.evaluation_loader(drawn):
            inputs, *rest = as_tuple(batch)
            found = module.forward_outputs(data.on_after_batch_transfer(inputs.to(module.device)))
            known = rest[0] if rest else torch.full((len(inputs),), -1)
            floats = (found.features.float().cpu(), found.assignments.float().cpu())
            columns.append((reduced(inputs), *floats, known))
            if seconds is not None and time.monotonic() - started > seconds:
                break
    read = [torch.cat(column) for column in zip(*columns, strict=True)]
    by_row = np.argsort(order[: len(read[0])])
    rows = order[by_row]
    small, features, assignments, labels = (column[torch.from_numpy(by_row)] for column in read)
    ids = [sample_id(samples.dataset, int(row)) for row in samples.rows[rows]]
    return PartOutputs(
        name=name,
        size=len(samples),
        rows=rows,
        ids=ids,
        inputs=small,
        features=features,
        assignments=assignments,
        labels=labels,
    )


def sample_id(dataset: Dataset[Any], row: int) -> str:
    """The path of a sample's file, else its row number."""
    if isinstance(dataset, JoinedData):
        part, inner = dataset.locate(row)
        found = sample_id(part, inner)
        return str(row) if found == str(inner) else found
    if isinstance(dataset, ReshapedData):
        return sample_id(dataset.dataset, row)
    return str(dataset.paths[row]) if isinstance(dataset, ImageFiles) else str(row)
