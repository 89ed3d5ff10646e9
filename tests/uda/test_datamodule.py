import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset

from supercm_pl.data import AffineNoise, ArraySource, DatasetSource, Digits, Source, SourceData
from supercm_pl.data.datasets import TensorData
from supercm_pl.data.sources.digits import DigitsM
from supercm_pl.data.sources.folder import DomainFolder
from supercm_pl.data.sources.resized import Resized
from supercm_pl.uda.datamodule import UDADataModule
from tests.support.images import paint
from tests.support.linear import Linear, assert_resumed, trainer
from tests.support.trainers import every_step

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint"),
]


class Held(Source):
    """Any data sets as a source."""

    def __init__(self, train, classes="abc", **parts):
        self.data = SourceData(train, tuple(classes), **parts)

    def load(self):
        return self.data


class Sealed(Dataset):
    """Inputs whose labels raise as soon as anyone does anything with them."""

    class Label:
        def __getattr__(self, name):
            raise AssertionError("a label was looked at")

        def __array__(self, *args, **kwargs):
            raise AssertionError("a label was looked at")

        def __int__(self):
            raise AssertionError("a label was looked at")

    def __init__(self, inputs, open_labels=None):
        self.inputs = inputs
        self.open_labels = {} if open_labels is None else open_labels

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        return self.inputs[index], self.open_labels.get(int(index), self.Label())

    @property
    def targets(self):
        if self.open_labels:
            raise AttributeError("targets")
        raise AssertionError("the labels were looked at")


def digits(**options):
    return UDADataModule(
        **{
            "source_batch_size": 8,
            "target_batch_size": 24,
            "steps_per_epoch": 4,
            "weak": AffineNoise(),
            "seed": 1,
            **options,
        }
    )


def fit(tmp_path, data, *, ckpt_path=None, **options):
    torch.manual_seed(0)
    module = Linear(3 * 16 * 16)
    trainer(tmp_path, **{"max_epochs": 2, **options}).fit(
        module, datamodule=data, ckpt_path=ckpt_path, weights_only=True
    )
    return module


def arrays(value, n=60, shape=(1, 4, 4), classes=3):
    """Inputs whose first number is the domain's and whose second is the row's."""
    x = np.zeros((n, *shape), dtype=np.float32)
    x.reshape(n, -1)[:, 0] = value
    x.reshape(n, -1)[:, 1] = np.arange(n)
    return x, np.arange(n) % classes


def domain(value, names="abc", tested=True, **options):
    """A domain whose row ``i`` is of class ``"abc"[i % 3]``, with its classes in any order."""
    x, y = arrays(value, **options)
    y = np.array([sorted(names).index(name) for name in names]).argsort()[y]
    test = (x[:12], y[:12]) if tested else ()
    return ArraySource(x, y, *test, classes=list(names))


def rows(inputs):
    return inputs.flatten(1)[:, 1].long()


def whole(samples):
    return samples.fetch(np.arange(len(samples)))


# The parts of the data.


def test_the_default_is_digits_to_digits_m():
    data = UDADataModule(seed=0)
    expected = (
        "1,212 source · 1,212 target · 135 source and 135 target validation · 450 test, 10 classes"
    )
    assert data.describe() == expected
    assert data.classes == tuple("0123456789")
    assert (data.num_classes, data.num_source, data.num_target) == (10, 1212, 1212)
    assert data.input_shape == (3, 16, 16)
    assert data.has_val_data
    assert data.has_test_data
    batch = next(iter(data.train_dataloader()))
    x, y = batch["source"]
    assert batch.keys() == {"source", "target", "position"}
    assert x.shape == batch["target"].shape == (64, 3, 16, 16)
    assert y.shape == (64,)


