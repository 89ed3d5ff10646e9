"""The labeled, unlabeled and validation samples of a training set, saved with a digest."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from supercm_pl.data.datasets import Indices
from supercm_pl.data.splits.distortion import Distortion
from supercm_pl.text_files import read_text

_FORMAT = "supercm_pl split 1"
_FORMAT_DISTORTED = "supercm_pl split 2"  # with a distortion, unknown to readers of the first
_ROLES = ("labeled", "val", "unlabeled")


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of a training set by their role, each sorted.

    Attributes:
        labeled: ``(n,)`` rows that are used with their labels.
        unlabeled: ``(n,)`` rows that are used without their labels.
        val: ``(n,)`` rows held out for validation; never among the others.
        num_samples: Number of rows of the training set.
        label_hash: SHA-256 of the labels of the ``labeled`` and ``val`` rows, to recognize the data
            set.
        distortion: How the data were made worse, with ``unknown_classes`` by number, or ``None``.
        noisy_labels: ``(n,)`` labels that replace those of the ``labeled`` rows, in the data set's
            numbering; ``None`` without label noise.
    """

    labeled: Indices
    unlabeled: Indices
    val: Indices
    num_samples: int
    label_hash: str
    distortion: Distortion | None = None
    noisy_labels: Indices | None = None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the saved form; equal for equal splits of one data set."""
        return hashlib.sha256(self._text().encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Split) and self._text() == other._text()

    def __hash__(self) -> int:
        return hash(self.digest)

    def save(self, path: str | Path, counts: Mapping[str, int] | None = None) -> None:
        """Write JSON atomically: the same bytes for the same split on every machine.

        ``counts`` are the samples of each part, with those of the source's own data sets, which
        the split does not list; only reports read them.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        text = self._text()
        if counts is not None:
            text = text.replace("{\n", f'{{\n"counts": {json.dumps(counts)},\n', 1)
        try:
            partial.write_bytes(text.encode())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> Split:
        """Read a file written by :meth:`save`; a ``ValueError`` for any other file."""
        try:
            held = json.loads(read_text(path))
            held.pop("counts", None)
            kind = held.pop("format")
            if kind not in (_FORMAT, _FORMAT_DISTORTED):
                raise ValueError(f"its format is {kind!r}, not {_FORMAT!r}")
            if kind == _FORMAT_DISTORTED:
                held["distortion"] = Distortion(**held["distortion"])
            for name in (*_ROLES, "noisy_labels"):
                if held.get(name) is not None:
                    held[name] = np.asarray(held[name], dtype=np.int64)
            split = cls(**held)
            noisy = split.noisy_labels
            if noisy is not None and len(noisy) != (size := len(split.labeled)):
                raise ValueError(f"it has {len(noisy)} noisy_labels for {size} labeled rows")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{path} is not a saved split: {error}") from error
        for role in _ROLES:
            check_rows(getattr(split, role), split.num_samples, f"{role} rows of {path}")
        if np.isin(split.val, [*split.labeled, *split.unlabeled]).any():
            raise ValueError(f"{path}: validation rows must not be labeled or unlabeled, too")
        return split

    def check_belongs_to(self, labels: Indices, origin: str) -> None:
        """Require labels ``(N,)`` of the split's own training set, else a ``ValueError``."""
        if self.num_samples != len(labels):
            raise ValueError(
                f"the split {origin} is for {self.num_samples} training samples, "
                f"the data has {len(labels)}"
            )
        if self.label_hash != hash_labels(labels, self.labeled, self.val):
            raise ValueError(f"the split {origin} is for data with other labels or another order")

    def _text(self) -> str:
        fields: dict[str, Any] = {
            "format": _FORMAT if self.distortion is None else _FORMAT_DISTORTED,
            "num_samples": self.num_samples,
            "label_hash": self.label_hash,
            **{role: getattr(self, role).tolist() for role in _ROLES},
        }
        if self.distortion is not None:
            noisy = self.noisy_labels
            fields["distortion"] = asdict(self.distortion)
            fields["noisy_labels"] = None if noisy is None else noisy.tolist()
        lines = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items())
        return "{\n" + ",\n".join(lines) + "\n}\n"


def check_rows(rows: Indices, size: int, name: str) -> None:
    """Require different rows ``(n,)`` in ``0..size-1``."""
    if len(rows) and (rows.min() < 0 or rows.max() >= size):
        bad = rows[(rows < 0) | (rows >= size)][0]
        raise ValueError(f"{name} must be in 0..{size - 1}, got {bad}")
    if len(np.unique(rows)) < len(rows):
        values, counts = np.unique(rows, return_counts=True)
        raise ValueError(f"{name} must be different rows, but {values[counts > 1][0]} is repeated")


def hash_labels(labels: Indices, labeled: Indices, val: Indices) -> str:
    """SHA-256 of the labels ``(N,)`` of the labeled and validation rows."""
    held = np.concatenate([labels[labeled], labels[val]]).astype("<i8")
    return hashlib.sha256(held.tobytes()).hexdigest()
