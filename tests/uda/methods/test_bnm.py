"""BNM: the nuclear norm without an SVD, and the method."""

from __future__ import annotations

import pytest
import torch

from supercm_pl.uda.methods import BNM
from supercm_pl.uda.methods.bnm import nuclear_norm
from tests.support.two_domains import DTYPES, random_step

SHAPES = [(6, 6), (12, 3), (4, 9), (1, 5), (64, 31)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [0.05, 1.0, 8.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_norm_is_the_sum_of_the_singular_values(shape, scale, dtype):
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(*shape, generator=generator, dtype=torch.float64)
    matrix = logits.softmax(dim=1).to(dtype)
    value = nuclear_norm(matrix)
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    expected = torch.linalg.svdvals(matrix.double()).sum().item()
    assert value.item() == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_gradient_is_that_of_the_svd(shape, dtype):
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(*shape, generator=generator, dtype=dtype).softmax(dim=1).requires_grad_()
    (gradient,) = torch.autograd.grad(nuclear_norm(matrix), matrix)
    (expected,) = torch.autograd.grad(torch.linalg.svdvals(matrix).sum(), matrix)
    atol = 1e-10 if dtype == torch.float64 else 2e-4  # the smallest singular value is 0.003
    torch.testing.assert_close(gradient, expected, atol=atol, rtol=0)


@pytest.mark.parametrize(
    "matrix",
    [
        torch.zeros(4, 3),
        torch.eye(4),
        torch.eye(3).repeat(4, 1),
        torch.full((6, 4), 0.25),
        torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]),
        1e-20 * torch.eye(2),
        1e12 * torch.eye(2),
    ],
    ids=["zero", "identity", "repeated", "uniform", "one class", "tiny", "huge"],
)
def test_repeated_and_zero_singular_values_have_finite_gradients(matrix):
    matrix = matrix.clone().requires_grad_()
    value = nuclear_norm(matrix)
    value.backward()
    expected = torch.linalg.svdvals(matrix.detach().double()).sum().item()
    assert value.item() == pytest.approx(expected, rel=1e-5)
    assert matrix.grad.isfinite().all()
    # A subgradient: no singular value of it is above 1.
    assert torch.linalg.svdvals(matrix.grad)[0] < 1 + 1e-4


def test_the_method_divides_by_the_rows_of_the_target():
    step = random_step(num_source=5, num_target=7)
    expected = -torch.linalg.svdvals(step.target.logits.softmax(dim=1)).sum() / 7
    torch.testing.assert_close(BNM()(step).loss, expected)


@pytest.mark.bad_input
def test_bad_tensors_are_named():
    with pytest.raises(ValueError, match=r"matrix must have shape \(N, K\), got \(3,\)"):
        nuclear_norm(torch.ones(3))
    with pytest.raises(TypeError, match="matrix must be a floating-point tensor"):
        nuclear_norm(torch.ones(3, 3, dtype=torch.long))
