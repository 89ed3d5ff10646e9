"""`ClusteringHead` as a user meets it: outputs, centroids, state and errors."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from supercm_pl.clustering import CentroidMode, ClassCentroids, ClusteringHead, clustering_loss

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
MODES: tuple[CentroidMode, ...] = get_args(CentroidMode)
STORED_MODES: tuple[CentroidMode, ...] = ("cumulative", "ema", "batch")
# Class 3 never appears, class 2 first in the second batch, class 0 not in the last.
LABELS = [[0, 0, 1], [2, 2, 0], [1, 2, 1]]


def make_batches(dtype: torch.dtype = torch.float32) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(len(labels), 5, generator=generator).to(dtype), torch.tensor(labels))
        for labels in LABELS
    ]


def expected_centroids(mode: CentroidMode, momentum: float) -> Tensor:
    centroids = torch.zeros(4, 5)
    means: dict[int, list[Tensor]] = {k: [] for k in range(4)}
    for features, labels in make_batches():
        for k in set(labels.tolist()):
            rows = [x for x, label in zip(features, labels.tolist(), strict=True) if label == k]
            mean = torch.stack(rows).mean(dim=0)
            means[k].append(mean)
            if mode == "cumulative":
                centroids[k] = torch.stack(means[k]).mean(dim=0)
            elif mode == "ema" and len(means[k]) > 1:
                centroids[k] = momentum * centroids[k] + (1 - momentum) * mean
            else:
                centroids[k] = mean
    return centroids


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", STORED_MODES)
def test_centroids_and_counts_are_those_made_by_hand(mode: CentroidMode, device: str) -> None:
    head = ClusteringHead(5, 4, centroids=mode, momentum=0.7).to(device)
    for features, labels in make_batches():
        head.update_centroids(features.to(device), labels.to(device))
    torch.testing.assert_close(head.centroids.cpu(), expected_centroids(mode, momentum=0.7))
    assert head.centroid_counts.tolist() == [3, 3, 3, 0]
    assert head.centroid_updates.tolist() == [2, 2, 2, 0]
    assert head.centroid_counts.dtype == torch.int64


def test_learnable_centroids_are_a_parameter_that_updates_only_count() -> None:
    head = ClusteringHead(5, 4, centroids="learnable")
    assert "centroids" in dict(head.named_parameters())
    before = head.centroids.detach().clone()
    for features, labels in make_batches():
        head.update_centroids(features, labels)
    torch.testing.assert_close(head.centroids.detach(), before, rtol=0, atol=0)
    assert head.centroid_counts.tolist() == [3, 3, 3, 0]
    features = make_batches()[0][0]
    torch.autograd.backward(head.loss(features, head(features).assignments).total)
    assert head.centroids.grad is not None
    assert head.centroids.grad.abs().sum() > 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_empty_labeled_batch_changes_nothing(mode: CentroidMode, dtype: torch.dtype) -> None:
    head = ClusteringHead(5, 4, centroids=mode)
    for features, labels in make_batches(dtype):
        head.update_centroids(features, labels)
    before = copy.deepcopy(head.state_dict())
    features = make_batches(dtype)[0][0].requires_grad_()
    head.update_centroids(features[:0], torch.zeros(0, dtype=torch.long))
    head.update_centroids(features, torch.tensor([0, 1, 9]), mask=torch.zeros(3, dtype=torch.bool))
    torch.testing.assert_close(head.state_dict(), before, rtol=0, atol=0)
    torch.autograd.backward(head.loss(features, head(features).assignments).total)
    assert features.grad is not None
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("mode", STORED_MODES)
def test_class_absent_from_a_batch_keeps_its_centroid(mode: CentroidMode) -> None:
    head = ClusteringHead(2, 3, centroids=mode)
    head.update_centroids(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0, 1]))
    head.update_centroids(torch.tensor([[7.0, 8.0]]), torch.tensor([1]))
    assert head.centroids[0].tolist() == [1.0, 2.0]
    assert head.centroids[2].tolist() == [0.0, 0.0]
    assert head.centroid_counts.tolist() == [1, 2, 0]


@pytest.mark.parametrize("mode", MODES)
def test_absent_classes_put_no_nan_into_backward(mode: CentroidMode) -> None:
    head = ClusteringHead(5, 4, centroids=mode)
    features, labels = make_batches()[0]
    features.requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that it is slow
        detect_anomaly = torch.autograd.detect_anomaly()  # fails on NaN anywhere in backward
    with detect_anomaly:
        head.update_centroids(features, labels)
        total = head.loss(features, head(features).assignments).total
        torch.autograd.backward(total)


@pytest.mark.parametrize("mode", STORED_MODES)
def test_pseudo_labeled_rows_join_by_mask(mode: CentroidMode) -> None:
    features, labels = make_batches()[0]
    with_mask, without = (ClusteringHead(5, 4, centroids=mode) for _ in range(2))
    joined = torch.cat([features, torch.full((2, 5), float("nan")), features + 1])
    pseudo = torch.cat([labels, torch.tensor([-1, 2]), labels])
    mask = torch.tensor([True] * 3 + [False] * 2 + [True] * 3)
    with_mask.update_centroids(joined, pseudo, mask=mask)
    without.update_centroids(torch.cat([features, features + 1]), torch.cat([labels, labels]))
    torch.testing.assert_close(with_mask.centroids, without.centroids)
    assert with_mask.centroid_counts.tolist() == [4, 2, 0, 0]


@pytest.mark.parametrize("mode", STORED_MODES)
def test_overflow_of_one_class_harms_neither_it_nor_the_others(mode: CentroidMode) -> None:
    head = ClusteringHead(2, 3, centroids=mode)
    head.update_centroids(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0, 1]))
    features = torch.tensor([[float("inf"), 0.0], [5.0, 6.0]], requires_grad=True)
    head.update_centroids(features, torch.tensor([0, 1]))
    assert head.centroids.isfinite().all()
    assert head.centroids[0].tolist() == [1.0, 2.0]
    assert head.centroid_counts.tolist() == [1, 2, 0]
    others = torch.ones(2, 2, requires_grad=True)
    torch.autograd.backward(head.loss(others, torch.full((2, 3), 1 / 3)).total)
    if mode == "batch":
        assert features.grad is not None
        assert features.grad.isfinite().all()
        assert features.grad[0].tolist() == [0.0, 0.0]


def test_batch_centroids_carry_the_gradient_of_the_features() -> None:
    head = ClusteringHead(5, 4, centroids="batch").double()
    earlier = torch.randn(2, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    head.update_centroids(earlier, torch.tensor([2, 3]))
    labels = torch.tensor([0, 0, 1])

    def loss(features: Tensor) -> Tensor:
        head.update_centroids(features[:3], labels)  # class 2 is absent, class 3 too
        return head.loss(features, head(features).assignments).total

    generator = torch.Generator().manual_seed(0)
    features = torch.randn(4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (features,))
    assert torch.autograd.gradgradcheck(loss, (features,))


def test_batch_centroids_are_constant_without_training_or_gradients() -> None:
    features, labels = make_batches()[0]
    features.requires_grad_()
    assignments = torch.full((3, 4), 0.25)
    head = ClusteringHead(5, 4, centroids="batch")
    head.update_centroids(features, labels)
    (through_centroids,) = torch.autograd.grad(head.loss(features, assignments).total, features)
    head.update_centroids(features, labels)
    head.eval()
    (constant,) = torch.autograd.grad(head.loss(features, assignments).total, features)
    head.train()
    with torch.no_grad():
        head.update_centroids(features, labels)
        assert not head.loss(features, assignments).total.requires_grad
    (after_no_grad,) = torch.autograd.grad(head.loss(features, assignments).total, features)
    torch.testing.assert_close(after_no_grad, constant)
    assert not torch.allclose(through_centroids, constant)
    assert not head.centroids.requires_grad


@pytest.mark.parametrize("mode", ["cumulative", "ema"])
def test_kept_centroids_pass_no_gradient_to_labeled_features(mode: CentroidMode) -> None:
    head = ClusteringHead(5, 4, centroids=mode)
    labeled, labels = make_batches()[0]
    labeled.requires_grad_()
    head.update_centroids(labeled, labels)
    features = make_batches()[1][0].requires_grad_()
    torch.autograd.backward(head.loss(features, head(features).assignments).total)
    assert labeled.grad is None
    assert features.grad is not None


@pytest.mark.parametrize("mode", STORED_MODES)
def test_update_between_loss_and_backward_does_no_harm(mode: CentroidMode) -> None:
    (features, labels), (other, other_labels), _ = make_batches()
    gradients = []
    for late_update in (False, True):
        head = ClusteringHead(5, 4, centroids=mode)
        x = features.clone().requires_grad_()
        head.update_centroids(x, labels)
        total = head.loss(x, torch.full((3, 4), 0.25)).total
        if late_update:
            head.update_centroids(other, other_labels)
        torch.autograd.backward(total)
        gradients.append(x.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=0)


@pytest.mark.parametrize("temperature", [1.0, 0.25, 2.0])
@pytest.mark.parametrize("bias", [True, False])
def test_logits_and_assignments(temperature: float, bias: bool) -> None:
    head = ClusteringHead(5, 4, temperature=temperature, bias=bias)
    features = make_batches()[0][0]
    logits, assignments = head(features)
    expected = features @ head.classifier.weight.T
    if bias:
        expected = expected + head.classifier.bias
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(assignments, torch.softmax(expected / temperature, dim=1))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"normalize": False},
        {"alpha": 0.3},
        {"alpha": [0.2, 1.0, 3.0, 1.5]},
        {"orthonormal": True, "ortho_weight": 0.1, "alpha": torch.tensor([0.5, 2.0, 1.0, 1.0])},
    ],
)
def test_loss_is_the_functional_one_at_the_centroids(options: dict[str, Any]) -> None:
    head = ClusteringHead(5, 4, **options)
    features, labels = make_batches()[0]
    head.update_centroids(features, labels)
    assignments = head(features).assignments
    if isinstance(options.get("alpha"), list):
        options = {**options, "alpha": torch.tensor(options["alpha"])}
    torch.testing.assert_close(
        head.loss(features, assignments),
        clustering_loss(features, assignments, head.centroids, **options),
    )


@pytest.mark.parametrize("mode", STORED_MODES)
def test_loss_uses_the_kept_centroids_not_those_of_the_batch_alone(mode: CentroidMode) -> None:
    head = ClusteringHead(5, 4, centroids=mode)
    for features, labels in make_batches():
        head.update_centroids(features, labels)
    assignments = torch.full((3, 4), 0.25)
    torch.testing.assert_close(
        head.loss(features, assignments),
        clustering_loss(features, assignments, expected_centroids(mode, momentum=0.9)),
    )


def test_defaults_are_those_of_the_documentation() -> None:
    features, labels = make_batches()[0]
    terms = []
    for options in ({}, {"temperature": 1.0, "ortho_weight": 1.0, "normalize": True}):
        torch.manual_seed(0)
        head = ClusteringHead(5, 4, orthonormal=True, **options)
        head.update_centroids(features, labels)
        terms.append(head.loss(features, head(features).assignments))
    torch.testing.assert_close(terms[0], terms[1])


def test_default_centroids_are_cumulative() -> None:
    centroids = ClassCentroids(5, 4)
    for features, labels in make_batches():
        centroids.update_centroids(features, labels)
    expected = expected_centroids("cumulative", momentum=0.9)
    torch.testing.assert_close(centroids.centroids, expected)


@pytest.mark.parametrize("rows", [1, 3])
def test_half_precision_assignments_are_averaged_in_float32(rows: int) -> None:
    head = ClusteringHead(5, 4, alpha=0.5)
    features, labels = make_batches()[0]
    head.update_centroids(features, labels)
    features = features[:rows]
    assignments = head(features).assignments.to(torch.float16)
    torch.testing.assert_close(
        head.loss(features, assignments),
        clustering_loss(features, assignments.float(), head.centroids, alpha=0.5),
    )


def test_loss_of_no_rows_is_finite() -> None:
    head = ClusteringHead(5, 4, alpha=0.5)
    head.update_centroids(torch.zeros(0, 5), torch.zeros(0, dtype=torch.long))
    loss = head.loss(torch.zeros(0, 5), torch.zeros(0, 4))
    assert loss.reconstruction.item() == 0
    assert loss.total.isfinite()


def test_the_strength_of_a_balanced_prior_does_not_grow_with_the_number_of_classes() -> None:
    alphas = {k: ClusteringHead(5, k, alpha="balanced").alpha for k in (2, 10, 100)}
    assert alphas == {2: 1.2, 10: 1.2, 100: 1.02}


def test_alpha_above_one_makes_classes_balanced_and_below_one_not() -> None:
    balanced, lopsided = torch.full((8, 4), 0.25), torch.eye(4)[:1].expand(8, 4)
    features = torch.zeros(8, 5)
    for alpha, sign in ((2.0, 1), (0.5, -1)):
        head = ClusteringHead(5, 4, alpha=alpha)
        head.update_centroids(features, torch.arange(8) % 4)
        gap = head.loss(features, lopsided).prior - head.loss(features, balanced).prior
        assert sign * gap > 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("device", DEVICES)
def test_autocast_and_half_precision_stay_close_to_float32(mode: CentroidMode, device: str) -> None:
    (features, labels), *_ = make_batches(torch.bfloat16)
    results = []
    for low_precision in (False, True):
        torch.manual_seed(0)
        head = ClusteringHead(5, 4, centroids=mode, alpha=0.5).to(device)
        x = (features if low_precision else features.float()).to(device).requires_grad_()
        with torch.autocast(device, dtype=torch.bfloat16, enabled=low_precision):
            out = head(x)
            head.update_centroids(x, labels.to(device))
            loss = head.loss(x, out.assignments)
        torch.autograd.backward(loss.total)
        assert x.grad is not None
        assert loss.total.dtype == out.logits.dtype == torch.float32
        results.append((*out, *loss, head.centroids.detach(), head.classifier.weight.grad))
    torch.testing.assert_close(results[0], results[1])


@pytest.fixture
def default_dtype(request: pytest.FixtureRequest) -> Iterator[torch.dtype]:
    """Set the default dtype, as Lightning does for its `bf16-true` and `16-true` precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(before)


