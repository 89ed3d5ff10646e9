"""Ramps are functions of progress alone."""

import math

import pytest

from supercm_pl.training.ramps import CosineRampUp, LinearRampUp, SigmoidRampUp


@pytest.mark.parametrize("ramp", [CosineRampUp(0.5), LinearRampUp(0.3), SigmoidRampUp(0.4)])
def test_grows_to_one_and_stays(ramp):
    values = [ramp(p / 100) for p in range(101)]
    assert values == sorted(values)
    assert values[-1] == 1.0
    assert all(0.0 <= value <= 1.0 for value in values)


def test_sigmoid_ramp_is_the_published_one():
    ramp = SigmoidRampUp(end=0.4)
    for progress in (0.0, 0.1, 0.39, 0.7):
        assert ramp(progress) == pytest.approx(math.exp(-5 * (1 - min(progress / 0.4, 1)) ** 2))


def test_cosine_ramp_is_the_published_one():
    for progress in (0.0, 0.1, 0.25, 0.4, 0.7):
        expected = 0.5 - math.cos(min(math.pi, 2 * math.pi * progress)) / 2
        assert CosineRampUp()(progress) == pytest.approx(expected)
