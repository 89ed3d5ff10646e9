"""Results in a CSV file that grows run by run, and the statistics of their tables."""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
        self.columns: list[str] = []
        if path.exists():
            with path.open(newline="") as file:
                reader = csv.DictReader(file)
                self.columns = list(reader.fieldnames or ())
                self.rows = list(reader)

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
        """Append a run to the file, floats with six decimals.

        Raises:
            ValueError: If the file has other columns than the run.
        """
        line = {k: str(round(v, 6) if isinstance(v, float) else v) for k, v in row.items()}
        first = not self.columns
        self.columns = self.columns or list(line)
        if set(line) != set(self.columns):
            raise ValueError(
                f"{self.path} has the columns {self.columns}, the run has {list(line)}."
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            if first:
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
    if len(gains) < 2:
        return ""
    mean, half = statistics.mean(gains), half_width(gains)
    return f"{mean:+.3f} ({mean - half:+.3f} to {mean + half:+.3f})"


def half_width(gains: Sequence[float]) -> float:
    """Half of the 95 % interval by Student's t."""
    from scipy.stats import t

    deviation = statistics.stdev(gains) / math.sqrt(len(gains))
    return float(t.ppf(0.975, len(gains) - 1)) * deviation


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    """Return the gains of ours over theirs for the seeds that both have."""
    return [ours[seed] - theirs[seed] for seed in ours if seed in theirs]


Arms = dict[tuple[str, str], dict[int, float]]
"""The values of a metric by method and ``supercm`` (0 or 1), and then by seed."""


def arms_of(rows: Iterable[Mapping[str, str]], metric: str) -> Arms:
    """Group runs with ``method``, ``supercm`` and ``seed`` by arm."""
    arms: Arms = {}
    for row in rows:
        arm = arms.setdefault((row["method"], row["supercm"]), {})
        arm[int(row["seed"])] = float(row[metric])
    return arms


def gains(arms: Arms, uncounted: Sequence[str]) -> dict[str, dict[int, float]]:
    """What each method gains with SuperCM, by seed, but for methods that do not count."""
    methods = sorted({method for method, _ in arms} - set(uncounted))
    both = {
        method: (arms.get((method, "0"), {}), arms.get((method, "1"), {})) for method in methods
    }
    found = {
        method: {seed: joint[seed] - alone[seed] for seed in joint if seed in alone}
        for method, (alone, joint) in both.items()
    }
    return {method: gain for method, gain in found.items() if gain}


def over_seeds(found: Mapping[str, Mapping[int, float]]) -> list[float]:
    """The mean gain of all methods by seed, for the seeds that all methods have."""
    seeds = sorted(set.intersection(*(set(gain) for gain in found.values())))
    return [statistics.mean(gain[seed] for gain in found.values()) for seed in seeds]


def comparison(
    rows: Iterable[Mapping[str, str]],
    order: Sequence[str],
    metric: str,
    controls: Sequence[str],
    uncounted: Sequence[str] = (),
) -> str:
    """Markdown: each method alone and with SuperCM, and the gain over all methods.

    Args:
        rows: Runs with ``method``, ``supercm`` (0 or 1), ``seed`` and the metric.
        order: The methods as they are listed.
        metric: The column that is compared; higher is better.
        controls: Methods that do not count in the gains, because they are none. The best of them
            without SuperCM is bold.
        uncounted: Other methods that do not count in the gains.
    """
    found = arms_of(rows, metric)
    heads = ["method", "without SuperCM", "worst", "with SuperCM", "worst", "gain"]
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    strongest = strongest_control(found, controls)
    for method in sorted({method for method, _ in found}, key=order.index):
        cells = [method]
        for supercm in ("0", "1"):
            values = list(found.get((method, supercm), {}).values())
            bold = method == strongest and supercm == "0"
            mean = f"**{spread(values)}**" if bold else spread(values)
            cells += [mean, f"{min(values):.3f}" if values else ""]
        alone, joint = (found.get((method, supercm), {}) for supercm in ("0", "1"))
        lines.append(f"| {' | '.join([*cells, interval(paired(joint, alone))])} |")
    counted = gains(found, [*controls, *uncounted])
    return "\n".join([*lines, "", summary(counted)] if len(counted) > 1 else lines)


def strongest_control(arms: Arms, controls: Sequence[str]) -> str | None:
    """The control with the best mean."""
    means = {
        method: statistics.mean(values.values())
        for (method, supercm), values in arms.items()
        if supercm == "0" and method in controls
    }
    return max(means, key=lambda method: means[method], default=None)


def summary(found: Mapping[str, Mapping[int, float]]) -> str:
    """A sentence on the gains of all methods and seeds."""
    by_seed = over_seeds(found)
    every = [value for gain in found.values() for value in gain.values()]
    better = sum(statistics.mean(gain.values()) > 0 for gain in found.values())
    return (
        f"Over {len(by_seed)} seeds, better with SuperCM: {better} of {len(found)} methods. Mean "
        f"gain {interval(by_seed)}, an interval over the seeds. All {len(every)} pairs of method "
        f"and seed: {interval(every)}, {sum(value > 0 for value in every)} better and "
        f"{sum(value < 0 for value in every)} worse."
    )
