"""Distorted data in the data module, and data that can't be trained on."""

import jsonargparse
import lightning.pytorch as L
import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from supercm_pl import SSLDataModule, SSLModule
from supercm_pl.backbones import MLP
from supercm_pl.data import ArraySource, DatasetSource, Distortion
from tests.support.datasets import Listed
from tests.support.generators import untouched_generators
from tests.support.trainers import quiet_trainer

NAMES = ("ant", "bee", "cat", "dog")


def numbered(n=80, offset=0):
    """Inputs ``(n, 2)`` that say which row they are, and of which class."""
    y = np.arange(n) % 4
    return np.stack([np.arange(n) + offset, y], axis=1).astype(np.float32), y


def data_module(distortion=None, **options):
    (x, y), (x_test, y_test) = numbered(), numbered(40, offset=1000)
    source = ArraySource(x, y, x_test, y_test, classes=NAMES)
    options = {"labels_per_class": 5, "seed": 0, "eval_batch_size": 100, **options}
    return SSLDataModule(source, distortion=distortion, **options)


def all_labeled(data):
    samples = data.parts()["labeled"].samples
    return samples.fetch(np.arange(len(samples)))


def all_unlabeled(data):
    samples = data.parts()["unlabeled"].samples
    return samples.fetch(np.arange(len(samples)))


UNKNOWN = Distortion(unknown_classes=["bee"])


def test_unknown_classes_are_in_the_unlabeled_stream_alone():
    data = data_module(UNKNOWN)
    assert (data.classes, data.num_classes) == (("ant", "cat", "dog"), 3)  # before it is opened
    new_number = {0: 0, 2: 1, 3: 2}
    (val,), (test,) = data.val_dataloader(), data.test_dataloader()
    for x, y in (all_labeled(data), val, test):
        assert y.tolist() == [new_number[int(k)] for k in x[:, 1]]
    assert len(test[0]) == 30
    assert all_unlabeled(data)[:, 1].long().bincount().tolist() == [10, 20, 10, 10]
    assert data.classes == ("ant", "cat", "dog")
    assert (
        data.describe()
        == "15 labeled · 50 unlabeled · 15 validation · 30 test, 3 classes (ant, cat, dog)"
    )


def test_unknown_classes_of_a_validation_set_of_the_sources_own():
    x, y = (torch.from_numpy(part) for part in numbered())
    source = DatasetSource(TensorDataset(x, y), val=TensorDataset(x, y), classes=NAMES)
    data = SSLDataModule(source, labels_per_class=2, distortion=UNKNOWN, seed=0)
    (batch,) = data.val_dataloader()
    assert batch[1].bincount().tolist() == [20, 20, 20]
    assert "60 validation · 0 test, 3 classes (ant, cat, dog)" in data.describe()


def test_labels_that_are_wrong_are_those_of_the_labeled_stream_alone():
    data = data_module(Distortion(label_noise=0.25, unknown_classes=["ant"]))
    x, y = all_labeled(data)
    own = x[:, 1].long() - 1
    assert (y != own).sum() == 4  # a quarter of 15
    assert set(y.tolist()) <= {0, 1, 2}
    for loader in (data.val_dataloader(), data.test_dataloader()):
        for inputs, labels in loader:
            assert torch.equal(labels, inputs[:, 1].long() - 1)


def test_long_tails_in_the_streams():
    data = data_module(Distortion(labeled_imbalance=5, unlabeled_imbalance=8), val_size=0)
    assert all_labeled(data)[1].bincount().tolist() == [5, 2, 1, 1]
    assert all_unlabeled(data)[:, 1].long().bincount().tolist() == [15, 7, 3, 1]


def test_a_saved_split_restores_the_distortion(tmp_path):
    data = data_module(Distortion(0.3, 2, 3, ["bee"]))
    data.save_split(tmp_path / "split.json")
    again = data_module(labels_per_class=None, labeled_indices=tmp_path / "split.json", seed=9)
    assert again.num_classes == 3  # before it is opened
    assert again.split == data.split
    assert again.fingerprint() == data.fingerprint() != data_module().fingerprint()
    for one, two in zip(all_labeled(again), all_labeled(data), strict=True):
        assert torch.equal(one, two)
    assert torch.equal(all_unlabeled(again), all_unlabeled(data))


