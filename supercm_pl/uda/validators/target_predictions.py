"""Validators of the target's class probabilities: whether they are confident and diverse."""

from __future__ import annotations

import torch
from torch import Tensor

from supercm_pl.uda.validators.validator import AssignmentValidator, OptionalHead, Validator


class Entropy(Validator):
    """Negative mean entropy of the target's class probabilities, in nats, in [−log K, 0].

    With p_i the probabilities of target sample i::

        1/N Σ_i Σ_k p_ik log p_ik

    The criterion of Morerio, Cavazza, Murino: Minimal-entropy correlation alignment for
    unsupervised deep domain adaptation. ICLR 2018. A model that predicts one class for all samples
    with confidence gets the best value; see `InformationMaximization`.
    """

    _sums = ("entropy_sum",)

    entropy_sum: Tensor

    def _update_target(self, features: Tensor, assignments: Tensor, head: OptionalHead) -> None:
        self.entropy_sum = self.entropy_sum + torch.special.entr(assignments).sum()

    def _value(self) -> Tensor:
        value: Tensor = -self.entropy_sum / self.num_target
        return value


class InformationMaximization(Entropy):
    """Mutual information of target samples and their predicted classes, in nats, in [0, log K].

    With p_i the probabilities of target sample i and H the entropy::

        H(1/N Σ_i p_i) − 1/N Σ_i H(p_i)

    The best value requires predictions that are confident and balanced over the classes, so a
    target with rare classes cannot reach it.

    References:
        Krause, Perona, Gomes: Discriminative clustering by regularized information maximization.
        NeurIPS 2010.
        Hu, Miyato, Tokui, Matsumoto, Sugiyama: Learning discrete representations via information
        maximizing self-augmented training. ICML 2017.
        Liang, Hu, Feng: Do we really need to access the source data? Source hypothesis transfer for
        unsupervised domain adaptation. ICML 2020.

    Example:
        >>> information = InformationMaximization()
        >>> information.update(torch.zeros(4, 3), torch.eye(4), domain="target")
        >>> information.compute()  # log 4
        tensor(1.3863)
    """

    _row_names = ("assignment_sums",)  # one row for each batch

    def _update_target(self, features: Tensor, assignments: Tensor, head: OptionalHead) -> None:
        super()._update_target(features, assignments, head)
        self._append("assignment_sums", assignments.sum(dim=0, keepdim=True))

    def _value(self) -> Tensor:
        mean = self._rows("assignment_sums").sum(dim=0) / self.num_target
        entropy_of_mean: Tensor = torch.special.entr(mean).sum()
        return entropy_of_mean + super()._value()


class BatchNuclearNorm(AssignmentValidator):
    """Nuclear norm of the matrix of the target's class probabilities, over its bound, in (0, 1].

    With P of shape (N, K), its rows the probabilities of all target samples, and D = min(N, K)::

        ‖P‖_* / √(D·N)

    which is 1 where predictions are confident and balanced over the classes. The loss of Cui, Wang,
    Zhuo, Li, Huang, Tian: Towards discriminability and diversity: Batch nuclear-norm maximization
    under label insufficient situations. CVPR 2020, is −‖P‖_* / N on a batch; Musgrave, Belongie,
    Lim (arXiv 2208.07360) use it as a validator on all samples. For a fixed number of samples both
    rank models the same.

    It is logged as ``bnm``, and keeps the probabilities of all samples: 4·N·K bytes.
    """

    @property
    def name(self) -> str:
        """``bnm``, the published name of its loss."""
        return "bnm"

    def _value(self) -> Tensor:
        assignments = self._rows("target_assignments")
        num_samples, num_classes = assignments.shape
        # The singular values of P are those of R in P = QR, which is small.
        triangle = torch.linalg.qr(assignments, mode="r").R
        bound = (min(num_samples, num_classes) * num_samples) ** 0.5
        value: Tensor = torch.linalg.svdvals(triangle).sum() / bound
        return value