@pytest.mark.parametrize("default_dtype", [torch.float32, torch.bfloat16], indirect=True)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_module_keeps_exact_running_means(
    dtype: torch.dtype, default_dtype: torch.dtype
) -> None:
    head = ClusteringHead(1, 2, alpha=[1.1, 0.9]).to(dtype)
    assert head.classifier.weight.dtype == dtype
    for step in range(300):  # in bfloat16, a running mean of ones and twos stops moving early
        head.update_centroids(torch.tensor([[1.0 + step % 2]], dtype=dtype), torch.tensor([0]))
    assert head.centroids.dtype == torch.float32
    assert head.centroids[0].item() == pytest.approx(1.5, abs=1e-5)
    assert head(torch.ones(3, 1, dtype=dtype)).logits.dtype == torch.float32
    assert head.double().centroids.dtype == torch.float64
    assert head.to(dtype).centroids.dtype == torch.float32
    assert head.float().centroids.dtype == torch.float32


def test_moves_take_the_centroids_along() -> None:
    head = ClusteringHead(5, 4).to("meta", torch.float16)
    assert head.centroids.is_meta
    assert head.centroids.dtype == torch.float32
    head = ClusteringHead(5, 4).to_empty(device="meta", recurse=False)
    assert head.centroids.is_meta
    assert not head.classifier.weight.is_meta


