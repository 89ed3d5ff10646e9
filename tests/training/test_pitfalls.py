"""Settings with which a run would silently go wrong are refused or reported."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.cli import ReduceLROnPlateau
from torch import nn

from supercm_pl import ClusteringHead, SSLDataModule, SSLModule, UDADataModule, UDAModule
from supercm_pl.backbones import MLP
from supercm_pl.clustering.functional import dirichlet_prior
from supercm_pl.data import GaussianNoise
from supercm_pl.ssl.methods import UDA, FixMatch, MeanTeacher, PiModel
from supercm_pl.uda.validators import BatchNuclearNorm
from tests.support.trainers import quiet_trainer

X = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
Y = np.arange(60) % 3
OPTIONS: dict[str, Any] = {"labels_per_class": 4, "seed": 0}


def fit(trainer: dict[str, Any], **options: Any) -> SSLModule:
    module = SSLModule(MLP(4, (8,)), **options)
    data = SSLDataModule.from_arrays(X, Y, **OPTIONS)
    quiet_trainer(**{"max_steps": 2, **trainer}).fit(module, data)
    return module


@pytest.mark.bad_input
def test_an_eps_that_is_zero_in_the_precision_of_the_weights() -> None:
    with pytest.raises(ValueError, match=r"eps of AdamW, 1e-08, is 0 in torch.float16, so"):
        fit({"precision": "16-true"})
    for trainer, options in (
        ({"precision": "bf16-true"}, {}),
        ({"precision": "16-true"}, {"optimizer": partial(torch.optim.AdamW, eps=1e-4)}),
    ):
        module = fit(trainer, **options)
        assert all(bool(p.isfinite().all()) for p in module.parameters())


@pytest.mark.bad_input
def test_a_run_that_ends_without_a_finite_loss_says_so() -> None:
    optimizer = partial(torch.optim.SGD, lr=1e38)
    with pytest.warns(RuntimeWarning, match="the loss of the last step is .*NonFiniteLoss stops"):
        fit({"max_steps": 6}, optimizer=optimizer)


@pytest.mark.bad_input
def test_an_average_that_begins_after_the_first_validation() -> None:
    average = EMAWeightAveraging(update_starting_at_step=100)
    with pytest.warns(RuntimeWarning, match="validation uses the initial weights until step 100"):
        fit({"callbacks": [average]})
    fit({"callbacks": [EMAWeightAveraging()]})


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("kind", "monitor", "right"),
    [
        (ModelCheckpoint, "val/acc", "max"),
        (EarlyStopping, "val/nmi", "max"),
        (ModelCheckpoint, "val/ece", "min"),
        (EarlyStopping, "train/loss", "min"),
        (ReduceLROnPlateau, "val/acc", "max"),
        (ModelCheckpoint, "val/source_acc", "max"),
        (EarlyStopping, "val/bnm", "max"),
    ],
)
def test_a_monitor_with_the_wrong_mode(kind: Any, monitor: str, right: str, tmp_path: Path) -> None:
    def train(mode: str) -> None:
        options: dict[str, Any] = {"max_steps": 1}
        schedule = None
        if kind is ReduceLROnPlateau:
            schedule = partial(kind, monitor=monitor, mode=mode)
        elif kind is ModelCheckpoint:
            options["callbacks"] = [kind(tmp_path / mode, monitor=monitor, mode=mode)]
        else:
            options["callbacks"] = [kind(monitor, mode=mode)]
        if monitor in ("val/source_acc", "val/bnm"):
            domains = UDADataModule.from_arrays(X, Y, X)
            module = UDAModule(MLP(4, (8,)), validators=BatchNuclearNorm(), lr_scheduler=schedule)
            quiet_trainer(**options).fit(module, domains)
        else:
            fit(options, lr_scheduler=schedule)

    train(right)
    wrong = {"max": "min", "min": "max"}[right]
    with pytest.raises(
        ValueError, match=f'{monitor}, whose {right}imum is .* write mode="{right}"'
    ):
        train(wrong)


def test_an_optimizer_without_the_head() -> None:
    with pytest.warns(RuntimeWarning, match="optimizer does not train head.classifier.bias: give"):
        fit({}, optimizer=lambda parameters: torch.optim.Adam([*parameters][:-1]))
    fit({}, optimizer=lambda parameters: torch.optim.Adam([{"params": [*parameters]}]))


WIDE = X * np.array([1, 1000, 1, 1], dtype="float32")


@pytest.mark.parametrize(
    ("backbone", "preprocess", "told"),
    [
        (MLP(4, (8,)), None, True),
        (nn.Sequential(nn.BatchNorm1d(4), MLP(4, (8,))), None, False),
        (MLP(4, (8,)), nn.LayerNorm(4), False),
    ],
)
def test_columns_of_very_different_scales(
    backbone: nn.Module, preprocess: nn.Module | None, told: bool
) -> None:
    message = r"column 1 of the .* part has the standard deviation .* by StandardScaler"
    for module, data in (
        (SSLModule, SSLDataModule.from_arrays(WIDE, Y, preprocess=preprocess, **OPTIONS)),
        (UDAModule, UDADataModule.from_arrays(WIDE, Y, WIDE, preprocess=preprocess)),
    ):
        with pytest.warns(RuntimeWarning, match=message) if told else nullcontext():
            quiet_trainer(max_steps=1).fit(module(backbone, feature_size=8), data)


@pytest.mark.parametrize(
    ("method", "views", "told"),
    [
        (PiModel(), {}, "pi_model compares the views weak and weak_2, which are equal: .* weak=.*"),
        (PiModel(), {"weak": GaussianNoise(0.1)}, ""),
        (UDA(), {"strong": nn.Identity()}, "uda compares the views weak and strong, .* strong=..."),
        (FixMatch(), {"strong": GaussianNoise(0.1)}, ""),
        (MeanTeacher(), {}, ""),
    ],
)
def test_a_method_that_compares_equal_views(method: Any, views: dict[str, Any], told: str) -> None:
    data = SSLDataModule.from_arrays(X, Y, **OPTIONS, **views)
    with pytest.warns(RuntimeWarning, match=told) if told else nullcontext():
        quiet_trainer(max_steps=1).fit(SSLModule(MLP(4, (8,)), methods=method), data)
    noisy = nn.Sequential(MLP(4, (8,)), nn.Dropout(0.5))
    data = SSLDataModule.from_arrays(X, Y, **OPTIONS, **views)
    quiet_trainer(max_steps=1).fit(SSLModule(noisy, methods=method, feature_size=8), data)


@pytest.mark.parametrize("alpha", [0.5, [0.3, 0.4, 0.3], torch.tensor([1.0, 1.5, 0.9])])
def test_an_alpha_below_one_empties_classes(alpha: Any) -> None:
    with pytest.warns(RuntimeWarning, match=r"alpha below 1, .* alpha=\[1 \+ 2 \* share for share"):
        SSLModule(MLP(4, (8,)), 3, alpha=alpha)
    proportions = torch.tensor([0.5, 0.3, 0.2])
    head = ClusteringHead(4, 3, alpha=1 + 2 * proportions)
    shares = torch.distributions.Dirichlet(torch.ones(3)).sample((500,))
    best = dirichlet_prior(proportions, head.alpha)
    assert all(dirichlet_prior(share, head.alpha) >= best for share in shares)
