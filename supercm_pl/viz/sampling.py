"""Bounded sample of the model's outputs on validation data, for figures."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from supercm_pl.checks import check_at_least
from supercm_pl.data.contract import Contract
from supercm_pl.data.datasets import as_tuple
from supercm_pl.viz.reservoir import Reservoir, appended, first


@dataclass(frozen=True, kw_only=True)
class Mistakes:
    """Wrongly classified validation samples, the most confident first.

    Attributes:
        inputs: ``(M, ...)`` float32, on the CPU.
        labels: ``(M,)`` int64, true classes.
        predicted: ``(M,)`` int64, predicted classes.
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
    """Sampled validation data, detached and on the CPU.

    Attributes:
        features: ``(N, d)`` float32.
        assignments: ``(N, K)`` float32.
        labels: ``(N,)`` int64; ``-1`` for unknown labels.
        domains: ``(N,)`` int64, number of the validation loader.
        rows: ``(N,)`` int64, index in the data set, or position in the loader if it has none.
        centroids: ``(K, d)`` float32; ``None`` if they were never updated.
        classes: ``K`` names.
        domain_names: Names of the validation loaders.
        confusion: ``(D, K, K)`` int64, confusion counts of all labeled validation data, by loader.
        mistakes: The most confident mistakes of all validation data, or ``None``.
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
        """Whether there is more than one validation loader."""
        return len(self.domain_names) > 1


class ValidationSampler(Callback):
    """Base callback that collects samples during validation and passes them to :meth:`use`.

    A forward hook records features at the input of the head. Every validation keeps the same
    uniform random sample of at most ``max_samples``, on rank 0 only. The callback does not change
    training: random draws use separate generators. Subclasses implement :meth:`use`.

    Args:
        every_n_epochs: Epochs between uses, 1 or more. The first validation is always used.
        max_samples: Samples of all validation loaders together, 2 or more.
        max_mistakes: Mistakes whose inputs are kept, 0 or more.

    Raises:
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
        """Use the samples; called only on rank 0."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check that the module has a clustering head."""
        if not isinstance(getattr(pl_module, "head", None), torch.nn.Module):
            raise TypeError(
                f"{type(self).__name__} requires a module with a clustering head, such as "
                f"SSLModule or UDAModule, got {type(pl_module).__name__}"
            )

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start recording if this validation is used."""
        self._stop()
        if not self._is_due(trainer):
            return
        count = len(_loaders(trainer))
        # The remainder is dropped, because `max_samples` is an upper bound.
        share = max(self.max_samples // max(count, 1), 1)
        size = int(pl_module.num_classes)  # type: ignore[arg-type]
        self._parts = [Reservoir(number, share, self.max_mistakes, size) for number in range(count)]
        head: torch.nn.Module = pl_module.head  # type: ignore[assignment]
        self._hook = head.register_forward_hook(self._listen)

    def on_validation_batch_start(self, *_: Any) -> None:
        """Discard recordings from before this batch."""
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
        """Sample from a batch ``(x, y)`` or ``x``."""
        if self._hook is None or not self._seen:
            return
        # The first pass is that of the batch; validators may run further ones.
        features, assignments = self._seen[0]
        self._seen = []
        inputs, *labels = as_tuple(batch)
        known = labels[0] if labels else None
        self._parts[dataloader_idx].add(features, assignments, inputs, known)

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop recording and use the samples."""
        if self._hook is None:
            return
        parts = self._parts
        self._stop()
        self._last_epoch = trainer.current_epoch
        if not any(part.seen for part in parts):
            rank_zero_warn(
                f"{type(self).__name__} recorded no features: validation does not call the head, "
                "or the module is compiled"
            )
            return
        self.use(trainer, _joined(parts, trainer, pl_module))

    def on_exception(self, *_: Any) -> None:
        """Remove the forward hook."""
        self._stop()

    @property
    def state_key(self) -> str:
        """Key that distinguishes callbacks with different arguments in a checkpoint."""
        return self._generate_state_key(
            every_n_epochs=self.every_n_epochs, max_samples=self.max_samples
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the last used epoch, so that a resumed run keeps the interval."""
        return {"last_epoch": self._last_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the last used epoch."""
        self._last_epoch = state_dict["last_epoch"]

    def _is_due(self, trainer: L.Trainer) -> bool:
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if not (fitting and trainer.is_global_zero):
            return False
        last, every = self._last_epoch, self.every_n_epochs
        return last is None or every == 1 or trainer.current_epoch - last >= every

    def _listen(self, head: torch.nn.Module, arguments: tuple[Tensor, ...], output: Any) -> None:
        if not self._seen:
            self._seen = [(arguments[0].detach(), output.assignments.detach())]

    def _stop(self) -> None:
        if self._hook is not None:
            self._hook.remove()
        self._hook, self._parts, self._seen = None, [], []


def _joined(
    parts: Sequence[Reservoir], trainer: L.Trainer, module: L.LightningModule
) -> ValidationSamples:
    columns: dict[str, Tensor] = {}
    wrong: dict[str, Tensor] = {}
    for part, loader in zip(parts, _loaders(trainer), strict=True):
        if part.seen:
            # In the order of the data, so that the points of a figure do not depend on the draw.
            table = _renumbered(first(part.kept, "rows", part.size), loader)
            domains = torch.full_like(table["rows"], part.domain)
            columns = appended(columns, {**table, "domains": domains})
        if part.mistakes:
            wrong = appended(wrong, _renumbered(part.mistakes, loader))
    del columns["priority"]
    if wrong:
        wrong = first(wrong, "doubt", parts[0].max_mistakes)
        del wrong["doubt"]
    head: Any = module.head
    known = bool(head.centroid_counts.sum() > 0)
    return ValidationSamples(
        **columns,
        centroids=head.centroids.detach().float().cpu().clone() if known else None,
        classes=Contract.of(trainer).class_names(int(module.num_classes)),  # type: ignore[arg-type]
        domain_names=_domain_names(module, len(parts)),
        confusion=torch.stack([part.confusion for part in parts]),
        mistakes=Mistakes(**wrong) if wrong else None,
    )


def _loaders(trainer: L.Trainer) -> list[Any]:
    loaders = trainer.val_dataloaders
    if loaders is None:
        return []
    return list(loaders) if isinstance(loaders, list | tuple) else [loaders]


def _renumbered(table: dict[str, Tensor], loader: Any) -> dict[str, Tensor]:
    """Replace positions in the loader by the data set's row numbers, if it has them."""
    numbers, rows = getattr(getattr(loader, "dataset", None), "rows", None), table["rows"]
    if not isinstance(numbers, np.ndarray) or int(rows.max()) >= len(numbers):
        return table
    return {**table, "rows": torch.from_numpy(numbers[rows.numpy()]).long()}


def _domain_names(module: L.LightningModule, count: int) -> tuple[str, ...]:
    if count == 1:
        return ("validation",)
    own = (str(getattr(module, name, "")) for name in ("labeled_part", "unlabeled_part"))
    return (*own, *(f"loader {number}" for number in range(2, count)))[:count]
