"""Label propagation: the graph, the labels that it gives, and when it is trusted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from supercm_pl.ssl.components.label_graph import LabelGraph
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
    assert (graph.scores(rows, labels[rows], 3).argmax(axis=1) == 2).sum() < 50
    found = graph.classes(rows, labels[rows], 3)
    assert adjusted_rand_score(labels, found) > 0.9


def test_held_out_accuracy_is_that_of_labels_not_given():
    features, labels = blobs((50, 50, 50))
    rows = np.concatenate([np.flatnonzero(labels == k)[:4] for k in range(3)])
    graph = LabelGraph(features)
    assert graph.held_out_accuracy(rows, labels[rows], 3) == 1.0
    wrong = np.random.default_rng(0).permutation(labels[rows])
    assert graph.held_out_accuracy(rows, wrong, 3) < 0.8
    assert graph.held_out_accuracy(first_of_each(labels), np.arange(3), 3) is None
    two_of_the_last = np.append(first_of_each(labels), 140)
    assert graph.held_out_accuracy(two_of_the_last, np.array([0, 1, 2, 2]), 3) == 1.0
    assert graph.held_out_accuracy(two_of_the_last, np.array([0, 1, 2, 0]), 3) < 1.0


def step_with(features, labels, known, progress=0.0):
    rows = np.concatenate([np.flatnonzero(labels == k)[:known] for k in range(labels.max() + 1)])
    others = np.setdiff1d(np.arange(len(labels)), rows)
    given = TrainingFeatures(
        torch.from_numpy(features[rows]),
        torch.from_numpy(labels[rows]),
        torch.from_numpy(features[others]),
    )
    logits = torch.randn(8, 3, requires_grad=True)
    step = step_of_logits(
        {"weak": logits},
        index=torch.arange(8),
        progress=progress,
        training_features=lambda: given,
    )
    return step, labels[others]


def test_loss_is_the_cross_entropy_with_the_labels_found():
    step, true = step_with(*blobs((50, 50, 50)), known=1)
    method = LabelPropagation()
    loss, logs, _ = method(step)
    assert method.labels.tolist() == true.tolist()
    assert (logs["trust"], method.cm_factor) == (1, 1)
    logits = step.unlabeled["weak"].logits
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(true)[:8])
    assert loss.item() == pytest.approx(expected.item())


def test_is_off_with_the_cm_loss_where_classes_are_not_clusters():
    features, labels = blobs((60, 60, 60))
    step, _ = step_with(features[np.random.default_rng(0).permutation(180)], labels, known=10)
    method = LabelPropagation()
    loss, logs, _ = method(step)
    assert (loss, method.cm_factor, len(method.labels)) == (0, 0, 0)
    assert logs["trust"] < 0.35


def test_labels_are_found_anew_every_fraction_of_training():
    features, labels = blobs((50, 50, 50))
    method = LabelPropagation(every=0.5)
    calls = []
    for progress in (0.0, 0.2, 0.4, 0.5, 0.7, 0.99):
        step, _ = step_with(features, labels, known=1, progress=progress)
        before = method.labels
        method(step)
        calls.append(method.labels is not before)
    assert calls == [True, False, False, True, False, False]


def test_labels_wait_where_the_first_features_are_not_sure():
    features, labels = blobs((60, 60, 60), spread=0.55)
    step, _ = step_with(features, labels, known=20)
    method = LabelPropagation()
    _, logs, _ = method(step)
    assert 0.35 < logs["trust"] < 0.8
    assert not len(method.labels)


def test_a_run_finds_labels_of_all_unlabeled_samples():
    method = LabelPropagation(every=0.5)
    module = digits_module(method)
    fit(module, data("LabelPropagation"))
    assert len(method.labels) == module._num_unlabeled
    restored = LabelPropagation()
    restored.load_state_dict(method.state_dict())
    assert torch.equal(restored.labels, method.labels)


@pytest.mark.parametrize("missing", ["index", "training_features"])
def test_says_what_is_missing(missing):
    step, _ = step_with(*blobs((50, 50, 50)), known=1)
    method = LabelPropagation()
    object.__setattr__(step, missing, None)
    with pytest.raises(ValueError, match=missing):
        method(step)
