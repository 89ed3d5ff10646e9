"""Soft neighborhood density: whether target samples of similar predictions form dense groups."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from supercm_pl.checks import check_positive
from supercm_pl.uda.validators.validator import AssignmentValidator

# Numbers in one block of the matrix of similarities: 64 MB in float32.
_BLOCK_SIZE = 2**24


class SND(AssignmentValidator):
    """Soft neighborhood density of the target's predictions, in [0, log(N − 1)].

    With f_i the class probabilities of target sample i, divided by their Euclidean norm::

        S_ij = ⟨f_i, f_j⟩
        P_ij = exp(S_ij / τ) / Σ_{l≠i} exp(S_il / τ)      for j ≠ i, and P_ii = 0
        SND  = −1/N Σ_i Σ_j P_ij log P_ij

    from Saito, Kim, Teterwak, Sclaroff, Darrell, Saenko: Tune it the right way: Unsupervised
    validation of domain adaptation via soft neighborhood density. ICCV 2021, arXiv 2108.10860.

    The value grows with N, so compare models on the same samples. A model that gives all samples
    the same probabilities, confident or not, gets the best value; with few classes even random
    vague ones are dense. It keeps the probabilities of all samples, 4·N·K bytes, and takes N²·K
    time; the matrix of similarities is never whole in memory.

    Args:
        temperature: τ > 0.
    """

    def __init__(self, temperature: float = 0.05, **options: Any) -> None:
        super().__init__(**options)
        self.temperature = check_positive("temperature", temperature)

    def _value(self) -> Tensor:
        return soft_neighborhood_density(self._rows("target_assignments"), self.temperature)


def soft_neighborhood_density(assignments: Tensor, temperature: float = 0.05) -> Tensor:
    """Compute the density of `SND` of assignments (N, K) in blocks of samples, a scalar.

    A single sample has no neighbors: 0.
    """
    rows = F.normalize(assignments, dim=1)
    num_rows = rows.shape[0]
    total = rows.new_zeros(())
    if num_rows == 1:
        return total
    block_rows = max(_BLOCK_SIZE // num_rows, 1)
    for start in range(0, num_rows, block_rows):
        block = rows[start : start + block_rows]
        similarities = (block @ rows.T).div_(temperature)
        similarities.diagonal(start).fill_(-torch.inf)
        total += torch.special.entr(torch.softmax(similarities, dim=1)).sum()
    return total / num_rows
