"""Simple classifiers beside a network."""

from __future__ import annotations

import pytest
import torch

from supercm_pl.report.baselines import baseline_accuracies


def two_groups(count: int, shape: tuple[int, ...] = (6,), seed: int = 0):
    labels = torch.arange(count) % 2
    noise = torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))
    return noise + labels.view(-1, *[1] * len(shape)), labels


@pytest.mark.parametrize("shape", [(6,), (3, 40, 20)])
def test_both_classifiers_tell_two_groups_apart(shape):
    (x, y), (x_test, y_test) = two_groups(4, shape), two_groups(60, shape, seed=1)
    found = baseline_accuracies(x, y, two_groups(50, shape, seed=2)[0], x_test, y_test)
    assert list(found) == ["logistic regression", "label spreading"]
    assert min(found.values()) > 0.9
    assert found == baseline_accuracies(x, y, two_groups(50, shape, seed=2)[0], x_test, y_test)


def test_bytes_are_those_numbers():
    x, y = torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8), torch.tensor([0, 1])
    assert baseline_accuracies(x, y, x[:0], x, y)["logistic regression"] == 1.0


@pytest.mark.parametrize("case", ["one class", "no test", "too many"])
def test_what_can_not_be_compared_is_left_out(case):
    x, y = two_groups(6000 if case == "too many" else 4)
    y = torch.zeros_like(y) if case == "one class" else y
    x_test = x[:0] if case == "no test" else x
    assert baseline_accuracies(x, y, x[:0], x_test, y[: len(x_test)]) == {}
