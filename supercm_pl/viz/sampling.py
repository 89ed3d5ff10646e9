"""A bounded sample of what the model makes of the validation data, for pictures."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as L
import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from supercm_pl.checks import check_at_least
from supercm_pl.viz.reservoir import Reservoir, appended, first


@dataclass(frozen=True, kw_only=True)
class Mistakes:
    """Samples of the validation data that are assigned to a wrong class, the surest first.

    Attributes:
        inputs: ``(M, ...)`` float32, on the CPU.
        labels: ``(M,)`` int64, true classes.
        predicted: ``(M,)`` int64, classes that they are taken for.
        confidence: ``(M,)`` float32, descending.
        domains: ``(M,)`` int64.
        rows: ``(M,)`` int64, as in :class:`ValidationSamples`.
    """

    inputs: Tensor
    labels: Tensor
    predicted: Tensor
    confidence: Tensor
    domains: Tensor
    rows: Tensor


@dataclass(frozen=True, kw_only=True)
class ValidationSamples:
    """What pictures are made of; tensors on the CPU, without a graph.

    Attributes:
        features: ``(N, d)`` float32, of a sample of the validation data.
        assignments: ``(N, K)`` float32.
        labels: ``(N,)`` int64; ``-1`` where the label is not known.
        domains: ``(N,)`` int64, the number of the validation loader.
        rows: ``(N,)`` int64, row of the data set, or place in the loader where it has no rows.
        centroids: ``(K, d)`` float32; ``None`` where no labeled feature was taken into them.
        classes: ``K`` names.
        domain_names: Of the validation loaders.
        confusion: ``(D, K, K)`` int64, of all validation data with labels, by loader: how often a
            class (row) is taken for another (column).
        mistakes: The surest ones of all validation data; ``None`` where none were asked for.
    """

    features: Tensor
    assignments: Tensor
    labels: Tensor
    domains: Tensor
    rows: Tensor
    centroids: Tensor | None
    classes: tuple[str, ...]
    domain_names: tuple[str, ...]
    confusion: Tensor
    mistakes: Mistakes | None

    @property
    def has_domains(self) -> bool:
        """Whether they come from more than one validation loader."""
        return len(self.domain_names) > 1


class ValidationSampler(Callback):
    """Collects samples while the model is validated, and hands them to :meth:`use`.

    Features are taken from the validation's own forward pass, at the entry of the head. It draws
    from generators of its own, so that training is the same with and without it. The same rows are
    taken each time, drawn at random over the whole of the data, and no more than ``max_samples``
    are kept in memory. With several processes, the first one's share of the data is looked at.

    A subclass implements :meth:`use`.

    Args:
        every_n_epochs: Epochs from one use to the next, 1 or more; the first validation is always
            used, and with 1 all are.
        max_samples: Of all validation loaders together, 2 or more.
        max_mistakes: Number of mistakes to keep the inputs of, 0 or more.

    Raises:
        ValueError: If a number is out of range.
        TypeError: When training starts, if the module has no ``head``.
    """

    def __init__(self, every_n_epochs: int, max_samples: int, max_mistakes: int) -> None:
        check_at_least("every_n_epochs", every_n_epochs, 1)
        check_at_least("max_samples", max_samples, 2)
        check_at_least("max_mistakes", max_mistakes, 0)
        self.every_n_epochs = every_n_epochs
        self.max_samples = max_samples
        self.max_mistakes = max_mistakes
        self._last_epoch: int | None = None
        self._hook: torch.utils.hooks.RemovableHandle | None = None
        self._seen: list[tuple[Tensor, Tensor]] = []
        self._parts: list[Reservoir] = []

    @abstractmethod
    def use(self, trainer: L.Trainer, samples: ValidationSamples) -> None:
        """Make something of the samples; called on the first process alone."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse a module without a clustering head."""
        if not isinstance(getattr(pl_module, "head", None), torch.nn.Module):
            raise TypeError(
                f"{type(self).__name__} needs a module with a clustering head, such as SSLModule "
                f"or UDAModule, got {type(pl_module).__name__}"
            )

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start to listen, where it is time for it."""
        self._stop()
        if not self._is_due(trainer):
            return
        count = len(_loaders(trainer))
        # What does not divide goes to nobody: `max_samples` is a bound.
        share = max(self.max_samples // max(count, 1), 1)
        size = int(pl_module.num_classes)  # type: ignore[arg-type]
        self._parts = [Reservoir(number, share, self.max_mistakes, size) for number in range(count)]
        head: torch.nn.Module = pl_module.head  # type: ignore[assignment]
        self._hook = head.register_forward_hook(self._listen)

    def on_validation_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Forget what was heard before this batch."""
        self._seen = []

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take samples of a batch ``(x, y)`` or ``x``."""
        if self._hook is None or not self._seen:
            return
        # The first pass is that of the batch; validators may ask the head for more.
        features, assignments = self._seen[0]
        self._seen = []
        inputs, labels = (batch, None) if isinstance(batch, Tensor) else (batch[0], batch[1:])
        known = labels[0] if labels else None
        self._parts[dataloader_idx].add(features, assignments, inputs, known)

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop to listen, and use what was taken."""
        if self._hook is None:
            return
        parts = self._parts
        self._stop()
        self._last_epoch = trainer.current_epoch
        if not any(part.seen for part in parts):
            rank_zero_warn(
                f"{type(self).__name__} saw no features: validation does not call the head, or the "
                "module is compiled"
            )
            return
        head: Any = pl_module.head
        known = bool(head.centroid_counts.sum() > 0)
        centroids = head.centroids.detach().float().cpu().clone() if known else None
        classes = _class_names(trainer, int(pl_module.num_classes))  # type: ignore[arg-type]
        self.use(trainer, _joined(parts, trainer, pl_module, centroids, classes))

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Leave no hook behind."""
        self._stop()

    @property
    def state_key(self) -> str:
        """Tells callbacks of one class, but other arguments, apart in a checkpoint."""
        return self._generate_state_key(
            every_n_epochs=self.every_n_epochs, max_samples=self.max_samples
        )

    def state_dict(self) -> dict[str, Any]:
        """The epoch last used, so that a resumed run keeps the interval."""
        return {"last_epoch": self._last_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._last_epoch = state_dict["last_epoch"]

    def _is_due(self, trainer: L.Trainer) -> bool:
        if trainer.sanity_checking or not trainer.is_global_zero or not _is_fitting(trainer):
            return False
        last = self._last_epoch
        return (
            last is None
            or self.every_n_epochs == 1
            or trainer.current_epoch - last >= self.every_n_epochs
        )

    def _listen(self, head: torch.nn.Module, arguments: tuple[Tensor, ...], output: Any) -> None:
        if not self._seen:
            self._seen = [(arguments[0].detach(), output.assignments.detach())]

    def _stop(self) -> None:
        if self._hook is not None:
            self._hook.remove()
        self._hook, self._parts, self._seen = None, [], []


def _joined(
    parts: Sequence[Reservoir],
    trainer: L.Trainer,
    module: L.LightningModule,
    centroids: Tensor | None,
    classes: tuple[str, ...],
) -> ValidationSamples:
    numbers = [_row_numbers(loader) for loader in _loaders(trainer)]
    tables = []
    for part in parts:
        if part.seen:
            # In the order of the data: the points of a picture then don't depend on the draw.
            table = first(part.kept, "rows", part.size)
            rows = _renumbered(table["rows"], numbers[part.domain])
            domains = torch.full_like(rows, part.domain)
            tables.append({**table, "rows": rows, "domains": domains})
    columns = {name: torch.cat([table[name] for table in tables]) for name in tables[0]}
    del columns["priority"]
    wrong: dict[str, Tensor] = {}
    for part in parts:
        if part.mistakes:
            found = part.mistakes
            rows = _renumbered(found["rows"], numbers[part.domain])
            wrong = appended(wrong, {**found, "rows": rows})
    if wrong:
        wrong = first(wrong, "doubt", parts[0].max_mistakes)
        del wrong["doubt"]
    return ValidationSamples(
        **columns,
        centroids=centroids,
        classes=classes,
        domain_names=_domain_names(module, len(parts)),
        confusion=torch.stack([part.confusion for part in parts]),
        mistakes=Mistakes(**wrong) if wrong else None,
    )


def _is_fitting(trainer: L.Trainer) -> bool:
    return trainer.state.fn == TrainerFn.FITTING


def _loaders(trainer: L.Trainer) -> list[Any]:
    loaders = trainer.val_dataloaders
    if loaders is None:
        return []
    return list(loaders) if isinstance(loaders, list | tuple) else [loaders]


def _row_numbers(loader: Any) -> npt.NDArray[np.int64] | None:
    rows = getattr(getattr(loader, "dataset", None), "rows", None)
    return rows if isinstance(rows, np.ndarray) else None


def _renumbered(places: Tensor, rows: npt.NDArray[np.int64] | None) -> Tensor:
    if rows is None or int(places.max()) >= len(rows):
        return places
    return torch.from_numpy(rows[places.numpy()]).long()


def _domain_names(module: L.LightningModule, count: int) -> tuple[str, ...]:
    if count == 1:
        return ("validation",)
    own = (str(getattr(module, name, "")) for name in ("labeled_part", "unlabeled_part"))
    return (*own, *(f"loader {number}" for number in range(2, count)))[:count]


def _class_names(trainer: L.Trainer, count: int) -> tuple[str, ...]:
    names = getattr(getattr(trainer, "datamodule", None), "classes", None) or ()
    return tuple(map(str, names)) if len(names) == count else tuple(map(str, range(count)))