def test_parts_are_disjoint_and_labels_fit():
    data = UDADataModule(domain(1), domain(2), source_batch_size=54, target_batch_size=54)
    first, second, *_ = data.train_dataloader(), *data.train_dataloader()
    del first
    x, y = second["source"]
    assert (x[:, 0, 0, 0] == 1).all()
    assert torch.equal(y, rows(x) % 3)
    assert (second["target"][:, 0, 0, 0] == 2).all()
    source_val, target_val = (next(iter(loader)) for loader in data.val_dataloader())
    assert torch.equal(source_val[1], rows(source_val[0]) % 3)
    assert source_val[1].bincount().tolist() == [2, 2, 2]  # stratified
    for train, val in ((rows(x), rows(source_val[0])), (rows(second["target"]), rows(target_val))):
        assert sorted([*train.tolist(), *val.tolist()]) == list(range(60))


def test_several_sources_are_joined_with_their_numbers():
    sources = [domain(1), domain(2, "cab", n=30), domain(3, n=30)]
    data = UDADataModule(sources, domain(4), source_batch_size=108)
    x, y, number = next(iter(data.train_dataloader()))["source"]
    assert number.dtype == torch.int64
    assert torch.equal(x[:, 0, 0, 0].long(), number + 1)
    assert number.bincount().tolist() == [54, 27, 27]
    assert torch.equal(y, rows(x) % 3)
    augmented = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)["source"]
    assert torch.equal(augmented[2], number)
    (x, y), _ = (next(iter(loader)) for loader in data.val_dataloader())
    assert torch.equal(y, rows(x) % 3)
    assert x[:, 0, 0, 0].long().bincount().tolist() == [0, 6, 3, 3]
    assert data.describe().startswith("108 source of 3 domains · 54 target · 12 source and 6 ")


def test_a_list_of_one_source_is_one_source():
    batch = next(iter(UDADataModule([domain(1)], domain(2)).train_dataloader()))
    assert len(batch["source"]) == 2


def test_classes_are_matched_by_name():
    data = UDADataModule(domain(1, "cab"), domain(2, "bca"), oracle=True, target_labels_per_class=2)
    assert data.classes == ("c", "a", "b")
    number = torch.tensor([data.classes.index(name) for name in "abc"])
    batch = next(iter(data.train_dataloader()))
    loaders = [*data.val_dataloader(), data.test_dataloader()]
    for x, y in (batch["source"], batch["labeled_target"], *(next(iter(one)) for one in loaders)):
        assert torch.equal(y, number[rows(x) % 3])


def test_sources_need_not_have_all_classes_each():
    x, y = arrays(1, classes=2)
    data = UDADataModule([ArraySource(x, y, classes=["a", "b"]), domain(2)], domain(3))
    assert data.classes == ("a", "b", "c")


def test_own_validation_sets_and_unlabeled_samples_are_used():
    x, y = (torch.from_numpy(part) for part in arrays(7))
    val, more = TensorData(x[:9], y[:9]), TensorData(x[:5])
    source = Held(TensorData(x, y), val=val)
    target = Held(TensorData(x, y), val=val, unlabeled=more)
    data = UDADataModule(source, target, target_batch_size=65)
    assert data.describe().startswith("60 source · 65 target · 9 source and 9 target validation")
    source_val, target_val = (next(iter(loader)) for loader in data.val_dataloader())
    assert torch.equal(source_val[1], y[:9])
    assert torch.equal(target_val, x[:9])
    drawn = rows(next(iter(data.train_dataloader()))["target"]).bincount()
    assert drawn.tolist() == [2] * 5 + [1] * 55


# Semi-supervised domain adaptation.


@pytest.mark.parametrize(
    "options",
    [
        {"target_labels_per_class": 2},
        {"num_target_labels": 6},
        {"labeled_target_indices": [0, 1, 2, 3, 4, 5]},
    ],
)
def test_a_few_target_samples_keep_their_labels(options):
    data = UDADataModule(domain(1), domain(2), labeled_target_batch_size=6, **options)
    batch = next(iter(data.train_dataloader()))
    x, y = batch["labeled_target"]
    assert (x[:, 0, 0, 0] == 2).all()
    assert torch.equal(y, rows(x) % 3)
    assert y.bincount().tolist() == [2, 2, 2]
    others = {*data.target_split.unlabeled, *data.target_split.val}
    assert others == set(range(60)) - set(rows(x).tolist())
    assert data.num_target == 49  # 60 - 6 labeled - a tenth of the other 54
    assert "54 source · 6 labeled target · 49 target · " in data.describe()


