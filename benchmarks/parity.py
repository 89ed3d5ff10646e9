"""Losses and gradients of the methods beside public reference code, on the same small tensors.

``CASES`` has our side of every method; ``benchmarks/parity_references.py`` calls the reference
code, from checkouts that you have (none of it is part of this repository). The values that the
references gave are kept in ``tests/files/parity.json``, with repository, commit and file, and
tested there without them.

    git clone https://github.com/thuml/Transfer-Learning-Library DIR/Transfer-Learning-Library
    git clone https://github.com/microsoft/Semi-supervised-learning DIR/Semi-supervised-learning
    pip install pot pytorch-metric-learning  # for validators of skada and pytorch-adapt
    python -m benchmarks.parity --references DIR [--write tests/files/parity.json]
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from supercm_pl.clustering import ClusteringHead
from supercm_pl.ssl.methods import (
    ICT,
    UDA,
    VAT,
    AdaMatch,
    EntropyMinimization,
    FixMatch,
    FlexMatch,
    FreeMatch,
    MeanTeacher,
    MixMatch,
    PiModel,
    PseudoLabel,
    SoftMatch,
)
from supercm_pl.training.method import Method
from supercm_pl.training.step import Outputs
from supercm_pl.uda import validators
from supercm_pl.uda.methods import ADDA, AFN, BNM, CDAN, DAN, DANN, JAN, MCC, MCD, MDD, DeepCORAL
from supercm_pl.uda.step import UDAStep
from supercm_pl.uda.validators.risk import density_weights

RECORDED = Path("tests/files/parity.json")
SAMPLES, FEATURES, CLASSES, STEPS = 6, 4, 3, 5

Result = list[float]
"""The value of a loss, and two numbers of each of its gradients."""


def values(*shape: int, seed: int, scale: float = 2.0) -> Tensor:
    """Return numbers that look random and are the same everywhere, in float64."""
    numbers = torch.arange(1, math.prod(shape) + 1, dtype=torch.float64) + 97 * seed
    return scale * torch.sin(numbers.square() * 0.7310).reshape(shape)


def result(loss: Tensor, inputs: Sequence[Tensor]) -> Result:
    """Return the loss, and two numbers of its gradient with respect to each input."""
    gradients = torch.autograd.grad(loss, inputs, allow_unused=True, retain_graph=True)
    return [loss.item(), *(number for g in gradients for number in numbers_of(g))]


def numbers_of(gradient: Tensor | None) -> Result:
    """Return the norm of a gradient, and its distance to a vector of that norm.

    The norm alone has neither sign nor direction.
    """
    if gradient is None:
        return [0.0, 0.0]
    norm, other = gradient.norm(), values(*gradient.shape, seed=90).to(gradient.dtype)
    return [norm.item(), (gradient - norm * other / other.norm()).norm().item()]


def leaves(count: int, columns: int = CLASSES, seed: int = 0, scale: float = 2.0) -> list[Tensor]:
    """Return ``count`` matrices with gradients."""
    made = (values(SAMPLES, columns, seed=seed + i, scale=scale) for i in range(count))
    return [tensor.requires_grad_() for tensor in made]


def outputs(logits: Tensor, features: Tensor | None = None) -> Outputs:
    features = logits if features is None else features
    return Outputs(features, features, logits, logits.softmax(dim=1))


def step_of(labeled: dict[str, Outputs], unlabeled: dict[str, Outputs], **known: object) -> UDAStep:
    """Return a step with these outputs, half of a run in."""
    given = {
        "labels": torch.arange(SAMPLES) % CLASSES,
        "labeled": labeled,
        "unlabeled": unlabeled,
        "labeled_inputs": {view: part.inputs for view, part in labeled.items()},
        "unlabeled_inputs": {view: part.inputs for view, part in unlabeled.items()},
        "progress": 0.5,
        "extra_forward": outputs,
        "forward_frozen_bn": outputs,
        "num_source": SAMPLES,
        "numbers": torch.arange(SAMPLES),
        "num_unlabeled": SAMPLES,
        **known,
    }
    return UDAStep(**given)  # type: ignore[arg-type]


def head_of() -> ClusteringHead:
    head = ClusteringHead(FEATURES, CLASSES).double()
    with torch.no_grad():
        head.classifier.weight.copy_(values(CLASSES, FEATURES, seed=50, scale=0.8))
        head.classifier.bias.copy_(values(CLASSES, seed=51, scale=0.3))
    return head


def views_of(method: Method, steps: int = 1, scale: float = 3.0) -> Result:
    """Return the result of the last of several steps of a method of weak and strong views."""
    method.build(nn.Identity(), head_of())
    method.double()
    for number in range(steps):
        weak, strong = leaves(2, seed=2 * number, scale=scale)
        loss = method(step_of({}, {"weak": outputs(weak), "strong": outputs(strong)})).loss
    return result(loss, [strong])


def domains_of(method: Method) -> Result:
    """Return the result of a method of both domains, by the gradients of their features."""
    return result(*_domain_loss(method))


def _domain_loss(method: Method) -> tuple[Tensor, list[Tensor]]:
    head = head_of()
    method.build(nn.Identity(), head)
    method.double()
    set_parameters(method)
    source, target = leaves(2, FEATURES)
    both = [outputs(head(x).logits, x) for x in (source, target)]
    return method(step_of({"weak": both[0]}, {"weak": both[1]})).loss, [source, target]


def set_parameters(module: nn.Module) -> None:
    """Give the parameters the same numbers on both sides."""
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.copy_(values(*parameter.shape, seed=60 + number, scale=0.5))


def pi_model() -> Result:
    first, second = leaves(2)
    loss = PiModel()(step_of({}, {"weak": outputs(first), "weak_2": outputs(second)})).loss
    return result(loss, [first])


def cutoff() -> float:
    """The confidence of one of the samples, which a threshold must include."""
    return leaves(1, scale=3.0)[0].softmax(1).amax(1).median().item()


def pseudo_label(method: Method) -> Result:
    (weak,) = leaves(1, scale=3.0)
    return result(method(step_of({}, {"weak": outputs(weak)})).loss, [weak])


class Fixed(nn.Module):
    """A linear model with given weights."""

    def __init__(self, seed: int, columns: int = FEATURES) -> None:
        super().__init__()
        self.weight = values(CLASSES, columns, seed=seed, scale=0.8)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits ``(N, K)``."""
        return inputs.flatten(1) @ self.weight.T


