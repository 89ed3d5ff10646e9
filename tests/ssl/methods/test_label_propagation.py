"""Label propagation: the graph, the labels that it gives, and when it is trusted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from supercm_pl.graphs.image_descriptors import describe, views_of
from supercm_pl.graphs.label_graph import LabelGraph
from supercm_pl.ssl.methods import LabelPropagation
from supercm_pl.training.step import TrainingFeatures
from tests.support.runs import data, digits_module, fit
from tests.support.steps import step_of_logits


def blobs(sizes, seed=0, spread=0.15):
    """Features in as many directions as sizes, and the labels."""
    dice = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.eye(len(sizes))[labels] + spread * dice.normal(size=(len(labels), len(sizes))), labels


def first_of_each(labels):
    return np.array([np.flatnonzero(labels == k)[0] for k in range(labels.max() + 1)])


@pytest.mark.parametrize("sizes", [(80, 80, 80, 80), (200, 60, 40, 20)])
def test_one_label_per_class_is_enough_where_classes_are_clusters(sizes):
    features, labels = blobs(sizes)
    rows = first_of_each(labels)
    found = LabelGraph(features).classes(rows, labels[rows], 4)
    assert (found == labels).mean() > 0.99


def test_scores_solve_the_poisson_equation():
    features, labels = blobs((30, 30, 30), spread=0.4)
    rows = first_of_each(labels)
    graph = LabelGraph(features)
    scores = graph.scores(rows, labels[rows], 3, rounds=20_000)
    laplacian = np.diag(graph.degrees) - graph.weights.toarray()
    source = np.zeros((90, 3))
    source[rows] = np.eye(3) - 1 / 3
    np.testing.assert_allclose(laplacian @ scores, source, atol=1e-6)


def test_a_class_whose_label_is_an_outlier_keeps_its_cluster():
    features, labels = blobs((100, 100, 100), spread=0.1)
    rows = first_of_each(labels)
    features[rows[2]] = features[rows[1]]  # the label of class 2 lies in the cluster of class 1
    graph = LabelGraph(features)
    found = graph.classes(rows, labels[rows], 3)
    assert adjusted_rand_score(labels, found) > 0.9


def test_trust_is_the_accuracy_on_labels_not_given_corrected_for_chance():
    features, labels = blobs((50, 50, 50))
    rows = np.concatenate([np.flatnonzero(labels == k)[:4] for k in range(3)])
    graph = LabelGraph(features)
    assert graph.trust(rows, labels[rows], 3) == 1.0
    wrong = np.random.default_rng(0).permutation(labels[rows])
    assert graph.trust(rows, wrong, 3) < 0.7
    assert graph.trust(first_of_each(labels), np.arange(3), 3) is None
    two_of_the_last = np.append(first_of_each(labels), 140)
    assert graph.trust(two_of_the_last, np.array([0, 1, 2, 2]), 3) == 1.0
    assert graph.trust(two_of_the_last, np.array([0, 1, 2, 0]), 3) < 1.0


def test_the_sum_of_two_graphs_is_better_than_either():
    views, labels = [], None
    for seed in (0, 1):
        features, labels = blobs((100, 100, 100), seed, spread=0.5)
        views.append(features)
    rows = np.concatenate([np.flatnonzero(labels == k)[:3] for k in range(3)])
    accuracies = [
        (LabelGraph(*given).scores(rows, labels[rows], 3).argmax(axis=1) == labels).mean()
        for given in (views[:1], views[1:], views)
    ]
    assert accuracies[2] > max(accuracies[:2])


def test_a_view_that_says_nothing_of_the_classes_does_not_spoil_the_fitted_graph():
    features, labels = blobs((100, 100, 100), 0, spread=0.5)
    noise = np.random.default_rng(0).standard_normal((300, 8))
    rows = np.concatenate([np.flatnonzero(labels == k)[:5] for k in range(3)])

    def accuracy(graph, known):
        return (graph.scores(known, labels[known], 3).argmax(axis=1) == labels).mean()

    alone, both = accuracy(LabelGraph(features), rows), accuracy(LabelGraph(noise, features), rows)
    fitted = LabelGraph.fitted([noise, features], rows, labels[rows], 3)
    assert both < alone - 0.1
    assert accuracy(fitted, rows) > alone - 0.02
    first = rows[::5]  # one label per class: nothing can be tested, and the first view is used
    fitted = LabelGraph.fitted([features, noise], first, labels[first], 3)
    assert accuracy(fitted, first) == accuracy(LabelGraph(features), first)


def test_only_colors_that_differ_are_a_view():
    gray = torch.rand(50, 1, 32, 32).expand(-1, 3, -1, -1)
    assert len(views_of(describe(gray))) == 2
    red = gray * torch.tensor([1.0, 0.2, 0.2])[:, None, None]
    colors = views_of(describe(torch.cat([gray, red])))[2]
    assert np.allclose((colors**2).sum(axis=1), 1, atol=1e-5)
    assert np.linalg.norm(colors[:50].mean(axis=0) - colors[50:].mean(axis=0)) > 0.3


def test_sizes_are_free_where_the_graph_is_not_trusted():
    features, labels = blobs((200, 30, 30), spread=0.1)
    rows = first_of_each(labels)
    graph = LabelGraph(features)
    scores = graph.scores(rows, labels[rows], 3)
    found = graph.classes(rows, labels[rows], 3, trust=0.5)
    assert (found[rows] == labels[rows]).all()
    others = np.setdiff1d(np.arange(len(labels)), rows)
    assert (found[others] == scores.argmax(axis=1)[others]).all()


def crossed(labels):
    """Classes 1 and 2 with half of their samples exchanged."""
    exchanged = (labels > 0) & (np.arange(len(labels)) % 2 == 1)
    return np.where(exchanged, 3 - labels, labels)


def test_pairs_of_classes_are_divided_as_the_graph_divides_them():
    features, labels = blobs((60, 60, 60))
    rows = first_of_each(labels)
    graph = LabelGraph(features)
    (pair,) = graph.doubtful_pairs(crossed(labels), 3)
    assert (pair.one, pair.other, pair.changed) == (1, 2, 60)
    assert list(graph.doubtful_pairs(labels, 3)) == []
    assert (graph.corrected(crossed(labels), rows, labels[rows], 3) == labels).all()
    assert (graph.corrected(labels, rows, labels[rows], 3) == labels).all()


def test_a_label_in_the_wrong_cluster_does_not_keep_it_from_the_right_one():
    features, labels = blobs((60, 60, 60))
    rows = first_of_each(labels)
    features[rows[2]] = [0, 0.6, 0.4]  # of class 2, at the border of class 1
    graph = LabelGraph(features)
    found = graph.corrected(crossed(labels), rows, labels[rows], 3)
    assert (found == labels).mean() > 0.99


def step_with(features, labels, known, progress=0.0, described=None, predicted=None):
    rows = np.concatenate([np.flatnonzero(labels == k)[:known] for k in range(labels.max() + 1)])
    others = np.setdiff1d(np.arange(len(labels)), rows)
    order = np.concatenate([rows, others])
    given = TrainingFeatures(
        torch.from_numpy(features[rows]),
        torch.from_numpy(labels[rows]),
        torch.from_numpy(features[others]),
        torch.eye(3)[torch.from_numpy((labels if predicted is None else predicted)[order])],
        () if described is None else (torch.from_numpy(described[order]),),
    )
    logits = torch.randn(8, 3, requires_grad=True)
    step = step_of_logits(
        {"weak": logits},
        numbers=torch.arange(8),
        progress=progress,
        training_features=lambda describe: given,
    )
    return step, labels[others]


def shuffled(features):
    return features[np.random.default_rng(0).permutation(len(features))]


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.25])
def test_loss_is_the_cross_entropy_with_the_labels_found_and_falls_to_zero(progress):
    step, true = step_with(*blobs((50, 50, 50)), known=1, progress=progress)
    method = LabelPropagation(duration=0.25)
    loss, logs, _ = method(step)
    assert method.labels.tolist() == true.tolist()
    assert (logs["trust"], method.cm_factor) == (1, 1)
    logits = step.unlabeled["weak"].logits
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(true)[:8])
    assert loss.item() == pytest.approx((1 - progress / 0.25) * expected.item())


def test_the_cm_loss_is_weak_where_classes_are_not_clusters():
    features, labels = blobs((60, 60, 60))
    step, _ = step_with(shuffled(features), labels, known=10)
    method = LabelPropagation()
    loss, logs, _ = method(step)
    assert (loss, len(method.labels)) == (0, 0)
    assert logs["trust"] < 0.35
    assert method.cm_factor == pytest.approx(logs["trust"].item() ** 2)


def test_labels_are_found_once_and_late_where_the_first_features_are_not_sure():
    features, labels = blobs((60, 60, 60), spread=0.55)
    method = LabelPropagation()
    found = []
    for progress in (0.0, 0.2, 0.3, 0.4, 0.6):
        step, _ = step_with(features, labels, known=20, progress=progress)
        loss, logs, _ = method(step)
        assert 0.35 < logs["trust"] < 0.8
        found.append((bool(loss > 0), method.labels))
    assert [used for used, _ in found] == [False, False, True, True, False]
    assert found[2][1] is found[4][1]


def test_inputs_are_used_where_the_features_tell_nothing():
    described, labels = blobs((50, 50, 50))
    step, true = step_with(shuffled(described), labels, known=4, described=described)
    method = LabelPropagation()
    _, logs, _ = method(step)
    assert logs["trust"] == 1
    assert method.labels.tolist() == true.tolist()


@pytest.mark.parametrize(("known", "progress"), [(1, 0.3), (2, 0.65), (1, 0.75), (3, 0.3)])
def test_few_labels_are_corrected_where_the_graph_divides_the_classes_in_another_way(
    known, progress
):
    features, labels = blobs((60, 60, 60))
    method = LabelPropagation()
    step, _ = step_with(features, labels, known, 0.0, features, crossed(labels))
    method(step)
    before = method.labels
    step, true = step_with(features, labels, known, progress, features, crossed(labels))
    loss, *_ = method(step)
    corrected = known < 3 and progress < 0.7
    assert (loss > 0) == corrected
    assert (method.labels is not before) == corrected
    assert method.labels.tolist() == true.tolist()
    restored = LabelPropagation()
    restored.load_state_dict(method.state_dict())
    assert restored.get_extra_state()["check"] == method.get_extra_state()["check"]


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((6, 3, 32, 32), [512, 40, 125]),
        ((6, 1, 8, 8), [512, 40]),
        ((6, 9), [9]),
        ((6, 3, 96, 96), []),
    ],
)
def test_views_describe_small_images_and_vectors(shape, sizes):
    inputs = torch.rand(100, *shape[1:])
    views = views_of(describe(inputs))
    assert [view.shape[1] for view in views] == sizes
    assert all(len(view) == 100 and np.isfinite(view).all() for view in views)


def test_gradients_ignore_brightness_and_contrast_and_see_direction():
    stripes = (torch.arange(16) % 4 < 2).float().expand(1, 1, 16, 16)
    same, turned = 0.3 + 0.4 * stripes, stripes.mT.contiguous()
    gradients, *_ = describe(torch.cat([stripes, same, turned]))
    assert torch.allclose(gradients[0], gradients[1], atol=1e-3)
    assert (gradients[0] - gradients[2]).norm() > 1
    assert describe(torch.full((1, 1, 16, 16), 0.5))[0].isfinite().all()


def test_a_run_finds_labels_of_all_unlabeled_samples():
    method = LabelPropagation()
    module = digits_module(method)
    fit(module, data("LabelPropagation"))
    assert len(method.labels) == module._num_unlabeled
    restored = LabelPropagation()
    restored.load_state_dict(method.state_dict())
    assert torch.equal(restored.labels, method.labels)


@pytest.mark.parametrize(
    ("missing", "message"), [("numbers", "step.index"), ("training_features", "training_features")]
)
def test_says_what_is_missing(missing, message):
    step, _ = step_with(*blobs((50, 50, 50)), known=1)
    method = LabelPropagation()
    object.__setattr__(step, missing, None)
    with pytest.raises(ValueError, match=message):
        method(step)
