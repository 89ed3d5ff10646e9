"""MixMatch: sharpened guesses, mixed with one another and with the labeled samples."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from supercm_pl.checks import check_positive
from supercm_pl.ssl.pseudo_labels import one_hot, probabilities, sharpen, soft_cross_entropy
from supercm_pl.training.method import Method, MethodLoss
from supercm_pl.training.ramps import LinearRampUp, Ramp
from supercm_pl.training.step import Step


class MixMatch(Method):
    r"""Trains on mixtures of labeled samples and of unlabeled ones with guessed labels.

    Berthelot et al., *MixMatch: A Holistic Approach to Semi-Supervised Learning* (NeurIPS 2019).
    The guess :math:`\bar q_b` is the mean prediction on ``K = 2`` weak views, sharpened with ``T``
    (eqs. 6 and 7), a constant. Labeled rows :math:`\hat X` and unlabeled rows :math:`\hat U`, every
    view with the sample's guess, are mixed with a shuffle of them all (Algorithm 1, eqs. 8 to 11):

    .. math::
        \lambda \sim \mathrm{Beta}(\alpha, \alpha), \quad \lambda' = \max(\lambda, 1 - \lambda),
        \quad x' = \lambda' x_1 + (1 - \lambda') x_2, \quad p' = \lambda' p_1 + (1 - \lambda') p_2.

    Each row has a ``λ`` of its own, as in the reference code. The term is (eq. 4, the mean over
    rows and classes) :math:`L_U = \frac{1}{K |U'|} \sum \lVert q' - p(u') \rVert^2`, and the
    cross-entropy of the mixed labeled rows, :math:`L_X` (eq. 3), takes the place of the labeled
    samples' own.

    All mixed rows go through one forward pass. So batch norm sees labeled and unlabeled ones
    together, for which the reference code interleaves its separate batches. It has the running
    statistics follow one such batch; here they follow all mixed rows, and not those of which the
    labels are guessed. The module's ``batch_norm`` has to be ``"all"``.

    Args:
        temperature: ``T > 0`` of the sharpening.
        alpha: ``α > 0`` of the Beta distribution.
        weight: Weight of the term, ``>= 0``; 75 is for CIFAR-10.
        ramp: How the weight grows over training; a number is the end of a
            :class:`~supercm_pl.training.ramps.LinearRampUp`, 1/64 as in the reference code (1,024
            of 65,536 thousand images); ``None``: full from the start.

    Raises:
        ValueError: If a value is out of range.
    """

    views = ()
    labeled_views = ()
    input_views = ("weak", "weak_2")
    replaces_supervised = True
    ramp_type = LinearRampUp
    batch_norm_policy = "all"

    def __init__(
        self,
        temperature: float = 0.5,
        alpha: float = 0.75,
        weight: float = 75.0,
        ramp: Ramp | float | None = 1 / 64,
    ) -> None:
        super().__init__(weight, ramp)
        self.temperature = check_positive("temperature", temperature)
        self.alpha = check_positive("alpha", alpha)

    def forward(self, step: Step) -> MethodLoss:
        """The term on mixtures of this step's labeled and unlabeled samples."""
        guesses = self.guess(step)
        labels = one_hot(step.labels, guesses.shape[1], guesses.dtype)
        views = [step.unlabeled_inputs[view] for view in self.input_views]
        mixed = mix_up(
            torch.cat([step.labeled_inputs["weak"], *views]),
            torch.cat([labels, *([guesses] * len(views))]),
            self.alpha,
        )
        logits = step.extra_forward(mixed.inputs).logits
        num_labeled = len(step.labels)
        supervised = soft_cross_entropy(logits[:num_labeled], mixed.targets[:num_labeled]).mean()
        predicted = logits[num_labeled:].softmax(dim=1)
        loss = (predicted - mixed.targets[num_labeled:]).square().mean()
        return MethodLoss(loss, supervised=supervised)

    @torch.no_grad()
    def guess(self, step: Step) -> Tensor:
        """Sharpened mean predictions ``(N_u, K)`` on the weak views."""
        # A view that the step's forward pass has anyway needs no second one.
        further = [view for view in self.input_views if view not in step.unlabeled]
        logits = [step.unlabeled[view].logits for view in self.input_views if view not in further]
        if further:
            inputs = torch.cat([step.unlabeled_inputs[view] for view in further])
            logits += step.forward_frozen_bn(inputs).logits.chunk(len(further))
        mean = torch.stack([probabilities(part) for part in logits]).mean(dim=0)
        return sharpen(mean, self.temperature)


class Mixture(NamedTuple):
    """Mixed rows.

    Attributes:
        inputs: ``(N, ...)``.
        targets: ``(N, K)``, rows sum to 1.
    """

    inputs: Tensor
    targets: Tensor


def mix_up(inputs: Tensor, targets: Tensor, alpha: float) -> Mixture:
    """Mix every row with another one of the batch, of which it takes the smaller part.

    Args:
        inputs: ``(N, ...)``.
        targets: ``(N, K)``, rows sum to 1.
        alpha: Of the Beta distribution, ``> 0``.

    Returns:
        The mixtures, in the order of their first, greater parts.
    """
    share = own_shares(len(inputs), alpha, inputs.device)
    others = torch.randperm(len(inputs), device=inputs.device)

    def mix(values: Tensor) -> Tensor:
        own = share.to(values.dtype).view(-1, *([1] * (values.ndim - 1)))
        return own * values + (1 - own) * values[others]

    return Mixture(mix(inputs), mix(targets))


def own_shares(num_rows: int, alpha: float, device: torch.device) -> Tensor:
    r"""Draw :math:`\max(\lambda, 1 - \lambda)` with ``λ`` of a Beta distribution.

    Args:
        num_rows: ``N``.
        alpha: Of the Beta distribution, ``> 0``.
        device: Where they are drawn, from its global generator.

    Returns:
        ``(N,)`` float32, in ``[0.5, 1]``.
    """
    # λ is x / (x + y) with x and y of a Gamma distribution, here by their logarithms, which do not
    # underflow for a small α. PyTorch's own Beta distribution can't be traced by torch.compile.
    concentration = torch.full((2, num_rows), alpha + 1.0, device=device)
    gamma = torch.distributions.Gamma(
        concentration, torch.ones_like(concentration), validate_args=False
    ).sample()
    logarithms = gamma.log() + torch.rand_like(gamma).neg().log1p() / alpha
    return (logarithms[0] - logarithms[1]).abs().sigmoid()
