"""Wrong data: arrays, data sets and folders, each an error or a warning that says what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from supercm_pl import SSLDataModule, UDADataModule
from supercm_pl.data import ZCA, DatasetSource, Digits, Resized
from supercm_pl.data.transforms.augment import GaussianNoise
from tests.support.datasets import Listed
from tests.support.images import image

pytestmark = pytest.mark.bad_input

X = np.random.default_rng(0).normal(size=(60, 5)).astype("float32")
Y = np.arange(60) % 3
NAMES = np.array([*"abc"])[Y]
MIXED = np.array([*"ab", 1] * 20, dtype=object)
DATASET = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))


def ssl(x: Any = X, y: Any = Y, *more: Any, **options: Any) -> dict[str, Any]:
    """A training batch."""
    data = SSLDataModule.from_arrays(x, y, *more, **{"labels_per_class": 2, **options})
    return next(iter(data.train_dataloader()))


def uda(x: Any = X, y: Any = Y, target: Any = X, *more: Any, **options: Any) -> dict[str, Any]:
    return next(iter(UDADataModule.from_arrays(x, y, target, *more, **options).train_dataloader()))


def objects() -> Any:
    x = np.empty(len(X), dtype=object)
    x[:] = [*X]
    return x


def spoiled(value: float) -> Any:
    x = X.copy()
    x[7, 1] = value
    return x


ARRAYS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: ssl(None), TypeError, "x must hold numbers, got an array of object"),
    (lambda: ssl(X.astype(str)), TypeError, r"an array of <U32: write x.astype\(float\)"),
    (
        lambda: ssl([*NAMES]),
        TypeError,
        r"array of <U1 such as 'a': for files, write ",
    ),
    (lambda: ssl(objects()), TypeError, r"got an array of object: write np.stack\(x\)"),
    (lambda: ssl(X.astype("datetime64[s]")), TypeError, "x must hold numbers, got .* datetime64"),
    (lambda: ssl(X + 1j), TypeError, r"got an array of complex64: write np.abs\(x\), or np.hst"),
    (lambda: ssl(X.astype(object)), TypeError, r"an array of object: write x.astype\(float\)"),
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
    (lambda: ssl(y=None), ValueError, "the training data have no labels: at least two classes ne"),
    (lambda: ssl(y=Y * 0 - 1), ValueError, "no labels: at least two classes need a labeled sample"),
    (
        lambda: ssl(y=np.where(Y, Y, -100)),
        ValueError,
        "got -100 at sample 0: write -1 where a sample has no label",
    ),
    (
        lambda: ssl(y=np.where(np.arange(60) < 9, "a ", NAMES)),
        ValueError,
        "must have different names",
    ),
    (
        lambda: ssl(labels_per_class=None),
        ValueError,
        "pass samples without a label by name, x_unl",
    ),
    (lambda: ZCA().fit(torch.rand(9, 4)), ValueError, "scale vectors before, as by scikit-learn"),
    (lambda: ssl(y=Y[:50]), ValueError, r"y must have one label for each .* got shape \(50,\)"),
    (lambda: ssl(y=np.eye(3)[Y]), ValueError, r"got shape \(60, 3\): y.argmax\(1\) turns one-hot"),
    (lambda: ssl(y=Y / 2), TypeError, "y must be integers from 0 on or names, got 0.5 of float64"),
    (
        lambda: ssl(y=np.where(Y, NAMES, "None")),
        ValueError,
        "y has the label 'None', the text of a missing value: write -1",
    ),
    (lambda: ssl(y=MIXED), TypeError, "y must be integers from 0 on or names, got 'a'"),
    (lambda: ssl(y=Y - 2), ValueError, "y must be 0 or more, got -2 at sample 0"),
    (lambda: ssl(y=np.where(Y, 1, -1)), ValueError, "y has no sample of class 0: name all classes"),
    (
        lambda: ssl(X, Y, X, Y - 1),
        ValueError,
        "y_test must have a label .* none at sample 0: leave",
    ),
    (
        lambda: ssl(X, NAMES, X, np.roll([*"abd"] * 20, 1)),
        ValueError,
        "y_test has the class 'd', wh",
    ),
    (lambda: ssl(X, NAMES, X, Y), ValueError, "y_test has the class '0', which is not one of"),
    (lambda: uda(X, NAMES, X, X, Y), ValueError, "y_test has the class '0', which is not one of"),
    (lambda: uda(y=Y - 1), ValueError, "y must have a label for each sample of the source, got 20"),
    (
        lambda: ssl(labels_per_class=None, y=Y - 1, labeled_indices=[1, 2]),
        ValueError,
        "omit one of",
    ),
    (lambda: ssl(y=np.where(Y == 1, 10**9, Y)), ValueError, "must number the classes from 0 on"),
    (
        lambda: ssl(y=Y * 5),
        ValueError,
        r"y has no sample of class 1: .* np.unique\(y, return_inver",
    ),
    (
        lambda: ssl(DataLoader(DATASET)),
        TypeError,
        "x must be an array, .*DatasetSource.dataset.data",
    ),
    (lambda: ssl(DATASET), TypeError, r"x must be an array, .* SSLDataModule\(DatasetSource"),
    (
        lambda: ssl(scipy.sparse.csr_matrix(X)),
        TypeError,
        r"x must be dense, .* write x.toarray\(\)",
    ),
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
    (lambda: uda(target=None), TypeError, "x_target must hold numbers"),
    (lambda: uda(target=spoiled(np.nan)), ValueError, "x_target must be finite"),
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
    ({"labels_per_class": 20}, ValueError, "no unlabeled samples are left: .* others by name, x_u"),
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
    (
        {"weak": GaussianNoise},
        TypeError,
        r"got the class GaussianNoise: write GaussianNoise\(...\)",
    ),
    ({"strong": [GaussianNoise(), 3]}, TypeError, "each of transforms must be an object .* got 3"),
    ({"preprocess": "zca"}, TypeError, "preprocess must be an object such as .* got 'zca'"),
    ({"preprocess": max}, TypeError, r"such as ZCA\(\), or scale arrays before"),
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
    ("make", "message"),
    [
        (lambda: SSLDataModule("digits"), "source must be .* got 'digits': pass folders to from_f"),
        (
            lambda: SSLDataModule(Digits),
            r"source must be .* the class Digits: write Digits\(\.\.\.",
        ),
        (lambda: SSLDataModule(X), r"source must be a source .* arrays to from_arrays\(x, y\)"),
        (
            lambda: SSLDataModule(DataLoader(DATASET)),
            "a DataLoader: pass loader.dataset, and label",
        ),
        (lambda: DatasetSource(DataLoader(DATASET)), "Dataset, got DataLoader: pass its dataset"),
        (lambda: DatasetSource([(X[0], 1)]), r"got list: write SSLDataModule.from_arrays\(x, y\)"),
        (
            lambda: UDADataModule.from_datasets(DATASET),
            r"write UDADataModule\(DatasetSource\(train, test\)",
        ),
        (lambda: UDADataModule("digits"), "source must be .* got 'digits': pass folders to from_f"),
        (lambda: UDADataModule([]), r"source must be a source or a list of at least one, got \[\]"),
        (lambda: UDADataModule(DATASET, ENDLESS), "target must have a length, got an IterableDat"),
        (
            lambda: SSLDataModule({"train": DATASET}),
            r"must be one source .* DatasetSource\(tra",
        ),
        (lambda: SSLDataModule(Path("photos")), "got 'photos': pass folders to from_folder, or"),
        (lambda: DatasetSource(DATASET.tensors[0]), r"got Tensor: write SSLDataModule.from_arrays"),
        (lambda: UDADataModule([Digits(), "digits"]), "source must be a source or a data set"),
        (lambda: UDADataModule(target="digits"), "target must be a source .* got 'digits': pass f"),
        (lambda: Resized("digits", size=8), "source must be an object such as Digits"),
    ],
)
def test_what_is_no_source(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize(
    "labels",
    [
        Y.tolist(),
        Y.astype(float),
        Y[:, None],
        Y.astype(np.uint8),
        torch.from_numpy(Y),
        torch.from_numpy(Y).float(),
        NAMES,
        NAMES.tolist(),
        NAMES.astype(object),
    ],
    ids=[
        "list",
        "floats",
        "column",
        "bytes",
        "tensor",
        "float tensor",
        "names",
        "list of names",
        "objects",
    ],
)
def test_labels_of_any_kind_are_right(labels: Any) -> None:
    data = SSLDataModule.from_arrays(X, labels, X, labels, labels_per_class=2)
    assert data.classes in (("0", "1", "2"), ("a", "b", "c"))
    assert data.domains[0].labels.tolist() == Y.tolist()
    assert data.domains[0].test.targets.tolist() == Y.tolist()


@pytest.mark.parametrize(
    "labels",
    [
        np.where(np.arange(60) < 12, Y, -1),
        np.where(np.arange(60) < 12, Y, np.nan),
        np.where(np.arange(60) < 12, Y, None),
        np.where(np.arange(60) < 12, NAMES, "-1"),
        np.where(np.arange(60) < 12, NAMES, ""),
        np.where(np.arange(60) < 12, NAMES.astype(object), None),
    ],
    ids=["-1", "NaN", "None", "names and -1", "names and blanks", "names and None"],
)
def test_samples_without_a_label_are_unlabeled(labels: Any) -> None:
    data = SSLDataModule.from_arrays(X, labels, x_unlabeled=X[:5] + 1)
    assert data.describe().startswith("12 labeled · 53 unlabeled · 0 validation")
    assert data.domains[0].labels.tolist() == Y[:12].tolist()
    unlabeled = data.parts()["unlabeled"].samples
    expected = np.concatenate([X[12:], X[:5] + 1])
    assert np.array_equal(unlabeled.fetch(np.arange(53)), expected)


def test_a_test_on_training_samples_is_said() -> None:
    note = "test samples are training samples too"
    mixed = np.concatenate([X[:30], X[:10] + 1])
    for x_test, told in ((X[:40], "100% of the "), (mixed, "75% of the ")):
        data = SSLDataModule.from_arrays(X, Y, x_test, Y[:40], labels_per_class=2)
        assert told in data.describe()
    data = SSLDataModule.from_arrays(X, Y, X + 1, Y, labels_per_class=2)
    assert note not in data.describe()


@pytest.mark.parametrize("kind", [int, float, str, object, torch.as_tensor])
def test_numbers_beside_names_are_names(kind: Any) -> None:
    y = np.arange(60) % 12 + 1  # as text, 10 comes before 2
    numbers = kind(y) if kind is torch.as_tensor else y.astype(kind)
    for data in (
        SSLDataModule.from_arrays(X, y.astype(str), X, numbers, labels_per_class=2),
        UDADataModule.from_arrays(X, y.astype(str), X, X, numbers),
    ):
        found = data.domains[-1].test.targets.tolist()
        assert [int(data.classes[k]) for k in found] == y.tolist()


def test_the_classes_of_a_test_set_are_those_of_train() -> None:
    train, test = TensorDataset(*DATASET.tensors), TensorDataset(*DATASET.tensors)
    train.classes, test.classes = [*"abc"], [*"bca"]  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="test must have the classes of train, a, b, c, in their"):
        SSLDataModule(DatasetSource(train, test), labels_per_class=2).load()
    assert SSLDataModule(DatasetSource(train, train), labels_per_class=2).classes == (*"abc",)


def test_labels_of_pandas() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    missing = pandas.Series(Y).where(np.arange(60) < 12).astype("Int64")
    for labels in (pandas.Series(NAMES, index=np.arange(60)[::-1]), pandas.Categorical(NAMES)):
        data = SSLDataModule.from_arrays(pandas.DataFrame(X), labels, labels_per_class=2)
        assert data.domains[0].labels.tolist() == Y.tolist()
        assert data.classes == ("a", "b", "c")
    assert SSLDataModule.from_arrays(X, missing).describe().startswith("12 labeled · 48 unlabeled")


def test_a_table_with_other_columns() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    table = pandas.DataFrame(X).assign(name=NAMES)
    for numeric in (
        pandas.get_dummies(table),
        pandas.DataFrame(X).convert_dtypes().assign(b=Y > 0),
    ):
        data = SSLDataModule.from_arrays(numeric, Y, labels_per_class=2).domains[0].data
        assert np.array_equal(data.train.inputs[:, :5], X)  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match=r"its columns name do not: write x.drop\(columns=\["):
        SSLDataModule.from_arrays(table, NAMES)
    with pytest.raises(TypeError, match=r"such as 'a': for files, write file and label of each"):
        SSLDataModule.from_arrays(table["name"], Y)


def test_a_data_set_of_pytorch_is_a_source() -> None:
    data = SSLDataModule(DATASET, labels_per_class=2)  # type: ignore[arg-type]
    assert data.describe().startswith("6 labeled · 48 unlabeled")
    data = UDADataModule(DATASET, DATASET)  # type: ignore[arg-type]
    assert data.describe().startswith("54 source · 54 target")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["reversed", "read-only", "memory map", "uint8"])
def test_memory_of_any_kind_is_right(kind: str, tmp_path: Any) -> None:
    x = X
    if kind == "reversed":
        x = np.ascontiguousarray(X[::-1])[::-1]
    elif kind == "memory map":
        np.save(tmp_path / "x.npy", X)
        x = np.load(tmp_path / "x.npy", mmap_mode="r")
    elif kind == "read-only":
        x = X.copy()
        x.flags.writeable = False
    else:
        x = (X * 10).astype("uint8")
    data = SSLDataModule.from_arrays(x, Y, labels_per_class=2)
    assert np.array_equal(data.domains[0].data.train.inputs, x)


def test_a_class_without_a_label_is_told() -> None:
    with pytest.warns(RuntimeWarning, match="no samples are labeled in classes '1', '2'"):
        ssl(labels_per_class=None, labeled_indices=[0, 3, 6])
    rare = np.append(Y[Y > 0], [0] * 4)
    with pytest.warns(RuntimeWarning, match="no samples are left to validate classes '0'"):
        ssl(X[: len(rare)], rare, labels_per_class=4)


def each(make: Callable[[int], Any]) -> Listed:
    return Listed([(make(i), i % 2) for i in range(12)])


V = torch.zeros(3)


@pytest.mark.parametrize(
    ("train", "error", "message"),
    [
        (Listed([]), ValueError, r"at least two classes are needed, got \[\]"),
        (Listed([V] * 12), ValueError, r"no labels: items must be \(input, label\)"),
        (
            Listed([(V, 1 + i % 2) for i in range(12)]),
            ValueError,
            "train has no sample of class 0:",
        ),
        (Listed([None] * 12), TypeError, r"must be \(input, label\) .* sample 0 is NoneType"),
        (Listed([{"x": V}] * 12), TypeError, r"must be \(input, label\) .* sample 0 is dict"),
        (Listed([(V, 0.5)] * 12), TypeError, "integer label, but sample 0 is labeled 0.5"),
        (
            Listed([(V, None)] * 12),
            TypeError,
            r"labeled None: pass samples .* DatasetSource\(Subset",
        ),
        (Listed([(V, "cat")] * 12), TypeError, "integer label, but sample 0 is labeled 'cat'"),
        (Listed([(V, [0, 1])] * 12), TypeError, r"integer label, but sample 0 is labeled \[0, 1\]"),
        (Listed([(V, i % 3 - 1) for i in range(12)]), ValueError, "got -1 at sample 0: pass sampl"),
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


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_images_with_channels_last_are_those_of_arrays(kind: Any) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)
    made = SSLDataModule(DatasetSource(each(lambda i: kind(images[i]))), labels_per_class=1)
    array = SSLDataModule.from_arrays(images, np.arange(12) % 2, labels_per_class=1)
    for data in (made, array):
        assert data.input_shape == (3, 6, 5)
    batches = [next(iter(data.train_dataloader()))["labeled"][0] for data in (made, array)]
    assert torch.equal(*batches)
