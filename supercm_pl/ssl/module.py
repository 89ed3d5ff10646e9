"""SuperCM for semi-supervised learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

from torch import Tensor, nn
from typing_extensions import Unpack

from supercm_pl.checks import check_choice
from supercm_pl.options import hands_options_to
from supercm_pl.training.batch import ParsedBatch, check_joinable
from supercm_pl.training.method import Method, check_joint_batch_norm
from supercm_pl.training.metrics import EvaluationMetrics
from supercm_pl.training.modes import BatchNormPolicy, fixed_statistics
from supercm_pl.training.module import ModuleOptions, SuperCMModule
from supercm_pl.training.network import PartView
from supercm_pl.training.step import Outputs


@hands_options_to(SuperCMModule)
class SSLModule(SuperCMModule):
    r"""Semi-supervised training of a classifier from few labeled and many unlabeled samples.

    The objective of a step is

    .. math::
        L = \mathrm{CE}(\text{labeled})
            + \beta\, r(p)\, \mathrm{CM}(\text{labeled} \cup \text{unlabeled})
            + \sum_j w_j\, r_j(p)\, R_j(\text{unlabeled}),

    with the centroids of the CM loss computed from the labeled features of the same forward pass
    (Singh et al., *SuperCM*, Pattern Recognition 2025). With ``cm_weight=0`` and no method,
    training is supervised and ignores the unlabeled samples.

    A training batch is ``{"labeled": (x, y), "unlabeled": x}``, or with several views
    ``{"labeled": (x, y), "unlabeled": {"weak": x, "strong": x}}``. Evaluation batches are
    ``(x, y)``.

    Args:
        batch_norm: Treatment of unlabeled samples by batch norm. ``"labeled"``: a separate pass of
            the labeled samples, and only they update the running statistics. ``"all"``: one forward
            pass of all samples, which all update the running statistics. ``None``: ``"all"`` if a
            method has ``joint_batch_norm``, else ``"labeled"``.
        **options: Options of :class:`~supercm_pl.training.module.SuperCMModule`.

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
        num_classes: int | None = None,
        methods: Method | Sequence[Method] = (),
        *,
        cm_weight: float = 0.5,
        batch_norm: BatchNormPolicy | None = None,
        **options: Unpack[ModuleOptions],
    ) -> None:
        super().__init__(backbone, num_classes, methods, cm_weight=cm_weight, **options)
        check_choice("batch_norm", batch_norm, (*get_args(BatchNormPolicy), None))
        if batch_norm is not None:
            check_joint_batch_norm(self.methods, batch_norm, "all")
        joint = any(method.joint_batch_norm for method in self.methods)
        self.batch_norm: BatchNormPolicy = batch_norm or ("all" if joint else "labeled")

    def build_head(self, num_classes: int) -> None:
        """Create the head, what the methods need of it, and the metrics."""
        super().build_head(num_classes)
        self.val_metrics = EvaluationMetrics(num_classes, prefix="val/")
        self.test_metrics = EvaluationMetrics(num_classes, prefix="test/")

    def forward_views(
        self, views: Mapping[PartView, Tensor], batch: ParsedBatch
    ) -> dict[PartView, Outputs]:
        """Run one forward pass, or a second one of the unlabeled samples without statistics.

        A single labeled sample has no statistics of its own, and joins the others.
        """
        check_joinable(views)
        if self.batch_norm == "all" or len(batch.labels) == 1:
            return self.forward_joint(views)
        first = {view: views[view] for view in views if view[0] == self.labeled_part}
        second = {view: views[view] for view in views if view not in first}
        outputs = self.forward_joint(first)
        with fixed_statistics(self.backbone, self.bottleneck):
            return outputs | self.forward_joint(second)

    def extra_forward(self, inputs: Tensor) -> Outputs:
        """Run a further forward pass; only under ``"all"`` does it update batch-norm statistics."""
        run = self.forward_outputs if self.batch_norm == "all" else self.forward_frozen_bn
        return run(inputs)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int = 0) -> None:
        """Add a batch ``(x, y)`` to the validation metrics."""
        self._evaluate(batch, self.val_metrics)

    def on_validation_epoch_end(self) -> None:
        """Log ``val/acc``, ``val/nmi``, ``val/ari``, ``val/ece``, and ``val/top5`` if ``K > 5``."""
        self._log_and_reset(self.val_metrics, prog_bar="val/acc")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int = 0) -> None:
        """Add a batch ``(x, y)`` to the test metrics."""
        self._evaluate(batch, self.test_metrics)

    def on_test_epoch_end(self) -> None:
        """Log the same metrics as in validation, under ``test/``."""
        self._log_and_reset(self.test_metrics)
