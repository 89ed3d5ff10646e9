"""A training step in its parts, each of which a subclass can override."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from supercm_pl import SSLModule
from supercm_pl.ssl.methods import FixMatch
from supercm_pl.training.ramps import LinearRampUp


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    x, weak, strong = (torch.randn(n, 4, generator=generator) for n in (6, 9, 9))
    return {
        "labeled": (x, torch.arange(6) % 3),
        "unlabeled": {"weak": weak, "strong": strong, "unused": strong},
    }


def build(kind=SSLModule, methods=None, **options):
    torch.manual_seed(0)
    methods = FixMatch(threshold=0.1) if methods is None else methods
    backbone = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
    return kind(backbone, 3, methods, feature_size=8, **options)


def step_of(module, batch):
    return module.forward_step(module.parse_batch(batch))


def test_the_forward_step_holds_the_outputs_of_every_view_that_is_needed(batch):
    module = build()
    step = step_of(module, batch)
    assert (step.labeled.keys(), step.unlabeled.keys()) == ({"weak"}, {"weak", "strong"})
    for view, outputs in step.unlabeled.items():
        expected = module.forward_outputs(batch["unlabeled"][view])
        for mine, other in zip(outputs, expected, strict=True):
            torch.testing.assert_close(mine, other)
    assert torch.equal(step.labels, batch["labeled"][1])
    assert step_of(build(methods=(), cm_weight=0.0), batch).unlabeled == {}


def test_the_centroids_are_the_means_of_the_labeled_features(batch):
    module = build(centroids="batch", normalize=False)
    step = step_of(module, batch)
    module.update_centroids(step)
    features = step.labeled["weak"].features.detach()
    means = torch.stack([features[step.labels == k].mean(dim=0) for k in range(3)])
    torch.testing.assert_close(module.head.centroids, means)


def test_the_objective_is_the_sum_of_its_logged_terms(batch):
    module = build(cm_weight=0.7)
    step = step_of(module, batch)
    module.update_centroids(step)
    loss = module.objective(step)
    cross_entropy = module.cross_entropy(step, 6)
    method = module.methods[0](step).loss
    torch.testing.assert_close(loss, cross_entropy + module.cm_loss(step) + method)
    torch.testing.assert_close(
        cross_entropy, F.cross_entropy(step.labeled["weak"].logits, step.labels)
    )
    logged = module.step_values
    torch.testing.assert_close(
        logged["loss"], logged["ce"] + 0.7 * logged["cm"] + logged["fix_match"]
    )


def test_the_cm_loss_follows_weight_and_ramp(batch):
    module = build(cm_weight=2.0, cm_ramp=LinearRampUp(1.0))
    step = step_of(module, batch)
    module.update_centroids(step)
    assert module.cm_loss(step) == 0  # at the start of the ramp
    module.cm_ramp = None
    torch.testing.assert_close(module.cm_loss(step), 2.0 * module.step_values["cm"])


def test_a_subclass_overrides_one_part(batch):
    class Smoothed(SSLModule):
        def cross_entropy(self, step, num_labeled):
            logits = step.labeled["weak"].logits
            return F.cross_entropy(logits, step.labels, label_smoothing=0.1)

    plain, smoothed = (build(kind, methods=(), cm_weight=0.0) for kind in (SSLModule, Smoothed))
    logits, labels = plain(batch["labeled"][0]), batch["labeled"][1]
    expected = F.cross_entropy(logits, labels, label_smoothing=0.1)
    torch.testing.assert_close(smoothed.training_step(batch), expected)
    assert plain.training_step(batch) != expected
