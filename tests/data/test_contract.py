"""What data and module tell each other, also where one of them is another library's."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from supercm_pl import SSLDataModule
from supercm_pl.data.contract import Contract
from supercm_pl.ssl.methods import FlexMatch
from tests.support.runs import data, digits_module, fit


def trainer(module=None, datamodule=None):
    return SimpleNamespace(lightning_module=module, datamodule=datamodule)


@pytest.fixture(autouse=True)
def no_global_seed(monkeypatch):
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)


@pytest.mark.parametrize("found", [None, trainer(), trainer(nn.Linear(1, 1), object())])
def test_who_tells_nothing_gets_the_defaults(found):
    contract = Contract.of(found)
    assert contract.required_views("unlabeled") == {"weak": ()}
    assert (contract.dtype, contract.seed, contract.num_unlabeled) == (None, None, None)
    assert contract.class_names(3) == ("0", "1", "2")


def test_our_module_and_our_data():
    module = digits_module(FlexMatch())
    contract = Contract.of(trainer(module.double(), SSLDataModule(labels_per_class=2, seed=7)))
    assert contract.required_views("unlabeled") == {
        "weak": ("SuperCM", "flex_match"),
        "strong": ("flex_match",),
        "index": ("flex_match",),
    }
    assert contract.required_views("another") == {"weak": ()}
    assert contract.dtype == torch.float64
    assert (contract.seed, contract.num_unlabeled) == (7, 1307)
    assert contract.class_names(10) == tuple("0123456789")
    assert contract.class_names(2) == ("0", "1")  # the data have other classes than the model


def test_the_seed_of_the_run_where_the_data_have_none(monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    assert Contract().seed == 5
    assert Contract(data=SSLDataModule(seed=0, labels_per_class=1)).seed == 0


def test_a_module_that_was_trained_holds_no_data():
    module, datamodule = digits_module(FlexMatch()), data("FlexMatch")
    fit(module, datamodule, max_steps=1)
    assert datamodule.contract.module is module
    held = copy.deepcopy(module).__dict__.values()
    assert not any(isinstance(value, (SSLDataModule, Contract)) for value in held)