def mean_teacher() -> Result:
    (weak,) = leaves(1)
    method = MeanTeacher()
    method.teacher = Fixed(40)  # type: ignore[assignment]
    again = values(SAMPLES, FEATURES, seed=41)
    step = step_of({}, {"weak": outputs(weak)}, unlabeled_inputs={"weak_2": again})
    return result(method(step).loss, [weak])


def images() -> Tensor:
    return values(SAMPLES, 1, 2, 2, seed=42)


def vat() -> Result:
    weight = values(CLASSES, 4, seed=43, scale=0.8).requires_grad_()

    def run(inputs: Tensor) -> Outputs:
        return outputs(inputs.flatten(1) @ weight.T)

    step = step_of(
        {}, {}, unlabeled_inputs={"weak": images()}, extra_forward=run, forward_frozen_bn=run
    )
    noise = values(SAMPLES, 1, 2, 2, seed=44)
    with patch("torch.randn_like", lambda tensor: noise):
        loss = VAT(epsilon=2.0, xi=1e-4)(step).loss
    return result(loss, [weight])


SHARE, ORDER = 0.3, [2, 0, 5, 1, 4, 3]


def ict() -> Result:
    weight = values(CLASSES, FEATURES, seed=45, scale=0.8).requires_grad_()
    method = ICT()
    method.teacher = Fixed(46)  # type: ignore[assignment]
    inputs = values(SAMPLES, FEATURES, seed=47)
    step = step_of(
        {},
        {},
        unlabeled_inputs={"weak": inputs},
        extra_forward=lambda mixed: outputs(mixed @ weight.T),
    )
    with (
        patch("torch.distributions.Beta.sample", lambda self: torch.tensor(SHARE)),
        patch("torch.randperm", lambda count, device=None: torch.tensor(ORDER)),
    ):
        return result(method(step).loss, [weight])


def mixmatch() -> Result:
    weight = values(CLASSES, FEATURES, seed=48, scale=0.8).requires_grad_()
    labeled, first, second = (values(SAMPLES, FEATURES, seed=seed) for seed in (1, 2, 3))

    def run(inputs: Tensor) -> Outputs:
        return outputs(inputs @ weight.T)

    step = step_of(
        {},
        {},
        labeled_inputs={"weak": labeled},
        unlabeled_inputs={"weak": first, "weak_2": second},
        extra_forward=run,
        forward_frozen_bn=run,
    )
    module = "supercm_pl.ssl.components.mix_up"
    with (
        patch(f"{module}.own_shares", lambda n, alpha, device: torch.full((n,), 1 - SHARE)),
        patch("torch.randperm", lambda count, device=None: torch.arange(count).roll(7)),
    ):
        value = MixMatch()(step)
    assert value.supervised is not None
    return [*result(value.supervised, [weight]), *result(value.loss, [weight])]


