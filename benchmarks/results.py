"""Results in a CSV file that grows run by run, and the statistics of their tables."""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
    from scipy.stats import t

    if len(gains) < 2:
        return ""
    mean = statistics.mean(gains)
    half = float(t.ppf(0.975, len(gains) - 1)) * statistics.stdev(gains) / math.sqrt(len(gains))
    return f"{mean:+.3f} ({mean - half:+.3f} to {mean + half:+.3f})"


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    """Return the gains of ours over theirs for the seeds that both have."""
    return [ours[seed] - theirs[seed] for seed in ours if seed in theirs]


def comparison(
    rows: Iterable[Mapping[str, str]],
    order: Sequence[str],
    metric: str,
    controls: Sequence[str],
    chosen: Callable[[str, str], str] | None = None,
) -> str:
    """Markdown: each method alone and with SuperCM, and the gain over all pairs with a seed.

    Args:
        rows: Runs with ``method``, ``supercm`` (0 or 1), ``seed`` and the metric.
        order: The methods as they are listed.
        metric: The column that is compared; higher is better.
        controls: Methods that do not count in the gains, because they are none. The best of them
            without SuperCM is bold.
        chosen: Returns the settings that an arm (method, ``supercm``) chose, as text.
    """
    found: dict[tuple[str, str], dict[int, float]] = {}
    for row in rows:
        arm = found.setdefault((row["method"], row["supercm"]), {})
        arm[int(row["seed"])] = float(row[metric])
    arms = ["without SuperCM", "worst", *["chosen"][: chosen is not None]]
    heads = ["method", *arms, *(head.replace("without", "with") for head in arms), "gain", "seeds"]
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    simple = [arm for arm in found if arm[0] in controls and arm[1] == "0"]
    strongest = max(simple, key=lambda arm: statistics.mean(found[arm].values()), default=None)
    pairs: dict[str, list[float]] = {}
    for method in sorted({method for method, _ in found}, key=order.index):
        cells = [method]
        for supercm in ("0", "1"):
            values = list(found.get((method, supercm), {}).values())
            mean = f"**{spread(values)}**" if (method, supercm) == strongest else spread(values)
            cells += [mean, f"{min(values):.3f}" if values else ""]
            if chosen is not None:
                cells.append(chosen(method, supercm) if values else "")
        alone, joint = (found.get((method, supercm), {}) for supercm in ("0", "1"))
        gain = paired(joint, alone)
        if gain and method not in controls:
            pairs[method] = gain
        lines.append(f"| {' | '.join([*cells, interval(gain), str(len(joint or alone))])} |")
    return "\n".join([*lines, "", _summary(pairs)]) if pairs else "\n".join(lines)


def _summary(pairs: Mapping[str, Sequence[float]]) -> str:
    """A sentence on the gains of all methods and seeds."""
    from scipy.stats import wilcoxon

    means = [statistics.mean(gain) for gain in pairs.values()]
    every = [value for gain in pairs.values() for value in gain]
    return (
        f"Better with SuperCM: {sum(mean > 0 for mean in means)} of {len(means)} methods; mean "
        f"gain {statistics.mean(means):+.3f}. All {len(every)} pairs of method and seed: "
        f"{interval(every)}, {sum(value > 0 for value in every)} better and "
        f"{sum(value < 0 for value in every)} worse, Wilcoxon p = {wilcoxon(every).pvalue:.1e}."
    )
