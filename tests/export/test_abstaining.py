"""Predictions that are left to a person."""

from __future__ import annotations

import csv

import pytest
import torch

from supercm_pl.callbacks import PredictionCSV
from supercm_pl.export.abstaining import threshold_for
from supercm_pl.export.predictions import Predictions


def two_classes(confidence: torch.Tensor) -> torch.Tensor:
    return torch.stack([confidence, 1 - confidence], dim=1)


def test_the_smallest_confidence_that_gives_the_precision():
    confidence = torch.linspace(0.6, 0.99, 100)
    labels = torch.zeros(100, dtype=torch.long)
    labels[:20:2] = 1  # of the 20 least sure, every second is wrong
    for precision in (0.9, 0.95, 1.0):
        found = threshold_for(precision, two_classes(confidence), labels)
        kept = confidence.double() >= found.confidence
        assert (int(kept.sum()), found.total) == (found.kept, 100)
        right = float((labels[kept] == 0).double().mean())
        assert right == pytest.approx(found.precision)
        assert right >= precision
        least = [
            float((labels[i:] == 0).double().mean()) for i in range(100) if i < 100 - found.kept
        ]
        assert all(share < precision for share in least)


def test_equal_confidences_stay_together():
    labels = torch.tensor([0] * 60 + [1] * 20)
    found = threshold_for(0.75, two_classes(torch.full((80,), 0.75)), labels)
    assert (found.kept, found.precision) == (80, 0.75)
    with pytest.raises(ValueError, match=r"no confidence gives a precision of 0\.8 on 80 samples"):
        threshold_for(0.8, two_classes(torch.full((80,), 0.75)), labels)


@pytest.mark.bad_input
def test_few_samples_or_no_precision():
    sure = two_classes(torch.full((60,), 0.9))
    with pytest.raises(ValueError, match="50 labeled samples that were not trained on, got 40"):
        threshold_for(0.9, sure[:40], torch.zeros(40, dtype=torch.long))
    for precision in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="precision must be"):
            threshold_for(precision, sure, torch.zeros(60, dtype=torch.long))
    with pytest.raises(ValueError, match="min_confidence must be in"):
        PredictionCSV("p.csv", min_confidence=1.5)


def test_rows_below_the_confidence_have_no_class(tmp_path):
    shares = two_classes(torch.tensor([0.95, 0.6, 0.2]))
    found = Predictions(["a", "b", "c"], ["x", "x", "y"], shares)
    assert found.save(tmp_path / "p.csv", ["x", "y"], min_confidence=0.7) == 1
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["x", "", "y"]
    assert rows[1]["probability"] == "0.600000"
