"""MeanTeacher: teacher and student are two, and the student alone learns."""

from __future__ import annotations

import copy

import pytest
import torch

from supercm_pl.ssl.methods import MeanTeacher
from tests.support.runs import data, digits_module, fit
from tests.support.steps import step_of_inputs


def attached(**options):
    """A method, and the model that it is attached to."""
    method = MeanTeacher(**options)
    return method, digits_module(method)


def move(module):
    """What an optimizer's step does to the parameters, seen from the teacher."""
    with torch.no_grad():
        for parameter in module.backbone.parameters():
            parameter.add_(torch.randn_like(parameter))
        module.head.centroids.add_(1.0)


def follow(method, module):
    method.after_step(module.feature_extractor, module.head)


def test_is_the_squared_difference_to_the_teachers_probabilities():
    method, module = attached(momentum=0.9)
    move(module)
    follow(method, module)
    views = {"weak": torch.rand(4, 1, 8, 8), "weak_2": torch.rand(4, 1, 8, 8)}
    loss = method(step_of_inputs(module, views)).loss

    student, teacher = module(views["weak"]), method.teacher(views["weak_2"])
    expected = 0.0
    for i in range(4):
        for k in range(10):
            gap = student[i].softmax(0)[k] - teacher[i].softmax(0)[k]
            expected += gap.item() ** 2 / 40
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_after_a_step_the_teachers_logits_are_not_the_students():
    method, module = attached()
    x = torch.rand(6, 1, 8, 8)
    torch.testing.assert_close(method.teacher(x), module(x))
    fit(module, data("VAT"), max_steps=4)
    module.train()
    assert (method.teacher(x) - module(x)).abs().max() > 1e-4


def test_the_unlabeled_loss_alone_gives_the_student_gradient_and_the_teacher_none():
    method, module = attached()
    move(module)
    views = {"weak": torch.rand(4, 1, 8, 8), "weak_2": torch.rand(4, 1, 8, 8)}
    method(step_of_inputs(module, views)).loss.backward()
    weights = [p for name, p in module.backbone.named_parameters() if p.ndim > 1]
    assert all(p.grad.abs().max() > 0 for p in weights)
    assert all(not p.requires_grad and p.grad is None for p in method.teacher.parameters())


def test_the_optimizer_does_not_know_the_teacher():
    method, module = attached()
    fit(module, data("VAT"), max_steps=1)
    optimized = {id(p) for group in module.optimizers().param_groups for p in group["params"]}
    assert not optimized & {id(p) for p in method.teacher.parameters()}
    assert optimized >= {id(p) for p in module.backbone.parameters()}


def test_the_teacher_is_a_plain_mean_first_and_a_moving_average_then():
    method, module = attached(momentum=0.7)
    expected = [p.detach().clone() for p in module.backbone.parameters()]
    for factor in (1 - 1 / 2, 1 - 1 / 3, 0.7, 0.7):
        move(module)
        follow(method, module)
        for average, new in zip(expected, module.backbone.parameters(), strict=True):
            average.mul_(factor).add_(new.detach(), alpha=1 - factor)
    torch.testing.assert_close(list(method.teacher.backbone.parameters()), expected)


def test_statistics_of_batch_norm_are_the_teachers_own_and_centroids_the_models():
    method, module = attached()
    method.train()
    before = copy.deepcopy(dict(method.teacher.backbone.named_buffers()))
    module(torch.rand(4, 1, 8, 8))
    move(module)
    follow(method, module)
    after = dict(method.teacher.backbone.named_buffers())
    assert all(torch.equal(after[name], before[name]) for name in before)
    torch.testing.assert_close(method.teacher.head.centroids, module.head.centroids)
    method.teacher(torch.rand(4, 1, 8, 8))
    assert any(not torch.equal(after[name], before[name]) for name in before)


def test_a_bottleneck_is_averaged_as_well():
    method = MeanTeacher()
    module = digits_module(method, bottleneck=4)
    fit(module, data("VAT"), max_steps=1)
    student = [p.detach() for p in module.bottleneck.parameters()]
    teacher = list(method.teacher.backbone[1].parameters())
    assert len(teacher) == len(student) > 0
    assert all(not torch.equal(a, b) for a, b in zip(teacher, student, strict=True))
