"""Base of the LightningModules of both tasks: training step, objective and optimizer."""

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from typing_extensions import Unpack

from supercm_pl._lightning import (
    batches_done,
    exclude_from_ddp,
    hide_unknown_epochs,
    hyperparameters_given,
    loaders_given,
)
from supercm_pl.checkpoints.hyperparameters import save_hyperparameters
from supercm_pl.checks import (
    check_fraction,
    check_maker,
    check_not_negative,
    check_object,
    check_optional,
    shown,
)
from supercm_pl.data.contract import Contract
from supercm_pl.data.datasets import Indices, as_tuple
from supercm_pl.data.labels import checked_classes, held_labels, known_names, numbered_classes
from supercm_pl.distributed import rows_per_rank
from supercm_pl.options import hands_options_to
from supercm_pl.training.batch import (
    ParsedBatch,
    check_form,
    class_labels,
    needed_views,
    unpack_labeled,
)
from supercm_pl.training.method import (
    Method,
    as_methods,
    explained_views,
    loss_of,
    names_in_logs,
)
from supercm_pl.training.modes import evaluation_mode
from supercm_pl.training.network import ClusteringNetwork, CompileMode, HeadOptions, PartView
from supercm_pl.training.optim import (
    LRSchedulerCallable,
    OptimizerCallable,
    build_optimizer,
    schedule_settings,
)
from supercm_pl.training.pitfalls import (
    check_monitors,
    check_precision,
    check_state,
    warn_of_late_average,
    warn_of_missing_classes,
    warn_of_non_finite_loss,
    warn_of_other_methods,
    warn_of_untrained,
)
from supercm_pl.training.progress import number_of_steps, progress_by_steps, progress_by_time
from supercm_pl.training.ramps import Ramp
from supercm_pl.training.randomness import StepRandomness
from supercm_pl.training.step import Outputs, Step, TrainingFeatures

_NUMBERING = "pass num_classes=... to the module, or number the classes from 0 on"


class NetworkOptions(HeadOptions, total=False):
    """The options of :class:`~supercm_pl.training.network.ClusteringNetwork`, with its defaults."""

    bottleneck: int | None
    feature_size: int | None
    channels_last: bool
    compile_mode: CompileMode | None


class ModuleOptions(NetworkOptions, total=False):
    """The options of :class:`SuperCMModule`, with its defaults."""

    cm_ramp: Ramp | None
    centroid_threshold: float | None
    optimizer: OptimizerCallable | None
    lr_scheduler: LRSchedulerCallable | None
    backbone_lr_factor: float