@pytest.mark.parametrize("default_dtype", [torch.bfloat16], indirect=True)
def test_alpha_keeps_its_digits_where_the_default_dtype_has_few(default_dtype: torch.dtype) -> None:
    head = ClusteringHead(5, 2, alpha=[1.1, 0.9])
    assert isinstance(head.alpha, Tensor)
    assert head.alpha.tolist() == pytest.approx([1.1, 0.9], rel=1e-6)


def test_a_large_alpha_does_not_overflow_in_half_precision() -> None:
    features, labels = make_batches()[0]
    for alpha in (1e6, [1e6] * 4):
        head = ClusteringHead(5, 4, alpha=alpha)
        head.update_centroids(features, labels)
        expected = head.loss(features, head(features).assignments).prior
        half = head.half()
        prior = half.loss(features.half(), half(features.half()).assignments).prior
        torch.testing.assert_close(prior, expected, rtol=1e-2, atol=0)


def test_ten_thousand_classes() -> None:
    head = ClusteringHead(5, 10_000, centroids="batch")
    features = torch.randn(16, 5, requires_grad=True)
    head.update_centroids(features.detach(), torch.arange(16) * 600)
    assignments = head(features).assignments
    total = head.loss(features, assignments).total
    spread = (features[:, None] - head.centroids).square().sum(dim=2)
    torch.testing.assert_close(total, (assignments * spread).sum() / features.numel())
    total.backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("mode", MODES)
