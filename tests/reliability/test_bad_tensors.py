"""Wrong tensors: every one is an error that names what is wrong, its value and what is right."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supercm_pl import ClusteringHead, SSLModule, UDAModule
from supercm_pl.backbones import MLP
from supercm_pl.clustering.functional import class_sums, clustering_loss, squared_distances
from supercm_pl.ssl.methods import FlexMatch
from supercm_pl.training.metrics import EvaluationMetrics
from supercm_pl.uda.methods import DANN
from supercm_pl.uda.validators import SND

pytestmark = pytest.mark.bad_input

X, U = torch.linspace(-1, 1, 24).view(6, 4), torch.linspace(-2, 1, 32).view(8, 4)
Y = torch.arange(6) % 3
SOFT = torch.full((6, 3), 1 / 3)
META = "meta"  # stands for another device than the model's
FAR, NO = torch.zeros(3, 4, device=META), torch.zeros(6, dtype=bool, device=META)


def head() -> ClusteringHead:
    return ClusteringHead(4, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: head()(X.to(META)), "features must be on cpu, where centroids are, got meta"),
        (lambda: head().update_centroids(X, Y.to(META)), "labels must be on cpu, where features a"),
        (lambda: head().update_centroids(X, Y, mask=NO), "mask must be on cpu, where features are"),
        (lambda: head().loss(X, SOFT.to(META)), "assignments must be on cpu, where features are"),
        (
            lambda: head().loss(X, head()(X).logits),
            r"rows that sum to 1: write head\(features\)\.as",
        ),
        (lambda: head().loss(X, head()(X)), r"a tensor: write head\(features\)\.assignments"),
        (lambda: clustering_loss(X, SOFT, FAR), "features must be on meta, where centroids are"),
        (lambda: squared_distances(X, FAR), "features must be on meta, where centroids are"),
        (lambda: class_sums(X, Y.to(META), 3), "labels must be on cpu, where features are"),
        (lambda: SND().update(X, SOFT[:2], domain="target"), r"assignments .* got \(2, 3\)"),
    ],
)
def test_of_the_clustering(call: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def ssl(**options: Any) -> SSLModule:
    return SSLModule(**{"backbone": MLP(4, (8,)), "num_classes": 3, **options})


def uda(**options: Any) -> UDAModule:
    return UDAModule(**{"backbone": MLP(4, (8,)), "num_classes": 3, **options})


LABELS: list[tuple[Any, type[Exception], str]] = [
    (Y.float(), TypeError, r"labels must be a tensor of integers, got torch\.float32"),
    (Y > 0, TypeError, r"labels must be a tensor of integers, got torch\.bool"),
    (Y.to(torch.complex64), TypeError, r"labels must be a tensor of integers, got torch\.complex"),
    (Y.tolist(), TypeError, "labels must be a tensor of integers, got list"),
    (Y.numpy(), TypeError, "labels must be a tensor of integers, got ndarray"),
    (None, TypeError, "labels must be a tensor of integers, got NoneType"),
    (Y[:3], ValueError, r"labels must have shape \(N=6,\), one for each input, got \(3,\)"),
    (
        Y[:, None],
        ValueError,
        r"labels must have shape \(N=6,\), one for each input, got \(6, 1\)",
    ),
    (nn.functional.one_hot(Y), ValueError, r"labels must have shape \(N=6,\), .* got \(6, 3\)"),
    (Y[0], ValueError, r"labels must have shape \(N=6,\), .* got \(\)"),
]


@pytest.mark.parametrize("cm_weight", [0.0, 0.5], ids=["supervised", "supercm"])
@pytest.mark.parametrize(("labels", "error", "message"), LABELS)
def test_labels_of_a_step(
    labels: Any, error: type[Exception], message: str, cm_weight: float
) -> None:
    with pytest.raises(error, match=f"labeled {message}"):
        ssl(cm_weight=cm_weight).training_step({"labeled": (X, labels), "unlabeled": U})
    with pytest.raises(error, match=f"source {message}"):
        uda(cm_weight=cm_weight).training_step({"source": (X, labels), "target": U})


@pytest.mark.parametrize("label", [3, -1, -100])
def test_labels_out_of_range_of_a_step(label: int) -> None:
    wrong = torch.where(Y == 1, label, Y)
    with pytest.raises(ValueError, match=rf"labels must be in 0\.\.2 .* got {label}"):
        ssl().training_step({"labeled": (X, wrong), "unlabeled": U})


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.int8, torch.uint8])
def test_labels_of_any_integer_type_are_right(dtype: torch.dtype) -> None:
    losses = []
    for labels in (Y, Y.to(dtype)):
        torch.manual_seed(0)
        losses.append(ssl().training_step({"labeled": (X, labels), "unlabeled": U}))
    assert torch.equal(*losses)


@pytest.mark.parametrize(
    ("labeled", "found"),
    [
        (X, "Tensor"),
        ((X,), "a tuple of 1"),
        ((X, Y, Y), "a tuple of 3"),
        ([], "a list of 0"),
        (None, "NoneType"),
        ({"x": X, "y": Y}, "dict"),
    ],
)
def test_form_of_the_labeled_rows(labeled: Any, found: str) -> None:
    message = f"labeled samples must be \\(x, y\\), inputs and labels, got {found}"
    with pytest.raises(TypeError, match=message):
        ssl().training_step({"labeled": labeled, "unlabeled": U})


VIEWS: list[tuple[Any, type[Exception], str]] = [
    (None, TypeError, "inputs must be a tensor or a mapping from views to tensors, got NoneType"),
    ((U, U), TypeError, "inputs must be a tensor or a mapping from views to tensors, got tuple"),
    ([U, U], TypeError, "inputs must be a tensor or a mapping .*, got list"),
    (U.tolist(), TypeError, "inputs must be a tensor or a mapping .*, got list"),
    (U.numpy(), TypeError, "inputs must be a tensor or a mapping .*, got ndarray"),
    ({"weak": U.tolist()}, TypeError, r'view "weak" must be a tensor \(N, \.\.\.\), got list'),
    ({"weak": U[0, 0]}, TypeError, r'view "weak" must be a tensor \(N, \.\.\.\), got a number'),
    ({"strong": U}, ValueError, r'view "weak", required by SuperCM; it has \[.strong.\]'),
    (torch.zeros(8, 5), ValueError, r"one shape and device, got .*\(4,\) on cpu, .*\(5,\) on cpu"),
    (torch.zeros(8), ValueError, r"one shape and device, got .*\(4,\) on cpu, .*\(\) on cpu"),
    (torch.zeros(8, 4, 1), ValueError, r"one shape and device, got .*\(4, 1\) on cpu"),
    (U.to(META), ValueError, r"one shape and device, got .*\(4,\) on meta"),
]


def test_unlabeled_inputs_of_a_tensor_dataset() -> None:
    made = ssl(centroids="batch")
    tensor, listed = (made.training_step({"labeled": (X, Y), "unlabeled": u}) for u in (U, [U]))
    assert tensor == listed


@pytest.mark.parametrize(("unlabeled", "error", "message"), VIEWS)
def test_unlabeled_inputs_of_a_step(unlabeled: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ssl().training_step({"labeled": (X, Y), "unlabeled": unlabeled})
    with pytest.raises(error, match=message):
        uda().training_step({"source": (X, Y), "target": unlabeled})


@pytest.mark.parametrize(
    ("views", "error", "message"),
    [
        ({"strong": U[:3]}, ValueError, "views must have the same number .*weak 8, strong 3"),
        ({"strong": None}, TypeError, 'unlabeled view "strong" must be a tensor .* got NoneType'),
        ({"strong": U[:, :3]}, ValueError, r'"weak" \(4,\) on cpu, unlabeled "strong" \(3,\)'),
        ({"index": torch.arange(8.0)}, TypeError, r'view "index" must be .*float32 .*\(8,'),
        ({"index": torch.arange(3)}, ValueError, "views must have the same number .*index 3"),
        ({"index": torch.zeros(8, 1).int()}, TypeError, r'view "index" must be .*shape \(8, 1\)'),
    ],
)
def test_views_of_a_step(views: Any, error: type[Exception], message: str) -> None:
    unlabeled = {"weak": U, "strong": U, "index": torch.arange(8), **views}
    module = ssl(methods=FlexMatch(num_samples=9))
    with pytest.raises(error, match=message):
        module.training_step({"labeled": (X, Y), "unlabeled": unlabeled})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"source": X}, TypeError, r"source samples must be \(x, y\), .* got Tensor"),
        ({"source": (X, Y, Y, Y)}, TypeError, "source samples must be .* got a tuple of 4"),
        ({"source": (X, Y, Y[:2])}, ValueError, r"source domains must have shape .* got \(2,\)"),
        ({"source": (X, Y, X)}, TypeError, "source domains must be .* integers, got torch.float32"),
        ({"labeled_target": X}, TypeError, "labeled_target samples must be .* got Tensor"),
        ({"labeled_target": (X, Y[:1])}, ValueError, r"labeled_target labels .* got \(1,\)"),
        ({"labeled_target": (X, X[:, 0])}, TypeError, "labeled_target labels .* torch.float32"),
        ({"labeled_target": (X[:, :3], Y)}, ValueError, r'"weak" \(4,\) .* "weak" \(3,\) on cpu'),
        ({"labeled_target": (X, Y + 9)}, ValueError, r"labels must be in 0\.\.2 .* got 9"),
    ],
)
def test_parts_of_an_adaptation_step(
    change: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        uda(methods=DANN()).training_step({"source": (X, Y), "target": U, **change})


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (Y + 1, ValueError, r"labels must be in 0\.\.2 for num_classes=3, got 3"),
        (Y - 1, ValueError, r"labels must be in 0\.\.2 for num_classes=3, got -1"),
        (Y.float(), TypeError, r"labels must be a tensor of integers, got torch\.float32"),
        (Y[:2], ValueError, r"labels must have shape \(N=6,\)"),
    ],
)
def test_labels_of_an_evaluation(labels: Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ssl().validation_step((X, labels))
    with pytest.raises(error, match=message):
        uda().test_step((X, labels))
    with pytest.raises(error, match=message):
        uda().validation_step((X, labels), dataloader_idx=1)  # of an oracle
    with pytest.raises(error, match=message):
        EvaluationMetrics(3, "val/").update(SOFT, labels)


@pytest.mark.parametrize("step", ["validation_step", "test_step"])
def test_form_of_an_evaluation_batch(step: str) -> None:
    with pytest.raises(TypeError, match=r"evaluation samples must be \(x, y\), .* got Tensor"):
        getattr(ssl(), step)(X)


def test_form_of_a_source_validation_batch() -> None:
    with pytest.raises(
        TypeError, match=r"source validation samples must be \(x, y\), .* got Tensor"
    ):
        uda().validation_step(X)


@pytest.mark.parametrize(
    ("batch", "found"),
    [
        ("x", "str"),
        (None, "NoneType"),
        ([], "list"),
        ([1, X], "list"),
        ({"x": X, "y": Y}, r"a mapping with \['x', 'y'\]"),
        ({"inputs": X.tolist()}, r"a mapping with \['inputs'\]"),
    ],
)
def test_a_batch_to_predict(batch: Any, found: str) -> None:
    with pytest.raises(TypeError, match=f'a batch to predict must be .* "inputs", got {found}'):
        ssl().predict_step(batch)


class Odd(nn.Module):
    """A backbone that does something to its features that it must not."""

    out_features = 8

    def __init__(self, spoil: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 8)
        self.spoil = spoil

    def forward(self, inputs: Tensor) -> Any:
        return self.spoil(self.layer(inputs))


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda f: f[:3], ValueError, "backbone must return .* of 6 inputs"),
        (lambda f: f[:, :5], ValueError, r"must have shape \(N, in_features=8\), got \(6, 5\)"),
        (lambda f: f[:, None], ValueError, r"\(N, in_features=8\), got \(6, 1, 8\)"),
        (lambda f: f.flatten(), ValueError, r"\(N, in_features=8\), got \(48,\)"),
        (lambda f: (f, f), TypeError, "features must be a tensor, got tuple"),
        (lambda f: {"features": f}, TypeError, "features must be a tensor, got dict"),
        (lambda f: f.long(), TypeError, "features must be a floating-point tensor, got torch.int"),
    ],
)
def test_features_of_a_backbone(spoil: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ssl(backbone=Odd(spoil)).training_step({"labeled": (X, Y), "unlabeled": U})


@pytest.mark.parametrize("shape", [(2, 7), (2, 1, 5), (4,), (2, 0)])
def test_inputs_of_a_perceptron(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="inputs must have 4 values per sample, the in_features"):
        MLP(4, (8,))(torch.zeros(shape))


@pytest.mark.parametrize(
    ("module", "names"), [(ssl, r"\"labeled\": \(x, y\)"), (uda, r"\"source\": \(x, y\)")]
)
def test_a_batch_of_another_form_is_described(module: Any, names: str) -> None:
    with pytest.raises(TypeError, match=rf"{names}.*got a mapping with \['other'\]"):
        module().training_step({"other": (X, Y)})