def test_only_the_labels_of_the_named_rows_are_read():
    x = torch.from_numpy(arrays(2)[0])
    target = Held(Sealed(x, {3: 1, 8: 2, 9: 0}))
    data = UDADataModule(domain(1), target, labeled_target_indices=[3, 8, 9])
    inputs, labels = next(iter(data.train_dataloader()))["labeled_target"]
    assert {(int(r), int(k)) for r, k in zip(rows(inputs), labels, strict=True)} == {
        (3, 1),
        (8, 2),
        (9, 0),
    }


# No label of the target is seen.


def test_labels_that_raise_when_they_are_read():
    x = torch.from_numpy(arrays(2)[0])
    data = UDADataModule(domain(1), Held(Sealed(x)), target_batch_size=54)
    assert isinstance(next(iter(data.train_dataloader()))["target"], torch.Tensor)
    assert isinstance(next(iter(data.val_dataloader()[1])), torch.Tensor)
    data.describe(), data.fingerprint(), data.input_shape
    assert next(iter(data.predict_dataloader()))["inputs"].shape == (60, 1, 4, 4)
    with pytest.raises(AssertionError, match="looked at"):
        data.test_dataloader()
    with pytest.raises(AssertionError, match="looked at"):
        UDADataModule(domain(1), Held(Sealed(x)), oracle=True).val_dataloader()
    with pytest.raises(AssertionError, match="looked at"):
        UDADataModule(domain(1), Held(Sealed(x)), target_labels_per_class=1).load()


# Evaluation.


def test_validation_is_of_the_source_with_and_of_the_target_without_labels(tmp_path):
    module = fit(tmp_path, digits(), max_epochs=1)
    assert module.validated == [(0, ["torch.float32", "torch.int64"]), (1, "inputs")]


def test_the_oracle_must_be_asked_for(tmp_path):
    data = digits(oracle=True)
    module = fit(tmp_path, data, max_epochs=1)
    assert module.validated[1] == (1, ["torch.float32", "torch.int64"])
    assert "validation (oracle: with target labels) ·" in data.describe()
    plain = digits()
    assert torch.equal(
        whole(plain.val_dataloader()[1].dataset), whole(data.val_dataloader()[1].dataset)[0]
    )


def test_validation_on_the_target_samples_of_the_training():
    data = UDADataModule(domain(1), domain(2), target_val_size="all", target_batch_size=60)
    assert rows(next(iter(data.val_dataloader()[1]))).tolist() == list(range(60))
    assert data.num_target == 60
    assert "6 source and 60 target validation (on what trains) ·" in data.describe()


def test_without_any_validation(tmp_path):
    data = digits(source_val_size=0, target_val_size=0.0)
    assert data.val_dataloader() == []
    assert not data.has_val_data
    assert fit(tmp_path, data, max_epochs=1).validated == []


@pytest.mark.filterwarnings("ignore:Total length of .* across ranks is zero")
@pytest.mark.parametrize(("part", "loader"), [("source", 1), ("target", 0)])
def test_loaders_keep_their_numbers_where_one_has_nothing(tmp_path, part, loader):
    module = fit(tmp_path, digits(**{f"{part}_val_size": 0}), max_epochs=1)
    assert [number for number, _ in module.validated] == [loader]


def test_the_test_is_that_of_the_target(tmp_path):
    data = digits()
    x, y = whole(data.test_dataloader().dataset)
    assert torch.equal(x, DigitsM().load().test.inputs)
    assert torch.equal(y, DigitsM().load().test.targets)
    module, engine = Linear(3 * 16 * 16), trainer(tmp_path)
    assert engine.test(module, datamodule=data, verbose=False)[0]["test"] > 0
    predictions = engine.predict(module, datamodule=data)
    assert [name for _, ids in predictions for name in ids] == [str(i) for i in range(450)]


