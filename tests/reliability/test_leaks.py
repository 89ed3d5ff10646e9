"""Labels that training must not know are poisoned: no weight and no selection changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from supercm_pl import SSLDataModule, UDADataModule, UDAModule
from supercm_pl.backbones import MLP
from supercm_pl.data import ArraySource, Digits, DigitsM
from supercm_pl.data.datasets import TensorData
from supercm_pl.data.sources.base import Source, SourceData
from supercm_pl.uda.validators import InformationMaximization
from tests.support.runs import Run, equal, fit, module


class Held(Source):
    """Data sets as they are given."""

    def __init__(self, train: Any, test: Any, classes: tuple[str, ...]) -> None:
        self.data = SourceData(train, classes, test=test)

    def load(self) -> SourceData:
        return self.data


def chosen(
    model: L.LightningModule, data: L.LightningDataModule, monitor: str, folder: Path
) -> tuple[Run, str, list[float]]:
    """A run that keeps the checkpoint that is best by ``monitor``: the run, which, and scores."""
    best = ModelCheckpoint(folder, "{epoch}", monitor=monitor, mode="max", save_top_k=-1)
    run = fit(model, data, best, max_steps=8, limit_val_batches=1.0)
    scores = [float(score) for score in best.best_k_models.values()]
    return run, Path(best.best_model_path).name, scores


def poison(labels: Tensor, rows: Any) -> Tensor:
    spoiled = labels.clone()
    spoiled[rows] = (labels[rows] + 1 + torch.arange(len(labels[rows])) % 9) % 10
    assert (spoiled[rows] != labels[rows]).all()
    return spoiled


@pytest.mark.parametrize("name", ["FlexMatch", "MeanTeacher", "MixMatch"])
def test_labels_of_unlabeled_and_test_rows(name: str, tmp_path: Path) -> None:
    clean = Digits().load()
    split = SSLDataModule(labels_per_class=2, seed=0).split
    split.save(tmp_path / "split.json")

    def run(train: Tensor, test: Tensor, folder: str) -> tuple[Run, str, list[float]]:
        data = SSLDataModule(
            ArraySource(clean.train.inputs, train, clean.test.inputs, test, classes=clean.classes),
            labeled_indices=tmp_path / "split.json",
            unlabeled_batch_size=20,
            steps_per_epoch=4,
            strong=torch.nn.Dropout(0.1),
            seed=0,
        )
        return chosen(module(name), data, "val/acc", tmp_path / folder)

    honest = run(clean.train.targets, clean.test.targets, "honest")
    fooled = run(
        poison(clean.train.targets, split.unlabeled),
        poison(clean.test.targets, slice(None)),
        "fooled",
    )
    assert honest[0].losses == fooled[0].losses
    assert equal(honest[0].state["module"], fooled[0].state["module"])
    assert honest[1:] == fooled[1:]
    # The poison is one: where labels are looked at, it is noticed.
    for part in (split.val, split.labeled):
        with pytest.raises(ValueError, match="for data with other labels"):
            run(poison(clean.train.targets, part), clean.test.targets, "noticed")


def test_labels_of_the_target(tmp_path: Path) -> None:
    clean = DigitsM().load()

    def run(train: Tensor, test: Tensor, folder: str) -> tuple[Run, str, list[float]]:
        torch.manual_seed(0)
        model = UDAModule(
            MLP(3 * 16 * 16, (16,)), 10, cm_weight=0.3, validators=InformationMaximization()
        )
        target = Held(
            TensorData(clean.train.inputs, train),
            TensorData(clean.test.inputs, test),
            clean.classes,
        )
        data = UDADataModule(target=target, steps_per_epoch=4, target_val_size=100, seed=0)
        return chosen(model, data, "val/information_maximization", tmp_path / folder)

    honest = run(clean.train.targets, clean.test.targets, "honest")
    fooled = run(torch.full_like(clean.train.targets, -7), clean.test.targets * 0, "fooled")
    assert honest[0].losses == fooled[0].losses
    assert equal(honest[0].state["module"], fooled[0].state["module"])
    assert honest[1:] == fooled[1:]
