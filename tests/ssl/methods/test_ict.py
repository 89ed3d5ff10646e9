"""ICT: the student's prediction of a mixture against the mixture of the teacher's."""

from __future__ import annotations

import pytest
import torch

from supercm_pl.ssl.methods import ICT
from tests.support.runs import data, digits_module, fit
from tests.support.steps import outputs_of, step_of_logits


def linear(inputs):
    """A network, so that what it was given can be told from its logits."""
    return 3 * inputs


def mixing_step(inputs):
    """A step whose forward passes are written down."""
    given = []

    def rows(mixed):
        given.append(mixed)
        return outputs_of(linear(mixed), mixed)

    return given, step_of_logits({}, unlabeled_inputs={"weak": inputs}, extra_forward=rows)


def with_teacher(teacher, **options):
    method = ICT(**options)
    method.teacher = teacher
    return method


def test_is_the_squared_difference_of_both_ways_to_mix():
    torch.manual_seed(0)
    inputs = torch.eye(5)  # so that a mixture tells what it is made of
    given, step = mixing_step(inputs)
    teacher = torch.nn.Linear(5, 5)
    teacher.weight.data *= 8  # far from uniform predictions
    loss = with_teacher(teacher)(step).loss

    (mixed,) = given
    others = [row.index(max(row)) for row in (mixed * (1 - inputs)).tolist()]
    assert sorted(others) == [0, 1, 2, 3, 4]
    assert all(i != j for i, j in enumerate(others))
    share = mixed[0, 0].item()
    torch.testing.assert_close(mixed, share * inputs + (1 - share) * inputs[others])
    targets = teacher(inputs).softmax(1)
    expected = of_mixed_logits = 0.0
    for i, j in enumerate(others):
        p = linear(mixed[i]).softmax(0)
        expected += (p - share * targets[i] - (1 - share) * targets[j]).square().sum() / 25
        logits = share * teacher(inputs[i]) + (1 - share) * teacher(inputs[j])
        of_mixed_logits += (p - logits.softmax(0)).square().sum() / 25
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    assert loss.item() != pytest.approx(of_mixed_logits.item(), rel=1e-2)


def test_where_teacher_and_student_are_linear_and_equal_mixing_costs_nothing():
    # Probabilities that are linear in the inputs: log, then softmax.
    inputs = torch.rand(6, 3).softmax(1)
    step = step_of_logits(
        {}, unlabeled_inputs={"weak": inputs}, extra_forward=lambda mixed: outputs_of(mixed.log())
    )
    loss = with_teacher(torch.log)(step).loss
    assert loss.item() < 1e-12


def test_a_small_alpha_leaves_samples_nearly_as_they_are():
    torch.manual_seed(0)
    inputs, distances = torch.randn(8, 3), {}
    for alpha in (0.01, 100.0):
        distances[alpha] = 0.0
        for _ in range(20):
            given, step = mixing_step(inputs)
            with_teacher(torch.nn.Identity(), alpha=alpha)(step)
            distances[alpha] += torch.cdist(given[0], inputs).amin(1).mean().item() / 20
    assert distances[0.01] < 0.1 * distances[100.0]


def test_the_teacher_follows_the_model_and_comes_back():
    module = digits_module(ICT())
    fit(module, data("VAT"), max_steps=2)
    twin = digits_module(ICT())
    twin.load_state_dict(module.state_dict())
    x = torch.rand(4, 1, 8, 8)
    mine, theirs = (m.eval().methods[0].teacher for m in (module, twin))
    assert mine.updates.item() == theirs.updates.item() == 2
    torch.testing.assert_close(theirs(x), mine(x), rtol=0, atol=0)
    assert (mine(x) - module(x)).abs().max() > 0
