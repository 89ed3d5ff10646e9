"""Evaluation metrics, the same for every task and stage."""

from __future__ import annotations

from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError
from torchmetrics.clustering import AdjustedRandScore, NormalizedMutualInfoScore

from supercm_pl.checks import check_labels


class EvaluationMetrics(nn.Module):
    """Accuracy, calibration error and clustering agreement of soft assignments.

    ``acc`` (accuracy), ``top5`` (top-5 accuracy, with more than five classes), ``ece`` (expected
    calibration error, 15 bins), ``nmi`` and ``ari`` (agreement of the hard assignments with the
    labels as partitions). All but ``ari`` are in ``[0, 1]``.

    Args:
        num_classes: Number of classes ``K``, at least 2.
        prefix: Put before each name, such as ``"val/"``.
    """

    def __init__(self, num_classes: int, prefix: str) -> None:
        super().__init__()
        # Validation of arguments would synchronize with the device in every batch.
        scores: dict[str, Metric | MetricCollection] = {
            "acc": MulticlassAccuracy(num_classes, average="micro", validate_args=False),
            "ece": MulticlassCalibrationError(num_classes, n_bins=15, validate_args=False),
        }
        if num_classes > 5:
            scores["top5"] = MulticlassAccuracy(
                num_classes, top_k=5, average="micro", validate_args=False
            )
        # In a compute group, top-1 and top-5 accuracy would share their state.
        self.scores = MetricCollection(scores, prefix=prefix, compute_groups=False)
        self.partitions = MetricCollection(
            {"nmi": NormalizedMutualInfoScore(), "ari": AdjustedRandScore()},
            prefix=prefix,
            compute_groups=True,
        )

    def update(self, assignments: Tensor, labels: Tensor) -> None:
        """Add a batch of assignments ``(N, K)`` and labels ``(N,)``, whose range the CPU checks."""
        check_labels(labels, *assignments.shape)
        self.scores.update(assignments, labels)
        self.partitions.update(assignments.argmax(dim=1), labels)

    def compute(self) -> dict[str, Tensor]:
        """Return every metric since the last reset, by its prefixed name."""
        return {**self.scores.compute(), **self.partitions.compute()}

    @property
    def modes(self) -> dict[str, str]:
        """Whether each metric, by its prefixed name, is best at its ``"max"`` or ``"min"``."""
        metrics = {**dict(self.scores.items()), **dict(self.partitions.items())}
        return {n: "min" if m.higher_is_better is False else "max" for n, m in metrics.items()}

    @property
    def has_data(self) -> bool:
        """Whether there were batches since the last reset."""
        return any(metric.update_called for metric in self.partitions.values())

    def reset(self) -> None:
        """Reset all metrics."""
        self.scores.reset()
        self.partitions.reset()
