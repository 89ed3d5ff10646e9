"""SuperCM for semi-supervised learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supercm_pl.clustering import CentroidMode
from supercm_pl.core.metrics import EvaluationMetrics
from supercm_pl.core.module import Rows, SuperCMModule
from supercm_pl.core.optim import LRSchedulerCallable, OptimizerCallable
from supercm_pl.core.ramps import Ramp
from supercm_pl.ssl.regularizers.base import Regularizer, SSLStep


class SSLModule(SuperCMModule):
    r"""Trains a classifier from few labeled and many unlabeled samples.

    The objective of a step is

    .. math::
        L = \mathrm{CE}(\text{labeled})
            + \beta\, r(p)\, \mathrm{CM}(\text{labeled} \cup \text{unlabeled})
            + \sum_j w_j\, r_j(p)\, R_j(\text{unlabeled}),

    with the centroids of the CM loss computed from the labeled features of the same forward pass
    (Singh et al., *SuperCM*, Pattern Recognition 2025). With ``cm_weight=0`` and no regularizer it
    is plain supervised training, and the unlabeled rows are not looked at.

    A training batch is ``{"labeled": (x, y), "unlabeled": x}``, or with several views
    ``{"labeled": (x, y), "unlabeled": {"weak": x, "strong": x}}``. Evaluation batches are ``(x,
    y)``.

    Args:
        backbone: Maps inputs ``(N, ...)`` to features ``(N, d)``.
        num_classes: Number of classes ``K``, at least 2.
        regularizers: Base methods whose terms are added; none, one or several.
        cm_weight: ``β``, the weight of the CM loss, ``>= 0``.
        cm_ramp: How ``β`` grows over training; ``None``: full from the start, as in the papers.
        centroids: How centroids follow the labeled features, see
            :class:`~supercm_pl.ClusteringHead`.
        momentum: Of the ``"ema"`` centroids, in ``(0, 1)``.
        temperature: ``T > 0`` that divides the logits in the assignments.
        alpha: Dirichlet prior on the mean assignment, ``> 0``, one number or one per class; 1 is no
            prior.
        orthonormal: Use the orthonormal variant of the CM loss.
        normalize: Divide the CM loss by ``N * d``.
        feature_size: ``d``; ``None`` reads it off the backbone.
        optimizer: Builds the optimizer from the parameters.
        lr_scheduler: Builds the learning-rate schedule from the optimizer; it is stepped every
            step.

    Raises:
        TypeError: If ``num_classes`` is not an integer, or a batch is not of the form above.
        ValueError: If a value is out of range, or a view that a regularizer needs is missing.

    Example:
        >>> from supercm_pl.backbones import MLP
        >>> module = SSLModule(MLP(4, hidden_features=(8,)), num_classes=3)
        >>> module.eval()(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        regularizers: Regularizer | Sequence[Regularizer] = (),
        *,
        cm_weight: float = 0.5,
        cm_ramp: Ramp | None = None,
        centroids: CentroidMode = "cumulative",
        momentum: float = 0.9,
        temperature: float = 1.0,
        alpha: float | Sequence[float] = 1.0,
        orthonormal: bool = False,
        normalize: bool = True,
        feature_size: int | None = None,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(
            backbone,
            num_classes,
            cm_weight=cm_weight,
            cm_ramp=cm_ramp,
            centroids=centroids,
            momentum=momentum,
            temperature=temperature,
            alpha=alpha,
            orthonormal=orthonormal,
            normalize=normalize,
            feature_size=feature_size,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
        )
        terms = [regularizers] if isinstance(regularizers, Regularizer) else list(regularizers)
        self.regularizers = nn.ModuleList(terms)
        self.val_metrics = EvaluationMetrics(num_classes, prefix="val/")
        self.test_metrics = EvaluationMetrics(num_classes, prefix="test/")

    @property
    def required_views(self) -> dict[str, tuple[str, ...]]:
        """Views of the unlabeled rows that a batch must have, each with who asks for it."""
        views: dict[str, tuple[str, ...]] = {"weak": ("SuperCM",)} if self.cm_weight > 0 else {}
        for regularizer in self._terms():
            for view in regularizer.views:
                views[view] = (*views.get(view, ()), regularizer.name)
        return views

    def training_step(self, batch: Mapping[str, Any], batch_idx: int = 0) -> Tensor:
        """The objective of one batch, its terms logged."""
        inputs, labels, views = self._parts(batch)
        # One forward pass of everything: batch norm sees labeled and unlabeled rows together.
        rows = self.rows(torch.cat([inputs, *views.values()]))
        sizes = [len(inputs), *(len(view) for view in views.values())]
        labeled, *unlabeled = (
            Rows(*parts) for parts in zip(*(torch.split(part, sizes) for part in rows), strict=True)
        )

        loss = F.cross_entropy(labeled.logits, labels)
        self.log_training({"ce": loss})
        if self.cm_weight > 0:
            self.head.update_centroids(labeled.features, labels)
            pooled = sizes[0] + sizes[1]  # the labeled rows and the weak view, which comes first
            loss = loss + self.clustering_term(rows.features[:pooled], rows.assignments[:pooled])
        by_view = dict(zip(views, unlabeled, strict=True))
        step = SSLStep(labeled, labels, by_view, self.progress, self.rows)
        loss = loss + self.weighted_sum(self._terms(), step, step.progress)
        self.log_training({"loss": loss}, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int = 0) -> None:
        """Add a batch ``(x, y)`` to the metrics of validation."""
        self._evaluate(batch, self.val_metrics)

    def on_validation_epoch_end(self) -> None:
        """Log ``val/acc``, ``val/nmi``, ``val/ari``, ``val/ece``; ``val/top5`` where ``K > 5``."""
        self._log_and_reset(self.val_metrics, prog_bar="val/acc")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int = 0) -> None:
        """Add a batch ``(x, y)`` to the metrics of the test."""
        self._evaluate(batch, self.test_metrics)

    def on_test_epoch_end(self) -> None:
        """Log the same metrics as validation does, under ``test/``."""
        self._log_and_reset(self.test_metrics)

    def _terms(self) -> list[Regularizer]:
        # A ModuleList forgets the type of its items.
        return list(self.regularizers)  # type: ignore[arg-type]

    def _parts(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        if not isinstance(batch, Mapping) or "labeled" not in batch:
            raise TypeError(
                'a training batch must be {"labeled": (x, y), "unlabeled": x}, as SSLDataModule '
                f"yields it, got {_describe(batch)}"
            )
        inputs, labels = batch["labeled"]
        given = batch.get("unlabeled", {})
        if isinstance(given, Tensor):
            given = {"weak": given}
        views = {}
        for view, askers in self.required_views.items():
            if view not in given:
                raise ValueError(
                    f'the batch has no unlabeled view "{view}", which {" and ".join(askers)} '
                    f"needs; it has {sorted(given) or 'none'}"
                )
            views[view] = given[view]
        return inputs, labels, views


def _describe(batch: object) -> str:
    if isinstance(batch, Mapping):
        return f"a mapping with {sorted(map(str, batch))}"
    return type(batch).__name__
