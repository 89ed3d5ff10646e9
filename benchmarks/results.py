"""Results in a CSV file that grows run by run, and the statistics of their tables."""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

Row = Mapping[str, str | int | float]


class Results:
    """A CSV file to which runs are appended; ``key in results`` finds existing runs.

    Args:
        path: The file; it is created with the first run.
        keys: Columns that identify a run.
    """

    def __init__(self, path: Path, keys: Sequence[str]) -> None:
        self.path = path
        self.keys = tuple(keys)
        self.rows: list[dict[str, str]] = []
        if path.exists():
            with path.open(newline="") as file:
                self.rows = list(csv.DictReader(file))

    def __contains__(self, row: Row) -> bool:
        return any(self._same(old, row) for old in self.rows)

    def __getitem__(self, row: Row) -> dict[str, str]:
        """Return the run with the same keys."""
        return next(old for old in self.rows if self._same(old, row))

    def _same(self, old: dict[str, str], row: Row) -> bool:
        return all(old[key] == str(row[key]) for key in self.keys)

    def __iter__(self) -> Iterator[dict[str, str]]:
        return iter(self.rows)

    def append(self, row: Row) -> None:
        """Append a run to the file, floats with six decimals."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = not self.path.exists()
        line = {k: str(round(v, 6) if isinstance(v, float) else v) for k, v in row.items()}
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(line))
            if new:
                writer.writeheader()
            writer.writerow(line)
        self.rows.append(line)


def spread(values: Sequence[float]) -> str:
    """Format mean and standard deviation over seeds; empty if a value is missing."""
    if not values or any(math.isnan(value) for value in values):
        return ""
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{deviation}"


def interval(gains: Sequence[float]) -> str:
    """Format the mean of paired differences and its 95 % interval by Student's t."""
    from scipy.stats import t

    if len(gains) < 2:
        return ""
    mean = statistics.mean(gains)
    half = float(t.ppf(0.975, len(gains) - 1)) * statistics.stdev(gains) / math.sqrt(len(gains))
    return f"{mean:+.3f} ({mean - half:+.3f} to {mean + half:+.3f})"


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    """Return the gains of ours over theirs for the seeds that both have."""
    return [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
