"""The transform of all inputs: fitted to training data, used in training and evaluation, saved."""

from __future__ import annotations

from functools import partial

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from supercm_pl import SSLDataModule, SSLModule
from supercm_pl.data import ZCA
from supercm_pl.export import Classifier
from tests.support.trainers import quiet_trainer


class Centered(nn.Module):
    """Subtracts the mean of what it was fitted to, and counts the fits."""

    fits = 0

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(torch.nan))

    @property
    def fitted(self) -> bool:
        return bool(self.mean.isfinite())

    def fit(self, batches) -> None:
        Centered.fits += 1
        self.mean = torch.cat([batch.flatten() for batch in batches]).mean()

    def forward(self, images: Tensor) -> Tensor:
        return images - self.mean


def data(**options) -> SSLDataModule:
    return SSLDataModule(labels_per_class=2, seed=0, steps_per_epoch=2, **options)


def module() -> SSLModule:
    torch.manual_seed(0)
    return SSLModule(nn.Sequential(nn.Flatten(), nn.Linear(64, 8)), 10)


def trainer(folder) -> L.Trainer:
    return quiet_trainer(max_steps=2, default_root_dir=folder)


def test_inputs_without_the_data_module_are_as_in_training():
    made, images = module().eval(), torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)
    run, data_of_fit = quiet_trainer(max_steps=1), data()
    run.fit(made, data_of_fit)
    expected = made.eval()(images)
    assert torch.equal(made(images / 255), expected)
    assert torch.equal(
        made.predict_step(images)["features"], made.predict_step([images / 255])["features"]
    )
    (predicted,) = run.predict(made, DataLoader(TensorDataset(images)))[:1]
    torch.testing.assert_close(predicted["assignments"], expected[:1].softmax(1))
    uses = (
        made,
        made.predict_step,
        lambda x: run.predict(made, DataLoader(x, batch_size=4)),
        lambda x: run.test(made, DataLoader(TensorDataset(x, torch.zeros(4).long()), batch_size=4)),
        Classifier(made, data_of_fit.classes, (1, 8, 8)).predict,
    )
    for use in uses:
        with pytest.raises(
            ValueError, match=r"inputs are floats from 0 to .*divide by 255, or pass"
        ):
            use(images.float())


def test_training_and_evaluation_see_inputs_with_what_the_training_data_fitted():
    plain, centered = data(), data(preprocess=Centered())
    plain.setup("fit")
    centered.setup("fit")
    samples = [stream.samples for stream in plain.parts().values()]
    inputs = [s.fetch(torch.arange(len(s)).numpy()) for s in samples]
    mean = torch.cat([inputs[0][0].flatten(), inputs[1].flatten()]).mean()

    def batches(d: SSLDataModule):
        train, test = next(iter(d.train_dataloader())), next(iter(d.test_dataloader()))
        predict = next(iter(d.predict_dataloader()))
        return [d.on_after_batch_transfer(batch, 0) for batch in (train, test, predict)]

    (train, test, predict), (found, found_test, found_predict) = batches(plain), batches(centered)
    torch.testing.assert_close(found["labeled"][0], train["labeled"][0] - mean)
    torch.testing.assert_close(found["unlabeled"], train["unlabeled"] - mean)
    torch.testing.assert_close(found_test[0], test[0] - mean)
    assert torch.equal(found_test[1], test[1])
    torch.testing.assert_close(found_predict["inputs"], predict["inputs"] - mean)


def test_a_checkpoint_brings_back_what_was_fitted_and_nothing_is_fitted_again(tmp_path):
    first = data(preprocess=Centered())
    fitted = trainer(tmp_path)
    fitted.fit(module(), first)
    fitted.save_checkpoint(tmp_path / "run.ckpt")
    before, second = Centered.fits, data(preprocess=Centered())
    trainer(tmp_path).test(module(), second, str(tmp_path / "run.ckpt"), verbose=False)
    assert Centered.fits == before
    assert torch.equal(second.preprocess.mean, first.preprocess.mean)


def test_zca_whitens_the_training_inputs_of_a_run(tmp_path):
    whitened = data(preprocess=ZCA(epsilon=1e-3, contrast_scale=None))
    trainer(tmp_path).fit(module(), whitened)
    (x, _), u = (
        stream.samples.fetch(torch.arange(len(stream.samples)).numpy())
        for stream in whitened.parts().values()
    )
    images = torch.cat([x, u]).flatten(1).double()
    variances, directions = torch.linalg.eigh(images.T.cov())
    whitening = directions @ torch.diag((variances + 1e-3) ** -0.5) @ directions.T
    expected = (images - images.mean(0)) @ whitening
    found = whitened.preprocess(torch.cat([x, u])).flatten(1)
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("preprocess", [Centered, partial(ZCA, epsilon=1e-3)])
def test_inputs_without_the_data_module_are_preprocessed_too(tmp_path, preprocess):
    first, model, run = data(preprocess=preprocess()), module(), trainer(tmp_path)
    run.fit(model, first)
    run.save_checkpoint(tmp_path / "run.ckpt")
    expected = run.test(model, first, verbose=False)
    x, y = next(iter(first.test_dataloader()))
    prepared, _ = first.on_after_batch_transfer((x, y), 0)
    logits = model.eval().forward_outputs(prepared).logits
    loader = DataLoader(TensorDataset(*first.test_dataloader().dataset.fetch(np.arange(450))), 64)
    torch.testing.assert_close(model(x), logits)
    raw = (x * 255).to(torch.uint8)
    torch.testing.assert_close(model(raw), model(raw / 255))
    assert trainer(tmp_path).test(model, loader, verbose=False) == expected
    loaded = SSLModule.load_from_checkpoint(tmp_path / "run.ckpt", backbone=module().backbone)
    if preprocess is Centered:  # a class of the test, which a checkpoint may not name
        with pytest.raises(ValueError, match=r"inputs that .*Centered.* had preprocessed: pass"):
            loaded(x)
        loaded.use_preprocess(first.preprocess)
    torch.testing.assert_close(loaded.eval()(x), logits)
    assert trainer(tmp_path).test(loaded, loader, verbose=False) == expected
