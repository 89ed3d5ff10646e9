"""Labeled rows of several domains as one set, with or without the number of their domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from supercm_pl.data.datasets import Indices, JoinedData, Samples, dataset_length


class DomainSamples(Samples):
    """Labeled rows with the number of the domain that each is from: batches ``(x, y, domain)``.

    Args:
        samples: Rows with labels.
        domains: ``(n,)`` int64.
    """

    def __init__(self, samples: Samples, domains: Indices) -> None:
        super().__init__(samples.dataset, samples.rows)
        self.targets = samples.targets
        self.domains = torch.from_numpy(domains)

    def fetch(self, positions: Indices) -> Any:
        """Inputs ``(B, ...)``, labels ``(B,)`` and domains ``(B,)`` at positions ``(B,)``."""
        inputs, labels = super().fetch(positions)
        return inputs, labels, self.domains[torch.from_numpy(positions)]


def joined(samples: Sequence[Samples]) -> Samples:
    """Labeled rows of several data sets, one after the other."""
    if len(samples) == 1:
        return samples[0]
    starts = np.cumsum([0, *(dataset_length(part.dataset) for part in samples)])
    rows = [part.rows + start for part, start in zip(samples, starts, strict=False)]
    labels = [part.targets.numpy() for part in samples if part.targets is not None]
    return Samples(
        JoinedData([part.dataset for part in samples]),
        np.concatenate(rows),
        np.concatenate(labels),
    )
