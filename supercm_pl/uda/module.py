"""SuperCM for domain adaptation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from inspect import isabstract, isclass
from typing import Any, get_args

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from supercm_pl.checks import as_objects, check_choice
from supercm_pl.data.datasets import as_tuple
from supercm_pl.options import hands_options_to
from supercm_pl.training.batch import (
    ParsedBatch,
    check_form,
    check_joinable,
    class_labels,
    unpack_labeled,
)
from supercm_pl.training.method import Method, check_joint_batch_norm, names_in_logs
from supercm_pl.training.metrics import EvaluationMetrics
from supercm_pl.training.module import ModuleOptions, SuperCMModule
from supercm_pl.training.network import PartView
from supercm_pl.training.pitfalls import monitors_of
from supercm_pl.training.step import Outputs
from supercm_pl.uda import validators as known_validators
from supercm_pl.uda.domain_batch_norm import DomainBatchNorm, SourceStatistics
from supercm_pl.uda.step import UDAStep
from supercm_pl.uda.validators import Validator

_SOURCE, _TARGET, _LABELED_TARGET = "source", "target", "labeled_target"


@dataclass(frozen=True, kw_only=True)
class _ParsedBatch(ParsedBatch):
    num_source: int
    domains: Tensor | None


@hands_options_to(SuperCMModule)
class UDAModule(SuperCMModule):
    r"""Adaptation of a classifier from a labeled source domain to an unlabeled target domain.

    The objective of a step is

    .. math::
        L = \mathrm{CE}(\text{source})
            + \beta\, r(p)\, \mathrm{CM}(\text{source} \cup \text{target})
            + \sum_j w_j\, r_j(p)\, A_j(\text{source}, \text{target}),

    with the centroids of the CM loss computed from the source features of the same forward pass
    (Singh et al., *SuperCM*, Pattern Recognition 2025). With ``cm_weight=0`` and no method,
    training uses only the source.

    A training batch is ``{"source": (x, y), "target": x}``, with ``"source": (x, y, domain)`` for
    several sources. In semi-supervised adaptation, it also has ``"labeled_target": (x, y)``, whose
    samples join the source in the cross-entropy and in the centroids. Each ``x`` may be a mapping
    of views. Validation has two loaders: source batches ``(x, y)`` and target batches ``x``. A test
    batch is ``(x, y)`` of the target.

    Args:
        methods: Losses that are added to the objective: one method, several or none. Methods of
            :mod:`supercm_pl.ssl.methods` train on the target.
        validators: Scores of the model without target labels, logged as ``val/<name>``.
        batch_norm: Treatment of two domains by batch norm. ``"mixed"``: one forward pass of both.
            ``"separate"``: one pass for each domain; both update the running statistics.
            ``"domain"``: as ``"separate"``, but each domain has its own running statistics;
            evaluation of the target uses those of the target. ``None``: ``"separate"`` if a method
            has ``separate_batch_norm`` and none ``joint_batch_norm``, else ``"mixed"``.
        **options: Options of :class:`~supercm_pl.training.module.SuperCMModule`.

    Example:
        >>> from supercm_pl.backbones import MLP
        >>> module = UDAModule(MLP(4, hidden_features=(8,)), num_classes=3)
        >>> module.eval()(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """

    labeled_part = _SOURCE
    unlabeled_part = _TARGET
    step_type = UDAStep

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int | None = None,
        methods: Method | Sequence[Method] = (),
        *,
        validators: Validator | Sequence[Validator] = (),
        cm_weight: float = 0.1,
        batch_norm: DomainBatchNorm | None = None,
        **options: Unpack[ModuleOptions],
    ) -> None:
        super().__init__(backbone, num_classes, methods, cm_weight=cm_weight, **options)
        check_choice("batch_norm", batch_norm, (*get_args(DomainBatchNorm), None))
        if batch_norm is None:
            joint = any(method.joint_batch_norm for method in self.methods)
            separate = any(method.separate_batch_norm for method in self.methods)
            batch_norm = "separate" if separate and not joint else "mixed"
        check_joint_batch_norm(self.methods, batch_norm, "mixed")
        self.batch_norm: DomainBatchNorm = batch_norm
        self.source_statistics = (
            SourceStatistics(self.feature_extractor) if batch_norm == "domain" else None
        )
        chosen = as_objects("validators", validators, Validator, "SND()")  # type: ignore[type-abstract]
        self.validators = nn.ModuleList(chosen)

    def build_head(self, num_classes: int) -> None:
        """Create the head, what the methods need of it, and the metrics."""
        super().build_head(num_classes)
        self.source_metrics = EvaluationMetrics(num_classes, prefix="val/source_")
        self.oracle_metrics = EvaluationMetrics(num_classes, prefix="val/oracle_target_")
        self.test_metrics = EvaluationMetrics(num_classes, prefix="test/target_")

    def on_train_start(self) -> None:
        """As in the base class; a ``ValueError`` too for a monitor that can't choose a model.

        It is one if a callback monitors an absent validator, or a value of ``val/`` that prefers
        models of before a method has begun.
        """
        super().on_train_start()
        logged = {f"val/{name}" for name in names_in_logs(self._validators())}
        late = [type(method).__name__ for method in self.methods if not method.has_begun]
        for user, monitor, _ in monitors_of(self.trainer):
            if not monitor.startswith("val/") or monitor in logged:
                continue
            names = known_validators.__all__
            kinds: list[Any] = [*filter(isclass, (getattr(known_validators, n) for n in names))]
            for kind in kinds:
                if not isabstract(kind) and f"val/{kind().name}" == monitor:
                    raise ValueError(
                        f"{user} monitors {monitor}, which is not logged: write "
                        f"UDAModule(..., validators={kind.__name__}())"
                    )
            if late:
                raise ValueError(
                    f"{user} monitors {monitor}, which may be best before {late[0]} begins: use a "
                    'validator, as in UDAModule(..., validators=BatchNuclearNorm()) and "val/bnm"'
                )

    def parse_batch(self, batch: Mapping[str, Any]) -> ParsedBatch:
        """Select labels and required views; labeled target samples follow those of the source."""
        check_form(batch, _SOURCE, _TARGET)
        inputs, labels, *domains = unpack_labeled(_SOURCE, batch[_SOURCE], 3)
        labeled = self.views_of(_SOURCE, inputs)
        labels = class_labels(_SOURCE, labels, labeled)
        domains = [class_labels(_SOURCE, numbers, labeled, "domains") for numbers in domains]
        target = self.views_of(_TARGET, batch.get(_TARGET, {}))
        num_source = len(labels)
        if _LABELED_TARGET in batch:
            inputs, target_labels = unpack_labeled(_LABELED_TARGET, batch[_LABELED_TARGET], 2)
            more = self.views_of(_LABELED_TARGET, inputs)
            for view, source_inputs in labeled.items():
                check_joinable(
                    {(_SOURCE, view): source_inputs, (_LABELED_TARGET, view): more[view]}
                )
            labeled = {view: torch.cat([labeled[view], more[view]]) for view in labeled}
            labels = torch.cat([labels, class_labels(_LABELED_TARGET, target_labels, more)])
        return _ParsedBatch(
            labeled=labeled,
            labels=labels,
            index=target.pop("index", None),
            unlabeled=target,
            num_source=num_source,
            domains=domains[0] if domains else None,
        )

    @property
    def required_views(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Views required in a training batch, by part and view, with the methods that need it."""
        views = super().required_views
        return {**views, _LABELED_TARGET: views[_SOURCE]}

    def forward_views(
        self, views: Mapping[PartView, Tensor], batch: ParsedBatch
    ) -> dict[PartView, Outputs]:
        """Run one forward pass, or one for each domain."""
        if self.batch_norm == "mixed":
            return self.forward_joint(views)
        assert isinstance(batch, _ParsedBatch)
        count = batch.num_source
        labeled = [view for view in views if view[0] == _SOURCE]
        with self._source():
            source = self.forward_joint({view: views[view][:count] for view in labeled})
        rest = {view: views[view][count:] for view in labeled if len(views[view]) > count}
        unlabeled = {view: views[view] for view in views if view not in source}
        outputs = self.forward_joint(rest | unlabeled)
        for view in rest:
            outputs[view] = Outputs(*map(torch.cat, zip(source[view], outputs[view], strict=True)))
        return source | outputs

    def make_step(self, batch: ParsedBatch, **known: Any) -> UDAStep:
        """Create the step, with the number of source samples among the labeled ones."""
        assert isinstance(batch, _ParsedBatch)
        return UDAStep(**known, num_source=batch.num_source, domains=batch.domains)

    def validation_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> None:
        """Add a source batch ``(x, y)`` (loader 0) or a target batch ``x`` (loader 1)."""
        if dataloader_idx == 0:
            inputs, labels, *_ = unpack_labeled("source validation", batch, 3)
            outputs = self._source_outputs(self._prepared(inputs))
            self.source_metrics.update(outputs.assignments, labels)
            for validator in self._validators():
                validator.update(
                    outputs.features, outputs.assignments, labels, domain="source", head=self.head
                )
            return
        inputs, *oracle = as_tuple(batch)
        outputs = self.forward_outputs(self._prepared(inputs))
        for validator in self._validators():
            validator.update(outputs.features, outputs.assignments, domain="target", head=self.head)
        if oracle:
            self.oracle_metrics.update(outputs.assignments, oracle[0])

    def on_validation_epoch_end(self) -> None:
        """Log ``val/source_acc``, ``val/<validator>``, and ``val/oracle_target_acc`` if known.

        Without held-out source samples, there is no ``val/source_acc``. Validators are nan, which
        ``ModelCheckpoint`` takes for the worst value, until all methods have begun.
        """
        begun = all(method.has_begun for method in self.methods)
        self._log_and_reset(self.source_metrics, prog_bar="val/source_acc")
        used = self._validators()
        for name, validator in zip(names_in_logs(used), used, strict=True):
            # All ranks have the same value; `sync_dist` avoids Lightning's warning.
            value = validator.compute()
            value = value if begun else torch.full_like(value, torch.nan)
            self.log(f"val/{name}", value, sync_dist=True)
            validator.reset()
        self._log_and_reset(self.oracle_metrics)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int = 0) -> None:
        """Add a target batch ``(x, y)`` to the test metrics."""
        self._evaluate(batch, self.test_metrics)

    def on_test_epoch_end(self) -> None:
        """Log ``test/target_acc``, ``test/target_nmi`` and the other metrics."""
        self._log_and_reset(self.test_metrics)

    def _source_outputs(self, inputs: Tensor) -> Outputs:
        for network in (method.source_network for method in self.methods):
            if network is not None:
                features = network(inputs)
                return Outputs(inputs, features, *self.head(features))
        with self._source():
            return self.forward_outputs(inputs)

    def _source(self) -> AbstractContextManager[None]:
        if self.source_statistics is None:
            return nullcontext()
        return self.source_statistics.in_use(self.feature_extractor)

    def _validators(self) -> list[Validator]:
        return list(self.validators)  # type: ignore[arg-type]  # a ModuleList forgets their type
