"""FlexMatch: a threshold for each class, by how well it is learned."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supercm_pl.checks import check_at_least, check_flag, check_fraction
from supercm_pl.clustering import ClusteringHead
from supercm_pl.distributed import gather_over_ranks
from supercm_pl.ssl.pseudo_labels import probabilities
from supercm_pl.training.method import Method, MethodLoss
from supercm_pl.training.ramps import Ramp
from supercm_pl.training.step import Step

NO_LABEL = -1


class FlexMatch(Method):
    r"""FixMatch with curriculum pseudo-labeling.

    Zhang et al., *FlexMatch: Boosting Semi-Supervised Learning with Curriculum Pseudo Labeling*
    (NeurIPS 2021). Every unlabeled sample remembers its latest pseudo-label that was above the
    threshold ``τ``. The learning status :math:`\sigma_t(c)` of a class is how many samples remember
    it (eq. 5); with the rest of the ``N`` samples as a warm-up (eq. 11),

    .. math::
        \beta_t(c) = \frac{\sigma_t(c)}{\max\{\max_k \sigma_t(k),\, N - \sum_k \sigma_t(k)\}},
        \quad \tau_t(c) = \tau \, \frac{\beta_t(c)}{2 - \beta_t(c)},

    and the term is that of FixMatch with these thresholds (eq. 8), on :math:`q_b`, the prediction
    on the weak view, a constant, and :math:`p_b`, that on the strong one:

    .. math::
        R = \frac{1}{\mu B} \sum_b \mathbb{1}[\max q_b \ge \tau_t(\arg\max q_b)] \;
            H(\arg\max q_b,\, p_b).

    A class that no sample remembers has the threshold 0, as published. Batch norm sees all rows
    together, as in the authors' code.

    Every rank remembers all samples. The table is saved with the module, but is no buffer: it is
    not to be averaged over steps, nor broadcast in each of them. One of another length than the
    stream is of other data, and is begun anew.

    Logged besides: ``used``, the share of rows above their threshold; ``threshold``, the mean over
    the classes.

    Args:
        threshold: ``τ`` in ``(0, 1)``.
        warm_up: Use the warm-up; without, :math:`\beta_t(c) = \sigma_t(c) / \max_k \sigma_t(k)`
            (eq. 6).
        num_samples: Size of the unlabeled stream; ``None``: the data module knows it.
        weight: Weight of the term, ``>= 0``.
        ramp: How the weight grows over training; ``None``: full from the start, as published.

    Raises:
        ValueError: If a value is out of range; or at the first step, if nobody knows how many
            samples there are, or which these are.
    """

    views = ("weak", "strong")
    batch_norm_policy = "all"
    needs_index = True

    def __init__(
        self,
        threshold: float = 0.95,
        warm_up: bool = True,
        num_samples: int | None = None,
        weight: float = 1.0,
        ramp: Ramp | None = None,
    ) -> None:
        super().__init__(weight, ramp)
        self.threshold = check_fraction("threshold", threshold)
        if num_samples is not None:
            check_at_least("num_samples", num_samples, 1)
        self.warm_up = check_flag("warm_up", warm_up)
        self.num_samples = num_samples
        self._table = torch.full((1,), NO_LABEL, dtype=torch.int32)  # the last one is a dummy
        self._status = torch.empty(0, dtype=torch.int64)

    def build(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Make the learning status."""
        self._status = torch.zeros(head.num_classes, dtype=torch.int64)

    @property
    def latest(self) -> Tensor:
        """Latest confident pseudo-label of each sample, ``-1`` where there was none."""
        return self._table[:-1]

    @property
    def learning_status(self) -> Tensor:
        """``σ_t``, how many samples remember each class, shape ``(K,)``, int64."""
        return self._status

    def class_thresholds(self) -> Tensor:
        """``τ_t(c)``, shape ``(K,)``."""
        most = self._status.max()
        if self.warm_up:
            most = torch.maximum(most, len(self.latest) - self._status.sum())
        fraction = self._status / most.clamp(min=1)
        return self.threshold * fraction / (2.0 - fraction)

    def forward(self, step: Step) -> MethodLoss:
        """The term on the weak and strong view of this step's unlabeled rows."""
        predicted = probabilities(step.unlabeled["weak"].logits)
        confidence, labels = predicted.max(dim=1)
        index = self._make_table(step, labels.device)
        thresholds = self.class_thresholds()
        used = (confidence >= thresholds[labels]).to(predicted.dtype)
        losses = F.cross_entropy(step.unlabeled["strong"].logits, labels, reduction="none")
        self._remember(index, torch.where(confidence >= self.threshold, labels, NO_LABEL))
        return MethodLoss(
            (used * losses).mean(), {"used": used.mean(), "threshold": thresholds.mean()}
        )

    def _make_table(self, step: Step, device: torch.device) -> Tensor:
        # At the first step, as nobody knows the size before; returns the samples' places in it.
        size = step.num_unlabeled if self.num_samples is None else self.num_samples
        if size is None:
            raise ValueError(
                "num_samples must be the size of the unlabeled stream, as the data module has no "
                "num_unlabeled that says it; got None"
            )
        if len(self.latest) != size:
            self._table = torch.full((size + 1,), NO_LABEL, dtype=torch.int32, device=device)
            self._status = torch.zeros_like(self._status, device=device)
        if step.index is None:
            raise ValueError("step.index must say which samples these are, got None")
        # Elsewhere than on the CPU, to look at them would be to wait for the device.
        at_hand = step.index.device.type == "cpu" and not torch.compiler.is_compiling()
        if at_hand and bool(((step.index < 0) | (step.index >= size)).any()):
            raise ValueError(
                f"num_samples must be the size of the unlabeled stream, got {size} and the sample "
                f"{int(step.index.max())}"
            )
        return step.index

    @torch.no_grad()
    def _remember(self, index: Tensor, labels: Tensor) -> None:
        classes, dummy = len(self._status), len(self._table) - 1
        pairs = gather_over_ranks(torch.stack([index, labels], dim=1))
        # A sample can be there twice, with two labels, of which every rank must take the same: the
        # greatest. Sorted, it is the last of its sample; the others go to the dummy.
        keys = (pairs[:, 0] * (classes + 1) + pairs[:, 1] + 1).sort().values
        index, labels = keys // (classes + 1), keys % (classes + 1) - 1
        last = torch.cat([index[1:] != index[:-1], torch.ones_like(index[:1], dtype=torch.bool)])
        before = self._table[index]
        after = torch.where(labels == NO_LABEL, before, labels.to(before.dtype))
        self._table.scatter_(0, torch.where(last, index, dummy), after)
        # A count of the whole table would cost more with every sample there is.
        change = torch.zeros(classes + 1, dtype=torch.int64, device=index.device)
        change.scatter_add_(0, before.long() + 1, -last.long())
        change.scatter_add_(0, after.long() + 1, last.long())
        self._status += change[1:]

    def get_extra_state(self) -> Tensor:
        """The table, for a checkpoint."""
        return self.latest

    def set_extra_state(self, state: Tensor) -> None:
        """Take the table of a checkpoint, whatever its size."""
        latest = state.to(self._table)
        dummy = latest.new_full((1,), NO_LABEL)
        self._table = torch.cat([latest, dummy])
        counts = torch.zeros(len(self._status) + 1, dtype=torch.int64, device=latest.device)
        counts.scatter_add_(0, latest.long() + 1, torch.ones_like(latest, dtype=torch.int64))
        self._status = counts[1:]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FlexMatch:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._table, self._status = fn(self._table), fn(self._status)
        return self
