"""The number of classes, from the data or compared with them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from supercm_pl import SSLDataModule, SSLModule, UDADataModule, UDAModule
from supercm_pl.backbones import MLP
from supercm_pl.data import GaussianNoise
from supercm_pl.ssl.methods import FreeMatch, MeanTeacher
from supercm_pl.uda.methods import DANN, MCD
from tests.support.trainers import quiet_trainer

X = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
Y = np.arange(60) % 3


def ssl_data() -> SSLDataModule:
    noise = GaussianNoise(0.1)
    return SSLDataModule.from_arrays(X, Y, X, Y, labels_per_class=4, strong=noise, seed=0)


def uda_data() -> UDADataModule:
    return UDADataModule.from_arrays(X, Y, X + 1, seed=0)


KINDS: list[tuple[Any, Any, list[Any]]] = [
    (SSLModule, ssl_data, [MeanTeacher(), FreeMatch()]),
    (UDAModule, uda_data, [DANN(), MCD()]),
]


def module(kind: Any, num_classes: int | None, **options: Any) -> Any:
    torch.manual_seed(0)
    return kind(MLP(4, (8,)), num_classes, **options)


@pytest.mark.parametrize(("kind", "data", "methods"), KINDS)
def test_omitted_it_is_that_of_the_data(
    kind: Any, data: Any, methods: list[Any], tmp_path: Path
) -> None:
    trained = []
    for number in (3, None):
        trainer = quiet_trainer(max_steps=3)
        made = module(kind, number, methods=[type(method)() for method in methods])
        trainer.fit(made, data())
        trained.append(made.state_dict())
    torch.testing.assert_close(*trained, rtol=0, atol=0)
    assert [*trained[0]] == [*trained[1]]  # an optimizer finds its states by this order
    assert made.num_classes == made.hparams["num_classes"] == 3

    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = [type(method)() for method in methods]
    loaded = kind.load_from_checkpoint(tmp_path / "a.ckpt", backbone=MLP(4, (8,)), methods=again)
    torch.testing.assert_close(loaded.state_dict(), trained[1], rtol=0, atol=0)
    resumed = module(kind, None, methods=again)
    quiet_trainer(max_steps=4).fit(resumed, data(), ckpt_path=tmp_path / "a.ckpt")

    fresh = module(kind, None, methods=[type(method)() for method in methods])
    fresh.load_state_dict(trained[1])
    torch.testing.assert_close(fresh.state_dict(), trained[1], rtol=0, atol=0)
    assert fresh.hparams["num_classes"] == 3
    plain = kind.load_from_checkpoint(tmp_path / "a.ckpt", backbone=MLP(4, (8,)))
    assert torch.equal(plain(torch.from_numpy(X)), loaded(torch.from_numpy(X)))
    other = UDAModule if kind is SSLModule else SSLModule
    with pytest.raises(ValueError, match=f"that trains on .* not of {other.__name__}"):
        other.load_from_checkpoint(tmp_path / "a.ckpt", backbone=MLP(4, (8,)))
    message = rf"the state is that of \['{methods[0].name}'.*the module has \[\]: pass the same"
    with pytest.raises(ValueError, match=message):
        quiet_trainer(max_steps=4).fit(module(kind, None), data(), ckpt_path=tmp_path / "a.ckpt")


@pytest.mark.parametrize("given", [2, 4, 10])
@pytest.mark.parametrize(("kind", "data", "methods"), KINDS)
def test_another_number_than_the_data_has_is_an_error(
    kind: Any, data: Any, methods: list[Any], given: int
) -> None:
    message = f"num_classes of the model is {given}, but the data has 3 classes, 0, 1, 2: omit"
    for run in ("fit", "test"):
        trainer = quiet_trainer(max_steps=1)
        with pytest.raises(ValueError, match=message):
            getattr(trainer, run)(module(kind, given), datamodule=data())


ARRAYS = partial(SSLDataModule.from_arrays, X, labels_per_class=4, x_test=X, y_test=Y)


def test_other_names_or_numbers_of_classes_than_in_training_are_an_error(tmp_path: Path) -> None:
    trained = module(SSLModule, None)
    quiet_trainer(max_steps=1).fit(trained, ARRAYS(Y, classes=["ant", "bee", "cat"]))
    trained.trainer.save_checkpoint(file := tmp_path / "a.ckpt")
    loaded = SSLModule.load_from_checkpoint(file, backbone=MLP(4, (8,)))
    for other in (["cat", "bee", "ant"], ["ant", "cat", "dog"]):
        for given, path in ((trained, None), (loaded, None), (module(SSLModule, 3), file)):
            with pytest.raises(ValueError, match=r"of the data is .* the model was trained with "):
                quiet_trainer().test(given, ARRAYS(Y, classes=other), ckpt_path=path)
    quiet_trainer().test(loaded, ARRAYS(Y, classes=["ant", "bee", "cat"]))
    quiet_trainer().test(loaded, ARRAYS(Y))
    with pytest.raises(ValueError, match=r"was trained on 3 classes, .*SSLModule\(model.backbone"):
        quiet_trainer(max_steps=1).fit(loaded, ARRAYS(Y % 2, y_test=Y % 2))


def loaders(number: int) -> dict[str, Any]:
    x, y = torch.from_numpy(X), torch.from_numpy(Y) % number
    return {
        "labeled": DataLoader(TensorDataset(x, y), 8),
        "unlabeled": DataLoader(x, 8),
    }


def test_loaders_without_a_data_module() -> None:
    made = module(SSLModule, None)
    quiet_trainer(max_steps=1).fit(made, loaders(3))
    assert made.num_classes == 3
    with pytest.raises(RuntimeError, match="num_classes is not known before training"):
        module(SSLModule, None)(torch.zeros(2, 4))
    with pytest.warns(RuntimeWarning, match="num_classes is 10, but .* of only 3 classes"):
        quiet_trainer(max_steps=1).fit(module(SSLModule, 10), loaders(3))


def test_precision_and_device_are_those_of_the_module() -> None:
    made = module(SSLModule, None, methods=MeanTeacher()).double()
    data = SSLDataModule.from_arrays(X, Y, X, Y, labels_per_class=4, seed=0)
    quiet_trainer(max_steps=1).fit(made, data)
    assert {p.dtype for p in made.parameters()} == {torch.float64}
