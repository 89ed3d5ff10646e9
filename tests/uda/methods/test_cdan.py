"""CDAN: conditioning, entropy weights, the randomized map, and the reversed gradients."""

import pytest
import torch

from supercm_pl.uda.methods import CDAN, DANN
from supercm_pl.uda.methods.cdan import MultilinearMap, RandomizedMultilinearMap
from tests.support.two_domains import assert_reversed, built, case, gradients, reversal


def small(**options) -> CDAN:
    return CDAN(**{"hidden_features": (6,), **options})


def naive_loss(method, given, entropy=False):
    """One row after the other, of the features as they are, without a reversal."""
    parts = []
    rows = [*range(5), *range(7, 14)]
    logits = given.head.classifier(given.features)
    outer = []
    for i in rows:
        g = torch.softmax(logits[i].detach(), dim=0)
        outer.append(torch.cat([g[k] * given.features[i] for k in range(3)]))
    told = method.discriminator(torch.stack(outer))
    for i, z in zip(rows, told, strict=True):
        g = torch.softmax(logits[i], dim=0)
        weight = 1 + torch.exp((g * g.log()).sum()) if entropy else torch.ones(())
        probability = torch.sigmoid(z)
        parts.append((weight, -weight * (probability if i < 5 else 1 - probability).log()))
    total = torch.zeros(())
    for share in (parts[:5], parts[5:]):
        total = total + 0.5 * sum(p for _, p in share) / sum(w for w, _ in share).detach()
    return total


@pytest.mark.parametrize("entropy", [False, True])
def test_the_loss_is_a_naive_loop(entropy):
    given = case()
    method = built(small(entropy=entropy), given)
    torch.testing.assert_close(method(given.step).loss, naive_loss(method, given, entropy))


@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("progress", [0.0, 0.2, 1.0])
def test_features_and_entropies_get_the_gradient_times_minus_lambda(entropy, progress):
    given = case()
    method = built(small(entropy=entropy), given)
    loss = naive_loss(method, given, entropy)
    assert_reversed(method, given, progress, loss, method.discriminator)
    (plain,) = gradients(loss, given.head)
    (found,) = gradients(method(given.at(progress)).loss, given.head)
    torch.testing.assert_close(found, -reversal(progress) * plain)
    # The conditioning is constant: the classifier learns from the entropies alone.
    assert (plain.abs().max() > 0) == entropy


def test_the_discriminator_sees_the_predictions():
    given, other = case(), case(sureness=-1.0)  # the same features, other predictions
    method = built(small(), given)
    assert method(given.step).loss != method(other.step).loss
    dann = built(DANN(hidden_features=(6,)), given)
    assert dann(given.step).loss == dann(other.step).loss


def test_certain_predictions_give_a_finite_gradient():
    given = case(sureness=1e5)
    method = built(small(entropy=True), given)
    found = gradients(method(given.step).loss, given.features, given.head)
    assert all(gradient.isfinite().all() for gradient in found)


def test_large_products_are_projected_at_random_as_in_the_paper():
    large, small_ = case(size=2000), case(size=1365)  # times 3: 6000 and 4095
    assert isinstance(built(small(), large).map, RandomizedMultilinearMap)
    assert isinstance(built(small(), small_).map, MultilinearMap)
    assert isinstance(built(small(randomized=False), large).map, MultilinearMap)
    method = built(small(randomized=True, random_features=32), case())
    assert method.discriminator.layers[0].in_features == 32
    assert method(case().step).loss.isfinite()


def test_the_random_map_keeps_inner_products_of_the_outer_products():
    generator = torch.Generator().manual_seed(0)
    f = torch.randn(6, 4, generator=generator)
    g = torch.randn(6, 3, generator=generator).softmax(dim=1)
    torch.manual_seed(0)
    projected = RandomizedMultilinearMap(4, 3, 200_000)(f, g)
    exact = MultilinearMap()(f, g)
    torch.testing.assert_close(projected @ projected.T, exact @ exact.T, rtol=0, atol=0.05)


def test_the_random_matrices_are_in_the_checkpoint():
    given = case()
    one = built(small(randomized=True, random_features=8), given)
    other = built(small(randomized=True, random_features=8), given)
    assert one(given.step).loss != other(given.step).loss
    other.load_state_dict(one.state_dict())
    assert one(given.step).loss == other(given.step).loss
