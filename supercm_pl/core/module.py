"""What the LightningModules of both tasks share: head, objective, optimizer, prediction."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from types import FrameType
from typing import Any, NamedTuple, TypedDict

import lightning.pytorch as L
from lightning.pytorch.core.mixins import hparams_mixin
from lightning.pytorch.utilities.parsing import collect_init_args
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from supercm_pl.clustering import CentroidMode, ClusteringHead
from supercm_pl.core.features import feature_size as find_feature_size
from supercm_pl.core.metrics import EvaluationMetrics
from supercm_pl.core.optim import LRSchedulerCallable, OptimizerCallable
from supercm_pl.core.ramps import Ramp
from supercm_pl.core.term import Term


class Rows(NamedTuple):
    """What one forward pass gives for a set of ``N`` samples.

    Attributes:
        inputs: ``(N, ...)``, as the backbone received them.
        features: ``(N, d)``.
        logits: ``(N, K)``.
        assignments: ``(N, K)``, rows sum to 1.
    """

    inputs: Tensor
    features: Tensor
    logits: Tensor
    assignments: Tensor


# The functional form, because `class` is a keyword.
Prediction = TypedDict(
    "Prediction",
    {"class": Tensor, "probability": Tensor, "assignments": Tensor, "features": Tensor},
)


class SuperCMModule(L.LightningModule):
    r"""A backbone and a :class:`~supercm_pl.ClusteringHead` that are trained together.

    Base of :class:`~supercm_pl.SSLModule`; see there for the arguments. A subclass for another task
    implements ``training_step`` with the help of :meth:`rows`, :meth:`clustering_term` and
    :meth:`weighted_sum`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        *,
        cm_weight: float,
        cm_ramp: Ramp | None,
        centroids: CentroidMode,
        momentum: float,
        temperature: float,
        alpha: float | Sequence[float],
        orthonormal: bool,
        normalize: bool,
        feature_size: int | None,
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None,
    ) -> None:
        super().__init__()
        if isinstance(num_classes, bool) or not isinstance(num_classes, int):
            raise TypeError(f"num_classes must be an int, got {num_classes!r}")
        if num_classes < 2:
            raise ValueError(f"num_classes must be 2 or more, got {num_classes}")
        if not 0.0 <= cm_weight < float("inf"):
            raise ValueError(f"cm_weight must be a number of 0 or more, got {cm_weight}")
        self._save_hyperparameters_of(inspect.currentframe())
        self.backbone = backbone
        self.num_classes = num_classes
        self.cm_weight = cm_weight
        self.cm_ramp = cm_ramp
        self.head = ClusteringHead(
            find_feature_size(backbone) if feature_size is None else feature_size,
            num_classes,
            centroids=centroids,
            momentum=momentum,
            temperature=temperature,
            alpha=alpha,
            orthonormal=orthonormal,
            normalize=normalize,
        )
        self._optimizer = optimizer
        self._lr_scheduler = lr_scheduler

    def _save_hyperparameters_of(self, frame: FrameType | None) -> None:
        if frame is None or hparams_mixin._given_hyperparameters.get() is not None:
            # From a configuration Lightning has class paths and plain values: they rebuild all.
            self.save_hyperparameters()
            return
        # From Python there are live objects, which a file loaded with `weights_only=True` can't
        # hold. They are left out and given again: `load_from_checkpoint(path, backbone=...)`.
        # The last of the constructors' arguments are those of the class that will be rebuilt.
        arguments = collect_init_args(frame, [], classes=(L.LightningModule,))[-1]
        self.save_hyperparameters({k: v for k, v in arguments.items() if _is_plain(v)})

    @property
    def progress(self) -> float:
        """Fraction of the run's optimizer steps already taken, in ``[0, 1]``; 0 outside ``fit``."""
        if self._trainer is None or not self.trainer.training:
            return 0.0
        total = self.trainer.estimated_stepping_batches
        return min(self.trainer.global_step / total, 1.0)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``(N, K)`` of inputs ``(N, ...)``."""
        logits: Tensor = self.head(self.backbone(inputs)).logits
        return logits

    def rows(self, inputs: Tensor) -> Rows:
        """One forward pass: features, logits and assignments of inputs ``(N, ...)``."""
        features = self.backbone(inputs)
        return Rows(inputs, features, *self.head(features))

    def clustering_term(self, features: Tensor, assignments: Tensor) -> Tensor:
        """The weighted CM loss, its terms logged.

        Args:
            features: ``(N, d)``, of labeled and unlabeled (source and target) rows.
            assignments: ``(N, K)``, rows sum to 1.

        Returns:
            ``cm_weight * cm_ramp(progress) * CM``, a scalar.
        """
        terms = self.head.loss(features, assignments)
        self.log_training({"cm": terms.total})
        self.log_training(
            {f"cm_{name}": value for name, value in terms._asdict().items() if name != "total"}
        )
        factor = 1.0 if self.cm_ramp is None else self.cm_ramp(self.progress)
        return self.cm_weight * factor * terms.total

    def weighted_sum(self, terms: Iterable[Term], step: object, progress: float) -> Tensor | float:
        """Sum of the weighted terms of a step, each logged by its name; 0 where there is none."""
        total: Tensor | float = 0.0
        for term in terms:
            loss, logs = term(step)
            name = term.name
            self.log_training({name: loss, **{f"{name}_{key}": logs[key] for key in logs}})
            total = total + term.weight_at(progress) * loss
        return total

    def log_training(self, values: Mapping[str, Tensor], *, prog_bar: bool = False) -> None:
        """Log scalars under ``train/``; Lightning waits for the device only when it writes."""
        if self._trainer is not None:
            named = {f"train/{name}": value.detach() for name, value in values.items()}
            self.log_dict(named, prog_bar=prog_bar)

    def _evaluate(self, batch: tuple[Tensor, Tensor], metrics: EvaluationMetrics) -> None:
        inputs, labels = batch
        metrics.update(self.rows(inputs).assignments, labels)

    def _log_and_reset(self, metrics: EvaluationMetrics, prog_bar: str | None = None) -> None:
        for name, value in metrics.compute().items():
            # Already the same on every rank; Lightning would warn that it can't know.
            self.log(name, value, prog_bar=name == prog_bar, sync_dist=True)
        metrics.reset()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimizer over the parameters that take gradients; its schedule steps with it."""
        optimizer = self._optimizer(p for p in self.parameters() if p.requires_grad)
        if self._lr_scheduler is None:
            return optimizer
        scheduler = self._lr_scheduler(optimizer)
        if isinstance(scheduler, ReduceLROnPlateau):
            raise ValueError(
                "lr_scheduler must be a schedule of steps, got ReduceLROnPlateau: override "
                "configure_optimizers to say what it monitors"
            )
        if getattr(scheduler, "total_steps", 0) is None:
            steps = int(self.trainer.estimated_stepping_batches)
            scheduler.total_steps = steps  # type: ignore[attr-defined]
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def predict_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> Prediction:
        """Class, its probability, assignments and features of a batch.

        Args:
            batch: Inputs ``(N, ...)``; or a mapping with ``inputs``; or a sequence that starts with
                them.
            batch_idx: Unused, as Lightning passes it.
            dataloader_idx: Unused, as Lightning passes it.

        Returns:
            ``class`` ``(N,)`` int64, ``probability`` ``(N,)``, ``assignments`` ``(N, K)``,
            ``features`` ``(N, d)``.
        """
        rows = self.rows(_inputs_of(batch))
        probability, label = rows.assignments.max(dim=1)
        return {
            "class": label,
            "probability": probability,
            "assignments": rows.assignments,
            "features": rows.features,
        }


def _inputs_of(batch: Any) -> Tensor:
    if isinstance(batch, Mapping):
        batch = batch["inputs"]
    elif isinstance(batch, Sequence):
        batch = batch[0]
    if not isinstance(batch, Tensor):
        raise TypeError(
            f"a batch to predict must be a tensor of inputs, got {type(batch).__name__}"
        )
    return batch


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_plain(item) for pair in value.items() for item in pair)
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str)