def interpolated(logits: Tensor) -> Tensor:
    """Labeled logits of AdaMatch, if those of the pass without unlabeled samples are halves."""
    return SHARE * logits + (1 - SHARE) * 0.5 * logits


def adamatch() -> Result:
    labeled, weak, strong, labeled_strong = leaves(4, scale=3.0)
    method = AdaMatch(window=1)
    method.build(nn.Identity(), head_of())
    method.double()
    step = step_of(
        {"weak": outputs(labeled), "strong": outputs(labeled_strong)},
        {"weak": outputs(weak), "strong": outputs(strong)},
        forward_frozen_bn=lambda inputs: outputs(0.5 * inputs),
    )
    with patch("torch.rand_like", lambda tensor: torch.full_like(tensor, SHARE)):
        value = method(step)
    assert value.supervised is not None
    parts = [labeled, labeled_strong]
    return [*result(value.supervised, parts), *result(value.loss, [strong])]


def mdd() -> Result:
    method = MDD(dropout=0.0, hidden_features=5, max_reversal=0.0)
    loss, _ = _domain_loss(method)
    return result(loss, list(method.classifier.parameters()))


def adda() -> Result:
    method = ADDA(hidden_features=(5,))
    head = head_of()
    method.build(nn.Identity(), head)
    method.double()
    set_parameters(method.discriminator)
    method._set_stage(adapting=True)
    source, target = leaves(2, FEATURES)
    both = [outputs(head(x).logits, x) for x in (source, target)]
    loss = method(step_of({"weak": both[0]}, {"weak": both[1]})).loss
    return result(loss, [target, *method.discriminator.parameters()])


def mcd() -> Result:
    method = MCD(max_reversal=0.0)
    head = head_of()
    method.build(nn.Identity(), head)
    method.double()
    set_parameters(method.classifier)
    source, target = leaves(2, FEATURES)
    both = [outputs(head(x).logits, x) for x in (source, target)]
    loss = method(step_of({"weak": both[0]}, {"weak": both[1]})).loss
    return result(loss, [*head.classifier.parameters(), *method.classifier.parameters()])


def target_only(method: Method) -> Result:
    (logits,) = leaves(1)
    other = outputs(values(SAMPLES, CLASSES, seed=9))
    return result(method(step_of({"weak": other}, {"weak": outputs(logits)})).loss, [logits])


def validate(validator: validators.Validator) -> Result:
    logits = values(SAMPLES, CLASSES, seed=3)
    labels = (torch.arange(SAMPLES) + 2) % CLASSES
    head = ClusteringHead(FEATURES, CLASSES, alpha=1.2)
    with torch.no_grad():
        head.centroids.copy_(values(CLASSES, FEATURES, seed=4))
        head.centroid_updates.fill_(1)
    features, assignments = values(SAMPLES, FEATURES, seed=3), logits.softmax(dim=1)
    validator.update(features, assignments, labels, domain="source")
    validator.update(features, assignments, domain="target", head=head)
    return [validator.compute().item()]


def domain_features() -> tuple[Any, Any]:
    """Return features of the source and of more target samples.

    The first is taken for the logarithm of the odds that a sample is from the target.
    """
    both = values(2 * SAMPLES + 3, FEATURES, seed=7).numpy()
    return both[:SAMPLES], both[SAMPLES:]


def dev_weights() -> Result:
    with patch("sklearn.model_selection.cross_val_predict", lambda model, x, *_, **__: x[:, 0]):
        found: Result = density_weights(*domain_features()).tolist()
    return found


def iwcv() -> Result:
    weights = values(SAMPLES, seed=5).exp().numpy()
    losses = (values(SAMPLES, seed=6) > 0).double().numpy()
    return [validators.IWCV()._risk(weights / weights.mean(), losses)]


def dev() -> Result:
    weights = values(SAMPLES, seed=5).exp().numpy()
    losses = (values(SAMPLES, seed=6) > 0).double().numpy()
    return [validators.DEV()._risk(weights, losses)]


def cdan_randomized() -> Result:
    with patch("torch.randn", projection):
        return domains_of(CDAN(randomized=True, random_features=RANDOM, **ADVERSARIAL))


