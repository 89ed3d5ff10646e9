"""Training with unlabeled samples of an IterableDataset."""

import pytest
import torch
from torch import nn
from torch.utils.data import IterableDataset

from supercm_pl import SSLDataModule, SSLModule
from supercm_pl.data import AffineNoise, DatasetSource, Digits
from supercm_pl.ssl.methods import FlexMatch
from tests.support.trainers import quiet_trainer


def streamed(unlabeled):
    data = Digits().load()
    return DatasetSource(data.train, test=data.test, unlabeled=unlabeled, classes=data.classes)


def digits(source, **options):
    options = {"labels_per_class": 2, "steps_per_epoch": 4, "seed": 0, **options}
    return SSLDataModule(source, weak=AffineNoise(), strong=AffineNoise(), **options)


def fit(data, *methods, steps=6, ckpt_path=None, **options):
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(64, 8))
    module = SSLModule(backbone, 10, methods, feature_size=8, **options)
    trainer = quiet_trainer(max_steps=steps, num_sanity_val_steps=0)
    trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
    return trainer, module


class Endless(IterableDataset):
    """Random images without an end, and labels that nobody may use."""

    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        while True:
            yield torch.rand(1, 8, 8, generator=generator), "no label"


def test_unlabeled_samples_of_an_iterable_data_set():
    data = digits(streamed(Endless()), unlabeled_batch_size=16, val_size=30)
    assert data.num_unlabeled is None
    assert (
        data.describe() == "20 labeled · endless unlabeled · 30 validation · 450 test, 10 classes"
    )
    batch = next(iter(data.train_dataloader()))
    first = [item for item, _ in zip(Endless(), range(16), strict=False)]
    assert torch.equal(batch["unlabeled"], torch.stack([image for image, _ in first]))


@pytest.mark.parametrize("step", [3, 4])
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_training_resumes_bit_for_bit_with_an_iterable_data_set(tmp_path, step):
    data, path = streamed(Endless()), tmp_path / "half.ckpt"
    expected = fit(digits(data), steps=7)[1]
    fit(digits(data), steps=step)[0].save_checkpoint(path)
    resumed = fit(digits(data), steps=7, ckpt_path=path)[1]
    for mine, other in zip(resumed.parameters(), expected.parameters(), strict=True):
        assert torch.equal(mine, other)


@pytest.mark.bad_input
def test_what_an_iterable_data_set_can_not_do():
    with pytest.raises(ValueError, match=r"'unlabeled' have no numbers, .* FlexMatch"):
        fit(digits(streamed(Endless())), FlexMatch())
    with pytest.raises(ValueError, match="steps_per_epoch must be given"):
        digits(streamed(Endless()), steps_per_epoch=None).train_dataloader()
    with pytest.raises(ValueError, match=r"keep_on_device=True .* 'unlabeled'"):
        digits(streamed(Endless()), keep_on_device=True).train_dataloader()


class Unread(IterableDataset):
    def __iter__(self):
        raise AssertionError("read")


def test_what_nobody_wants_is_not_read():
    fit(digits(streamed(Unread())), cm_weight=0.0)


@pytest.mark.bad_input
def test_a_preprocess_is_not_fitted_to_what_has_no_end():
    class Unfitted(nn.Module):
        fitted = False

        def fit(self, batches):
            list(batches)

    data = digits(streamed(Endless()), preprocess=Unfitted())
    with pytest.raises(ValueError, match="preprocess can't be fitted to 'unlabeled'"):
        data.on_after_batch_transfer(next(iter(data.train_dataloader())))
