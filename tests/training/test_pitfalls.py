"""Settings with which a run would silently go wrong are refused or reported."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging

from supercm_pl import SSLDataModule, SSLModule
from supercm_pl.backbones import MLP
from tests.support.trainers import quiet_trainer

X = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")


def fit(trainer: dict[str, Any], **options: Any) -> SSLModule:
    module = SSLModule(MLP(4, (8,)), **options)
    data = SSLDataModule.from_arrays(X, np.arange(60) % 3, labels_per_class=4, seed=0)
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
