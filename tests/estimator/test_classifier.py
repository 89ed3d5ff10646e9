"""`SuperCMClassifier` as a user of scikit-learn meets it."""

from __future__ import annotations

import inspect
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_wine, make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_classifiers_classes, parametrize_with_checks
from torch.nn import functional as F

from supercm_pl.clustering import clustering_loss
from supercm_pl.estimator import LabeledKFold, SuperCMClassifier
from supercm_pl.estimator.fitting import Walk, build_network, train
from tests.support.generators import untouched_generators

NAN, INF = math.nan, math.inf
UNLABELED_IS_NO_CLASS = {
    "check_classifiers_classes": "takes -1 for a class, which says unlabeled here"
}
# Before scikit-learn 1.6 it is the estimator that says which checks are expected to fail.
EXPECTED = (
    {"expected_failed_checks": lambda estimator: UNLABELED_IS_NO_CLASS}
    if "expected_failed_checks" in inspect.signature(parametrize_with_checks).parameters
    else {}
)
CHECKS = parametrize_with_checks([SuperCMClassifier(max_steps=30, random_state=0)], **EXPECTED)


# A list, as older versions hand over a generator, which newer versions of pytest warn of.
@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), **CHECKS.kwargs)
def test_it_passes_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_it_passes_the_check_of_classes_in_the_form_for_semi_supervised_classifiers():
    # Which scikit-learn knows by their names.
    check_classifiers_classes("LabelSpreading", SuperCMClassifier(max_steps=30, random_state=0))