def test_transforms_of_torch_func(mode: CentroidMode) -> None:
    torch.manual_seed(0)
    head = ClusteringHead(5, 4, centroids=mode, alpha=0.5)
    features, labels = make_batches()[0]
    head.update_centroids(features, labels)
    state = {name: value.detach() for name, value in head.state_dict().items()}

    def total(state: dict[str, Tensor], features: Tensor) -> Tensor:
        assignments = torch.func.functional_call(head, state, (features,)).assignments
        return head.loss(features, assignments).total

    batches = torch.stack([features, 2 * features, features - 1])
    gradient = torch.func.grad(total, argnums=1)
    found = torch.func.vmap(gradient, in_dims=(None, 0))(state, batches)
    jacobian = torch.func.jacrev(total, argnums=1)(state, features)
    for number, batch in enumerate(batches):
        x = batch.clone().requires_grad_()
        (expected,) = torch.autograd.grad(total(state, x), x)
        torch.testing.assert_close(found[number], expected)
    torch.testing.assert_close(jacobian, found[0])


@pytest.mark.parametrize("mode", MODES)
def test_state_dict_holds_centroids_and_counts_and_loads_weights_only(mode: CentroidMode) -> None:
    head = ClusteringHead(5, 4, centroids=mode, alpha=[1.0, 2.0, 0.5, 1.0])
    for features, labels in make_batches():
        head.update_centroids(features, labels)
    file = io.BytesIO()
    torch.save(head.state_dict(), file)
    file.seek(0)
    loaded = ClusteringHead(5, 4, centroids=mode, alpha=[1.0, 1.0, 1.0, 1.0])
    loaded.load_state_dict(torch.load(file, weights_only=True))
    assert set(loaded.state_dict()) == {
        "alpha",
        "centroid_counts",
        "centroid_updates",
        "centroids",
        "calibration",
        "classifier.bias",
        "classifier.weight",
    }
    for batch in (make_batches()[0], make_batches()[2]):
        head.update_centroids(*batch)
        loaded.update_centroids(*batch)
    torch.testing.assert_close(loaded.state_dict(), head.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("mode", MODES)
def test_copies_and_pickles_after_an_update_with_a_graph(mode: CentroidMode) -> None:
    head = ClusteringHead(5, 4, centroids=mode)
    backbone = nn.Linear(5, 5)
    features, labels = make_batches()[0]
    head.update_centroids(backbone(features), labels)
    for twin in (copy.deepcopy(head), pickle.loads(pickle.dumps(head))):
        torch.testing.assert_close(twin.state_dict(), head.state_dict(), rtol=0, atol=0)
        torch.testing.assert_close(
            twin.loss(features, head(features).assignments),
            head.loss(features, head(features).assignments),
        )


@pytest.mark.parametrize("change", ["load", "move", "reset"])
def test_batch_centroids_do_not_outlive_a_change_of_state(change: str) -> None:
    head = ClusteringHead(5, 4, centroids="batch")
    features, labels = make_batches()[0]
    head.update_centroids(features.clone().requires_grad_(), labels)
    if change == "load":
        head.load_state_dict(ClusteringHead(5, 4).state_dict())
    elif change == "move":
        head.double()
    else:
        head.reset_centroids()
    loss = head.loss(features, torch.full((3, 4), 0.25))
    assert not loss.total.requires_grad
    expected = clustering_loss(features, torch.full((3, 4), 0.25), head.centroids)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("mode", MODES)
def test_reset_forgets(mode: CentroidMode) -> None:
    head = ClusteringHead(5, 4, centroids=mode)
    features, labels = make_batches()[0]
    head.update_centroids(features, labels)
    head.reset_centroids()
    assert head.centroid_counts.tolist() == head.centroid_updates.tolist() == [0, 0, 0, 0]
    if mode == "learnable":
        assert head.centroids.requires_grad
        assert head.centroids.abs().sum() > 0
    else:
        assert head.centroids.abs().sum() == 0


def test_nearest_centroid_is_among_classes_seen() -> None:
    head = ClusteringHead(2, 3)
    points = torch.tensor([[0.1, 0.0], [9.0, 9.0], [4.0, 4.0]])
    head.update_centroids(torch.tensor([[3.0, 3.0], [8.0, 8.0]]), torch.tensor([1, 2]))
    assert head.nearest_centroid(points).tolist() == [1, 2, 1]  # not 0, which lies at the origin


def test_nearest_learnable_centroid_may_be_of_a_class_not_seen() -> None:
    head = ClusteringHead(2, 3, centroids="learnable")
    assert head.nearest_centroid(head.centroids.detach()).tolist() == [0, 1, 2]


def test_a_few_steps_of_training_separate_two_clusters() -> None:
    generator = torch.Generator().manual_seed(0)
    centers = torch.tensor([[2.0, 0.0], [-2.0, 0.0]])
    truth = torch.arange(200) % 2
    features = centers[truth] + torch.randn(200, 2, generator=generator)
    head = ClusteringHead(2, 2)
    nn.init.zeros_(head.classifier.weight)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.5)
    for _ in range(50):
        head.update_centroids(features[:2], truth[:2])
        out = head(features)
        loss = head.loss(features, out.assignments).total + F.cross_entropy(
            out.logits[:2], truth[:2]
        )
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    assert (head(features).assignments.argmax(dim=1) == truth).float().mean() > 0.95


