"""Virtual adversarial training: predictions should withstand the worst small perturbation."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from supercm_pl.checks import check_at_least, check_positive
from supercm_pl.precision import full_precision, math_dtype
from supercm_pl.training.method import Method, MethodLoss
from supercm_pl.training.ramps import Ramp
from supercm_pl.training.step import Step


class VAT(Method):
    r"""Divergence that a virtual adversarial perturbation causes.

    .. math::
        R = \frac{1}{N} \sum_i \mathrm{KL}(p(x_i) \,\Vert\, p(x_i + r_i))

    with :math:`p` the softmax of the logits, no gradient through :math:`p(x_i)`, and :math:`r_i` of
    :func:`.virtual_adversarial_perturbation`: Miyato et al., *Virtual Adversarial Training: A
    Regularization Method for Supervised and Semi-Supervised Learning* (2018), section 3, on the
    unlabeled samples. Weight and number of iterations are theirs; ε is of Oliver et al. (2018) and
    of SuperCM's experiments, for CIFAR-10. It is in units of the inputs as the network gets
    them, and wants to be chosen for the data.

    Oliver et al. have a weight of 0.3 and SuperCM's experiments weights of 0.391 to 5.62, both with
    ``ramp=0.4`` and the divergence the other way about, from :math:`p(x_i + r_i)` to
    :math:`p(x_i)`.

    Clean samples have a forward pass of their own, as in the paper's code. In the pass with the
    labeled samples batch norm would normalise them otherwise than it does the perturbed ones, and
    that difference would hide the effect of a small perturbation. Dropout would hide it too: the
    method is for networks without.

    Args:
        epsilon: ``ε > 0``, the length of the perturbation of a sample.
        xi: ``ξ > 0``, the step of the finite difference, or ``None``; see
            :func:`.virtual_adversarial_perturbation`.
        power_iterations: ``1`` or more; each costs a forward and a backward pass.
        weight: Weight of the term, ``>= 0``.
        ramp: How it grows over training; a number is the end of a
            :class:`~supercm_pl.training.ramps.SigmoidRampUp`; ``None``: full from the start.

    Raises:
        ValueError: If an argument is out of range.
    """

    views = ()
    input_views = ("weak",)
    batch_norm_policy = "frozen"

    def __init__(
        self,
        epsilon: float = 6.0,
        xi: float | None = None,
        power_iterations: int = 1,
        weight: float = 1.0,
        ramp: Ramp | float | None = None,
    ) -> None:
        super().__init__(weight, ramp)
        check_at_least("power_iterations", power_iterations, 1)
        self.epsilon = check_positive("epsilon", epsilon)
        self.xi = None if xi is None else check_positive("xi", xi)
        self.power_iterations = power_iterations

    def forward(self, step: Step) -> MethodLoss:
        """The term on this step's rows."""
        inputs = step.unlabeled_inputs["weak"]

        def logits_of(inputs: Tensor) -> Tensor:
            return step.extra_forward(inputs).logits

        with torch.no_grad(), full_precision(inputs.device):
            clean = logits_of(inputs)
        perturbation = virtual_adversarial_perturbation(
            logits_of,
            inputs,
            clean,
            epsilon=self.epsilon,
            xi=self.xi,
            power_iterations=self.power_iterations,
        )
        return MethodLoss(_divergence(clean, logits_of(inputs + perturbation)))


def virtual_adversarial_perturbation(
    logits_of: Callable[[Tensor], Tensor],
    inputs: Tensor,
    clean: Tensor,
    *,
    epsilon: float = 6.0,
    xi: float | None = None,
    power_iterations: int = 1,
) -> Tensor:
    r"""The perturbation of length ε that changes the predictions most, as far as can be told.

    That is :math:`r = \varepsilon d`, with :math:`d` the leading eigenvector of the Hessian of
    :math:`\mathrm{KL}(p(x) \Vert p(x + r))` at :math:`r = 0`, which power iteration finds from a
    random start:

    .. math::
        d \leftarrow g / \lVert g \rVert_2, \qquad
        g = \nabla_r \mathrm{KL}(p(x) \Vert p(x + r)) \vert_{r = \xi d} \approx \xi H d

    The paper has :math:`\xi = 10^{-6}`. In float32 the logits then differ by hardly more than
    rounding, and by less in TensorFloat-32, in which PyTorch runs convolutions on recent GPUs: on a
    small wide residual network for 8×8 digits the cosine of :math:`g` with :math:`H d` in float64
    was −0.15, and 0.04 with the rounding of TensorFloat-32. With 0.003 of the inputs' mean length
    it was 0.99 and 0.93, so that is the default. Autocast is off here whatever the step has.

    Parameters get no gradient. The start is drawn from the global generator of the device.

    Args:
        logits_of: Maps inputs ``(N, ...)`` to logits ``(N, K)``, differentiably.
        inputs: ``(N, ...)``.
        clean: Their logits, ``(N, K)``.
        epsilon: ``ε``, the length of the perturbation of a sample.
        xi: ``ξ``; ``None``: 0.003 of the mean length of the inputs.
        power_iterations: How often ``d`` is replaced.

    Returns:
        ``(N, ...)``, of length ``ε`` for each sample; zero where the predictions don't depend on
        the input.

    Example:
        >>> model, inputs = torch.nn.Linear(4, 3), torch.randn(2, 4)
        >>> r = virtual_adversarial_perturbation(model, inputs, model(inputs).detach(), epsilon=2)
        >>> bool(((r.norm(dim=1) - 2).abs() < 1e-5).all())
        True
    """
    length: float | Tensor = 0.003 * _flat(inputs).norm(dim=1).mean() if xi is None else xi
    direction = _unit(torch.randn_like(inputs))
    for _ in range(power_iterations):
        perturbed = (inputs + length * direction).detach().requires_grad_()
        with full_precision(inputs.device):
            change = _divergence(clean, logits_of(perturbed))
        # Unlike backward, this leaves nothing in the parameters and calls no hook of theirs.
        (gradient,) = torch.autograd.grad(change, perturbed)
        direction = _unit(gradient)
    return epsilon * direction


def _divergence(logits: Tensor, others: Tensor) -> Tensor:
    # Mean of KL(p || q) over rows.
    p, q = logits.log_softmax(dim=1), others.log_softmax(dim=1)
    return F.kl_div(q, p, reduction="batchmean", log_target=True)


def _unit(vectors: Tensor) -> Tensor:
    # Gradients can be so small that their squares are zero: the largest value is made 1 first.
    flat = _flat(vectors)
    largest = flat.abs().amax(dim=1, keepdim=True)
    flat = flat / torch.where(largest > 0, largest, 1)
    return F.normalize(flat).view_as(vectors).to(vectors.dtype)


def _flat(vectors: Tensor) -> Tensor:
    return vectors.flatten(start_dim=1).to(math_dtype(vectors))
