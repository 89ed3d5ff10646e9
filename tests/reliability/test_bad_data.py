"""Wrong data: arrays, data sets and folders, each an error or a warning that says what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset

from supercm_pl import SSLDataModule, UDADataModule
from supercm_pl.data import DatasetSource, Digits, Resized
from supercm_pl.data.transforms.augment import GaussianNoise
from tests.support.datasets import Listed
from tests.support.images import image

pytestmark = pytest.mark.bad_input

X = np.random.default_rng(0).normal(size=(60, 5)).astype("float32")
Y = np.arange(60) % 3


def ssl(x: Any = X, y: Any = Y, *more: Any, **options: Any) -> dict[str, Any]:
    """A training batch."""
    data = SSLDataModule.from_arrays(x, y, *more, **{"labels_per_class": 2, **options})
    return next(iter(data.train_dataloader()))


def uda(x: Any = X, y: Any = Y, target: Any = X, *more: Any, **options: Any) -> dict[str, Any]:
    return next(iter(UDADataModule.from_arrays(x, y, target, *more, **options).train_dataloader()))


def spoiled(value: float) -> Any:
    x = X.copy()
    x[7, 1] = value
    return x


ARRAYS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: ssl(None), TypeError, "x must hold numbers, got an array of object"),
    (lambda: ssl(X.astype(str)), TypeError, "x must hold numbers, got an array of <U32"),
    (lambda: ssl(X.astype("datetime64[s]")), TypeError, "x must hold numbers, got .* datetime64"),
    (lambda: ssl(X + 1j), TypeError, "x must hold numbers, got an array of complex64"),
    (lambda: ssl(torch.from_numpy(X + 1j)), TypeError, "x must be a dense .* torch.complex64"),
    (lambda: ssl(torch.from_numpy(X).to_sparse()), TypeError, "x must be a dense .*sparse_coo"),
    (lambda: ssl(torch.from_numpy(X).to("meta")), TypeError, "x must be a dense .* on meta"),
    (lambda: ssl([[1.0, 2.0], [3.0]]), ValueError, "x must have rows of one length"),
    (lambda: ssl(np.ma.masked_greater(X, 2)), ValueError, "x must have no masked values: fill t"),
    (lambda: ssl(X[:, 0]), ValueError, r"x must be vectors \(N, D\) .* got shape \(60,\)"),
    (lambda: ssl(X[:0], Y[:0]), ValueError, r"x must be vectors .* got shape \(0, 5\)"),
    (lambda: ssl(X[:, :0]), ValueError, r"x must be vectors .* got shape \(60, 0\)"),
    (lambda: ssl(spoiled(np.nan)), ValueError, "1 of 60 samples hold NaN .* is sample 7"),
    (lambda: ssl(spoiled(-np.inf)), ValueError, "1 of 60 samples hold NaN .* is sample 7"),
    (lambda: ssl(X.astype(float) * 1e300), ValueError, "x must be finite, but 60 of 60"),
    (lambda: ssl(y=None), ValueError, r"y must have one label for each of 60 inputs, got shape \("),
    (lambda: ssl(y=Y[:50]), ValueError, r"y must have one label for each .* got shape \(50,\)"),
    (lambda: ssl(y=np.eye(3)[Y]), ValueError, r"y must have one label .* got shape \(60, 3\)"),
    (lambda: ssl(y=Y / 2), TypeError, "y must be integers from 0 on, got float64"),
    (lambda: ssl(y=Y.astype(str)), TypeError, "y must be integers from 0 on, got <U21"),
    (lambda: ssl(y=Y - 1), ValueError, "y must be 0 or more, got -1 at sample 0"),
    (lambda: ssl(y=np.where(Y == 1, 10**9, Y)), ValueError, "must number the classes from 0 on"),
    (lambda: ssl(y=Y * 5), ValueError, "asked for 2 labels of a class, but class '1' has 0"),
    (lambda: ssl(y=Y * 0), ValueError, r"at least two classes are needed, got \['0'\]"),
    (lambda: ssl(classes="abc"), TypeError, "classes must be a sequence of names, got 'abc'"),
    (lambda: ssl(classes=3), TypeError, "classes must be a sequence of names, got 3"),
    (lambda: ssl(classes=["a", "b"]), ValueError, r"labels of y must be in 0\.\.1, got 2"),
    (lambda: ssl(classes=["a", "b", "a"]), ValueError, "classes must have different names"),
    (lambda: ssl(X, Y, X), ValueError, "x_test and y_test go together, got only x_test"),
    (lambda: ssl(X, Y, X[:, :3], Y), ValueError, r"x_test must have samples like .* got \(3,\)"),
    (lambda: ssl(X, Y, X, Y + 1), ValueError, r"labels of y_test must be in 0\.\.2, got 3"),
    (lambda: ssl(X, Y, spoiled(np.nan), Y), ValueError, "x_test must be finite"),
    (lambda: ssl(X, Y, None, None, X[:, :4]), ValueError, r"x_unlabeled must have .* got \(4,\)"),
    (lambda: ssl(X, Y, None, None, X.astype("uint8")), ValueError, "x_unlabeled must .*uint8"),
    (lambda: ssl(X, Y, None, None, spoiled(np.inf)), ValueError, "x_unlabeled must be finite"),
    (lambda: uda(target=None), TypeError, "x of the target must hold numbers"),
    (lambda: uda(target=spoiled(np.nan)), ValueError, "x of the target must be finite"),
    (lambda: uda(target=X[:, :3]), ValueError, r"source has \(5,\), target has \(3,\)"),
    (lambda: uda(X, Y, X, X, Y + 1), ValueError, r"labels of y_test must be in 0\.\.2, got 3"),
    (lambda: uda(X, Y, X, X, Y[:1]), ValueError, "y_test must have one label for each of 60"),
]


@pytest.mark.parametrize(("call", "error", "message"), ARRAYS)
def test_arrays(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


OPTIONS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"labels_per_class": True}, TypeError, "labels_per_class must be an int, got True"),
    ({"labels_per_class": 0}, ValueError, "labels_per_class must be at least 1, got 0"),
    ({"labels_per_class": None}, ValueError, "choose the labeled samples by one of labels_p"),
    ({"num_labels": 9, "labeled_fraction": 0.5}, ValueError, "only one of .* got num_labels and l"),
    ({"labels_per_class": 21}, ValueError, "asked for 21 labels .* class '0' has 20"),
    ({"labels_per_class": 20}, ValueError, "no unlabeled samples are left: label fewer"),
    ({"labeled_indices": [0.5, 1.5]}, TypeError, "labeled_indices must be row numbers, got float"),
    ({"labeled_indices": Y > 0}, TypeError, "labeled_indices must be row numbers, got bool"),
    ({"labeled_indices": {"a": 1}}, TypeError, "labeled_indices must be row numbers, got object"),
    ({"val_size": True}, ValueError, "val_size must be a number of samples, .* got True"),
    ({"labeled_batch_size": 0}, ValueError, "labeled_batch_size must be at least 1, got 0"),
    ({"eval_batch_size": 0}, ValueError, "eval_batch_size must be at least 1, got 0"),
    ({"steps_per_epoch": 0}, ValueError, "steps_per_epoch must be at least 1, got 0"),
    ({"unlabeled_batch_size": 1.5}, TypeError, "unlabeled_batch_size must be an int, got 1.5"),
    ({"num_workers": -1}, ValueError, "num_workers must be at least 0, got -1"),
    ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
    ({"seed": 0.5}, TypeError, "seed must be an int, got 0.5"),
    ({"weak": "flip"}, TypeError, r"weak must be an object such as AffineNoise\(\), got 'flip'"),
    ({"weak": GaussianNoise}, TypeError, "weak must be an object such as .*GaussianNoise'>"),
    ({"strong": max}, TypeError, "strong must be an object such as .* max>"),
    ({"preprocess": "zca"}, TypeError, "preprocess must be an object such as .* got 'zca'"),
    ({"distortion": {"label_noise": 1}}, TypeError, r"distortion must be an object such as"),
    ({"unlabeled_includes_labeled": "no"}, TypeError, "must be True or False, got 'no'"),
    ({"keep_on_device": "yes"}, TypeError, "keep_on_device must be True or False, got 'yes'"),
    ({"pin_memory": 1}, TypeError, "pin_memory must be True or False, got 1"),
]


@pytest.mark.parametrize(("options", "error", "message"), OPTIONS)
def test_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    chosen = {"num_labels", "labeled_fraction", "labeled_indices"} & set(options)
    with pytest.raises(error, match=message):
        ssl(**{**({"labels_per_class": None} if chosen else {}), **options})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"oracle": "no"}, TypeError, "oracle must be True or False, got 'no'"),
        ({"target_labels_per_class": 1}, ValueError, "the target data have no labels"),
        ({"target_labels_per_class": 0}, ValueError, "target_labels_per_class must be at least 1"),
        ({"target_labels_per_class": 1, "num_target_labels": 9}, ValueError, "only one of .*"),
        ({"num_target_labels": 2.0}, TypeError, "num_target_labels must be an int, got 2.0"),
        ({"target_val_size": "some"}, ValueError, "target_val_size must be in .* got 'some'"),
        ({"target_val_size": True}, TypeError, "target_val_size must be an int, got True"),
        ({"source_batch_size": 0}, ValueError, "source_batch_size must be at least 1, got 0"),
        ({"target_batch_size": 0}, ValueError, "target_batch_size must be at least 1, got 0"),
        ({"labeled_target_batch_size": 0}, ValueError, "labeled_target_batch_size must be"),
        ({"resize": 0}, ValueError, "resize must be at least 1, got 0"),
        ({"source_val_size": -1}, ValueError, "source_val_size must be at least 0, got -1"),
        ({"labeled_target_indices": [0.5]}, TypeError, "labeled_target_indices must be row num"),
        ({"labeled_target_indices": "none"}, ValueError, "labeled_target_indices: can't read"),
        ({"source_val_size": 1.0}, ValueError, "asks for 60 of 60 samples, which leaves none"),
        ({"source_val_size": None}, ValueError, r"source_val_size must be in \(0, 1\].* got None"),
        ({"resize": 8.5}, TypeError, "resize must be an int, got 8.5"),
    ],
)
def test_options_of_adaptation(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        uda(**options)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SSLDataModule("digits", labels_per_class=2),  # type: ignore[arg-type]
        lambda: SSLDataModule(Digits, labels_per_class=2),  # type: ignore[arg-type]
        lambda: UDADataModule("digits"),  # type: ignore[arg-type]
        lambda: UDADataModule([Digits(), "digits"]),  # type: ignore[list-item]
        lambda: UDADataModule(target="digits"),  # type: ignore[arg-type]
        lambda: Resized("digits", size=8),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_source(make: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match=r"(source|target) must be an object such as Digits"):
        make()


def test_a_class_without_a_label_is_told() -> None:
    with pytest.warns(RuntimeWarning, match="no samples are labeled in classes '1', '2'"):
        ssl(labels_per_class=None, labeled_indices=[0, 3, 6])


def each(make: Callable[[int], Any]) -> Listed:
    return Listed([(make(i), i % 2) for i in range(12)])


V = torch.zeros(3)


@pytest.mark.parametrize(
    ("train", "error", "message"),
    [
        (Listed([]), ValueError, r"at least two classes are needed, got \[\]"),
        (Listed([V] * 12), TypeError, r"must be \(input, label\) .* sample 0 is Tensor"),
        (Listed([None] * 12), TypeError, r"must be \(input, label\) .* sample 0 is NoneType"),
        (Listed([{"x": V}] * 12), TypeError, r"must be \(input, label\) .* sample 0 is dict"),
        (Listed([(V, 0.5)] * 12), TypeError, "integer label, but sample 0 is labeled 0.5"),
        (Listed([(V, "cat")] * 12), TypeError, "integer label, but sample 0 is labeled 'cat'"),
        (Listed([(V, [0, 1])] * 12), TypeError, r"integer label, but sample 0 is labeled \[0, 1\]"),
        (Listed([(V, i % 3 - 1) for i in range(12)]), ValueError, r"in 0\.\.1, got -1 at sample 0"),
        (each(lambda i: torch.zeros(3 + i % 2)), ValueError, "inputs must have one shape, but"),
        (each(lambda i: image(8 + i % 2, 8)), ValueError, "resize them in the dataset's transform"),
        (each(lambda i: image(*(8, 8, 3)[: 2 + i % 2])), ValueError, "have one shape, but sample"),
        (each(lambda _: V * np.nan), ValueError, "inputs must be finite, .* first is sample"),
        (each(lambda _: torch.tensor(1.0)), TypeError, r"but sample \d+ is torch.float32 of shape"),
        (each(lambda _: V + 1j), TypeError, r"of real numbers, but sample \d+ is torch.complex64"),
        (each(lambda _: V.to("meta")), TypeError, r"real numbers, but sample \d+ is .* on meta"),
        (each(lambda _: "cat.png"), TypeError, r"PIL image as input, but sample \d+ is str"),
        (each(lambda _: np.array([None])), TypeError, r"as input, but sample \d+ is ndarray"),
    ],
)
def test_data_sets(train: Listed, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        next(iter(SSLDataModule(DatasetSource(train), labels_per_class=1).train_dataloader()))


ENDLESS = type("Endless", (IterableDataset,), {"__iter__": lambda _: iter([])})()


@pytest.mark.parametrize("train", [None, [1, 2], "digits", np.zeros((4, 2)), ENDLESS])
def test_what_is_no_data_set(train: Any) -> None:
    with pytest.raises(TypeError, match=r"a map-style Dataset.* got "):
        DatasetSource(train)


@pytest.mark.parametrize("dtype", [">f4", "<f4", "u2", "?"])
def test_arrays_of_any_kind_of_number_are_right(dtype: str) -> None:
    train = each(lambda i: np.full((3, 3), i % 2).astype(dtype)[::-1])
    data = SSLDataModule(DatasetSource(train), labels_per_class=1)
    inputs, labels = next(iter(data.train_dataloader()))["labeled"]
    assert inputs.dtype == torch.float32
    assert torch.equal(inputs[:, 0, 0], labels.float())
