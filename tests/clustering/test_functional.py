"""`clustering_loss` against its equations, read as loops."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from supercm_pl.clustering import (
    ClusteringLoss,
    class_sums,
    clustering_loss,
    dirichlet_prior,
    squared_distances,
)

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def naive_loss(
    features: Tensor,
    assignments: Tensor,
    centroids: Tensor,
    *,
    alpha: list[float] | None = None,
    orthonormal: bool = False,
    ortho_weight: float = 1.0,
    normalize: bool = True,
) -> ClusteringLoss:
    z = features.numel() if normalize else 1
    classes = range(len(centroids))
    zero = 0 * sum((tensor.sum() for tensor in (features, assignments, centroids)), torch.zeros(()))
    reconstruction = sparsity = overlap = prior = zero
    for x, gamma in zip(features, assignments, strict=True):
        reconstructed = sum((gamma[k] * centroids[k] for k in classes), torch.zeros_like(x))
        reconstruction = reconstruction + ((x - reconstructed) ** 2).sum() / z
        for k in classes:
            scale = 1.0 if orthonormal else (centroids[k] ** 2).sum()
            sparsity = sparsity + gamma[k] * (1 - gamma[k]) * scale / z
    for k, other in product(classes, classes):
        inner = (centroids[k] * centroids[other]).sum()
        if orthonormal:
            overlap = overlap + ortho_weight * (inner - float(k == other)) ** 2
        elif other != k:
            for gamma in assignments:
                overlap = overlap - gamma[k] * gamma[other] * inner / z
    for k in classes:
        if alpha is not None:
            prior = prior + (1 - alpha[k]) * torch.log(assignments[:, k].mean() + 1e-10)
    total = reconstruction + sparsity + overlap + prior
    return ClusteringLoss(total, reconstruction, sparsity, overlap, prior)


def make_inputs(
    num_samples: int,
    num_features: int,
    num_classes: int,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(num_samples, num_features, generator=generator, dtype=dtype)
    logits = torch.randn(num_samples, num_classes, generator=generator, dtype=dtype)
    centroids = torch.randn(num_classes, num_features, generator=generator, dtype=dtype)
    return features, torch.softmax(logits, dim=1), centroids


VARIANTS: list[dict[str, Any]] = [
    {},
    {"normalize": False},
    {"orthonormal": True, "ortho_weight": 0.3},
    {"orthonormal": True, "normalize": False},
]


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("shape", [(6, 3, 4), (5, 7, 2), (1, 4, 3), (4, 2, 1), (1, 1, 1)])
def test_every_term_and_its_gradients_equal_the_loop(
    shape: tuple[int, int, int], options: dict[str, Any]
) -> None:
    # Assignments that do not sum to 1 tell apart formulas that agree only where they do.
    features, assignments, centroids = make_inputs(*shape)
    inputs = [features, assignments * 0.9 + 0.02, centroids]
    alpha = torch.linspace(0.4, 1.7, shape[2])
    for term in range(5):
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        actual = clustering_loss(*leaves, alpha=alpha, **options)[term]
        expected = naive_loss(*leaves, alpha=alpha.tolist(), **options)[term]
        torch.testing.assert_close(actual, expected)
        right = torch.autograd.grad(expected, leaves, materialize_grads=True)
        for graph in (True, False):
            gradients = torch.autograd.grad(
                actual, leaves, create_graph=graph, materialize_grads=True
            )
            torch.testing.assert_close(gradients, right)


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("shape", [(4, 3, 2), (3, 2, 4), (1, 2, 2)])
def test_gradients_of_first_and_second_order_are_right(
    shape: tuple[int, int, int], options: dict[str, Any]
) -> None:
    inputs = [tensor.requires_grad_() for tensor in make_inputs(*shape)]

    def terms(*tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(clustering_loss(*tensors, alpha=0.5, **options))

    assert torch.autograd.gradcheck(terms, inputs)
    assert torch.autograd.gradgradcheck(terms, inputs)


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2)])
def test_gradient_of_some_inputs_is_that_of_all(wanted: tuple[int, ...]) -> None:
    def gradients(which: tuple[int, ...]) -> dict[int, Tensor]:
        inputs = make_inputs(6, 5, 3)
        leaves = [inputs[index].requires_grad_() for index in which]
        return dict(
            zip(which, torch.autograd.grad(clustering_loss(*inputs).total, leaves), strict=True)
        )

    some, everything = gradients(wanted), gradients((0, 1, 2))
    for index in wanted:
        torch.testing.assert_close(some[index], everything[index])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("orthonormal", [False, True])
def test_every_dtype_and_device(dtype: torch.dtype, device: str, orthonormal: bool) -> None:
    rounded = [tensor.to(dtype) for tensor in make_inputs(33, 17, 5)]
    expected = naive_loss(*(tensor.double() for tensor in rounded), orthonormal=orthonormal)
    leaves = [tensor.to(device).requires_grad_() for tensor in rounded]
    loss = clustering_loss(*leaves, orthonormal=orthonormal)
    torch.autograd.backward(loss.total)
    for term, right in zip(loss, expected, strict=True):
        assert term.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        torch.testing.assert_close(term.cpu().double(), right, rtol=1e-5, atol=1e-6)
    assert all(leaf.grad is not None and leaf.grad.dtype == dtype for leaf in leaves)


@pytest.mark.parametrize("device", DEVICES)
def test_autocast_changes_nothing(device: str) -> None:
    def step(enabled: bool) -> list[Tensor]:
        inputs = [tensor.float().to(device).requires_grad_() for tensor in make_inputs(33, 17, 5)]
        with torch.autocast(device, dtype=torch.bfloat16, enabled=enabled):
            loss = clustering_loss(*inputs, alpha=0.5)
            orthonormal = clustering_loss(*inputs, orthonormal=True)
            distances = squared_distances(inputs[0], inputs[2])
            gradients = torch.autograd.grad(loss.total, inputs)
        return [*loss, *orthonormal, distances, *gradients]

    torch.testing.assert_close(step(enabled=True), step(enabled=False), rtol=0, atol=0)


sizes = st.tuples(st.integers(1, 9), st.integers(1, 7), st.integers(1, 6))
scales = st.sampled_from([1e-8, 1e-4, 1.0, 1e4, 1e8])
property_test = settings(max_examples=60, deadline=None, derandomize=True)


@property_test
@given(sizes, scales, scales, st.booleans(), st.integers(0, 2**31))
def test_terms_add_up_to_soft_k_means(
    shape: tuple[int, int, int],
    feature_scale: float,
    centroid_scale: float,
    duplicates: bool,
    seed: int,
) -> None:
    features, assignments, centroids = make_inputs(*shape, seed=seed, dtype=torch.float32)
    features, centroids = feature_scale * features, centroid_scale * centroids
    if duplicates:
        features = features[:1].expand_as(features)
    leaves = [tensor.clone().requires_grad_() for tensor in (features, assignments, centroids)]
    loss = clustering_loss(*leaves)
    torch.autograd.backward(loss.total)
    assert all(term.isfinite() for term in loss)
    assert all(leaf.grad is not None and bool(leaf.grad.isfinite().all()) for leaf in leaves)
    exact = torch.zeros((), dtype=torch.float64)
    size = torch.zeros((), dtype=torch.float64)
    for x, gamma in zip(features.double(), assignments.double(), strict=True):
        for weight, mu in zip(gamma, centroids.double(), strict=True):
            exact += weight * ((x - mu) ** 2).sum() / features.numel()
            size += weight * ((x**2).sum() + (mu**2).sum()) / features.numel()
    assert (loss.total.double() - exact).abs() <= 1e-5 * size
    assert loss.reconstruction >= 0
    assert loss.sparsity >= 0


@property_test
@given(sizes, st.booleans(), st.integers(0, 2**31))
def test_order_of_samples_and_names_of_classes_do_not_matter(
    shape: tuple[int, int, int], orthonormal: bool, seed: int
) -> None:
    features, assignments, centroids = make_inputs(*shape, seed=seed)
    alpha = torch.linspace(0.4, 1.7, shape[2])
    samples = torch.randperm(shape[0], generator=torch.Generator().manual_seed(seed))
    classes = torch.randperm(shape[2], generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(
        clustering_loss(
            features[samples],
            assignments[samples][:, classes],
            centroids[classes],
            alpha=alpha[classes],
            orthonormal=orthonormal,
        ),
        clustering_loss(features, assignments, centroids, alpha=alpha, orthonormal=orthonormal),
    )


@property_test
@given(sizes, scales, st.integers(0, 2**31))
def test_class_sums_equal_the_loop(shape: tuple[int, int, int], scale: float, seed: int) -> None:
    num_samples, num_features, num_classes = shape
    generator = torch.Generator().manual_seed(seed)
    features = scale * torch.randn(num_samples, num_features, generator=generator)
    labels = torch.randint(num_classes, (num_samples,), generator=generator)
    mask = torch.rand(num_samples, generator=generator) < 0.7
    expected = torch.zeros(num_classes, num_features)
    counts = torch.zeros(num_classes)
    for x, label, used in zip(features, labels.tolist(), mask.tolist(), strict=True):
        if used:
            expected[label] += x
            counts[label] += 1
    actual = class_sums(features, labels, num_classes, mask=mask)
    torch.testing.assert_close(actual.sums, expected)
    torch.testing.assert_close(actual.counts, counts)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_labels_may_be_any_integers(dtype: torch.dtype) -> None:
    sums, counts = class_sums(torch.ones(3, 1), torch.tensor([2, 0, 2], dtype=dtype), 3)
    assert sums.tolist() == [[1.0], [0.0], [2.0]]
    assert counts.tolist() == [1.0, 0.0, 2.0]


def test_rows_outside_the_mask_may_hold_anything() -> None:
    features = torch.tensor([[1.0], [float("nan")], [float("inf")]], requires_grad=True)
    labels = torch.tensor([1, -1, 99])
    sums, counts = class_sums(features, labels, 2, mask=torch.tensor([True, False, False]))
    assert sums.tolist() == [[0.0], [1.0]]
    assert counts.tolist() == [0.0, 1.0]
    torch.autograd.backward(sums.sum())
    assert features.grad is not None
    assert features.grad.tolist() == [[1.0], [0.0], [0.0]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_class_sums_are_added_in_float32(dtype: torch.dtype) -> None:
    ones = torch.ones(5000, 1, dtype=dtype)  # float16 would stop at 2048
    sums, counts = class_sums(ones, torch.zeros(5000, dtype=torch.int32), 2)
    assert sums.tolist() == [[5000.0], [0.0]]
    assert counts.tolist() == [5000.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_squared_distances(dtype: torch.dtype) -> None:
    features, _, centroids = make_inputs(9, 4, 5, dtype=dtype)
    torch.testing.assert_close(
        squared_distances(features, centroids),
        (features[:, None] - centroids[None]).square().sum(dim=2),
    )
    assert squared_distances(1e4 * features, 1e4 * features).min() >= 0


@pytest.mark.parametrize("first", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("second", [torch.float16, torch.float32, torch.float64])
def test_dtypes_may_be_mixed_and_the_features_decide(
    first: torch.dtype, second: torch.dtype
) -> None:
    features, assignments, centroids = make_inputs(9, 4, 5, dtype=first)
    right = torch.float64 if first == torch.float64 else torch.float32
    distances = squared_distances(features, centroids.to(second))
    assert distances.dtype == right
    alpha = torch.full((5,), 0.5, dtype=second)
    loss = clustering_loss(features, assignments.to(second), centroids.to(second), alpha=alpha)
    assert {term.dtype for term in loss} == {right}
    assert dirichlet_prior(assignments[0].to(right), alpha).dtype == right


@pytest.mark.parametrize("orthonormal", [False, True])
def test_the_default_dtype_decides_nothing(orthonormal: bool) -> None:
    inputs = make_inputs(6, 3, 4, dtype=torch.float32)
    torch.set_default_dtype(torch.float64)
    try:
        loss = clustering_loss(*inputs, orthonormal=orthonormal, alpha=0.5)
    finally:
        torch.set_default_dtype(torch.float32)
    expected = clustering_loss(*inputs, orthonormal=orthonormal, alpha=0.5)
    torch.testing.assert_close(loss, expected, rtol=0, atol=0)  # it compares dtypes, too


def test_prior_is_exactly_zero_and_without_graph_at_alpha_one() -> None:
    features, assignments, centroids = make_inputs(6, 3, 4)
    loss = clustering_loss(features, assignments.requires_grad_(), centroids)
    assert loss.prior.item() == 0
    assert not loss.prior.requires_grad


def test_a_weight_of_zero_leaves_the_overlap_out() -> None:
    loss = clustering_loss(*make_inputs(6, 3, 4), orthonormal=True, ortho_weight=0)
    assert loss.overlap == 0
    torch.testing.assert_close(loss.total, loss.reconstruction + loss.sparsity)


def test_prior_survives_an_empty_class() -> None:
    prior = dirichlet_prior(torch.tensor([1.0, 0.0]), alpha=0.5)
    assert prior.item() == pytest.approx(0.5 * torch.tensor(1e-10).log().item())


def test_loss_of_no_samples_is_zero() -> None:
    loss = clustering_loss(torch.zeros(0, 3), torch.zeros(0, 2), torch.ones(2, 3))
    assert [term.item() for term in loss] == [0, 0, 0, 0, 0]


def test_float32_keeps_its_digits_over_a_million_values() -> None:
    features, assignments, centroids = make_inputs(2048, 512, 8, dtype=torch.float32)
    loss = clustering_loss(features + 3, assignments, centroids)
    expected = clustering_loss(features.double() + 3, assignments.double(), centroids.double())
    for term, right in zip(loss[:4], expected[:4], strict=True):
        assert term.item() == pytest.approx(right.item(), rel=2e-6, abs=2e-6)


X, G, M = torch.zeros(4, 3), torch.full((4, 2), 0.5), torch.zeros(2, 3)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((X[0], G, M), {}, ValueError, r"features must have shape \(N, d\), got \(3,\)"),
        ((X, G[:3], M), {}, ValueError, r"assignments must have shape \(N=4, K\), got \(3, 2\)"),
        ((X, G, M.T), {}, ValueError, r"centroids must have shape \(K=2, d=3\), got \(3, 2\)"),
        ((X[:, :0], G, M[:, :0]), {}, ValueError, "^features must .* one column, got d = 0$"),
        ((X, G[:, :0], M[:0]), {}, ValueError, "^assignments must .* one column, got K = 0$"),
        ((X.long(), G, M), {}, TypeError, "features must be a floating-point .* torch.int64"),
        ((X, G.bool(), M), {}, TypeError, "assignments must be a floating-point .* torch.bool"),
        ((X, G, M.to(torch.complex64)), {}, TypeError, "centroids .* torch.complex64"),
        ((X.tolist(), G, M), {}, TypeError, "features must be a tensor, got list"),
        ((X, G, M), {"alpha": 0.0}, ValueError, "alpha must be greater than 0, got 0.0"),
        ((X, G, M), {"alpha": "1"}, TypeError, "alpha must be a number, got '1'"),
        ((X, G, M), {"alpha": True}, TypeError, "alpha must be a number, got True"),
        ((X, G, M), {"alpha": torch.ones(3)}, ValueError, r"alpha .* \(K=2\), got \(3,\)"),
        ((X, G, M), {"alpha": torch.tensor([1.0, -2.0])}, ValueError, r"alpha .*-2\.0"),
        ((X, G, M), {"ortho_weight": -1.0}, ValueError, "ortho_weight must be at least 0, got -1"),
        ((X, G, M), {"ortho_weight": float("nan")}, ValueError, "ortho_weight must be finite"),
    ],
)
def test_wrong_arguments_of_the_loss_are_named(
    arguments: tuple[Any, ...], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        clustering_loss(*arguments, **options)


LABELS = torch.tensor([0, 1, 1, 0])


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("features", "labels", "num_classes", "mask", "error", "message"),
    [
        (X, LABELS[:3], 2, None, ValueError, r"labels must have shape \(N=4,\).* got \(3,\)"),
        (X, LABELS[:, None], 2, None, ValueError, r"labels .* got \(4, 1\)"),
        (X, LABELS.float(), 2, None, TypeError, "labels must be .* integers, got torch.float32"),
        (X, LABELS.bool(), 2, None, TypeError, "labels must be .* integers, got torch.bool"),
        (X, [0, 1, 1, 0], 2, None, TypeError, "labels must be a tensor, got list"),
        (X, LABELS + 1, 2, None, ValueError, r"labels must be in 0\.\.1 .* got 2"),
        (X, LABELS - 1, 2, None, ValueError, r"labels must be in 0\.\.1 .* got -1"),
        (X, LABELS, 0, None, ValueError, "num_classes must be at least 1, got 0"),
        (X, LABELS, 2.0, None, TypeError, "num_classes must be an int, got 2.0"),
        (X[0], LABELS, 2, None, ValueError, r"features must have shape \(N, d\)"),
        (X, LABELS, 2, LABELS, TypeError, "mask must be a tensor of bool, got torch.int64"),
        (X, LABELS, 2, LABELS[:2] > 0, ValueError, r"mask must have shape \(N=4,\).* got \(2,\)"),
        (X, LABELS, 2, [True] * 4, TypeError, "mask must be a tensor, got list"),
        (X, LABELS + 1, 2, LABELS > 0, ValueError, r"labels must be in 0\.\.1 .* got 2"),
    ],
)
def test_wrong_arguments_of_class_sums_are_named(
    features: Any, labels: Any, num_classes: Any, mask: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        class_sums(features, labels, num_classes, mask=mask)


@pytest.mark.bad_input
def test_wrong_arguments_of_the_helpers_are_named() -> None:
    with pytest.raises(ValueError, match=r"features must have shape \(N, d\), got \(3,\)"):
        squared_distances(X[0], M)
    with pytest.raises(ValueError, match=r"alpha must have shape \(K=2\), got \(3,\)"):
        dirichlet_prior(G[0], torch.ones(3))
    with pytest.raises(ValueError, match=r"centroids must have shape \(K, d=3\), got \(2, 2\)"):
        squared_distances(X, M[:, :2])
    with pytest.raises(ValueError, match=r"mean_assignments must have shape \(K\), got \(4, 2\)"):
        dirichlet_prior(G, 0.5)
