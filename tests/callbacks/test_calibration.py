"""Probabilities after `Calibration`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from supercm_pl import ClusteringHead, SSLDataModule, SSLModule
from supercm_pl.backbones import MLP
from supercm_pl.callbacks import Calibration
from supercm_pl.callbacks.calibration import doubts
from supercm_pl.graphs.image_descriptors import describe, views_of
from supercm_pl.graphs.label_graph import LabelGraph
from tests.support.runs import fit
from tests.support.trainers import every_step


def run(tmp_path: Path, noise: float, calibrate: bool = True) -> tuple[SSLModule, SSLDataModule]:
    bunch = load_digits()
    generator = torch.Generator().manual_seed(0)
    x = torch.from_numpy(bunch.data / 16).float()
    x = x + noise * torch.randn(x.shape, generator=generator)
    data = SSLDataModule.from_arrays(
        x[:1200].numpy(), bunch.target[:1200], x[1200:].numpy(), bunch.target[1200:],
        labels_per_class=5, labeled_batch_size=20, unlabeled_batch_size=20, steps_per_epoch=60,
        seed=0, val_size=0,
    )  # fmt: skip
    torch.manual_seed(0)
    module = SSLModule(
        MLP(64, (64,)), 10, cm_weight=0, optimizer=partial(torch.optim.Adam, lr=0.01)
    )
    callbacks = [Calibration()] if calibrate else []
    fit(module, data, *callbacks, every_step(tmp_path), max_steps=60)
    return module, data


def error_and_accuracy(module: SSLModule, data: SSLDataModule) -> tuple[float, float]:
    data.setup("test")
    loader = data.test_dataloader()
    module.eval()
    pairs = [(module.predict_step(batch), batch[1]) for batch in loader]
    confidence = torch.cat([found["probability"] for found, _ in pairs]).mean().item()
    right = torch.cat([found["class"] == labels for found, labels in pairs]).float().mean().item()
    return abs(confidence - right), right


def test_an_overconfident_network_becomes_as_confident_as_it_is_right(tmp_path: Path) -> None:
    before, accuracy = error_and_accuracy(*run(tmp_path / "plain", 0.5, calibrate=False))
    module, data = run(tmp_path / "calibrated", 0.5)
    after, same = error_and_accuracy(module, data)
    assert same == accuracy
    assert module.head.calibration > 1
    assert (before > 0.15, after < before / 2) == (True, True), (before, after, accuracy)


def test_it_is_in_the_last_checkpoint(tmp_path: Path) -> None:
    module, _ = run(tmp_path, 0.5)
    loaded = SSLModule.load_from_checkpoint(tmp_path / "step=60.ckpt", backbone=MLP(64, (64,)))
    assert loaded.head.calibration == module.head.calibration
    earlier = SSLModule.load_from_checkpoint(tmp_path / "step=59.ckpt", backbone=MLP(64, (64,)))
    assert earlier.head.calibration == 1


@pytest.mark.parametrize("training", [True, False])
def test_only_evaluation_is_calibrated(training: bool) -> None:
    head = ClusteringHead(3, 4).train(training)
    features = torch.randn(5, 3)
    logits, before = head(features)
    head.calibration.fill_(2.0)
    after = head(features)
    assert torch.equal(after.logits, logits)
    expected = before if training else torch.softmax(logits / 2, dim=1)
    assert torch.allclose(after.assignments, expected)


def doubts_of_digits(classes: np.ndarray, labels_per_class: int = 1) -> list[str]:
    bunch = load_digits()
    ranks = [np.flatnonzero(bunch.target == k)[:labels_per_class] for k in range(10)]
    first = np.concatenate(ranks)
    rest = np.setdiff1d(np.arange(len(classes)), first)
    images = torch.from_numpy(bunch.images[np.concatenate([first, rest]), None]).float() / 16
    graph = LabelGraph(*views_of(describe(images)))
    return list(doubts(graph, bunch.target[first], classes[rest], "0123456789"))


def test_right_classes_are_not_doubted() -> None:
    assert doubts_of_digits(load_digits().target) == []


@pytest.mark.parametrize("labels_per_class", [1, 3])
def test_classes_that_cross_two_clusters_are_doubted(labels_per_class: int) -> None:
    classes = load_digits().target
    for first, second in ((8, 1), (1, 8)):
        rows = np.flatnonzero(load_digits().target == first)
        classes[rows[: len(rows) // 2]] = second
    found = doubts_of_digits(classes, labels_per_class)
    assert ["The samples of 1 and 8 form" in doubt for doubt in found] == [True] * (
        labels_per_class == 1
    )


def test_classes_of_unequal_size_are_doubted() -> None:
    classes = load_digits().target
    classes[np.flatnonzero(classes == 1)[20:]] = 2
    found = doubts_of_digits(classes)
    assert any("from 20 (1) to 339 samples (2)" in doubt for doubt in found), found
