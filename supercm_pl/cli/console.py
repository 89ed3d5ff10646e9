"""Console output: progress and the closing table."""

from __future__ import annotations

import sys
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import ModelSummary, ProgressBar
from lightning.pytorch.utilities import rank_zero_info
from rich import progress
from rich.console import Console

_METRICS = {
    "acc": "accuracy",
    "nmi": "NMI",
    "ari": "ARI",
    "top5": "top-5 accuracy",
    "ece": "calibration error",
}


def progress_bar() -> ProgressBar:
    """Return a live bar for a terminal, plain lines for anything else."""
    return LiveBar() if sys.stdout.isatty() else ProgressLines()


class _StepProgress(ProgressBar):
    """Progress of a run in optimizer steps, or of an evaluation in batches.

    Metrics are read from the device only when they are shown.
    """

    interval: float  # seconds between updates
    _enabled = True
    _stage = ""

    @abstractmethod
    def show(self, done: int, total: float, metrics: str) -> None:
        """Show ``done`` out of ``total``, which is infinite if unknown."""

    def finish(self) -> None:
        """End the display of a stage."""

    def disable(self) -> None:
        """Show nothing: Lightning calls this on every rank except the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show again."""
        self._enabled = True

    def on_train_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Start the clock."""
        self._begin("fit", trainer.global_step)

    def on_validation_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Start the clock, unless this validation is part of training."""
        if not self._stage:
            self._begin("validate", totals=trainer.num_val_batches)

    def on_test_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Start the clock."""
        self._begin("test", totals=trainer.num_test_batches)

    def on_predict_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Start the clock."""
        self._begin("predict", totals=trainer.num_predict_batches)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Show progress if it is due."""
        if self._is_due():
            self._show_training(trainer, pl_module)

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show progress if it is due, unless this validation is part of training."""
        if self._stage != "fit" and self._is_due():
            self.show(batch_idx + 1, self._totals[dataloader_idx], "")

    on_validation_batch_end = on_predict_batch_end = on_test_batch_end

    def on_validation_end(self, *_: Any) -> None:
        """End the stage, unless this validation is part of training."""
        if self._stage == "validate":
            self._end()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the final state."""
        if self._enabled:
            self._show_training(trainer, pl_module)
        self._end()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """End the stage."""
        self._end()

    def on_exception(self, *_: Any) -> None:
        """Restore the terminal."""
        self._end()

    def _begin(self, stage: str, first: int = 0, totals: Sequence[float] = ()) -> None:
        self._stage, self._first, self._totals = stage, first, totals
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
        if loss is not None:  # synchronizes with the device, once per update
            metrics = {"train/loss": float(loss), **metrics}
        # Not the logger's version, which is an integer.
        named = [f"{name} {value:.3f}" for name, value in metrics.items() if type(value) is float]
        self.show(trainer.global_step, trainer.estimated_stepping_batches, " · ".join(named))


class ProgressLines(_StepProgress):
    """A line every few seconds and at the end of training, for logs and pipes."""

    interval = 5.0

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
    """One bar for the whole run, in a terminal."""

    interval = 0.2
    _bar: progress.Progress | None = None
    _task = progress.TaskID(0)

    def show(self, done: int, total: float, metrics: str) -> None:
        """Update the bar."""
        if self._bar is None:
            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(bar_width=24),
                progress.MofNCompleteColumn(),
                progress.TimeElapsedColumn(),
                progress.TimeRemainingColumn(),
                progress.TextColumn("{task.fields[metrics]}"),
            )
            self._task = self._bar.add_task(self._stage, completed=self._first, metrics="")
            self._bar.start()
        known = total if total < float("inf") else None
        self._bar.update(self._task, completed=done, total=known, metrics=metrics)

    def finish(self) -> None:
        """Stop the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class ModelLine(ModelSummary):
    """The size of the model in one line, instead of Lightning's table."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the line."""
        sizes = {True: 0, False: 0}
        for parameter in pl_module.parameters():
            sizes[parameter.requires_grad] += parameter.numel()
        frozen = f" and {sizes[False]:,} frozen" if sizes[False] else ""
        name = type(pl_module).__name__
        rank_zero_info(f"{name} with {sizes[True]:,} trainable{frozen} parameters")


def closing_table(
    title: str, metrics: Mapping[str, Any], seconds: float, places: Mapping[str, str]
) -> None:
    """Print the metrics, one column per stage, and the paths of the run, which are not truncated.

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
    rows = [(title, stages)]
    for metric in sorted(cells, key=_rank):
        rows.append((_label(metric), [cells[metric].get(stage, "") for stage in stages]))
    rows.append(("seconds", [f"{seconds:.1f}"]))
    width = max(len(label) for label in (*places, *(label for label, _ in rows)))
    head, *lines = [
        f"{label:<{width}}{''.join(f'{value:>9}' for value in values)}".rstrip()
        for label, values in rows
    ]
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(head, style="bold")
    lines += [f"{label:<{width}}  {place}" for label, place in places.items()]
    console.print("\n".join(["─" * len(head), *lines]))


def short_path(path: str | Path) -> str:
    """``path`` relative to the working directory if it is inside, else unchanged."""
    path = Path(path)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _rank(metric: str) -> tuple[float, str]:
    """Known metrics in their order, target before source; then the others as logged."""
    measure, domain = _measure(metric)
    if not measure:
        return len(_METRICS), ""
    return list(_METRICS).index(measure), {"target": "", "source": "~"}.get(domain, domain)


def _label(metric: str) -> str:
    measure, domain = _measure(metric)
    label = _METRICS.get(measure, metric)
    return f"{label}, {domain.replace('_', ' ')}" if measure and domain else label


def _measure(metric: str) -> tuple[str, str]:
    """Known metric and domain of a name, both empty if the metric is not known."""
    domain, _, measure = metric.rpartition("_")
    return (measure, domain) if measure in _METRICS else ("", "")
