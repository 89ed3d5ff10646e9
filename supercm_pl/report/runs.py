"""Reader of a run's folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from supercm_pl.report.snapshot import FINAL, FOLDER, Evaluation, Snapshot
from supercm_pl.viz.curves import Curve, read_curves

# Bounds on files from strangers, far above those of real runs.
_MOST_BYTES = {"config.yaml": 200_000, "metrics.csv": 100_000_000, "split.json": 50_000_000}
_MOST_SETTINGS = 10_000
_DEEPEST = 30
# More stops make the slider unusable and the page larger.
_MOST_SNAPSHOTS = 60


@dataclass(frozen=True, kw_only=True)
class Run:
    """The contents of a run's folder.

    Attributes:
        name: The last two parts of the folder's path.
        config: The text of ``config.yaml``, or ``None``.
        settings: Its values by dotted path, such as ``model.init_args.cm_weight``.
        curves: The metrics of ``metrics.csv``.
        split: Number of samples in each part, from ``split.json``.
        snapshots: Records of :class:`~supercm_pl.callbacks.ReportRecorder`, by step; at most 60,
            evenly spaced, including the last.
        final: Record of the trained model, or ``None``.
        problem: Why there is none.
    """

    name: str
    config: str | None
    settings: Mapping[str, str]
    curves: Mapping[str, Curve]
    split: Mapping[str, int]
    snapshots: Sequence[Snapshot]
    final: Evaluation | None = None
    problem: str = ""

    @property
    def prior_minimum(self) -> float:
        """A constant in the clustering loss; 0 if unknown."""
        return 0.0 if self.final is None else float(self.final.prior_minimum)


def read_run(folder: str | Path) -> Run:
    """Read the logger's folder of a run, such as ``runs/ssl_digits/version_0``.

    Raises:
        ValueError: If it is not the folder of a run, or a file in it cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    config, metrics, recorded = folder / "config.yaml", folder / "metrics.csv", folder / FOLDER
    if not (config.is_file() or metrics.is_file() or recorded.is_dir()):
        raise ValueError(
            f"{folder} is not a run: it has no config.yaml, metrics.csv or {FOLDER}/"
            f"{runs_inside(folder)}"
        )
    for name, most in _MOST_BYTES.items():
        if (folder / name).is_file() and (folder / name).stat().st_size > most:
            raise ValueError(f"{folder / name} has more than {most:,} bytes")
    final = recorded / FINAL
    snapshots = sorted(path for path in recorded.glob("step_*.npz") if path.is_file())
    text = config.read_text(encoding="utf-8", errors="replace") if config.is_file() else None
    return Run(
        name="/".join(folder.resolve().parts[-2:]),
        config=text,
        settings={} if text is None else _settings(text),
        curves=read_curves(metrics) if metrics.is_file() else {},
        split=_split(folder / "split.json"),
        snapshots=[Snapshot.load(path) for path in _chosen(snapshots)],
        final=Evaluation.load(final) if final.is_file() else None,
    )


def runs_inside(folder: Path) -> str:
    """A hint for an error message about a folder that has runs and is none."""
    inside = sorted(path.name for path in folder.glob("version_*"))
    return f"; use one of its folders {', '.join(inside)}" if inside else ""


def _chosen(paths: list[Path]) -> list[Path]:
    if len(paths) <= _MOST_SNAPSHOTS:
        return paths
    last = len(paths) - 1
    return [paths[i * last // (_MOST_SNAPSHOTS - 1)] for i in range(_MOST_SNAPSHOTS)]


def _settings(text: str) -> dict[str, str]:
    try:
        return dict(islice(_flat(yaml.safe_load(text)), _MOST_SETTINGS))
    except (yaml.YAMLError, RecursionError, ValueError, KeyError, AttributeError):
        return {}  # no YAML, or a value that is not of its tag; the page shows the text anyway


def _flat(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield values by dotted path. Few bytes can stand for endless ones, so it is a generator."""
    items: Iterable[tuple[Any, Any]]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if isinstance(value, dict) and value:
        items = value.items()
    elif any(isinstance(item, dict | list) for item in inner):
        items = enumerate(value)
    else:
        yield path, str(value)
        return
    if depth < _DEEPEST:
        prefix = f"{path}." if path else ""
        for key, item in items:
            yield from _flat(item, f"{prefix}{key}", depth + 1)


def _split(path: Path) -> dict[str, int]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        return {}
    names = ("labeled", "unlabeled", "val")
    counts = content.get("counts")  # with samples that are in no row of the split
    if isinstance(counts, dict):
        return {name: counts[name] for name in names if isinstance(counts.get(name), int)}
    return {name: len(content[name]) for name in names if isinstance(content.get(name), list)}