def test_a_target_without_a_test_set_is_tested_on_all_of_its_samples():
    target = domain(2, tested=False)
    data = UDADataModule(domain(1), target)
    x, y = whole(data.test_dataloader().dataset)
    assert rows(x).tolist() == list(range(60))
    assert torch.equal(y, rows(x) % 3)
    assert "60 test (all target samples), 3 classes" in data.describe()
    data = UDADataModule(domain(1), target, target_labels_per_class=1)
    x, _ = whole(data.test_dataloader().dataset)
    assert set(rows(x).tolist()) == set(range(60)) - set(data.target_split.labeled)
    assert "57 test (all target samples but the labeled), 3 classes" in data.describe()


def test_a_target_that_nobody_labeled():
    x = arrays(2)[0]
    data = UDADataModule(domain(1), ArraySource(x))
    assert "0 test, 3 classes" in data.describe()
    assert not data.has_test_data
    assert next(iter(data.predict_dataloader()))["ids"] == [str(i) for i in range(60)]
    with pytest.raises(ValueError, match="the target data have no labels"):
        data.test_dataloader()
    with pytest.raises(ValueError, match="the target data have no labels"):
        UDADataModule(domain(1), ArraySource(x), target_labels_per_class=1).load()
    with pytest.raises(ValueError, match="oracle=True needs a target with labels"):
        UDADataModule(domain(1), ArraySource(x), oracle=True).load()
    with pytest.raises(ValueError, match="the source data have no labels"):
        UDADataModule(ArraySource(x), domain(1)).load()


def test_from_arrays():
    (x, y), (x_target, _), (x_test, y_test) = arrays(1), arrays(2), arrays(3, 9)
    data = UDADataModule.from_arrays(x, y, x_target, x_test, y_test, classes=["a", "b", "c"])
    assert (data.num_source, data.num_target, data.has_test_data) == (54, 54, True)
    assert (whole(data.test_dataloader().dataset)[0][:, 0, 0, 0] == 3).all()
    assert not UDADataModule.from_arrays(x, y, x_target).has_test_data


# Shapes.


def test_images_of_both_domains_get_one_size_and_the_same_channels():
    small, large = domain(1), domain(2, shape=(3, 9, 7))
    data = UDADataModule(small, large, resize=(6, 5))
    assert data.input_shape == (3, 6, 5)
    batch = next(iter(data.train_dataloader()))
    loaders = [*data.val_dataloader(), data.test_dataloader()]
    inputs = [batch["source"][0], batch["target"]]
    inputs += [
        part if isinstance(part, torch.Tensor) else part[0]
        for part in (next(iter(one)) for one in loaders)
    ]
    assert {tuple(x.shape[1:]) for x in inputs} == {(3, 6, 5)}
    with pytest.raises(ValueError, match=r"source has \(3, 4, 4\), target has \(3, 9, 7\).*resize"):
        UDADataModule(small, large).load()


def test_gray_becomes_rgb_where_sizes_agree():
    assert UDADataModule(domain(1), domain(2, shape=(3, 4, 4))).input_shape == (3, 4, 4)


def test_sources_of_bytes_and_of_floats_are_joined():
    x, y = arrays(1)
    bytes_ = ArraySource(x.astype(np.uint8), y, classes=list("abc"))
    data = UDADataModule([bytes_, domain(2)], domain(3), source_batch_size=108)
    x, _, number = next(iter(data.train_dataloader()))["source"]
    assert x.dtype == torch.float32
    assert torch.allclose(x[number == 0, 0, 0, 0], torch.tensor(1 / 255))


def test_vectors_are_welcome_and_are_not_resized():
    data = UDADataModule(domain(1, shape=(5,)), domain(2, shape=(5,)), target_batch_size=7)
    assert next(iter(data.train_dataloader()))["target"].shape == (7, 5)
    with pytest.raises(ValueError, match=r"source has \(5,\), target has \(6,\)$"):
        UDADataModule(domain(1, shape=(5,)), domain(2, shape=(6,))).load()
    with pytest.raises(ValueError, match=r"only images .* got inputs of shape \(5,\)"):
        UDADataModule(domain(1, shape=(5,)), domain(2, shape=(5,)), resize=4).load()


