"""Wrong arguments are answered by one line that shows what to write instead."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from supercm_pl import (
    ClusteringHead,
    SSLDataModule,
    SSLModule,
    SuperCMClassifier,
    UDADataModule,
    UDAModule,
)
from supercm_pl.backbones import MLP, ConvNet, TorchvisionBackbone
from supercm_pl.callbacks import FigureLogger
from supercm_pl.data import AffineNoise, Digits, Distortion, FolderSource
from supercm_pl.ssl.methods import FixMatch, PiModel
from supercm_pl.training.ramps import LinearRampUp
from supercm_pl.uda.methods import DANN
from tests.support.trainers import quiet_trainer

pytestmark = pytest.mark.bad_input

NET = MLP(4, (8,))
X, Y = torch.randn(24, 4), torch.arange(24) % 3
SGD = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)

MISSPELT: list[tuple[Callable[..., Any], str, str]] = [
    (SSLDataModule, "labels_per_clas", "did you mean labels_per_class?"),
    (
        partial(SSLDataModule.from_arrays, X, Y),
        "lables_per_class",
        "did you mean labels_per_class?",
    ),
    (SSLDataModule, "batch_size", "write labeled_batch_size=... and unlabeled_batch_size=..."),
    (UDADataModule, "target_batchsize", "did you mean target_batch_size?"),
    (partial(SSLModule, NET), "cm_wieght", "did you mean cm_weight?"),
    (partial(SSLModule, NET), "orthonomal", "did you mean orthonormal?"),
    (partial(SSLModule, NET), "lr", "write optimizer=partial(torch.optim.AdamW, lr=...)"),
    (partial(SSLModule, NET), "weight_decay", "write optimizer=partial(torch.optim.AdamW, weight_"),
    (partial(SSLModule, NET), "class_weights", "write alpha=[...], a prior for the sizes of the"),
    (partial(SSLModule, NET), "label_smoothing", "or override cross_entropy in a subclass"),
    (partial(SSLModule, NET), "max_epochs", "write Trainer (max_epochs=...)"),
    (partial(ClusteringHead, 4, 3), "beta", "the weight as a factor of head.loss(...).total"),
    (partial(ClusteringHead, num_classes=3), "feature_dim", "write in_features=..."),
    (FixMatch, "lambda_u", "write weight=..."),
    (SSLDataModule, "train_transform", "write weak=..."),
    (SSLDataModule, "test", "write source=DatasetSource(train, test)"),
    (UDADataModule, "test", "write target=DatasetSource(train, test)"),
    (SuperCMClassifier, "lr", "write learning_rate=..."),
    (SuperCMClassifier, "n_epochs", "write max_steps=..."),
    (partial(UDAModule, NET), "botleneck", "did you mean bottleneck?"),
    (partial(ClusteringHead, 4, 3), "temprature", "did you mean temperature?"),
    (FixMatch, "treshold", "did you mean threshold?"),
    (PiModel, "wieght", "did you mean weight?"),
    (DANN, "hiden_features", "did you mean hidden_features?"),
    (partial(MLP, 4), "hidden_feature", "did you mean hidden_features?"),
    (ConvNet, "in_channel", "did you mean in_channels?"),
    (partial(TorchvisionBackbone, "resnet18"), "weight", "did you mean weights?"),
    (partial(FolderSource, "a"), "imagesize", "did you mean image_size?"),
    (AffineNoise, "rotaton", "did you mean rotation?"),
    (Distortion, "label_nois", "did you mean label_noise?"),
    (partial(LinearRampUp, 1), "ennd", "did you mean end?"),
    (FigureLogger, "every_n_epoch", "did you mean every_n_epochs?"),
    (SuperCMClassifier, "cm_wieght", "did you mean cm_weight?"),
    (SuperCMClassifier, "colour", "has no argument 'colour'"),
]


@pytest.mark.parametrize(("make", "name", "hint"), MISSPELT)
def test_misspelt_arguments(make: Callable[..., Any], name: str, hint: str) -> None:
    with pytest.raises(TypeError) as caught:
        make(**{name: 1})
    assert f"has no argument {name!r}" in str(caught.value)
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_checked_constructors_copy_and_pickle() -> None:
    for made in (FixMatch(threshold=0.9), MLP(4, (8,)), AffineNoise(), Digits(), Distortion()):
        for again in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
            assert type(again) is type(made)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "SGD"}, "got 'SGD': write optimizer=torch.optim.SGD, or partial(torch.opti"),
        ({"optimizer": "adamw"}, "got 'adamw': write optimizer=torch.optim.AdamW, or partial"),
        ({"optimizer": SGD}, "got an object of SGD: write optimizer=torch.optim.SGD, or partial("),
        ({"lr_scheduler": "StepLR"}, "=partial(torch.optim.lr_scheduler.StepLR, step_size=...)"),
        ({"methods": "FixMatch"}, "got 'FixMatch': import the class from supercm_pl.ssl.methods"),
        ({"methods": [PiModel(), "dann"]}, "got 'dann': import the class from supercm_pl.ssl.meth"),
        ({"methods": FixMatch}, "got the class FixMatch: write FixMatch(...)"),
        ({"cm_ramp": 0.4}, "cm_ramp must be an object such as LinearRampUp(), got 0.4"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_names_and_objects_of_the_wrong_kind(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        SSLModule(NET, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_backbone_by_name() -> None:
    with pytest.raises(TypeError, match=r"backbone must be an object such as .*, got 'resnet18'"):
        SSLModule("resnet18")  # type: ignore[arg-type]


def test_arrays_for_the_model_and_objects_of_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"got ndarray: write torch.as_tensor\(inputs\)"):
        SSLModule(NET, 3)(X.numpy())
    trainer = quiet_trainer(max_steps=1)
    data = SSLDataModule.from_arrays(X, Y, labels_per_class=4, val_size=3)
    trainer.fit(SSLModule(MLP(4, (8,))), data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(TypeError, match=r"'backbone': checkpoints contain no objects, so pass"):
        SSLModule.load_from_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"no test data: pass x_test and y_test to from_arrays"):
        trainer.test(SSLModule(NET, 3), data)


def test_a_mistake_of_training_is_told_before_it() -> None:
    data = SSLDataModule.from_arrays(X, Y, labels_per_class=4)
    trainer = quiet_trainer(max_steps=1)
    with pytest.raises(TypeError, match=r"lacks an argument: .*'T_max'; write .*T_max=1000\)"):
        trainer.fit(SSLModule(NET, lr_scheduler=torch.optim.lr_scheduler.CosineAnnealingLR), data)
    with pytest.raises(TypeError, match=r"UDAModule trains on a part 'source', and SSLDataModule "):
        trainer.fit(UDAModule(NET), data)
    with pytest.raises(TypeError, match=r"SSLModule trains on a part 'labeled', and UDADataModule"):
        trainer.fit(SSLModule(NET), UDADataModule.from_arrays(X, Y, X))
    with pytest.raises(TypeError, match=r"such as TorchvisionBackbone\(\"resnet18\"\), got"):
        SSLModule("resnet18")  # type: ignore[arg-type]


def test_a_model_takes_doubles() -> None:
    model = SSLModule(NET, 3).eval()
    assert torch.equal(model(X.double()), model(X))


def loader(samples: Any) -> DataLoader[Any]:
    return DataLoader(samples, 8)


def test_a_loader_alone_is_told_what_to_give() -> None:
    with pytest.raises(
        TypeError, match=r"got list: pass a data module to fit, or \{\"labeled\": lo"
    ):
        quiet_trainer(max_steps=1).fit(SSLModule(NET, 3), loader(TensorDataset(X, Y)))


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_num_classes_of_a_loader_without_labels_at_hand() -> None:
    loaders = {"labeled": loader(TensorDataset(X, Y)), "unlabeled": loader(X)}
    unknown = {**loaders, "labeled": loader([*zip(X, Y, strict=True)])}
    with pytest.raises(ValueError, match=r"num_classes can't be taken from the data: write num_c"):
        quiet_trainer(max_steps=1).fit(SSLModule(MLP(4, (8,))), unknown)
