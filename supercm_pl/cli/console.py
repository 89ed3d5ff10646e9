"""What the command prints: progress, and the closing table."""

from __future__ import annotations

import sys
import time
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import ModelSummary, ProgressBar
from lightning.pytorch.utilities import rank_zero_info
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_METRICS = {
    "acc": "accuracy",
    "nmi": "NMI",
    "ari": "ARI",
    "top5": "top-5 accuracy",
    "ece": "calibration error",
}


def progress_bar() -> ProgressBar:
    """A live bar where the terminal can show one, else plain lines."""
    return LiveBar() if sys.stdout.isatty() else ProgressLines()


class _StepProgress(ProgressBar):
    """Progress of a whole run, in optimizer steps; of an evaluation, in batches.

    Metrics are fetched from the device only when something is shown.
    """

    def __init__(self, interval: float) -> None:
        super().__init__()
        self.interval = interval
        self._enabled = True
        self._stage = ""

    @abstractmethod
    def show(self, done: int, total: float, metrics: str) -> None:
        """Show that ``done`` of ``total`` (infinite where unknown) is done."""

    def finish(self) -> None:
        """Nothing more will be shown of this stage."""

    def disable(self) -> None:
        """Show nothing, as Lightning asks of every rank but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show again."""
        self._enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._begin("fit", trainer.global_step)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Show progress where it is time for it."""
        if self._is_due():
            self._show_training(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the end."""
        if self._enabled:
            self._show_training(trainer, pl_module)
        self._end()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock, where this is not part of training."""
        if not self._stage:
            self._begin("validate", 0)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show progress, where this is not part of training."""
        if self._stage == "validate" and self._is_due():
            self.show(batch_idx + 1, trainer.num_val_batches[dataloader_idx], "")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End, where this is not part of training."""
        if self._stage == "validate":
            self._end()

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._begin("test", 0)

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show progress where it is time for it."""
        if self._is_due():
            self.show(batch_idx + 1, trainer.num_test_batches[dataloader_idx], "")

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End."""
        self._end()

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._begin("predict", 0)

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show progress where it is time for it."""
        if self._is_due():
            self.show(batch_idx + 1, trainer.num_predict_batches[dataloader_idx], "")

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End."""
        self._end()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Leave the terminal as it was."""
        self._end()

    def _begin(self, stage: str, first: int) -> None:
        self._stage = stage
        self._first = first
        self._started = self._shown = time.monotonic()

    def _end(self) -> None:
        self.finish()
        self._stage = ""

    def _is_due(self) -> bool:
        now = time.monotonic()
        due = self._enabled and now - self._shown >= self.interval
        self._shown = now if due else self._shown
        return due

    def _show_training(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        metrics = dict(self.get_metrics(trainer, pl_module))
        loss = trainer.callback_metrics.get("train/loss")
        if loss is not None:  # waits for the device, at the pace of this display
            metrics = {"train/loss": float(loss), **metrics}
        # Not the logger's version, which is an integer.
        named = [f"{name} {value:.3f}" for name, value in metrics.items() if type(value) is float]
        self.show(trainer.global_step, trainer.estimated_stepping_batches, " · ".join(named))


class ProgressLines(_StepProgress):
    """A line of progress every few seconds, and at the end of training: for logs and pipes.

    Args:
        interval: Seconds between two lines, ``>= 0``.
    """

    def __init__(self, interval: float = 5.0) -> None:
        super().__init__(interval)

    def show(self, done: int, total: float, metrics: str) -> None:
        """Print a line."""
        seconds = time.monotonic() - self._started
        known = total < float("inf")
        parts = [f"{self._stage} {done:,}" + (f"/{total:,.0f}" if known else "")]
        parts += [metrics] if metrics else []
        parts.append(f"{seconds:.0f} s")
        if known and self._first < done < total:
            parts.append(f"{seconds / (done - self._first) * (total - done):.0f} s left")
        print(" · ".join(parts), flush=True)


class LiveBar(_StepProgress):
    """One bar for the whole run, in a terminal.

    Args:
        interval: Seconds between two updates, ``>= 0``.
    """

    def __init__(self, interval: float = 0.2) -> None:
        super().__init__(interval)
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def show(self, done: int, total: float, metrics: str) -> None:
        """Move the bar."""
        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[metrics]}"),
            )
            self._task = self._bar.add_task(self._stage, completed=self._first, metrics="")
            self._bar.start()
        known = total if total < float("inf") else None
        self._bar.update(self._task, completed=done, total=known, metrics=metrics)

    def finish(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class ModelLine(ModelSummary):
    """The size of the model in a line, in place of a table."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print it."""
        sizes = {True: 0, False: 0}
        for parameter in pl_module.parameters():
            sizes[parameter.requires_grad] += parameter.numel()
        frozen = f" and {sizes[False]:,} frozen ones" if sizes[False] else ""
        name = type(pl_module).__name__
        rank_zero_info(f"{name} with {sizes[True]:,} trainable parameters{frozen}")


def closing_table(
    title: str, metrics: Mapping[str, Any], seconds: float, places: Mapping[str, str]
) -> None:
    """Print the metrics, a column for each stage, and where things are.

    Args:
        title: Above the names.
        metrics: Values by logged name, such as ``"test/acc"``.
        seconds: How long it took.
        places: Paths by what is there; they are never cut.

    Example:
        >>> closing_table("supercm fit", {"test/acc": 0.9, "val/acc": 0.8}, 1.5, {"logs": "runs/0"})
        supercm fit     test      val
        ─────────────────────────────
        accuracy      0.9000   0.8000
        seconds          1.5
        logs         runs/0
    """
    cells: dict[str, dict[str, str]] = {}
    for name, value in metrics.items():
        stage, _, metric = name.rpartition("/")
        cells.setdefault(metric, {})[stage] = f"{float(value):.4f}"
    stages = sorted({stage for row in cells.values() for stage in row})
    rows = [
        (_label(name), [cells[name].get(stage, "") for stage in stages])
        for name in sorted(cells, key=_place)
    ]
    rows.append(("seconds", [f"{seconds:.1f}"]))
    width = max(len(label) for label in (title, *places, *(label for label, _ in rows)))
    head = _line(title, stages, width)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(head, style="bold")
    console.print("─" * len(head))
    for label, values in rows:
        console.print(_line(label, values, width))
    for label, place in places.items():
        console.print(f"{label:<{width}}  {place}")


def _place(metric: str) -> tuple[bool, int, str]:
    """What is known first, in the order above, target before source; then all else by name."""
    measure, domain = _measure(metric)
    known = list(_METRICS).index(measure) if measure in _METRICS else len(_METRICS)
    return measure not in _METRICS, known, {"target": "", "source": "~"}.get(domain, domain)


def _label(metric: str) -> str:
    measure, domain = _measure(metric)
    if measure not in _METRICS:
        return metric
    return f"{_METRICS[measure]}, {domain.replace('_', ' ')}" if domain else _METRICS[measure]


def _measure(metric: str) -> tuple[str, str]:
    domain, _, measure = metric.rpartition("_")
    return (measure, domain) if measure in _METRICS else (metric, "")


def short_path(path: str | Path) -> str:
    """``path`` from here where it lies below, else whole."""
    path = Path(path)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _line(label: str, values: list[str], width: int) -> str:
    return "".join([f"{label:<{width}}", *(f"{value:>9}" for value in values)]).rstrip()
