"""VAT: the loss, the perturbation's length and direction, and what it leaves alone."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from supercm_pl import SSLModule
from supercm_pl.backbones import MLP, ConvNet
from supercm_pl.data import Digits
from supercm_pl.ssl.methods import VAT
from supercm_pl.ssl.methods.vat import virtual_adversarial_perturbation
from tests.support.runs import digits_module
from tests.support.steps import outputs_of, step_of_logits


def divergence(logits, others):
    """KL(p || q) of each row, read off the paper."""
    losses = []
    for a, b in zip(logits, others, strict=True):
        p, q = a.softmax(0), b.softmax(0)
        losses.append(sum(p[k] * (p[k].log() - q[k].log()) for k in range(len(p))))
    return torch.stack(losses)


def lengths(perturbation):
    return perturbation.flatten(1).norm(dim=1)


@pytest.fixture(scope="module")
def digits():
    data = Digits().load().train
    images = torch.stack([data[i][0] for i in range(200)]).float()
    return images, torch.tensor([int(data[i][1]) for i in range(200)])


def trained(backbone, digits):
    torch.manual_seed(0)
    module = SSLModule(backbone, 10)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.003)
    for _ in range(30):
        optimizer.zero_grad()
        F.cross_entropy(module(digits[0]), digits[1]).backward()
        optimizer.step()
    return module


def test_is_the_divergence_from_the_clean_to_the_perturbed_prediction():
    torch.manual_seed(0)
    model, given = nn.Linear(4, 3), []

    def rows(inputs):
        given.append(inputs.detach())
        return outputs_of(model(inputs), inputs)

    x = 3 * torch.randn(5, 4)
    passes = dict.fromkeys(("extra_forward", "forward_frozen_bn"), rows)
    step = step_of_logits({}, unlabeled_inputs={"weak": x}, **passes)
    loss = VAT(epsilon=3.0)(step).loss
    assert len(given) == 3  # clean, power iteration, perturbed
    clean, perturbed = model(x), model(given[-1])
    assert loss.item() == pytest.approx(divergence(clean, perturbed).mean().item(), rel=1e-4)
    assert loss.item() != pytest.approx(divergence(perturbed, clean).mean().item(), rel=1e-2)

    # The clean prediction is a constant.
    loss.backward()
    p, q = clean.softmax(1).detach(), perturbed.softmax(1).detach()
    torch.testing.assert_close(model.bias.grad, (q - p).mean(0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("backbone", [MLP(64, (64, 32)), ConvNet(1, widths=(8, 16))])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_has_the_length_and_beats_random_perturbations(backbone, precision, digits):
    module, x = trained(backbone, digits), digits[0][:64]
    clean = module(x).detach()
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        r = virtual_adversarial_perturbation(module, x, clean, epsilon=1.0)
    torch.testing.assert_close(lengths(r), torch.ones(64))
    caused = F.kl_div(module(x + r).log_softmax(1), clean.softmax(1), reduction="batchmean")
    for _ in range(10):
        noise = F.normalize(torch.randn_like(x).flatten(1)).view_as(x)
        by_chance = F.kl_div(
            module(x + noise).log_softmax(1), clean.softmax(1), reduction="batchmean"
        )
        assert caused > 4 * by_chance


@pytest.mark.parametrize("autocast", [False, True])
def test_one_iteration_is_the_hessian_times_the_start(autocast, digits):
    module, x = trained(MLP(64, (64, 32)), digits).eval(), digits[0][:32]
    given = []

    def rows(inputs):
        given.append(inputs.detach())
        return module.forward_outputs(inputs)

    passes = dict.fromkeys(("extra_forward", "forward_frozen_bn"), rows)
    step = step_of_logits({}, unlabeled_inputs={"weak": x}, **passes)
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        VAT(epsilon=1.0)(step)
    found = given[-1] - x

    torch.manual_seed(3)
    start = F.normalize(torch.randn_like(x).flatten(1)).view_as(x).double()
    exact, probe = copy.deepcopy(module).double(), x.double().requires_grad_()
    log_probabilities = exact(probe).log_softmax(1)
    clean = log_probabilities.detach().exp()
    loss = F.kl_div(log_probabilities, clean, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, probe, create_graph=True)
    (expected,) = torch.autograd.grad((gradient * start).sum(), probe)
    alignment = F.cosine_similarity(found.double().flatten(1), expected.flatten(1))
    assert alignment.mean() > 0.95


def test_more_iterations_come_closer_to_the_worst_direction():
    torch.manual_seed(0)
    model = nn.Linear(6, 3).double()
    x = torch.randn(200, 6, dtype=torch.double)
    clean = model(x).detach()
    caused = {}
    for iterations in (1, 10):
        torch.manual_seed(1)
        r = virtual_adversarial_perturbation(
            model, x, clean, epsilon=1e-3, xi=1e-6, power_iterations=iterations
        )
        caused[iterations] = divergence(clean, model(x + r)).sum().item()
    # The largest eigenvalue of the Hessian Wᵀ (diag(p) - p pᵀ) W bounds it, and is reached.
    bound = 0.0
    for p in clean.softmax(1):
        fisher = model.weight.T @ (p.diag() - p.outer(p)) @ model.weight
        bound += torch.linalg.eigvalsh(fisher)[-1].item() * 0.5e-6
    assert caused[1] < caused[10] < 1.01 * bound
    assert caused[10] > 0.98 * bound


def test_finding_it_leaves_no_gradient_and_calls_no_hook_of_the_parameters():
    model = nn.Linear(4, 3)
    called = []
    model.weight.register_hook(called.append)
    x = torch.randn(5, 4)
    r = virtual_adversarial_perturbation(model, x, model(x).detach())
    assert not r.requires_grad
    assert called == []
    assert model.weight.grad is None


def test_predictions_that_ignore_the_input_give_zero_and_no_nan():
    def constant(inputs):
        return torch.tensor([[2.0, 1.0, 0.0]]) + 0 * inputs[:, :3]

    x = torch.randn(5, 4)
    assert virtual_adversarial_perturbation(constant, x, constant(x)).tolist() == [[0.0] * 4] * 5


def test_by_default_no_pass_of_it_moves_the_statistics_of_batch_norm():
    images = torch.rand(16, 1, 8, 8)
    batch = {"labeled": (images[:8], torch.arange(8)), "unlabeled": {"weak": images}}
    without, with_vat = digits_module([], cm_weight=0.0), digits_module(VAT(), cm_weight=0.0)
    for module in (without, with_vat):
        module.training_step(batch)
    torch.testing.assert_close(
        dict(with_vat.backbone.named_buffers()), dict(without.backbone.named_buffers())
    )