def few_labels(labels_per_class: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three blobs, their classes, and the classes with most of them replaced by -1."""
    X, truth = make_blobs(150, n_features=4, centers=3, random_state=1)
    y = np.full(len(truth), -1)
    for k in range(3):
        rows = np.flatnonzero(truth == k)[:labels_per_class]
        y[rows] = k
    return X, truth, y


def quick(**arguments: Any) -> SuperCMClassifier:
    return SuperCMClassifier(**{"max_steps": 40, "random_state": 0, **arguments})


def test_one_label_per_class_is_enough_for_blobs():
    X, truth, y = few_labels(labels_per_class=1)
    model = SuperCMClassifier(max_steps=100, random_state=0).fit(X, y)
    assert model.score(X, truth) > 0.97
    distances = np.linalg.norm(model.transform(X)[:, None] - model.cluster_centers_, axis=2)
    assert (distances.argmin(axis=1) == truth).mean() > 0.97
    assert model.loss_curve_.shape == (100,)
    assert model.loss_curve_[-1] < model.loss_curve_[0]


@pytest.mark.parametrize("dtype", [str, object])
def test_string_classes_give_what_numbers_give(dtype):
    X, _, y = few_labels()
    names = np.array(["rose", "aster", "iris"])
    strings = np.where(y == -1, "-1", names[y]).astype(dtype)
    by_name, by_number = quick().fit(X, strings), quick().fit(X, (y + 2) % 3 - (y == -1) * 2)
    # aster, iris, rose is their order: 0 → 2, 1 → 0, 2 → 1.
    assert by_name.classes_.tolist() == ["aster", "iris", "rose"]
    assert by_number.classes_.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(by_name.predict_proba(X), by_number.predict_proba(X))
    assert set(by_name.predict(X)) == set(names)


@pytest.mark.parametrize("dtype", [float, object, np.int8])
def test_numbers_of_every_dtype_are_classes(dtype):
    X, _, y = few_labels()
    model = quick().fit(X, y.astype(dtype))
    assert model.classes_.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(model.predict(X), quick().fit(X, y).predict(X))


def test_an_array_of_strings_is_fine_where_every_sample_has_a_label():
    X, truth, _ = few_labels()
    model = quick().fit(X, np.array(["a", "b", "c"])[truth])
    assert model.score(X, np.array(["a", "b", "c"])[truth]) > 0.97


FOLDS = LabeledKFold(3, shuffle=True, random_state=0)


@pytest.mark.parametrize(("cv", "scoring"), [(3, None), (FOLDS, "accuracy")])
def test_cross_validation_stratifies_all_forms_of_labels(cv, scoring):
    X, truth = load_wine(return_X_y=True)
    labeled = np.random.default_rng(0).random(len(truth)) < 0.3
    y = np.where(labeled, truth, -1)
    model = SuperCMClassifier(max_steps=60, random_state=0)
    first, *others = (
        cross_val_score(model, X, y.astype(form), cv=cv, scoring=scoring) for form in (int, str)
    )
    assert first.mean() > 0.85
    for scores in others:
        np.testing.assert_array_equal(scores, first)


def test_folds_test_each_labeled_sample_once():
    y = np.array(["-1", "a", "b", "a", "b", "-1", "b", "a"])
    folds = list(LabeledKFold(3).split(np.zeros((8, 2)), y))
    assert sorted(np.concatenate([test for _, test in folds])) == [1, 2, 3, 4, 6, 7]
    for fitted, test in folds:
        assert sorted([*fitted, *test]) == list(range(8))
        assert sorted(y[test]) == ["a", "b"]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([-1] * 6, "at least one labeled sample"),
        (np.array(["a", "b", -1, -1, "a", "b"], dtype=object), r"pass y.astype\(str\), where '-1'"),
        ([-1, 1, 1, -1, 1, 1], "at least two classes, got only class 1; -1 means no label"),
        (["no", "no", "-1", "-1", "no", "no"], "at least two classes, got only class 'no'; -1 mea"),
        ([1] * 6, "at least two classes, got only class 1$"),
        ([0, 1, None, None, 0, 1], "y must be -1 where a sample has no label, got None"),
        ([0, 1, NAN, NAN, 0, 1], "y must be -1 where a sample has no label, got nan"),
        (["a", "b", None, NAN, "a", "b"], "no label, got None; in strings, '-1'"),
        (np.array(["a", "b", NAN, NAN, "a", "b"]), "no label, got 'nan'; in strings, '-1'"),
        (np.array(["a", "b", "", "", "a", "b"]), "no label, got ''; in strings, '-1'"),
        (np.array(["a", "b", "None", "-1", "a", "b"]), "no label, got 'None'; in strings"),
        ([0.5, 1.25, -1, -1, 0.1, 0.2], "continuous"),
        ([0, 1, -1], "inconsistent numbers of samples"),
        (None, "requires y to be passed"),
    ],
)
def test_wrong_labels_are_told(y, message):
    with pytest.raises(ValueError, match=message):
        quick().fit(np.arange(12.0).reshape(6, 2), y)


X = few_labels()[0]


@pytest.mark.bad_input
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize(
    ("arguments", "rows", "message"),
    [
        ({"max_steps": 0}, X, "max_steps == 0, must be >= 1"),
        ({"max_steps": 2.5}, X, "max_steps must be an instance of"),
        ({"hidden_features": (8, 0)}, X, "hidden_features == 0, must be >= 1"),
        ({"hidden_features": 8}, X, "hidden_features must be a sequence"),
        ({"cm_weight": -1.0}, X, "cm_weight must be at least 0, got -1.0"),
        ({"cm_weight": NAN}, X, "cm_weight must be finite, got nan"),
        ({"cm_weight": INF}, X, "cm_weight must be finite, got inf"),
        ({"learning_rate": 0.0}, X, "learning_rate must be greater than 0, got 0.0"),
        ({"learning_rate": INF}, X, "learning_rate must be finite, got inf"),
        ({"learning_rate": 1e30}, X, "the loss is nan at step 1: learning_rate 1e.30 is too hi"),
        ({"noise": "0.1"}, X, "noise must be a number, got '0.1'"),
        ({"noise": NAN}, X, "noise must be finite, got nan"),
        ({"n_neighbors": -1}, X, "n_neighbors == -1, must be >= 0"),
        ({"standardize": "yes"}, X, "standardize must be an instance of"),
        ({"standardize": False}, X * 1e300, "the loss is .* values too large for standardize"),
        ({"alpha": 0.0}, X, "alpha"),
        ({"alpha": NAN}, X, "alpha must be finite, got nan"),
        ({"alpha": (1.0, 2.0)}, X, "alpha"),
        ({"centroids": "mean"}, X, "centroids must be one of"),
        ({"temperature": 0.0}, X, "temperature"),
        ({"random_state": "x"}, X, "cannot be used to seed"),
        ({}, np.where(X > 1, NAN, X), "Input X contains NaN"),
        ({}, X[:, 0], "Expected 2D array, got 1D array instead"),
        ({}, X[:3], "inconsistent numbers of samples"),
    ],
)
def test_wrong_parameters_and_inputs_are_told_when_it_is_fitted(arguments, rows, message):
    with pytest.raises((TypeError, ValueError), match=message):
        quick(**arguments).fit(rows, few_labels()[2])


@pytest.mark.bad_input
@pytest.mark.parametrize("weights", [None, np.ones(3)])
def test_a_score_of_other_lengths(weights):
    _, labels, y = few_labels()
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        quick().fit(X, y).score(X, labels[:3] if weights is None else labels, weights)


def test_it_is_deterministic_as_random_state_says():
    X, _, y = few_labels()
    first = quick().fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(quick().fit(X, y).predict_proba(X), first)
    generator = np.random.RandomState(0)
    model = quick(random_state=generator)
    np.testing.assert_array_equal(model.fit(X, y).predict_proba(X), first)
    assert not np.array_equal(model.fit(X, y).predict_proba(X), first)
    np.random.seed(0)  # noqa: NPY002
    np.testing.assert_array_equal(quick(random_state=None).fit(X, y).predict_proba(X), first)


@pytest.mark.skipif(
    torch.__version__ < "2.5", reason="Adam of PyTorch 2.4 counts its steps on the default device"
)
def test_the_settings_of_the_process_neither_change_nor_matter():
    X, _, y = few_labels()
    first = quick().fit(X, y).predict_proba(X)
    threads = torch.get_num_threads()
    with untouched_generators(), torch.device("meta"), torch.inference_mode():
        again = quick().fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(again, first)
    assert torch.get_num_threads() == threads


def test_it_works_where_float64_is_the_default_of_pytorch():
    X, truth, y = few_labels()
    torch.set_default_dtype(torch.float64)
    try:
        model = quick().fit(X, y)
    finally:
        torch.set_default_dtype(torch.float32)
    assert model.score(X, truth) > 0.97


def test_without_layers_the_features_are_the_standardized_inputs():
    X, _, y = few_labels()
    X[0, 0] = 1e6  # an outlier: limited to 3 standard deviations
    options = {"hidden_features": (), "noise": 0.0, "n_neighbors": 0, "labeled_batch_size": 6}
    model = quick(**options).fit(X, y)
    standardized = ((X - X.mean(axis=0)) / X.std(axis=0)).clip(-3, 3)
    np.testing.assert_allclose(model.transform(X), standardized)
    means = [standardized[y == k].mean(axis=0) for k in range(3)]
    np.testing.assert_allclose(model.cluster_centers_, means, rtol=1e-5, atol=1e-5)
    as_they_are = quick(**options, standardize=False).fit(X, y)
    np.testing.assert_array_equal(as_they_are.transform(X), X)
    assert model.get_feature_names_out().tolist() == [f"supercmclassifier{i}" for i in range(4)]


def test_probabilities_are_the_softmax_of_a_linear_layer_on_the_features():
    X, _, y = few_labels()
    model = quick(temperature=2.0, hidden_features=(8, 5)).fit(X, y)
    layer = model.network_.head.classifier
    logits = model.transform(X) @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
    exponentials = np.exp(logits / 2.0)
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(X), expected)
    np.testing.assert_array_equal(model.predict(X), expected.argmax(axis=1))


def test_the_score_leaves_unlabeled_samples_out():
    X, truth, y = few_labels()
    model = quick().fit(X, y)
    mixed = np.where(np.arange(150) < 60, truth, -1)
    assert model.score(X, mixed) == (model.predict(X)[:60] == truth[:60]).mean()
    weights = np.arange(150.0)
    expected = np.average(model.predict(X)[:60] == truth[:60], weights=weights[:60])
    assert model.score(X, mixed, sample_weight=weights) == pytest.approx(expected)
    with pytest.raises(ValueError, match="at least one labeled sample"):
        model.score(X, np.full(150, -1))


def test_it_works_in_a_pipeline_and_a_grid_search_over_partly_labeled_data():
    X, truth, y = few_labels(labels_per_class=10)
    pipeline = make_pipeline(StandardScaler(), quick())
    grid = {"supercmclassifier__cm_weight": [0.0, 2.0]}
    search = GridSearchCV(pipeline, grid, cv=3, error_score="raise").fit(X, y)
    assert search.best_score_ > 0.9
    assert search.score(X, truth) > 0.9


def test_copies_and_pickles_are_what_they_were():
    X, _, y = few_labels()
    model = quick(alpha=(1.0, 1.1, 1.2), centroids="batch").fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert clone(model).get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        clone(model).predict(X)


@pytest.mark.parametrize("cm_weight", [0.0, 2.0])
def test_the_loss_of_a_step_is_the_one_that_is_written(cm_weight):
    inputs = torch.randn(12, 3, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 1, -1, 2, -1, -1, -1, -1, -1, -1, -1])
    arguments = {
        "hidden_features": (),
        "centroids": "cumulative",
        "temperature": 1.0,
        "alpha": 1.2,
        "seed": 3,
    }
    network = build_network(3, 3, **arguments)
    logits, assignments = network(inputs)
    expected = F.cross_entropy(logits[labels >= 0], labels[labels >= 0])
    centroids = torch.stack([inputs[labels == k].mean(dim=0) for k in range(3)])
    expected = expected + cm_weight * clustering_loss(inputs, assignments, centroids, alpha=1.2)[0]
    start = torch.arange(12) % 3
    expected = expected + F.cross_entropy(logits[labels < 0], start[labels < 0])
    walk = Walk(inputs, None, length=1, noise=0.0, generator=torch.Generator())
    losses = train(
        network,
        walk,
        labels,
        start=start,
        cm_weight=cm_weight,
        learning_rate=1e-3,
        max_steps=1,
        labeled_batch_size=4,
        unlabeled_batch_size=100,
    )
    torch.testing.assert_close(losses[0], expected.detach())


def test_a_walk_stays_where_neighbors_lead():
    # Rows 0, 1, 2 at 0, 1, 2 and rows 3, 4 at 10, 11: two parts of the graph, one of them a chain.
    inputs = torch.tensor([[0.0], [1.0], [2.0], [10.0], [11.0]])
    neighbors = torch.tensor([[0, 1], [1, 2], [2, 2], [3, 4], [4, 3]])
    rows = torch.arange(5).repeat(200)
    for length, farthest in ((1, 1.0), (2, 2.0), (9, 2.0)):
        generator = torch.Generator().manual_seed(0)
        walk = Walk(inputs, neighbors, length=length, noise=0.0, generator=generator)
        views = walk(rows).reshape(200, 5)
        assert views[:, 0].min() >= 0
        assert farthest - 0.2 < views[:, 0].max() <= farthest
        assert views[:, 2].eq(2.0).all()
        assert views[:, 3:].min() >= 10
        assert views[:, 3:].max() <= 11


def test_noise_is_of_the_size_that_is_asked_for():
    walk = Walk(
        torch.zeros(1, 1000), None, length=1, noise=0.3, generator=torch.Generator().manual_seed(0)
    )
    assert 0.27 < walk(torch.zeros(20, dtype=torch.long)).std() < 0.33