RANDOM, RADIUS = 7, 2.0


def projection(*shape: int) -> Tensor:
    """Stands in for the normal numbers of a random projection."""
    return values(*shape, seed=80)


ADVERSARIAL: dict[str, Any] = {"hidden_features": (5,), "batch_norm": False, "max_reversal": 1.0}
# Their bandwidth is a mean over all pairs, of a sample with itself too; ours over distinct ones.
PAIRS = (2 * SAMPLES - 1) / (2 * SAMPLES)
MULTIPLES = [2.0**k * PAIRS for k in range(-2, 3)]

CASES: dict[str, Callable[[], Result]] = {
    "PiModel": pi_model,
    "PseudoLabel": lambda: pseudo_label(PseudoLabel(threshold=0.8)),
    "MeanTeacher": mean_teacher,
    "VAT": vat,
    "EntropyMinimization": lambda: pseudo_label(EntropyMinimization()),
    "ICT": ict,
    "MixMatch": mixmatch,
    "UDA": lambda: views_of(UDA()),
    "FixMatch": lambda: views_of(FixMatch(threshold=cutoff())),
    "FlexMatch": lambda: views_of(FlexMatch(threshold=0.8), STEPS),
    "FreeMatch": lambda: views_of(FreeMatch(momentum=0.9), STEPS),
    "SoftMatch": lambda: views_of(SoftMatch(momentum=0.9), STEPS),
    "AdaMatch": adamatch,
    "DANN": lambda: domains_of(DANN(**ADVERSARIAL)),
    "ADDA": adda,
    "CDAN": lambda: domains_of(CDAN(randomized=False, **ADVERSARIAL)),
    "CDAN, randomized": cdan_randomized,
    "CDAN+E": lambda: domains_of(CDAN(randomized=False, entropy=True, **ADVERSARIAL)),
    "DAN": lambda: domains_of(DAN(multiples=MULTIPLES)),
    "DAN, linear": lambda: domains_of(DAN(multiples=MULTIPLES, estimator="linear")),
    "JAN": lambda: domains_of(JAN(multiples=MULTIPLES, probability_bandwidth=2 * 0.92**2)),
    "DeepCORAL": lambda: domains_of(DeepCORAL(layers=["features"])),
    "MCD": mcd,
    "MDD": mdd,
    "MCC": lambda: target_only(MCC()),
    "AFN": lambda: domains_of(AFN()),
    "AFN, hard": lambda: domains_of(AFN(variant="hard", radius=RADIUS)),
    "BNM": lambda: target_only(BNM()),
    "validator Entropy": lambda: validate(validators.Entropy()),
    "validator InformationMaximization": lambda: validate(validators.InformationMaximization()),
    "validator BatchNuclearNorm": lambda: validate(validators.BatchNuclearNorm()),
    "validator DEV": dev,
    "validator DEV, weights": dev_weights,
    "validator IWCV": iwcv,
    "validator SND": lambda: validate(validators.SND()),
    "validator SND, authors": lambda: validate(validators.SND()),
    "validator SourceAccuracy": lambda: validate(validators.SourceAccuracy()),
    "validator TargetClusteringLoss": lambda: validate(validators.TargetClusteringLoss()),
}


def main() -> None:
    from benchmarks.parity_references import REFERENCES, Checkouts

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--references", type=Path, required=True, help="folder of the checkouts")
    parser.add_argument("--write", type=Path, help="record what the references give in this file")
    given = parser.parse_args()

    checkouts = Checkouts(given.references)
    print("| case | reference | largest relative difference |\n| --- | --- | --- |")
    recorded = json.loads(RECORDED.read_text())
    for name, reference in REFERENCES.items():
        try:
            theirs = reference.run(checkouts)
        except (FileNotFoundError, ImportError) as error:
            print(f"| {name} | {error} | |")
            continue
        ours = CASES[name]()
        recorded[name] = {**reference.about(checkouts), "values": theirs}
        print(f"| {name} | {reference.repository} | {difference(ours, theirs):.1e} |", flush=True)
    if given.write:
        known = {name: recorded[name] for name in REFERENCES if name in recorded}
        given.write.write_text(json.dumps(known, indent=1) + "\n")


def difference(ours: Result, theirs: Result) -> float:
    """Return the largest difference, relative to the larger of theirs and 1e-3."""
    pairs = zip(ours, theirs, strict=True)
    return max(abs(one - other) / max(abs(other), 1e-3) for one, other in pairs)


if __name__ == "__main__":
    main()