def test_folders(tmp_path):
    for name in ("amazon", "dslr", "webcam"):
        paint(tmp_path / name / "images", *(f"{('mug', 'pen')[i % 2]}/{i}.jpg" for i in range(12)))
    source, target = DomainFolder(tmp_path, "amazon"), DomainFolder(tmp_path, "dslr")
    data = UDADataModule(source, target, resize=8, source_val_size=2, target_val_size=2)
    expected = "10 source · 10 target · 2 source and 2 target validation · "
    assert data.describe() == expected + "12 test (all target samples), 2 classes (mug, pen)"
    assert next(iter(data.train_dataloader()))["target"].shape == (64, 3, 8, 8)

    one, other, third = (tmp_path / name / "images" for name in ("amazon", "dslr", "webcam"))
    named = UDADataModule.from_folders(one, other, image_size=8)
    assert (named.num_target, named.has_test_data) == (11, True)
    flat = UDADataModule.from_folders([one, third], tmp_path / "dslr", test=other, grayscale=True)
    assert (flat.num_target, flat.input_shape) == (11, (1, 32, 32))
    assert "12 test, 2 classes (mug, pen)" in flat.describe()
    (other / "pen").rename(other / "pencil")
    with pytest.raises(ValueError, match=r"target lacks 'pen' and the source lacks 'pencil'"):
        UDADataModule.from_folders(one, other).load()
    predicted = UDADataModule.from_folders(one, third, predict_path=other, image_size=8)
    (batch,) = predicted.predict_dataloader()
    assert batch["ids"][0] == "mug/0.jpg"
    assert batch["inputs"].shape == (12, 3, 8, 8)


# Training with Lightning.


@pytest.mark.parametrize("workers", [0, 2])
def test_training_resumes_bit_for_bit(tmp_path, workers):
    options = {"target_labels_per_class": 1, "labeled_target_batch_size": 3}
    full = fit(tmp_path, digits(**options), callbacks=[every_step(tmp_path)])
    assert len({str(seen) for seen in full.seen.values()}) == 8
    for step in (1, 4, 6) if workers == 0 else (3,):
        data = digits(num_workers=workers, **options)
        rest = fit(tmp_path, data, ckpt_path=tmp_path / f"step={step}.ckpt")
        assert_resumed(rest, full, range(step, 8))
    with pytest.raises(ValueError, match=r"another split, with seed 1, and this run has seed 2"):
        fit(tmp_path, digits(seed=2, **options), ckpt_path=tmp_path / "step=2.ckpt")


class Endless(IterableDataset):
    """Target images without labels that no index reaches."""

    def __init__(self, shape=(1, 8, 8)):
        self.shape = shape

    def __iter__(self):
        return (torch.full(self.shape, float(number)) for number in range(23))


def test_a_streamed_target_takes_the_place_of_the_training_rows():
    digits = Digits().load()
    target = DatasetSource(digits.train, unlabeled=Endless(), classes=digits.classes)
    data = UDADataModule(Digits(), target, seed=0, steps_per_epoch=2, target_batch_size=16)
    first, second = (batch["target"] for batch in data.train_dataloader())
    assert torch.cat([first, second])[:, 0, 0, 0].tolist() == [*range(23), *range(9)]
    assert data.num_target is None
    assert "endless target" in data.describe()
    target_batches = data.val_dataloader()[1]
    assert sum(len(batch) for batch in target_batches) == len(data.target_split.val) == 135
    # All labeled target samples may be held out, as none of them trains.
    all_held = UDADataModule(Digits(), target, seed=0, target_val_size=1346)
    assert len(all_held.target_split.val) == 1346


