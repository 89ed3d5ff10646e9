"""Batch nuclear-norm maximization: confident and diverse predictions on the target."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from supercm_pl.checks import check_matrix
from supercm_pl.precision import full_precision, math_dtype
from supercm_pl.training.method import Method, MethodLoss
from supercm_pl.uda.step import UDAStep

# Singular values below this share of the Frobenius norm get less than their full gradient.
_LEAST_SHARE = 1e-5
# At √3 the largest singular value would become the difference of two nearly equal numbers.
_MOST_SCALE = 1.6


def nuclear_norm(matrix: Tensor) -> Tensor:
    r"""Sum of the singular values.

    With :math:`A = U S V^\top` it is :math:`\langle A, U V^\top \rangle`, and :math:`U V^\top` is
    its gradient. That polar factor is computed by matrix products only, the scaled Newton-Schulz
    iteration of Chen and Chow, *A Stable Scaling of Newton-Schulz for Improving the Sign Function
    Computation of a Hermitian Matrix* (2014): PyTorch's SVD synchronizes with the device. Where
    singular values are repeated or 0 the gradient is finite. It fades to 0 for those below 1e-5 of
    the Frobenius norm, where the SVD's would have size 1 in an arbitrary direction. It can be
    differentiated once.

    Args:
        matrix: Shape (N, K), any floating-point dtype.

    Returns:
        A scalar in float32 or, for float64 inputs, float64, also under autocast.

    Raises:
        TypeError: If the matrix is not a floating-point tensor.
        ValueError: If it is not a matrix.

    Example:
        >>> nuclear_norm(torch.tensor([[3.0, 0.0], [0.0, -2.0], [0.0, 0.0]]))
        tensor(5.)
    """
    check_matrix("matrix", matrix, ("N", None), ("K", None))
    matrix = matrix.to(math_dtype(matrix))
    with full_precision(matrix.device):
        norm: Tensor = (matrix * _polar_factor(matrix.detach())).sum()
        return norm


def _polar_factor(matrix: Tensor) -> Tensor:
    tall = matrix.shape[0] >= matrix.shape[1]
    factor: Tensor = matrix if tall else matrix.T
    tiny = torch.finfo(factor.dtype).tiny
    factor = factor / factor.abs().sum().clamp(min=tiny)  # else squares of small numbers are 0
    factor = factor / torch.linalg.matrix_norm(factor).clamp(min=tiny)
    # All singular values lie in [0, 1], those that matter in [least, 1]; `scale` makes the most of
    # what 3/2 σ − 1/2 σ³ gains at the lower end. Plain numbers need nothing from the device.
    least = _LEAST_SHARE
    while 1.0 - least > 1e-7:
        scale = min(math.sqrt(3.0 / (1.0 + least + least**2)), _MOST_SCALE)
        factor = scale * (1.5 * factor - 0.5 * scale**2 * (factor @ (factor.T @ factor)))
        least = 0.5 * scale * least * (3.0 - (scale * least) ** 2)
    return factor if tall else factor.T


class BNM(Method):
    r"""Negative nuclear norm of the target's class probabilities, divided by their number.

    Cui, Wang, Zhuo, Li, Huang, Tian, *Towards Discriminability and Diversity: Batch Nuclear-Norm
    Maximization under Label Insufficient Situations* (CVPR 2020): :math:`-\|P\|_* / N`, with
    :math:`P` of shape (N, K). The authors' code divides by ``min(N, K)``, which is the same where
    ``N <= K``, as on Office-Home. It uses the target only.

    With several ranks it is the mean of the ranks' values, each of the rank's own samples. Use
    batches with more than a few samples of each class, so that the norm can measure diversity.
    """

    step_type = UDAStep

    def forward(self, step: UDAStep) -> MethodLoss:
        """Return the negative norm of the target samples."""
        assignments = step.target.assignments
        return MethodLoss(-nuclear_norm(assignments) / len(assignments))
