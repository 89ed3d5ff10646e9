"""Training data that are copied to the device."""

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from supercm_pl import SSLDataModule, SSLModule, UDADataModule
from supercm_pl.data import AffineNoise, ArraySource, DatasetSource, Digits
from supercm_pl.data.datasets import JoinedData, Samples, TensorData
from supercm_pl.data.loading import device_cache as residence
from supercm_pl.data.loading.device_cache import ResidentSamples
from supercm_pl.ssl.methods import FixMatch, FlexMatch
from tests.support.trainers import quiet_trainer

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def trainer(folder, **options):
    options = {"devices": 1, "max_steps": 6, "num_sanity_val_steps": 0, **options}
    return quiet_trainer(default_root_dir=folder, **options)


def module(*methods, **options):
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(64, 8))
    return SSLModule(backbone, 10, methods, feature_size=8, **options)


def digits(source=None, **options):
    options = {"labels_per_class": 2, "steps_per_epoch": 4, "seed": 0, **options}
    return SSLDataModule(source, weak=AffineNoise(), strong=AffineNoise(), **options)


def weights(folder, data, *methods, **options):
    model = module(*methods)
    trainer(folder, **options).fit(model, datamodule=data)
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.fixture
def own_memory(monkeypatch):
    """The CPU counts as a device with a memory of its own; returns what was copied there."""
    copied = []

    class Spy(ResidentSamples):
        def __init__(self, samples, device):
            copied.append(len(samples))
            super().__init__(samples, device)

    monkeypatch.setattr(residence, "_has_own_memory", lambda device: True)
    monkeypatch.setattr(residence, "ResidentSamples", Spy)
    return copied


def test_rows_on_the_device_are_those_of_the_data_set():
    inputs, labels = torch.arange(30).view(15, 2), np.arange(9) % 3
    joined = JoinedData([TensorData(inputs[:10]), TensorData(inputs[10:])])
    samples = Samples(joined, np.arange(14, 5, -1), labels)
    rows = np.asarray([8, 0, 0, 3])
    for mine, expected in zip(
        ResidentSamples(samples, torch.device("cpu")).fetch(torch.from_numpy(rows)),
        samples.fetch(rows),
        strict=True,
    ):
        assert torch.equal(mine, expected)


def test_training_sees_the_same_rows_and_views(tmp_path, own_memory):
    expected = weights(tmp_path, digits(keep_on_device=False), FixMatch(), FlexMatch())
    assert not own_memory
    mine = weights(tmp_path, digits(keep_on_device=True), FixMatch(), FlexMatch())
    assert own_memory == [20, 1307]
    assert torch.equal(mine, expected)


def test_several_sources_keep_the_number_of_their_domain(own_memory):
    def batch(keep):
        data = UDADataModule([*[small_digits()] * 2], small_digits(), seed=0, keep_on_device=keep)
        data.trainer = L.Trainer(accelerator="cpu", devices=1, logger=False)
        raw = next(iter(data.train_dataloader()))
        return raw, data.on_after_batch_transfer(dict(raw))["source"]

    raw, mine = batch(True)
    assert raw["source"].shape == (64,)
    for part, expected in zip(mine, batch(False)[1], strict=True):
        assert torch.equal(part, expected)
    assert own_memory == [540, 270]


def small_digits():
    data = Digits().load().train
    return ArraySource(data.inputs[:300], data.targets[:300])


def test_by_itself_it_takes_a_quarter_of_the_free_memory(monkeypatch, tmp_path, own_memory):
    data = digits()
    streams = data.parts()
    used = sum(len(streams[name].samples) * 64 * 4 for name in streams) + 20 * 8
    for free, copied in ((4 * used, [20, 1307]), (4 * used - 1, [])):
        own_memory.clear()
        free_and_total = free, 10 * free
        monkeypatch.setattr(
            torch.cpu, "mem_get_info", lambda device, m=free_and_total: m, raising=False
        )
        weights(tmp_path, digits(), max_steps=1)
        assert own_memory == copied
    monkeypatch.setattr(torch.cpu, "mem_get_info", lambda device: (10**12, 10**12), raising=False)
    own_memory.clear()
    data = digits(num_workers=1)
    data.trainer = trainer(tmp_path)
    data.train_dataloader()
    assert not own_memory


def test_where_the_free_memory_is_not_known_nothing_is_copied(tmp_path, own_memory):
    weights(tmp_path, digits(), max_steps=1)
    assert not own_memory


def test_on_the_cpu_it_changes_nothing(tmp_path, monkeypatch):
    def no_copy(*_):
        raise AssertionError("copied")

    monkeypatch.setattr(residence, "ResidentSamples", no_copy)
    runs = [weights(tmp_path, digits(keep_on_device=keep)) for keep in (None, True, False)]
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(runs[0], runs[2])


def test_after_training_the_memory_is_free(tmp_path, own_memory):
    data = digits(keep_on_device=True)
    weights(tmp_path, data, max_steps=1)
    assert not data._resident


@pytest.mark.bad_input
def test_data_that_are_not_in_memory_are_named():
    pixels = torch.rand(40, 3)
    train = TensorDataset(pixels, torch.arange(40) % 4)
    data = SSLDataModule(DatasetSource(train), labels_per_class=2, keep_on_device=True, seed=0)
    with pytest.raises(ValueError, match=r"keep_on_device=True .* 'labeled' and 'unlabeled'"):
        data.train_dataloader()


@needs_cuda
def test_on_a_gpu_batches_are_drawn_there(tmp_path):
    data = digits(keep_on_device=True)
    expected = weights(tmp_path, digits(keep_on_device=False), accelerator="gpu")
    assert torch.equal(weights(tmp_path, data, accelerator="gpu"), expected)
