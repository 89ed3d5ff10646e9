"""Label propagation: labels spread over a graph of the features."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from supercm_pl.checks import check_at_least, check_interval
from supercm_pl.ssl.components.label_graph import LabelGraph
from supercm_pl.training.method import Method, MethodLoss, Ramp, Step

_SURE = 0.8  # of the labels from features that were learned without labels


class LabelPropagation(Method):
    r"""Cross-entropy with labels that spread over a graph of nearest neighbors.

    .. math::
        R = \frac{1}{N} \sum_i H(\hat y_i,\, p_i)

    with the prediction :math:`p_i` on the weak view. The labels :math:`\hat y` are found anew
    several times in a run, from the features of all samples in evaluation mode: Iscen et al.,
    *Label Propagation for Deep Semi-supervised Learning* (CVPR 2019), with the graph and the
    diffusion of Poisson learning (Calder et al., ICML 2020), which suits very few labels, and with
    sizes of the classes that modularity and normalized cut choose.

    SuperCM forms clusters, and this method finds clusters that have the wrong class. Both assume
    that classes are clusters. The first step tests it: labels are held out, predicted from the
    others over the graph of the initial features, and compared. The result, corrected for chance,

    .. math::
        t = \frac{\text{accuracy} - 1/K}{1 - 1/K},

    is logged as ``trust``. Below ``min_trust`` the run trains without this method and without the
    CM loss. Where ``t`` is 0.8 or more, labels are found at once, else after the first ``every``,
    when the network has learned from the given ones. With one label per class nothing can be held
    out, and ``t = 1``.

    Use it with a start from a network that was pretrained, with or without labels, such as
    :class:`~supercm_pl.callbacks.SelfSupervisedStart`.

    Args:
        every: Fraction of training after which labels are found anew, in ``(0, 1]``.
        neighbors: Neighbors of a sample in the graph, ``>= 1``.
        min_trust: As above, in ``[0, 1]``; 0 trusts always.

    Attributes:
        labels: ``(N_u,)`` int64, the labels in force of all unlabeled samples; empty before they
            are found.
    """

    views = ("weak",)
    needs_index = True

    def __init__(
        self,
        *,
        every: float = 0.3,
        neighbors: int = 10,
        min_trust: float = 0.35,
        weight: float = 1.0,
        ramp: Ramp | float | None = None,
    ) -> None:
        super().__init__(weight=weight, ramp=ramp)
        self.every = check_interval("every", every, "(0, 1]")
        check_at_least("neighbors", neighbors, 1)
        self.neighbors = neighbors
        self.min_trust = check_interval("min_trust", min_trust, "[0, 1]")
        self.labels = torch.empty(0, dtype=torch.int64)
        self._trust: float | None = None
        self._due = 0.0

    @property
    def cm_factor(self) -> float:
        """0 where classes are found not to be clusters, else 1."""
        return float(self._trust is None or self._trust >= self.min_trust)

    @property
    def needs_progress(self) -> bool:
        """Whether the method depends on ``step.progress``."""
        return True

    def forward(self, step: Step) -> MethodLoss:
        """Return the loss of the weak view of the unlabeled samples."""
        logits = step.unlabeled["weak"].logits
        if self._trust is None or (self.cm_factor and step.progress >= self._due):
            self._search(step)
        trust = {"trust": logits.new_full((), self._trust or 0.0)}
        if not self.cm_factor or not len(self.labels):
            return MethodLoss(logits.new_zeros(()), trust)
        if step.index is None:
            raise ValueError("step.index must hold the numbers of the samples, got None")
        self.labels = self.labels.to(logits.device)
        return MethodLoss(F.cross_entropy(logits, self.labels[step.index]), trust)

    def _search(self, step: Step) -> None:
        graph, labels, num_classes = self._graph(step)
        rows = np.arange(len(labels))
        if self._trust is None:
            accuracy = graph.held_out_accuracy(rows, labels, num_classes)
            chance = 1 / num_classes
            self._trust = 1.0 if accuracy is None else max(0.0, (accuracy - chance) / (1 - chance))
            self._due = 0.0 if self._trust >= _SURE else self.every
        if self.cm_factor and step.progress >= self._due:
            self.labels = torch.from_numpy(graph.classes(rows, labels, num_classes)[len(labels) :])
            while self._due <= step.progress:
                self._due += self.every

    def _graph(self, step: Step) -> tuple[LabelGraph, np.ndarray, int]:
        if step.training_features is None:
            raise ValueError("step.training_features must give the features, got None")
        labeled, labels, unlabeled = step.training_features()
        features = torch.cat([labeled, unlabeled]).float().numpy()
        num_classes = step.unlabeled["weak"].logits.shape[1]
        return LabelGraph(features, self.neighbors), labels.numpy(), num_classes

    def get_extra_state(self) -> dict[str, Tensor | float | None]:
        """Labels, trust and next search, for a checkpoint."""
        return {"labels": self.labels, "trust": self._trust, "due": self._due}

    def set_extra_state(self, state: dict[str, Tensor | float | None]) -> None:
        """Restore them."""
        self.labels, self._trust, self._due = state["labels"], state["trust"], state["due"]  # type: ignore[assignment]
