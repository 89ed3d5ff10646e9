"""Random sample of a sequence of batches."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from supercm_pl.viz.classification import confusion_counts


class Reservoir:
    """Uniform random sample from a loader of unknown length.

    Args:
        domain: Number of the loader.
        size: Samples to keep, 1 or more.
        max_mistakes: Wrong predictions to keep, 0 or more.
        num_classes: ``K``.

    Attributes:
        seen: Number of samples added.
        kept: Columns of the kept samples, with the random ``priority`` that selected them; ``rows``
            are positions in the loader.
        mistakes: Columns of the most confident mistakes, sorted by ``doubt``, one minus the
            confidence.
        confusion: ``(K, K)`` int64, confusion counts of all labeled samples.
    """

    def __init__(self, domain: int, size: int, max_mistakes: int, num_classes: int) -> None:
        self.domain, self.size, self.max_mistakes = domain, size, max_mistakes
        self.seen = 0
        self.kept: dict[str, Tensor] = {}
        self.mistakes: dict[str, Tensor] = {}
        self.confusion = torch.zeros(num_classes, num_classes, dtype=torch.long)
        # The same numbers in each validation, so that the same samples are kept.
        self._random = np.random.default_rng(domain)

    def add(
        self, features: Tensor, assignments: Tensor, inputs: Tensor, labels: Tensor | None
    ) -> None:
        """Add ``(B, d)``, ``(B, K)``, ``(B, ...)`` and labels ``(B,)`` if known, on any device."""
        count = len(features)
        assignments = assignments.float().cpu()
        labels = torch.full((count,), -1) if labels is None else labels.cpu().long()
        rows = torch.arange(self.seen, self.seen + count)
        self.seen += count
        priority = torch.from_numpy(self._random.random(count))
        confidence, predicted = assignments.max(dim=1)
        known = (labels >= 0) & (labels < len(self.confusion))
        self.confusion += confusion_counts(predicted[known], labels[known], len(self.confusion))

        chosen = priority.topk(min(self.size, count), largest=False).indices
        new = {
            "priority": priority[chosen],
            "features": features[chosen.to(features.device)].float().cpu(),
            "assignments": assignments[chosen],
            "labels": labels[chosen],
            "rows": rows[chosen],
        }
        self.kept = first(appended(self.kept, new), "priority", self.size)

        wrong = ((predicted != labels) & known).nonzero().squeeze(1)
        if self.max_mistakes and len(wrong):
            sure = confidence[wrong].topk(min(self.max_mistakes, len(wrong))).indices
            wrong = wrong[sure]
            new = {
                "doubt": 1.0 - confidence[wrong].double(),
                "inputs": inputs[wrong.to(inputs.device)].float().cpu(),
                "labels": labels[wrong],
                "predicted": predicted[wrong],
                "confidence": confidence[wrong],
                "domains": torch.full_like(wrong, self.domain),
                "rows": rows[wrong],
            }
            self.mistakes = first(appended(self.mistakes, new), "doubt", self.max_mistakes)


def appended(old: dict[str, Tensor], new: dict[str, Tensor]) -> dict[str, Tensor]:
    """Concatenate two tables; an empty one has no columns."""
    return {name: torch.cat([old[name], new[name]]) for name in new} if old else new


def first(table: dict[str, Tensor], by: str, count: int) -> dict[str, Tensor]:
    """Return the first rows of a table sorted by a column."""
    order = table[by].argsort(stable=True)[:count]
    return {name: column[order] for name, column in table.items()}
