"""Record of a trained model on samples of all parts of its data, as a file."""

from __future__ import annotations

from dataclasses import dataclass

from supercm_pl.report.snapshot import Array, Snapshot

FILE = "final.npz"
KINDS = ("mistake", "doubtful", "suspect")
"""Why the report shows an image."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation(Snapshot):
    """The data that the report shows for the trained model.

    The domains are the parts of the data. ``images``, ``mistaken`` and ``mistake_confidence`` have
    all images that are shown.

    Attributes:
        sizes: ``(D, 2)`` int64, samples that were read of each part, and its size.
        calibration: ``(D, B, 3)`` float64: samples, mean confidence and accuracy by bins of the
            confidence; zeros for parts without labels.
        kinds: ``(M,)`` int64, why an image is shown: a number in ``KINDS``.
        ids: ``(M,)`` path or row number of each image.
        baselines: ``(J,)`` names of simple classifiers.
        baseline_accuracy: ``(J,)`` float64, on the last part.
        prior_minimum: ``()`` float64, smallest value of the Dirichlet prior in the clustering loss.
    """

    sizes: Array
    calibration: Array
    kinds: Array
    ids: Array
    baselines: Array
    baseline_accuracy: Array
    prior_minimum: Array

    @property
    def file_name(self) -> str:
        """Name of the file."""
        return FILE

    def _check(self) -> None:
        super()._check()
        domains, shown = len(self.domain_names), len(self.images)
        bins = self.calibration.shape[1] if self.calibration.ndim == 3 else 0
        self._check_shapes(
            {
                "sizes": (domains, 2),
                "calibration": (domains, bins, 3),
                **dict.fromkeys(("kinds", "ids"), (shown,)),
                "baseline_accuracy": (len(self.baselines),),
                "prior_minimum": (),
            }
        )
        if shown and not 0 <= self.kinds.min() <= self.kinds.max() < len(KINDS):
            raise ValueError(f"kinds must be in 0..{len(KINDS) - 1}")