def test_hidden_labels_are_not_in_the_stream_of_a_distorted_split(tmp_path):
    data = data_module(Distortion(0.3, 2, 3, ["bee"]))
    data.save_split(tmp_path / "split.json")
    x, y = numbered()
    poisoned = y.copy()
    poisoned[data.split.unlabeled] = 0
    source = ArraySource(x, poisoned, classes=NAMES)
    fooled = SSLDataModule(source, labeled_indices=tmp_path / "split.json", seed=0)
    for one, two in zip(all_labeled(fooled), all_labeled(data), strict=True):
        assert torch.equal(one, two)
    assert torch.equal(all_unlabeled(fooled), all_unlabeled(data))


def test_the_distortion_is_set_from_the_command_line():
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(L.LightningDataModule, "data")
    words = ["--data=supercm_pl.SSLDataModule", "--data.labels_per_class=2"]
    words += ["--data.distortion.label_noise=0.2", "--data.distortion.unknown_classes=[3, '5']"]
    data = parser.instantiate(parser.parse_args(words)).data
    assert data.distortion == Distortion(label_noise=0.2, unknown_classes=[3, 5])
    assert data.num_classes == 8


def test_number_of_unlabeled_samples():
    assert data_module().num_unlabeled == 40 == len(data_module().parts()["unlabeled"].samples)
    x, y = numbered()
    source = ArraySource(x, y, x_unlabeled=x[:30])
    data = SSLDataModule(source, labels_per_class=5, seed=0)
    assert data.num_unlabeled == 70 == len(data.parts()["unlabeled"].samples)


# Data that is smaller than a batch, and data that is bad.


@pytest.mark.parametrize("name", ["labeled", "unlabeled"])
def test_a_set_smaller_than_a_batch_repeats_its_samples_evenly(name):
    data = data_module(**{f"{name}_batch_size": 97}, steps_per_epoch=7)
    size = {"labeled": 20, "unlabeled": 40}[name]
    batches = iter(data.train_dataloader())
    times = torch.zeros(80, dtype=torch.int64)
    for _ in range(7):
        batch = next(batches)
        x = batch["labeled"][0] if name == "labeled" else batch["unlabeled"]
        assert len(x) == 97
        times += x[:, 0].long().bincount(minlength=80)
        drawn = times[times > 0]
        assert len(drawn) == size
        assert drawn.max() - drawn.min() <= 1


def fit(data):
    module = SSLModule(MLP(2, hidden_features=(4,)), data.num_classes)
    trainer = quiet_trainer(max_steps=1, num_sanity_val_steps=0, limit_val_batches=0)
    trainer.fit(module, datamodule=data)


def items(n=40):
    return [(torch.tensor([float(i), 0.5]), i % 2) for i in range(n)]


@pytest.mark.bad_input
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.tensor([float("nan"), 0.0]), "inputs must be finite, .* first is sample 7"),
        (torch.tensor([0.0, float("inf")]), "inputs must be finite, .* first is sample 7"),
        (torch.zeros(3), r"inputs must have one shape, .*\(2,\).*\(3,\)"),
    ],
)
def test_a_bad_input_ends_the_first_step_that_draws_it(bad, message, workers):
    listed = items()
    listed[7] = (bad, 1)
    data = SSLDataModule(
        DatasetSource(Listed(listed)), labels_per_class=2, val_size=0, seed=0, num_workers=workers
    )
    with pytest.raises(ValueError, match=message):
        fit(data)  # a batch is larger than the set, so that the first step draws every sample


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("unlabeled", "message"),
    [
        (torch.zeros(9, 3), r"one shape and type, got \(2,\) torch.float32 and \(3,\)"),
        (torch.zeros(9, 2, dtype=torch.uint8), "float32 and .*uint8"),
    ],
)
def test_unlabeled_data_must_be_like_the_labeled_ones(unlabeled, message):
    # Also where no batch of a stream would hold both.
    source = DatasetSource(Listed(items()), unlabeled=Listed(list(unlabeled)))
    with pytest.raises(ValueError, match=message):
        fit(SSLDataModule(source, seed=0))


def test_comparing_the_two_leaves_the_global_generators_alone():
    class Random(Listed):
        def __getitem__(self, index):
            return torch.rand(2), 0

    source = DatasetSource(Listed(items()), unlabeled=Random([0] * 9))
    data = SSLDataModule(source, seed=0)
    with untouched_generators():
        data.parts()
