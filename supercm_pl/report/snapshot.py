"""Records of one validation, and of the trained model, as files."""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

FOLDER = "report"
FINAL = "final.npz"
KINDS = ("mistake", "doubtful", "suspect")
"""Why the report shows an image."""

Array = npt.NDArray[Any]

_FORMAT = "supercm_pl report 1"
_MOST_BYTES = 100_000_000
_MOST_POINTS = 100_000
# Longer texts are cut off.
_TEXTS = {"classes": "U200", "domain_names": "U200", "baselines": "U200", "ids": "U4096"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """The data that the report shows for one validation.

    Attributes:
        epoch: Epoch, from 0.
        step: Optimizer steps taken.
        points: ``(N, 2)`` float32, projected features.
        centroids: ``(K, 2)`` float32, projected alike; ``(0, 2)`` if there are none.
        labels: ``(N,)`` int32; ``-1`` for unknown labels.
        predicted: ``(N,)`` int32.
        confidence: ``(N,)`` float32.
        domains: ``(N,)`` int32.
        rows: ``(N,)`` int64, index in the data set.
        classes: ``(K,)`` names.
        domain_names: ``(D,)``.
        confusion: ``(D, K, K)`` int64; true class (row) and predicted class (column).
        images: ``(M, H, W, C)`` uint8 with ``C`` 1 or 3, the most confident mistakes;
            ``(M, 0, 0, 1)`` if inputs are not images.
        mistaken: ``(M, 4)`` int64: label (``-1`` if unknown), predicted class, domain and row.
        mistake_confidence: ``(M,)`` float32, descending.
    """

    epoch: int
    step: int
    points: Array
    centroids: Array
    labels: Array
    predicted: Array
    confidence: Array
    domains: Array
    rows: Array
    classes: Array
    domain_names: Array
    confusion: Array
    images: Array
    mistaken: Array
    mistake_confidence: Array

    @property
    def file_name(self) -> str:
        """Name of the file, such as ``step_00000600.npz``."""
        return f"step_{self.step:08d}.npz"

    def save(self, folder: str | Path) -> Path:
        """Write ``file_name`` to a folder atomically."""
        path = Path(folder) / self.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        try:
            with partial.open("wb") as file:
                np.savez_compressed(file, format=np.asarray(_FORMAT), **columns)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file of :meth:`save`, without unpickling.

        Raises:
            ValueError: If the file has another format.
        """
        try:
            # Opened here, because numpy leaves a damaged file open.
            with Path(path).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                _check_size(file.zip)
                if str(file["format"]) != _FORMAT:
                    raise ValueError(f"format must be {_FORMAT!r}, got {str(file['format'])!r}")
                columns = {field.name: file[field.name] for field in fields(cls)}
            for name in columns.keys() & _TEXTS:
                columns[name] = columns[name].astype(_TEXTS[name])
            columns["epoch"], columns["step"] = int(columns["epoch"]), int(columns["step"])
            snapshot = cls(**columns)
            snapshot._check()
        except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is not a file of a report: {error}") from error
        return snapshot

    def _check(self) -> None:
        for field in fields(self):
            values = np.asarray(getattr(self, field.name))
            if field.name not in _TEXTS and values.dtype.kind not in "iuf":
                raise ValueError(f"{field.name} must be numbers, got {values.dtype}")
        if len(self.points) > _MOST_POINTS:
            raise ValueError(f"it has more than {_MOST_POINTS:,} points")
        count, classes, domains = len(self.points), len(self.classes), len(self.domain_names)
        mistakes = len(self.images)
        shapes = {
            "points": (count, 2),
            "centroids": (len(self.centroids), 2),
            **dict.fromkeys(("labels", "predicted", "confidence", "domains", "rows"), (count,)),
            "confusion": (domains, classes, classes),
            "mistaken": (mistakes, 4),
            "mistake_confidence": (mistakes,),
        }
        self._check_shapes(shapes)
        numbers = {
            "labels": (self.labels, classes),
            "predicted": (self.predicted, classes),
            "domains": (self.domains, domains),
            "mistaken labels": (self.mistaken[:, 0], classes),
            "mistaken classes": (self.mistaken[:, 1], classes),
            "mistaken domains": (self.mistaken[:, 2], domains),
        }
        for name, (values, bound) in numbers.items():
            if len(values) and not -1 <= values.min() <= values.max() < bound:
                raise ValueError(f"{name} must be in -1..{bound - 1}")
        images = self.images
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
            raise ValueError(f"images must be uint8 (M, H, W, 1 or 3), got {images.shape}")

    def _check_shapes(self, shapes: dict[str, tuple[int, ...]]) -> None:
        for name, shape in shapes.items():
            found = getattr(self, name).shape
            if found != shape:
                raise ValueError(f"{name} must have shape {shape}, got {found}")


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
        return FINAL

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


def _check_size(archive: zipfile.ZipFile) -> None:
    """Reject arrays that are larger than their file, which numpy would allocate at once."""
    if sum(member.file_size for member in archive.infolist()) > _MOST_BYTES:
        raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")
    for member in archive.infolist():
        with archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0
            read = read if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
        if math.prod(shape) * dtype.itemsize > member.file_size:
            raise ValueError(f"{member.filename} is shorter than its shape {shape}")
