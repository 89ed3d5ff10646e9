"""Virtual adversarial training: predictions should withstand the worst small perturbation."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from supercm_pl.checks import check_at_least, check_optional, check_positive
from supercm_pl.precision import full_precision, math_dtype
from supercm_pl.training.method import Method, MethodLoss, Ramp, Step


class VAT(Method):
    r"""Divergence that a virtual adversarial perturbation causes.

    .. math::
        R = \frac{1}{N} \sum_i \mathrm{KL}(p(x_i) \,\Vert\, p(x_i + r_i))

    with :math:`p` the softmax of the logits, no gradient through :math:`p(x_i)`, and :math:`r_i`
    of :func:`.virtual_adversarial_perturbation`: Miyato et al., *Virtual Adversarial Training: A
    Regularization Method for Supervised and Semi-Supervised Learning* (2018), section 3, with
    their weight and number of iterations. Choose ε for your data; it has the units of the inputs.
    6 is for CIFAR-10, from Oliver et al. (2018), weight 0.3, and SuperCM's experiments, weights
    0.391 to 5.62. Both have ``ramp=0.4`` and the divergence from :math:`p(x_i + r_i)` to
    :math:`p(x_i)`.

    As in the paper's code, clean samples have their own forward pass. Neither they nor perturbed
    ones update running statistics; only where no other pass of the step has unlabeled samples and
    the module's ``batch_norm`` follows these, clean ones do. Batch norm in a pass with the labeled
    samples would hide the effect of a small perturbation, and so would dropout: use a network
    without.

    Args:
        epsilon: ``ε > 0``, the length of the perturbation of a sample.
        xi: ``ξ > 0``, the step of the finite difference, or ``None``; see
            :func:`.virtual_adversarial_perturbation`.
        power_iterations: ``>= 1``; each costs a forward and a backward pass.
    """

    views = ()
    input_views = ("weak",)

    def __init__(
        self,
        *,
        epsilon: float = 6.0,
        xi: float | None = None,
        power_iterations: int = 1,
        weight: float = 1.0,
        ramp: Ramp | float | None = None,
    ) -> None:
        super().__init__(weight=weight, ramp=ramp)
        self.epsilon = check_positive("epsilon", epsilon)
        self.xi = check_optional(check_positive, "xi", xi)
        self.power_iterations = check_at_least("power_iterations", power_iterations, 1)

    def forward(self, step: Step) -> MethodLoss:
        """Return the loss of the weak view of the unlabeled samples."""
        inputs = step.unlabeled_inputs["weak"]

        def logits_of(inputs: Tensor) -> Tensor:
            return step.forward_frozen_bn(inputs).logits

        with torch.no_grad(), full_precision(inputs.device):
            # Unlabeled samples move the statistics once in a step.
            forward = step.forward_frozen_bn if step.unlabeled else step.extra_forward
            clean = forward(inputs).logits
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
    r"""Approximate the perturbation of length ε that changes the predictions most.

    It is :math:`r = \varepsilon d`, with :math:`d` the leading eigenvector of the Hessian of
    :math:`\mathrm{KL}(p(x) \Vert p(x + r))` at :math:`r = 0`, by power iteration from a random
    start:

    .. math::
        d \leftarrow g / \lVert g \rVert_2, \qquad
        g = \nabla_r \mathrm{KL}(p(x) \Vert p(x + r)) \vert_{r = \xi d} \approx \xi H d

    The paper has :math:`\xi = 10^{-6}`. In float32 the logits then differ by hardly more than
    rounding, and by less in TensorFloat-32, the default of convolutions on recent GPUs. On a small
    wide residual network for 8×8 digits, the cosine of :math:`g` with :math:`H d` in float64 was
    −0.15, and 0.04 with the rounding of TensorFloat-32. With the default here, 0.003 of the mean
    length of the inputs, it was 0.99 and 0.93. Autocast is off in these passes.

    Parameters get no gradient. The start is drawn from the global generator of the device.

    Args:
        logits_of: Maps inputs ``(N, ...)`` to logits ``(N, K)``, differentiably.
        inputs: ``(N, ...)``.
        clean: Their logits, ``(N, K)``.
        epsilon: ``ε``, the length of the perturbation of a sample.
        xi: ``ξ``; ``None``: 0.003 of the mean length of the inputs.
        power_iterations: Number of iterations.

    Returns:
        ``(N, ...)``, of length ``ε`` for each sample; zero where the predictions do not depend on
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
    # Mean of KL(p || q) over the samples.
    p, q = logits.log_softmax(dim=1), others.log_softmax(dim=1)
    return F.kl_div(q, p, reduction="batchmean", log_target=True)


def _unit(vectors: Tensor) -> Tensor:
    # Scale the largest value to 1 first: the squares of small gradients underflow to 0.
    flat = _flat(vectors)
    largest = flat.abs().amax(dim=1, keepdim=True)
    flat = flat / torch.where(largest > 0, largest, 1)
    return F.normalize(flat).view_as(vectors).to(vectors.dtype)


def _flat(vectors: Tensor) -> Tensor:
    return vectors.flatten(start_dim=1).to(math_dtype(vectors))