class LargestTensor(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the size of the largest tensor that any operation returns."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.numel = max([self.numel, *sizes])
        return result


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("orthonormal", [False, True])
@pytest.mark.parametrize("sizes", [(64, 40, 48), (8, 6, 90), (8, 90, 6)])
def test_no_tensor_is_larger_than_a_matrix_of_two_of_the_three_sizes(
    mode: CentroidMode, orthonormal: bool, sizes: tuple[int, int, int]
) -> None:
    n, d, k = sizes
    head = ClusteringHead(d, k, centroids=mode, orthonormal=orthonormal, alpha=0.5)
    features = torch.randn(n, d, requires_grad=True)
    with LargestTensor() as largest:
        out = head(features)
        head.update_centroids(features, torch.arange(n) % k)
        torch.autograd.backward(head.loss(features, out.assignments).total)
    assert max(n * k, n * d, k * d) >= largest.numel > 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("orthonormal", [False, True])
def test_a_step_reads_no_value_back_from_the_device(mode: CentroidMode, orthonormal: bool) -> None:
    # On the meta device there are no values: reading one, or branching on one, is an error.
    with torch.device("meta"):
        head = ClusteringHead(5, 4, centroids=mode, orthonormal=orthonormal, alpha=0.5)
        features = torch.randn(6, 5, requires_grad=True)
        labels = torch.zeros(3, dtype=torch.long)
        mask = torch.ones(3, dtype=torch.bool)
    out = head(features)
    head.update_centroids(features[:3], labels, mask=mask)
    loss = head.loss(features, out.assignments)
    torch.autograd.backward(loss.total)
    assert loss.total.is_meta
    assert head.nearest_centroid(features).shape == (6,)


def test_repr_shows_the_options() -> None:
    text = repr(ClusteringHead(5, 4, centroids="ema", momentum=0.8, temperature=0.5, alpha=2.0))
    assert "in_features=5, num_classes=4, centroids='ema', momentum=0.8" in text
    assert "temperature=0.5, alpha=2.0, orthonormal=False" in text
    assert "alpha=per class" in repr(ClusteringHead(5, 2, alpha=[1.0, 2.0]))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"in_features": 0}, ValueError, "in_features must be at least 1, got 0"),
        ({"in_features": 5.0}, TypeError, "in_features must be an int, got 5.0"),
        ({"num_classes": 0}, ValueError, "num_classes must be at least 1, got 0"),
        ({"num_classes": "4"}, TypeError, "num_classes must be an int, got '4'"),
        ({"centroids": "mean"}, ValueError, "centroids must be one of .*cumulative.* got 'mean'"),
        ({"momentum": 0.0}, ValueError, r"momentum must be in \(0, 1\), got 0.0"),
        ({"momentum": 1.0}, ValueError, r"momentum must be in \(0, 1\), got 1.0"),
        ({"momentum": None}, TypeError, "momentum must be a number, got None"),
        ({"temperature": 0.0}, ValueError, "temperature must be greater than 0, got 0.0"),
        ({"temperature": float("inf")}, ValueError, "temperature must be finite, got inf"),
        ({"temperature": "1"}, TypeError, "temperature must be a number, got '1'"),
        ({"alpha": 0.0}, ValueError, "alpha must be greater than 0, got 0.0"),
        ({"alpha": float("nan")}, ValueError, "alpha must be finite, got nan"),
        ({"alpha": [1.0, 1.0]}, ValueError, r"alpha must have shape \(K=4\), got \(2,\)"),
        ({"alpha": [1.0, 1.0, 1.0, -1.0]}, ValueError, "alpha must be greater than 0, got -1.0"),
        ({"alpha": torch.ones(4, 1)}, ValueError, r"alpha must have shape \(K=4\), got \(4, 1\)"),
        ({"alpha": torch.ones(4, dtype=torch.long)}, TypeError, "alpha must be a floating-point"),
        ({"alpha": torch.full((4,), torch.inf)}, ValueError, "alpha must be finite and greater"),
        ({"alpha": torch.zeros(4)}, ValueError, "alpha must be finite and greater than 0"),
        ({"ortho_weight": -0.1}, ValueError, "ortho_weight must be at least 0, got -0.1"),
        ({"orthonormal": "no"}, TypeError, "orthonormal must be True or False, got 'no'"),
        ({"normalize": 1}, TypeError, "normalize must be True or False, got 1"),
        ({"bias": None}, TypeError, "bias must be True or False, got None"),
    ],
)
def test_wrong_constructor_arguments_are_named(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ClusteringHead(**{"in_features": 5, "num_classes": 4, **options})


@pytest.mark.bad_input
@pytest.mark.parametrize("mode", MODES)
def test_wrong_features_labels_and_assignments_are_named(mode: CentroidMode) -> None:
    head = ClusteringHead(5, 4, centroids=mode)
    x, labels = make_batches()[0]
    before = copy.deepcopy(head.state_dict())
    wrong_shape = r"features must have shape \(N, in_features=5\), got \(3, 4\)"
    with pytest.raises(ValueError, match=wrong_shape):
        head(x[:, :4])
    with pytest.raises(ValueError, match=wrong_shape):
        head.update_centroids(x[:, :4], labels)
    with pytest.raises(ValueError, match=wrong_shape):
        head.loss(x[:, :4], torch.zeros(3, 4))
    with pytest.raises(ValueError, match=wrong_shape):
        head.nearest_centroid(x[:, :4])
    with pytest.raises(
        TypeError, match=r"features must be a floating-point tensor, got torch\.int64"
    ):
        head(x.long())
    with pytest.raises(ValueError, match=r"labels must be in 0\.\.3 for num_classes=4, got 7"):
        head.update_centroids(x, torch.tensor([0, 7, 1]))
    with pytest.raises(TypeError, match=r"labels must be a tensor of integers, got torch\.float32"):
        head.update_centroids(x, labels.float())
    with pytest.raises(ValueError, match=r"labels must have shape \(N=3,\)"):
        head.update_centroids(x, labels[:2])
    with pytest.raises(ValueError, match=r"assignments must have shape \(N=3, K=4\), got \(3, 3\)"):
        head.loss(x, torch.zeros(3, 3))
    torch.testing.assert_close(head.state_dict(), before, rtol=0, atol=0)