def test_a_streamed_target_is_not_resized():
    digits = Digits().load()
    target = DatasetSource(digits.train, unlabeled=Endless((1, 9, 9)), classes=digits.classes)
    data = UDADataModule(Digits(), target, seed=0, steps_per_epoch=2)
    with pytest.raises(ValueError, match=r"\(1, 9, 9\)"):
        next(iter(data.train_dataloader()))
    with pytest.raises(TypeError, match="IterableDataset can't be resized"):
        Resized(target, size=16).load()


def test_the_run_seed_decides_everything(monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    one, two, other = digits(seed=None), digits(seed=5), digits(seed=0)
    assert one.target_split == two.target_split != other.target_split
    assert one.source_splits == two.source_splits != other.source_splits
    assert one.fingerprint() == two.fingerprint() != other.fingerprint()


# What goes wrong.


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("abc", "abd", "but the target lacks 'c' and the source lacks 'd'"),
        ("abc", "ab", "the same classes, but the target lacks 'c': use"),
        ("ab", "abcd", "the same classes, but the source lacks 'c', 'd': use"),
    ],
)
def test_classes_that_differ_are_listed(source, target, message):
    sources = [
        Held(TensorData(torch.zeros(8, 1), torch.arange(8) % 2), names)
        for names in (source, target)
    ]
    with pytest.raises(ValueError, match=message):
        UDADataModule(*sources).load()


@pytest.mark.bad_input
def test_a_class_without_a_source_sample():
    x = torch.zeros(8, 1)
    source = Held(TensorData(x, torch.arange(8) % 2))
    with pytest.raises(ValueError, match="no source samples to train on for the classes 'c'"):
        UDADataModule(source, Held(TensorData(x, torch.arange(8) % 3))).load()


@pytest.mark.bad_input
def test_labels_outside_the_classes_and_empty_domains():
    x, y = torch.zeros(8, 5), torch.arange(8)
    fine = Held(TensorData(x, y % 3))
    with pytest.raises(ValueError, match=r"labels of the source 1 data must be in 0..2, got 3"):
        UDADataModule([fine, Held(TensorData(x, y % 4))], fine).load()
    with pytest.raises(ValueError, match="the target data are empty"):
        UDADataModule(fine, Held(TensorData(x[:0]))).load()


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source_val_size": 60}, "source_val_size of the source asks for 60 of 60 samples"),
        ({"target_val_size": 1.0}, "target_val_size asks for 60 of 60 samples, which leaves none"),
        ({"target_labels_per_class": 21}, "labeled samples of the target: asked for 21 labels of"),
        ({"num_target_labels": 2}, "labeled samples of the target: num_labels must be in 3"),
        ({"labeled_target_indices": [60]}, "labeled_target_indices must be in 0..59, got 60"),
        ({"labeled_target_indices": [1, 1]}, "labeled_target_indices must be different rows"),
        ({"labeled_target_indices": []}, "labeled_target_indices must name at least one row"),
        ({"labeled_target_indices": range(60)}, "no target samples without labels are left"),
    ],
)
def test_what_the_data_do_not_allow(options, message):
    with pytest.raises(ValueError, match=message):
        UDADataModule(domain(1), domain(2), **options).load()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a name that its old versions need
def test_it_is_built_from_yaml():
    jsonargparse = pytest.importorskip("jsonargparse")
    parser = jsonargparse.ArgumentParser()
    parser.add_subclass_arguments(UDADataModule, "data")
    digits_at_16 = (
        "{class_path: supercm_pl.data.sources.resized.Resized, init_args: {size: 16, "
        "source: {class_path: supercm_pl.data.Digits}}}"
    )
    target = "{class_path: supercm_pl.data.sources.digits.DigitsM}"
    for source in (digits_at_16, f"[{digits_at_16}, {target}]"):
        text = f"{{source: {source}, target: {target}, resize: [20, 18], source_val_size: 10%}}"
        value = f"{{class_path: supercm_pl.uda.UDADataModule, init_args: {text}}}"
        data = parser.instantiate_classes(parser.parse_args([f"--data={value}"])).data
        assert data.input_shape == (3, 20, 18)
        assert all(isinstance(part, Source) for part in data.sources)
