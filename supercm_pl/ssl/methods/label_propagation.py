"""Label propagation: labels spread over a graph of the samples."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supercm_pl.checks import check_at_least, check_interval, check_object, check_saved_labels
from supercm_pl.clustering import ClusteringHead
from supercm_pl.graphs.image_descriptors import describe, views_of
from supercm_pl.graphs.label_graph import CLEAR, FEW, LabelGraph
from supercm_pl.training.method import Method, MethodLoss, Ramp, Step
from supercm_pl.training.step import TrainingFeatures

_LAST_CHECK = 0.7  # progress after which the network has too few steps left to learn other labels


class LabelPropagation(Method):
    r"""A start with labels that spread over a graph of nearest neighbors.

    .. math::
        R = \Big(1 - \frac{p - p_0}{\text{duration}}\Big) \frac{1}{N} \sum_i H(\hat y_i,\, p_i)

    with the prediction :math:`p_i` on the weak view, from progress :math:`p_0` of the run until the
    weight is 0. The labels :math:`\hat y` of all unlabeled samples are found once: Iscen et al.,
    *Label Propagation for Deep Semi-supervised Learning* (CVPR 2019), with the diffusion of Poisson
    learning (Calder et al., ICML 2020), which suits very few labels. They place the clusters;
    SuperCM then corrects them.

    The graph joins samples with similar features. For images of up to 64 pixels it also joins those
    with similar oriented gradients, principal components and colors, and for vectors those with
    similar inputs, which are useful before the network has learned. Those that predict held-out
    labels well count more (:meth:`~supercm_pl.graphs.label_graph.LabelGraph.fitted`). The first
    step tests their graph: labels are held out, predicted from the others, and compared. The
    result, corrected for chance,

    .. math::
        t = \frac{\text{accuracy} - 1/K}{1 - 1/K},

    is logged as ``trust``. If it is 0.8 or more, :math:`p_0 = 0`. Otherwise labels are found after
    the fraction ``duration`` of the run, also from what the network has learned by then. A low
    value shows that classes are not clusters, so the weight of the CM loss is multiplied by
    :math:`t^2`. With one label per class nothing can be held out, and ``t = 1``.

    One or two labels of a class can lie in the wrong cluster. In that case the network is tested
    when the weight has reached 0, and after ``duration`` again, up to progress 0.7: if the graph of
    the inputs divides the samples of two classes in another way than the network
    (:meth:`~supercm_pl.graphs.label_graph.LabelGraph.doubtful_pairs`), :math:`\hat y` becomes the
    network's classes with these pairs divided as in the graph, and :math:`p_0` the progress.

    The labels have the sizes of the classes, so there is no need for a prior (``alpha``), which
    would make unequal classes equal.

    Args:
        duration: Fraction of training during which the weight falls to 0, in ``(0, 1]``.
        neighbors: Neighbors of a sample in the graph, ``>= 1``.

    Attributes:
        labels: ``(N_u,)`` int64, the labels of all unlabeled samples; empty before they are found.
    """

    views = ("weak",)
    needs_index = True
    _num_classes = math.inf  # before `build`

    def __init__(
        self,
        *,
        duration: float = 0.3,
        neighbors: int = 10,
        weight: float = 1.0,
        ramp: Ramp | float | None = None,
    ) -> None:
        super().__init__(weight=weight, ramp=ramp)
        self.duration = check_interval("duration", duration, "(0, 1]")
        check_at_least("neighbors", neighbors, 1)
        self.neighbors = neighbors
        self.labels = torch.empty(0, dtype=torch.int64)
        self._trust: float | None = None
        self._begin = 0.0
        self._check: float | None = None  # progress at which the labels are tested

    @property
    def cm_factor(self) -> float:
        """Square of the trust in the graph, which is how far classes are clusters."""
        return 1.0 if self._trust is None else self._trust**2

    @property
    def needs_progress(self) -> bool:
        """Whether the method depends on ``step.progress``."""
        return True

    def build(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Remember the number of classes."""
        self._num_classes = head.num_classes

    def forward(self, step: Step) -> MethodLoss:
        """Return the loss of the weak view of the unlabeled samples."""
        logits = step.unlabeled["weak"].logits
        if step.num_unlabeled not in (None, len(self.labels)):  # a checkpoint of other data
            self.labels = self.labels[:0]
        if self._trust is None or (step.progress >= self._begin and not len(self.labels)):
            self._find_labels(step)
        logs = {"trust": logits.new_full((), self._trust or 0.0)}
        if self._check is not None and self._check <= step.progress <= _LAST_CHECK:
            self._correct_labels(step)
        share = 1 - (step.progress - self._begin) / self.duration
        if not len(self.labels) or share <= 0:
            return MethodLoss(logits.new_zeros(()), logs)
        self.labels = self.labels.to(logits.device)
        return MethodLoss(share * F.cross_entropy(logits, self.labels[step.index]), logs)

    def _find_labels(self, step: Step) -> None:
        samples = _samples(step)
        features = torch.cat([samples.labeled, samples.unlabeled]).float().numpy()
        views, learned = views_of(samples.described), None if self._trust is None else features
        if not views:
            views, learned = [features], None
        labels = samples.labels.numpy()
        num_classes = step.unlabeled["weak"].logits.shape[1]
        rows = np.arange(len(labels))
        graph = LabelGraph.fitted(
            views, rows, labels, num_classes, neighbors=self.neighbors, learned=learned
        )
        if self._trust is None:
            trust = graph.trust(rows, labels, num_classes)
            self._trust = 1.0 if trust is None else trust
            self._begin = 0.0 if self._trust >= CLEAR else self.duration
        if step.progress >= self._begin:
            found = graph.classes(rows, labels, num_classes, self._trust)
            self.labels = torch.from_numpy(found[len(labels) :])
            if np.bincount(labels, minlength=num_classes).min() <= FEW and samples.described:
                self._check = self._begin + self.duration

    def _correct_labels(self, step: Step) -> None:
        self._check = step.progress + self.duration
        samples = _samples(step)
        labels, num_classes = samples.labels.numpy(), samples.logits.shape[1]
        rows = np.arange(len(labels))
        # Not the fitted graph: the one that gave the labels would find its own errors right.
        graph = LabelGraph(*views_of(samples.described)[:2], neighbors=self.neighbors)
        classes = samples.logits.argmax(dim=1).numpy()
        classes[rows] = labels
        found = graph.corrected(classes, rows, labels, num_classes)
        if (found != classes).any():
            self._begin = step.progress
            self.labels = torch.from_numpy(found[len(labels) :])

    def get_extra_state(self) -> dict[str, Tensor | float | None]:
        """Labels, trust, begin and the next test of the labels, for a checkpoint."""
        return {
            "labels": self.labels,
            "trust": self._trust,
            "begin": self._begin,
            "check": self._check,
        }

    def set_extra_state(self, state: dict[str, Tensor | float | None]) -> None:
        """Restore them.

        Raises:
            TypeError: If a number of the checkpoint is none.
            ValueError: If they are out of range.
        """
        check_object("the state of LabelPropagation", state, dict, "{'labels': ..., 'trust': 1.0}")
        trust = state.get("trust")
        self._trust = None if trust is None else check_interval("trust", trust, "[0, 1]")
        self._begin = check_interval("begin", state.get("begin"), "[0, 1]")
        check = state.get("check")
        self._check = None if check is None else check_interval("check", check, "[0, 2]")
        self.labels = check_saved_labels(state.get("labels"), self._num_classes).long()


def _samples(step: Step) -> TrainingFeatures:
    if step.training_features is None:
        raise ValueError("step.training_features must give the features, got None")
    return step.training_features(describe)