@hands_options_to(ClusteringNetwork)
class SuperCMModule(ClusteringNetwork):
    r"""Training of a backbone and a :class:`~supercm_pl.ClusteringHead`.

    Base of :class:`~supercm_pl.SSLModule` and :class:`~supercm_pl.UDAModule`. A subclass names
    the parts of a batch in ``labeled_part`` and ``unlabeled_part``, and implements
    :meth:`forward_views`.

    Args:
        methods: Losses that are added to the objective: one method, several or none.
        cm_weight: ``β``, the weight of the CM loss, ``>= 0``.
        cm_ramp: Growth of ``β`` over training; ``None``: full from the start, as in the papers.
        centroid_threshold: Confidence in ``(0, 1)`` above which unlabeled samples contribute to the
            centroids with their pseudo-labels, as in the papers' ablation; ``None``: only labeled
            samples do.
        optimizer: Builds the optimizer from the parameters; ``None``: ``torch.optim.AdamW``.
        lr_scheduler: Builds the learning-rate schedule from the optimizer; stepped in every step,
            or as in Lightning's ``{"scheduler": schedule, "interval": "epoch"}``.
        backbone_lr_factor: Learning rate of the backbone, as a multiple of that of all other
            parameters, ``>= 0``.
        **options: Options of :class:`~supercm_pl.training.network.ClusteringNetwork`.
    """

    methods: Sequence[Method]
    labeled_part: ClassVar[str]
    unlabeled_part: ClassVar[str]
    views: tuple[str, ...] = ()
    """Unlabeled views that an overridden :meth:`objective` uses besides ``"weak"``."""
    step_type: ClassVar[type[Step]] = Step

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int | None,
        methods: Method | Sequence[Method],
        *,
        cm_weight: float,
        cm_ramp: Ramp | None = None,
        centroid_threshold: float | None = None,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        backbone_lr_factor: float = 1.0,
        **options: Unpack[NetworkOptions],
    ) -> None:
        super().__init__(backbone, num_classes, **options)
        check_not_negative("cm_weight", cm_weight)
        check_optional(check_object, "cm_ramp", cm_ramp, Ramp, "LinearRampUp()")
        check_optional(check_fraction, "centroid_threshold", centroid_threshold)
        check_not_negative("backbone_lr_factor", backbone_lr_factor)
        check_maker("optimizer", optimizer, torch.optim, "AdamW")
        check_maker("lr_scheduler", lr_scheduler, torch.optim.lr_scheduler, "CosineAnnealingLR")
        chosen = as_methods(methods, self.step_type)
        save_hyperparameters(self, inspect.currentframe())
        self.cm_weight = cm_weight
        self.cm_ramp = cm_ramp
        self.centroid_threshold = centroid_threshold
        self.methods = nn.ModuleList(chosen)  # type: ignore[assignment]
        # If a class were the default, jsonargparse would apply its settings to any other class.
        self._optimizer = torch.optim.AdamW if optimizer is None else optimizer
        self._lr_scheduler = lr_scheduler
        self.lr: float | None = None  # set by Lightning's learning-rate finder
        self._backbone_lr_factor = backbone_lr_factor
        self._companions: tuple[Tensor, ...] = ()
        self._randomness = StepRandomness()
        self._seed: int | None = None
        self._num_unlabeled: int | None = None
        self._time_share = math.nan
        self._adjusts_schedule = False
        self._follows_run = False
        self._trained_with: list[str] | None = None
        self.step_values: dict[str, Tensor] = {}
        if num_classes is not None:
            self.build_head(num_classes)

    def build_head(self, num_classes: int) -> None:
        """Create the head, and what the methods need of it."""
        super().build_head(num_classes)
        for method in self.methods:
            method.build(self.feature_extractor, self.head)
        # All ranks compute the same centroids, so there is nothing to broadcast.
        exclude_from_ddp(self, [f"head.{name}" for name, _ in self.head.named_buffers()])

    def take_num_classes(self, num_classes: int) -> None:
        """Build the head of a module without ``num_classes``, which checkpoints then contain."""
        self.build_head(num_classes)
        for part in (self.head, *self.methods):
            part.to(self.device, self.dtype)  # type: ignore[arg-type]
        with hyperparameters_given({**self.hparams, "num_classes": num_classes}):
            self.save_hyperparameters()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the names of the methods, which are objects and so left out."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["methods"] = [method.name for method in self.methods]
        checkpoint["labeled_part"] = self.labeled_part

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **options: Any) -> Any:
        """Load the state; a module without ``num_classes`` takes it from the state of the head.

        Raises:
            ValueError: If it is the state of other methods.
            RuntimeError: If it does not fit otherwise.
        """
        weight = state_dict.get("head.classifier.weight")
        if self.num_classes is None and isinstance(weight, Tensor) and weight.ndim == 2:
            self.take_num_classes(len(weight))
        try:
            return super().load_state_dict(state_dict, *args, **options)
        except RuntimeError as error:
            if '"methods.' not in str(error):
                raise
            before = self._trained_with or "other methods"
            raise ValueError(
                f"the state is that of {before}, but the module has "
                f"{[method.name for method in self.methods]}: pass the same methods=[...] to the "
                "module, or none to predict with load_from_checkpoint"
            ) from error

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember the names of the methods, whose state is only needed to train on."""
        super().on_load_checkpoint(checkpoint)
        self._trained_with = checkpoint.get("methods")
        if not self.methods and (self._trainer is None or not self.trainer.training):
            state = checkpoint["state_dict"]
            checkpoint["state_dict"] = {k: state[k] for k in state if k[:8] != "methods."}

    @property
    def progress(self) -> float:
        """Fraction of the run that is over, in ``[0, 1]``; 0 outside ``fit``.

        The fraction of the optimizer steps already taken, or of ``max_time``, whichever is larger;
        NaN in a run without a limit of either.
        """
        if self._trainer is None or not self.trainer.training:
            return 0.0
        shares = (progress_by_steps(self.trainer), self._time_share)
        return max((share for share in shares if not math.isnan(share)), default=math.nan)

    @property
    def required_views(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Views required in a training batch, by part and view, with the methods that need it."""
        labeled: dict[str, tuple[str, ...]] = {"weak": ("cross-entropy",)}
        unlabeled: dict[str, tuple[str, ...]] = {"weak": ("SuperCM",)} if self.cm_weight > 0 else {}
        for view in self._own_views:
            unlabeled[view] = (*unlabeled.get(view, ()), "objective")
        for method in self.methods:
            for view in method.labeled_views:
                labeled[view] = (*labeled.get(view, ()), method.name)
            asked = dict.fromkeys((*method.views, *method.input_views))
            for view in (*asked, *(["index"] if method.needs_index else [])):
                unlabeled[view] = (*unlabeled.get(view, ()), method.name)
        return {self.labeled_part: labeled, self.unlabeled_part: unlabeled}

    @abstractmethod
    def forward_views(
        self, views: Mapping[PartView, Tensor], batch: ParsedBatch
    ) -> dict[PartView, Outputs]:
        """Run one forward pass, or several if batch norm has to separate them."""

    def forward_joint(self, parts: Mapping[PartView, Tensor]) -> dict[PartView, Outputs]:
        """Run one forward pass of all parts together; methods learn who was with the weak view."""
        weak = (self.unlabeled_part, "weak")
        if weak in parts:
            self._companions = tuple(part for view, part in parts.items() if view != weak)
        return super().forward_joint(parts)

    def extra_forward(self, inputs: Tensor) -> Outputs:
        """Run a further forward pass, requested by a method."""
        return self.forward_outputs(inputs)

    def make_step(self, batch: ParsedBatch, **known: Any) -> Step:
        """Create the step that the methods receive; a subclass may add to it."""
        return Step(**known)

    def setup(self, stage: str) -> None:
        """Read seed and number of unlabeled samples; a subclass that overrides it must call it."""
        super().setup(stage)
        contract = Contract.of(self.trainer)
        if stage == "fit":
            contract.check_parts(self.labeled_part)
        if self.num_classes is None and contract.num_classes is None:
            labels = self._labels_at_hand(loaders_given(self.trainer))
            if labels is not None:
                names = numbered_classes(labels, "the labeled loader", _NUMBERING)
                self.take_num_classes(len(checked_classes(names)))
        contract.agree_on_classes()
        if stage == "fit":
            hide_unknown_epochs(self.trainer)
            # Keep values, not the contract: a copy of the module must not copy the data.
            self._seed, self._num_unlabeled = contract.seed, contract.num_unlabeled
            self._class_names = known_names(getattr(contract.data, "classes", None) or ())

    def on_train_start(self) -> None:
        """Require a limit of the run where anything depends on it, and warn of likely mistakes.

        Raises:
            ValueError: If a ramp, a method or the learning rate depends on the progress of a run
                without a limit of steps, epochs or time; or if a callback monitors a value of a
                validation that does not run, or with the wrong mode, or the optimizer is not that
                of the checkpoint.
        """
        warn_of_other_methods(self._trained_with, [method.name for method in self.methods])
        self._time_share = progress_by_time(self.trainer)
        total = number_of_steps(self.trainer)
        timed = not math.isnan(self._time_share)
        self._adjusts_schedule = self._follows_run and (timed or total == math.inf)
        if self._follows_run and total < math.inf:
            # Only now: a checkpoint has restored the length of the run that wrote it.
            self.trainer.lr_scheduler_configs[0].scheduler.total_steps = int(total)  # type: ignore[union-attr]
        users = [method.name for method in self.methods if method.needs_progress]
        users += ["cm_ramp"] if self.cm_ramp is not None else []
        users += ["lr_scheduler"] if self._adjusts_schedule else []
        if users and math.isnan(self.progress):
            raise ValueError(
                f"the run has no limit, which {' and '.join(users)} require: set max_steps or "
                "max_time of the trainer"
            )
        check_state(self.trainer.optimizers)
        check_monitors(self.trainer)
        check_precision(self.trainer.optimizers)
        warn_of_late_average(self.trainer)
        if Contract.of(self.trainer).num_classes is None:
            labels = self._labels_at_hand(self.trainer.train_dataloader)
            warn_of_missing_classes(labels, self.num_classes)

    def _labels_at_hand(self, loaders: Any) -> Indices | None:
        labeled = loaders.get(self.labeled_part) if isinstance(loaders, Mapping) else None
        return held_labels(getattr(labeled, "dataset", None))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed the random draws of the step by seed, step and rank."""
        self._time_share = progress_by_time(self.trainer)
        if self.compile_mode is not None:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        if self._seed is not None:
            step = batches_done(self.trainer)
            self._randomness.start(self._seed, step, self.global_rank, self.device)

    def on_train_end(self) -> None:
        """Warn if the run has ended without a finite loss; one synchronization with the device."""
        self.has_trained_head = True
        loss = self.step_values.get("loss")
        if loss is not None:
            warn_of_non_finite_loss(float(loss))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Restore the generators."""
        self._randomness.stop()

    def training_step(self, batch: Mapping[str, Any], batch_idx: int = 0) -> Tensor:
        """Compute outputs, centroids and objective of a batch, and log."""
        self.step_values = {}
        step = self.forward_step(self.parse_batch(batch))
        if self.cm_weight > 0:
            self.update_centroids(step)
        with explained_views(f"{type(self).__name__}.objective"):
            loss: Any = self.objective(step)
        if not isinstance(loss, Tensor):
            kind = type(self).__name__
            raise TypeError(f"{kind}.objective must return the loss, a scalar, got {shown(loss)}")
        self._log_step(batch_idx)
        return loss

    def forward_step(self, batch: ParsedBatch) -> Step:
        """Run the forward passes over every view that the objective needs."""
        labeled = [view for method in self.methods for view in method.labeled_views]
        unlabeled = [view for method in self.methods for view in method.views] + self._own_views
        if self.cm_weight > 0 or self._has_cross_entropy or self._own_views:
            labeled = ["weak", *labeled]
        if self.cm_weight > 0:
            unlabeled = ["weak", *unlabeled]
        views = {(self.labeled_part, view): batch.labeled[view] for view in labeled}
        views |= {(self.unlabeled_part, view): batch.unlabeled[view] for view in unlabeled}
        self._companions = ()
        outputs = self.forward_views(views, batch)
        return self.make_step(
            batch,
            labels=batch.labels,
            labeled={view: outputs[self.labeled_part, view] for view in labeled},
            unlabeled={view: outputs[self.unlabeled_part, view] for view in unlabeled},
            labeled_inputs=batch.labeled,
            unlabeled_inputs=batch.unlabeled,
            progress=self.progress,
            extra_forward=self.extra_forward,
            forward_frozen_bn=self.forward_frozen_bn,
            companions=self._companions,
            numbers=batch.index,
            num_unlabeled=self._num_unlabeled,
            steps_taken=0 if self._trainer is None else self.trainer.global_step,
            training_features=self.training_features,
        )

    @torch.no_grad()
    def training_features(
        self, describe: Callable[[Tensor], tuple[Tensor, ...]] = lambda inputs: ()
    ) -> TrainingFeatures:
        """Compute the features of all training samples in evaluation mode, without augmentation.

        ``describe`` maps inputs ``(B, ...)`` to tensors with ``B`` rows, which are returned too. A
        ``ValueError`` if the data module has no ``training_batches``, or a part no length.
        """
        contract = Contract.of(self.trainer)
        features: dict[str, list[Tensor]] = {self.labeled_part: [], self.unlabeled_part: []}
        labels, logits, described = [], [], []
        with evaluation_mode(self):
            for part, found in features.items():
                for batch in contract.training_batches(part, self.device):
                    inputs, *known = as_tuple(batch)
                    outputs = self.forward_outputs(inputs)
                    found.append(outputs.features.cpu())
                    logits.append(outputs.logits.cpu())
                    described.append([value.cpu() for value in describe(inputs)])
                    labels += [each.cpu() for each in known]
        return TrainingFeatures(
            labeled=torch.cat(features[self.labeled_part]),
            labels=torch.cat(labels),
            unlabeled=torch.cat(features[self.unlabeled_part]),
            logits=torch.cat(logits),
            described=tuple(map(torch.cat, zip(*described, strict=True))),
        )

    def update_centroids(self, step: Step) -> None:
        """Update the centroids from the labeled features of the step."""
        labeled, unlabeled = step.labeled["weak"], step.unlabeled["weak"]
        if self.centroid_threshold is None:
            self.head.update_centroids(labeled.features, step.labels)
            return
        confidence, pseudo_labels = unlabeled.assignments.detach().max(dim=1)
        known = torch.ones_like(step.labels, dtype=torch.bool)
        self.head.update_centroids(
            torch.cat([labeled.features, unlabeled.features]),
            torch.cat([step.labels, pseudo_labels]),
            mask=torch.cat([known, confidence > self.centroid_threshold]),
        )

    def objective(self, step: Step) -> Tensor:
        """Compute and log cross-entropy + ``cm_weight`` · CM + the weighted loss of each method."""
        num_labeled, num_samples = self._samples_per_rank(step)
        supervised = [self.cross_entropy(step, num_labeled)] if self._has_cross_entropy else []
        added = [self.cm_loss(step, num_samples)] if self.cm_weight > 0 else []
        for name, method in zip(names_in_logs(self.methods), self.methods, strict=True):
            value = loss_of(method, step)
            logs = {f"{name}_{key}": log for key, log in value.logs.items()}
            self.log_training({name: value.loss, **logs})
            added.append(method.weight_at(step.progress) * value.loss)
            if value.supervised is not None:
                supervised.append(value.supervised)
        cross_entropy = sum(supervised[1:], supervised[0])
        loss = cross_entropy + sum(added)
        self.log_training({"ce": cross_entropy, "loss": loss})
        return loss

    def cross_entropy(self, step: Step, num_labeled: float | Tensor) -> Tensor:
        """Cross-entropy of the labeled samples, a scalar; override it for another loss of them.

        Their logits ``(N_l, K)`` are ``step.labeled["weak"].logits``, their labels ``step.labels``
        ``(N_l,)``. ``num_labeled`` is the number of labeled samples per rank, averaged over the
        ranks: dividing a sum by it gives the mean over all ranks.
        """
        logits = step.labeled["weak"].logits
        return F.cross_entropy(logits, step.labels, reduction="sum") / num_labeled

    def cm_loss(self, step: Step, num_samples: float | Tensor | None = None) -> Tensor:
        """Compute ``cm_weight * cm_ramp(progress) * CM`` of all samples, and log its terms.

        ``num_samples`` is their number per rank, averaged over the ranks; ``None``: equal ones.
        """
        labeled, unlabeled = step.labeled["weak"], step.unlabeled["weak"]
        loss = self.head.loss(
            torch.cat([labeled.features, unlabeled.features]),
            torch.cat([labeled.assignments, unlabeled.assignments]),
            rows_per_rank=num_samples,
        )
        terms = {f"cm_{k}": v for k, v in loss._asdict().items() if k != "total"}
        self.log_training({"cm": loss.total, **terms})
        factor = 1.0 if self.cm_ramp is None else self.cm_ramp(step.progress)
        for method in self.methods:
            factor *= method.cm_factor
        return self.cm_weight * factor * loss.total

    @property
    def _has_cross_entropy(self) -> bool:
        return not any(method.replaces_supervised for method in self.methods)

    @property
    def _own_views(self) -> list[str]:
        is_own = type(self).objective is not SuperCMModule.objective
        return list(dict.fromkeys(("weak", *self.views))) if is_own else []

    def _samples_per_rank(self, step: Step) -> tuple[float | Tensor, ...]:
        # Labeled samples, and all samples. With a custom loader, ranks may differ.
        num_labeled = len(step.labels)
        num_unlabeled = len(step.unlabeled["weak"].features) if self.cm_weight > 0 else 0
        return rows_per_rank(num_labeled, num_labeled + num_unlabeled, device=step.labels.device)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Step the optimizer with the settings of the methods, then call their ``after_step``."""
        with ExitStack() as settings:
            for method in self.methods:
                settings.enter_context(method.during_step(optimizer))
            super().optimizer_step(epoch, batch_idx, optimizer, *args, **kwargs)
        for method in self.methods:
            method.after_step(self.feature_extractor, self.head)

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """Step the schedule, which in a run limited by time ends when that does."""
        if self._adjusts_schedule and self.progress > 0:
            scheduler.total_steps = max(round(self.trainer.global_step / self.progress), 1)
        super().lr_scheduler_step(scheduler, metric)

    def parse_batch(self, batch: Mapping[str, Any]) -> ParsedBatch:
        """Select labels and required views of a training batch."""
        check_form(batch, self.labeled_part, self.unlabeled_part)
        inputs, labels = unpack_labeled(self.labeled_part, batch[self.labeled_part], 2)
        labeled = self.views_of(self.labeled_part, inputs)
        unlabeled = self.views_of(self.unlabeled_part, batch.get(self.unlabeled_part, {}))
        return ParsedBatch(
            labeled=labeled,
            labels=class_labels(self.labeled_part, labels, labeled),
            index=unlabeled.pop("index", None),
            unlabeled=unlabeled,
        )

    def views_of(self, part: str, given: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Select the required views of a part; a single tensor is the weak view."""
        views = needed_views(part, given, self.required_views[part])
        return {k: v if k == "index" else self._prepared(v) for k, v in views.items()}

    def log_training(self, values: Mapping[str, Tensor | float]) -> None:
        """Add scalars that are logged under ``train/`` at the end of the step."""
        self.step_values |= {k: torch.as_tensor(value).detach() for k, value in values.items()}

    def _log_step(self, batch_idx: int) -> None:
        # Lightning takes about 60 µs per logged value, so log only in steps that a logger writes,
        # and in the first and last of an epoch, for callbacks that monitor a value. The progress
        # bar would synchronize with the device in every step.
        if self._trainer is None:
            return
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        due = every > 0 and (self.trainer.global_step + 1) % every == 0
        if due or batch_idx == 0 or self.trainer.is_last_batch:
            self.log_dict({f"train/{name}": value for name, value in self.step_values.items()})

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimizer of the trainable parameters, and its schedule by steps."""
        optimizer = build_optimizer(
            self, self.backbone, self._optimizer, self._backbone_lr_factor, self.lr
        )
        warn_of_untrained(self, optimizer)
        if self._lr_scheduler is None:
            return optimizer
        try:
            schedule = self._lr_scheduler(optimizer)
        except TypeError as error:
            if "required positional argument" not in str(error):
                raise
            raise TypeError(
                f"lr_scheduler lacks an argument: {error}; write it as in "
                "lr_scheduler=partial(CosineAnnealingLR, T_max=1000)"
            ) from error
        self._follows_run = getattr(schedule, "total_steps", 0) is None
        return {"optimizer": optimizer, "lr_scheduler": schedule_settings(schedule)}
