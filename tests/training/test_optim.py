"""The warm-up cosine schedule against its formula."""

import math

import pytest
import torch

from supercm_pl.training.optim import WarmupCosineLR


def rates(schedule: WarmupCosineLR, steps: int) -> list[float]:
    seen = []
    for _ in range(steps):
        seen.append(schedule.get_last_lr()[0])
        schedule.optimizer.step()
        schedule.step()
    return seen


def optimizer(lr: float = 2.0) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def test_warms_up_linearly_then_follows_half_a_cosine():
    seen = rates(WarmupCosineLR(optimizer(), 4, 12, final_factor=0.1), 14)
    warmup = [2.0 * (t + 1) / 4 for t in range(4)]
    cosine = [
        2.0 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(t - 4, 8) / 8))) for t in range(4, 14)
    ]
    assert seen == pytest.approx(warmup + cosine)


def test_falls_along_seven_sixteenths_of_a_half_period_as_in_fixmatch():
    seen = rates(WarmupCosineLR(optimizer(1.0), 0, 4, periods=7 / 32), 6)
    expected = [math.cos(7 * math.pi * min(t, 4) / (16 * 4)) for t in range(6)]
    assert seen == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"periods must be in \(0, 0.25\], got 0.5"):
        WarmupCosineLR(optimizer(), periods=0.5)


def test_one_warmup_step_is_enough_and_none_is_allowed():
    assert rates(WarmupCosineLR(optimizer(), 1, 10), 1) == [2.0]
    assert rates(WarmupCosineLR(optimizer(), 0, 10), 1) == [2.0]


def test_no_rate_is_zero_before_the_end():
    assert min(rates(WarmupCosineLR(optimizer(), 5, 20), 20)) > 0


def test_resumes_from_its_state():
    whole = WarmupCosineLR(optimizer(), 3, 10)
    expected = rates(whole, 10)
    first = WarmupCosineLR(optimizer(), 3, 10)
    rates(first, 4)
    second = WarmupCosineLR(first.optimizer, 3, None)
    second.load_state_dict(first.state_dict())
    first.optimizer.param_groups[0]["lr"] = first.get_last_lr()[0]
    assert rates(second, 6) == pytest.approx(expected[4:])
