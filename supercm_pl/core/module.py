"""What the LightningModules of both tasks share in training: step, objective, optimizer."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from supercm_pl.clustering import CentroidMode
from supercm_pl.clustering.distributed import rows_per_rank
from supercm_pl.core.batch import Inputs, check_form, class_labels, labeled_part, needed_views
from supercm_pl.core.checks import check_maker, check_object, is_number
from supercm_pl.core.hyperparameters import save_hyperparameters
from supercm_pl.core.network import ClusteringNetwork, CompileMode, Part
from supercm_pl.core.optim import LRSchedulerCallable, OptimizerCallable, build_optimizer
from supercm_pl.core.pseudo_labels import check_open_fraction
from supercm_pl.core.ramps import Ramp
from supercm_pl.core.reproducibility import StepRandomness, batches_done, run_seed
from supercm_pl.core.step import Rows, Step
from supercm_pl.core.term import Term, as_terms


class SuperCMModule(ClusteringNetwork):
    r"""A backbone and a :class:`~supercm_pl.ClusteringHead`, and how they are trained together.

    Base of :class:`~supercm_pl.SSLModule` and :class:`~supercm_pl.UDAModule`; see there for the
    arguments. A subclass says what its streams are called in ``labeled_stream`` and
    ``unlabeled_stream``, and implements :meth:`forward_parts`.
    """

    labeled_stream: ClassVar[str]
    unlabeled_stream: ClassVar[str]
    step_type: ClassVar[type[Step]] = Step

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        terms: Term | Sequence[Term],
        *,
        cm_weight: float,
        cm_ramp: Ramp | None,
        centroids: CentroidMode,
        momentum: float,
        temperature: float,
        alpha: float | Sequence[float],
        orthonormal: bool,
        normalize: bool,
        centroid_threshold: float | None,
        bottleneck: int | None,
        feature_size: int | None,
        optimizer: OptimizerCallable | None,
        lr_scheduler: LRSchedulerCallable | None,
        backbone_lr_factor: float,
        channels_last: bool,
        compile_mode: CompileMode | None,
    ) -> None:
        super().__init__(
            backbone,
            num_classes,
            centroids=centroids,
            momentum=momentum,
            temperature=temperature,
            alpha=alpha,
            orthonormal=orthonormal,
            normalize=normalize,
            bottleneck=bottleneck,
            feature_size=feature_size,
            channels_last=channels_last,
            compile_mode=compile_mode,
        )
        if not (is_number(cm_weight) and 0.0 <= cm_weight < float("inf")):
            raise ValueError(f"cm_weight must be a number of 0 or more, got {cm_weight!r}")
        if cm_ramp is not None:
            check_object("cm_ramp", cm_ramp, Ramp, "LinearRampUp()")
        if centroid_threshold is not None:
            check_open_fraction("centroid_threshold", centroid_threshold)
        if not (is_number(backbone_lr_factor) and 0.0 <= backbone_lr_factor < float("inf")):
            raise ValueError(f"backbone_lr_factor must be 0 or more, got {backbone_lr_factor!r}")
        check_maker("optimizer", optimizer, "torch.optim.AdamW")
        check_maker("lr_scheduler", lr_scheduler, "WarmupCosineLR")
        terms = as_terms(terms, self.step_type)
        save_hyperparameters(self, inspect.currentframe())
        self.cm_weight = cm_weight
        self.cm_ramp = cm_ramp
        self.centroid_threshold = centroid_threshold
        self.base_methods = nn.ModuleList(terms)
        for term in self.terms:
            term.attach(self.feature_extractor, self.head)
        # No class as a default: jsonargparse would hand its settings on to any other that is named.
        self._optimizer = torch.optim.AdamW if optimizer is None else optimizer
        self._lr_scheduler = lr_scheduler
        self._backbone_lr_factor = backbone_lr_factor
        self._randomness = StepRandomness()
        # All ranks compute the same centroids, so DistributedDataParallel need not send them around
        # in every step. That it reads this is no documented promise; without, it sends them.
        self._ddp_params_and_buffers_to_ignore = [
            f"head.{name}" for name, _ in self.head.named_buffers()
        ]
        self.step_values: dict[str, Tensor] = {}

    @property
    def terms(self) -> list[Term]:
        """The base methods' terms of the objective."""
        return list(self.base_methods)  # type: ignore[arg-type]  # a ModuleList forgets their type

    @property
    def progress(self) -> float:
        """Fraction of the run's optimizer steps already taken, in ``[0, 1]``; 0 outside ``fit``."""
        if self._trainer is None or not self.trainer.training:
            return 0.0
        total = self.trainer.estimated_stepping_batches
        return min(self.trainer.global_step / total, 1.0)

    @property
    def required_views(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Views that a training batch must have, by stream and view, each with who asks for it."""
        labeled: dict[str, tuple[str, ...]] = {"weak": ("cross-entropy",)}
        unlabeled: dict[str, tuple[str, ...]] = {"weak": ("SuperCM",)} if self.cm_weight > 0 else {}
        for term in self.terms:
            for view in term.labeled_views:
                labeled[view] = (*labeled.get(view, ()), term.name)
            asked = dict.fromkeys((*term.views, *term.input_views))
            for view in (*asked, *(["index"] if term.needs_index else [])):
                unlabeled[view] = (*unlabeled.get(view, ()), term.name)
        return {self.labeled_stream: labeled, self.unlabeled_stream: unlabeled}

    @abstractmethod
    def forward_parts(self, parts: Mapping[Part, Tensor], inputs: Inputs) -> dict[Part, Rows]:
        """The step's forward pass, or passes, where parts are to be normalised apart."""

    def extra_rows(self, inputs: Tensor) -> Rows:
        """A further forward pass, which a term asks for in a step."""
        return self.rows(inputs)

    def make_step(self, inputs: Inputs, **known: Any) -> Step:
        """What the terms get to see; a subclass may add to it."""
        return Step(**known)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Let what the step draws depend on seed, step and rank alone."""
        if self.compile_mode is not None:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        seed = run_seed(self.trainer)
        if seed is not None:
            step = batches_done(self.trainer)
            self._randomness.start(seed, step, self.global_rank, self.device)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Leave the generators as they were before the step."""
        self._randomness.stop()

    def training_step(self, batch: Mapping[str, Any], batch_idx: int = 0) -> Tensor:
        """The objective of one batch, its terms logged."""
        self.step_values = {}
        inputs = self.take_apart(batch)
        supervised = not any(term.replaces_supervised for term in self.terms)
        needed = ["weak"] if self.cm_weight > 0 else []
        labeled_views = [*needed, *(["weak"] if supervised else [])]
        labeled_views += [view for term in self.terms for view in term.labeled_views]
        unlabeled_views = needed + [view for term in self.terms for view in term.views]
        parts = {(self.labeled_stream, v): inputs.labeled[v] for v in labeled_views}
        parts |= {(self.unlabeled_stream, v): inputs.unlabeled[v] for v in unlabeled_views}
        rows = self.forward_parts(parts, inputs)
        step = self.make_step(
            inputs,
            labels=inputs.labels,
            labeled={view: rows[self.labeled_stream, view] for view in labeled_views},
            unlabeled={view: rows[self.unlabeled_stream, view] for view in unlabeled_views},
            labeled_inputs=inputs.labeled,
            unlabeled_inputs=inputs.unlabeled,
            progress=self.progress,
            rows=self.extra_rows,
            frozen_rows=self.frozen_rows,
            index=inputs.index,
            num_unlabeled=self._num_unlabeled(),
        )

        num_labeled, num_rows = self._rows_per_rank(step)
        total = self.clustering_term(step, num_rows) if self.cm_weight > 0 else 0.0
        losses = []
        if supervised:
            logits = step.labeled["weak"].logits
            losses = [F.cross_entropy(logits, step.labels, reduction="sum") / num_labeled]
        for term in self.terms:
            value = term(step)
            self.log_training({term.name: value.loss})
            self.log_training({f"{term.name}_{key}": log for key, log in value.logs.items()})
            total = total + term.weight_at(step.progress) * value.loss
            if value.supervised is not None:
                losses.append(value.supervised)
        cross_entropy = sum(losses[1:], losses[0])
        loss = cross_entropy + total
        self.log_training({"ce": cross_entropy})
        self.log_training({"loss": loss})
        self._log_step(batch_idx)
        return loss

    def _rows_per_rank(self, step: Step) -> tuple[float | Tensor, ...]:
        # Of labeled rows and of all. A user's own loader may give a rank fewer, or none.
        num_labeled = len(step.labels)
        num_unlabeled = len(step.unlabeled["weak"].features) if self.cm_weight > 0 else 0
        return rows_per_rank(num_labeled, num_labeled + num_unlabeled, device=step.labels.device)

    def clustering_term(self, step: Step, num_rows: float | Tensor | None = None) -> Tensor:
        """Take the labeled rows into the centroids; the weighted CM loss, its terms logged.

        Args:
            step: The step, with the rows of its forward pass.
            num_rows: Average over the ranks of labeled and unlabeled rows together; ``None``: they
                have the same number.

        Returns:
            ``cm_weight * cm_ramp(progress) * CM`` of labeled and unlabeled rows, a scalar.
        """
        labeled, unlabeled = step.labeled["weak"], step.unlabeled["weak"]
        features = torch.cat([labeled.features, unlabeled.features])
        if self.centroid_threshold is None:
            self.head.update_centroids(labeled.features, step.labels)
        else:
            confidence, found = unlabeled.assignments.detach().max(dim=1)
            labels = torch.cat([step.labels, found])
            known = torch.ones_like(step.labels, dtype=torch.bool)
            mask = torch.cat([known, confidence > self.centroid_threshold])
            self.head.update_centroids(features, labels, mask=mask)
        assignments = torch.cat([labeled.assignments, unlabeled.assignments])
        terms = self.head.loss(features, assignments, rows_per_rank=num_rows)
        self.log_training({"cm": terms.total})
        self.log_training(
            {f"cm_{name}": value for name, value in terms._asdict().items() if name != "total"}
        )
        factor = 1.0 if self.cm_ramp is None else self.cm_ramp(step.progress)
        return self.cm_weight * factor * terms.total

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One step of the optimizer, after which the terms follow the model."""
        super().optimizer_step(*args, **kwargs)
        for term in self.terms:
            term.after_step(self.feature_extractor, self.head)

    def take_apart(self, batch: Mapping[str, Any]) -> Inputs:
        """The views that are needed of a training batch."""
        check_form(batch, self.labeled_stream, self.unlabeled_stream)
        inputs, labels = labeled_part(self.labeled_stream, batch[self.labeled_stream], 2)
        labeled = self.views_of(self.labeled_stream, inputs)
        unlabeled = self.views_of(self.unlabeled_stream, batch.get(self.unlabeled_stream, {}))
        return Inputs(
            labeled=labeled,
            labels=class_labels(self.labeled_stream, labels, labeled),
            index=unlabeled.pop("index", None),
            unlabeled=unlabeled,
        )

    def views_of(self, stream: str, given: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The needed views of a stream's inputs; a tensor alone is the weak view."""
        return needed_views(stream, given, self.required_views[stream])

    def _num_unlabeled(self) -> int | None:
        datamodule = None if self._trainer is None else getattr(self.trainer, "datamodule", None)
        return getattr(datamodule, "num_unlabeled", None)

    def log_training(self, values: Mapping[str, Tensor]) -> None:
        """Have scalars logged under ``train/`` at the end of the step."""
        self.step_values |= {name: value.detach() for name, value in values.items()}

    def _log_step(self, batch_idx: int) -> None:
        # Lightning takes some 60 µs for each value that it logs, so it gets them where they will be
        # written, and at both ends of an epoch, so that they are always there to be monitored. Not
        # for its progress bar, which would wait for the device in every step.
        if self._trainer is None:
            return
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        due = every > 0 and (self.trainer.global_step + 1) % every == 0
        if due or batch_idx == 0 or self.trainer.is_last_batch:
            self.log_dict({f"train/{name}": value for name, value in self.step_values.items()})

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimizer over the parameters that take gradients; its schedule steps with it."""
        optimizer = build_optimizer(self, self.backbone, self._optimizer, self._backbone_lr_factor)
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
