"""SuperCM for semi-supervised learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

from torch import Tensor, nn

from supercm_pl.clustering import CentroidMode
from supercm_pl.training.batch import ParsedBatch
from supercm_pl.training.batch_norm import BatchNormPolicy, fixed_statistics
from supercm_pl.training.method import Method
from supercm_pl.training.metrics import EvaluationMetrics
from supercm_pl.training.module import SuperCMModule
from supercm_pl.training.network import CompileMode, PartView
from supercm_pl.training.optim import LRSchedulerCallable, OptimizerCallable
from supercm_pl.training.ramps import Ramp
from supercm_pl.training.step import Outputs


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
    ``{"labeled": (x, y), "unlabeled": {"weak": x, "strong": x}}``, as the methods need them.
    Evaluation batches are ``(x, y)``.

    Args:
        backbone: Maps inputs ``(N, ...)`` to features ``(N, d)``.
        num_classes: Number of classes ``K``, at least 2.
        methods: Base methods whose terms are added; none, one or several.
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
        centroid_threshold: Confidence in ``(0, 1)`` above which unlabeled samples join the labeled
            ones of their pseudo-label in the centroids, as in the papers' ablation; ``None``:
            labeled samples alone.
        batch_norm: What batch norm does with unlabeled rows. ``"all"``: one forward pass,
            normalised by the statistics of all its rows, and all of them move the running ones.
            ``"labeled"``: labeled rows in a pass of their own, and they alone move the running
            statistics. ``"frozen"``: labeled rows and the weak view together move them; other views
            and further forward passes are normalised by their own batch and move nothing. ``None``:
            the choice of the first regularizer's paper, ``"all"`` without one.
        bottleneck: Features of a linear layer with batch norm and ReLU between backbone and head;
            ``None``: no such layer.
        feature_size: What the backbone returns; ``None`` reads it off the backbone.
        optimizer: Builds the optimizer from the parameters; ``None``: ``torch.optim.AdamW``.
        lr_scheduler: Builds the learning-rate schedule from the optimizer; it is stepped every
            step.
        backbone_lr_factor: The backbone's learning rate over that of all else, ``>= 0``.
        channels_last: Keep images and the backbone's filters with channels last in memory, which
            makes most convolutions faster; results differ by rounding alone.
        compile_mode: Train with the backbone compiled by ``torch.compile`` in this mode;
            ``"reduce-overhead"`` and ``"max-autotune"`` replay CUDA graphs on a GPU. Names in
            checkpoints stay as they are, and results differ by rounding alone. Copies of the
            backbone that base methods keep are not compiled.

    Raises:
        TypeError: If ``num_classes`` is not an integer, or a batch is not of the form above.
        ValueError: If a value is out of range, or a view that a regularizer needs is missing.

    Example:
        >>> import torch
        >>> from supercm_pl.backbones import MLP
        >>> module = SSLModule(MLP(4, hidden_features=(8,)), num_classes=3)
        >>> module.eval()(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """

    labeled_part = "labeled"
    unlabeled_part = "unlabeled"

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        methods: Method | Sequence[Method] = (),
        *,
        cm_weight: float = 0.5,
        cm_ramp: Ramp | None = None,
        centroids: CentroidMode = "cumulative",
        momentum: float = 0.9,
        temperature: float = 1.0,
        alpha: float | Sequence[float] = 1.0,
        orthonormal: bool = False,
        normalize: bool = True,
        centroid_threshold: float | None = None,
        batch_norm: BatchNormPolicy | None = None,
        bottleneck: int | None = None,
        feature_size: int | None = None,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        backbone_lr_factor: float = 1.0,
        channels_last: bool = False,
        compile_mode: CompileMode | None = None,
    ) -> None:
        super().__init__(
            backbone,
            num_classes,
            methods,
            cm_weight=cm_weight,
            cm_ramp=cm_ramp,
            centroids=centroids,
            momentum=momentum,
            temperature=temperature,
            alpha=alpha,
            orthonormal=orthonormal,
            normalize=normalize,
            centroid_threshold=centroid_threshold,
            bottleneck=bottleneck,
            feature_size=feature_size,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            backbone_lr_factor=backbone_lr_factor,
            channels_last=channels_last,
            compile_mode=compile_mode,
        )
        if batch_norm not in (None, *get_args(BatchNormPolicy)):
            raise ValueError(
                f"batch_norm must be one of {get_args(BatchNormPolicy)} or None, got {batch_norm!r}"
            )
        self._batch_norm = batch_norm
        for method in self.methods:
            # Else nothing but its further passes, which then move no statistics, would be left.
            if method.replaces_supervised and not method.labeled_views and self.batch_norm != "all":
                raise ValueError(
                    f'batch_norm must be "all" with {method.name}, which forwards the labeled rows '
                    f"itself, got {self.batch_norm!r}"
                )
        self.val_metrics = EvaluationMetrics(num_classes, prefix="val/")
        self.test_metrics = EvaluationMetrics(num_classes, prefix="test/")

    @property
    def batch_norm(self) -> BatchNormPolicy:
        """The policy in force."""
        if self._batch_norm is not None:
            return self._batch_norm
        chosen = [method.batch_norm_policy for method in self.methods]
        return chosen[0] if chosen else "all"

    def forward_views(
        self, views: Mapping[PartView, Tensor], batch: ParsedBatch
    ) -> dict[PartView, Outputs]:
        """One forward pass; or two, of which the second moves no statistics of batch norm."""
        policy = self.batch_norm
        if policy == "all":
            return self.forward_joint(views)
        first = {view: views[view] for view in views if _comes_first(view, policy)}
        second = {view: views[view] for view in views if view not in first}
        outputs = self.forward_joint(first)
        with fixed_statistics(self.backbone, self.bottleneck):
            return outputs | self.forward_joint(second)

    def extra_forward(self, inputs: Tensor) -> Outputs:
        """A further forward pass; under ``"labeled"`` and ``"frozen"`` it moves no statistics."""
        return (
            self.forward_outputs(inputs)
            if self.batch_norm == "all"
            else self.forward_frozen_bn(inputs)
        )

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


def _comes_first(view: PartView, policy: BatchNormPolicy) -> bool:
    return view[0] == "labeled" or (policy == "frozen" and view[1] == "weak")
