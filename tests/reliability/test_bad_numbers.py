"""Wrong arguments of constructors: each an error that names the argument, its value, the right."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from supercm_pl import ClusteringHead, SSLModule, SuperCMClassifier, UDAModule
from supercm_pl.backbones import MLP
from supercm_pl.data.transforms.augment import AffineNoise, FlipCrop, GaussianNoise
from supercm_pl.ssl import methods as ssl_methods
from supercm_pl.training.optim import InverseDecayLR, WarmupCosineLR
from supercm_pl.training.ramps import AdversarialRampUp, LinearRampUp, SigmoidRampUp
from supercm_pl.uda import methods as uda_methods
from supercm_pl.uda import validators

pytestmark = pytest.mark.bad_input

NAN, INF = math.nan, math.inf


def ssl(**options: Any) -> SSLModule:
    return SSLModule(**{"backbone": MLP(4, (8,)), "num_classes": 3, **options})


MODULE: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"backbone": None}, TypeError, "backbone must be an object such as MLP.* got None"),
    ({"backbone": "resnet"}, TypeError, "backbone must be an object such as MLP.* got 'resnet'"),
    ({"backbone": MLP}, TypeError, "backbone must be an object such as MLP.* got <class"),
    ({"num_classes": None}, TypeError, "num_classes must be an int, got None"),
    ({"num_classes": True}, TypeError, "num_classes must be an int, got True"),
    ({"num_classes": 1}, ValueError, "num_classes must be 2 or more, got 1"),
    ({"methods": ssl_methods.VAT}, TypeError, "a base method must be an object .* got <cla"),
    ({"methods": "VAT"}, TypeError, r"a base method must be .* VAT\(\) or DANN.* got 'VAT'"),
    ({"methods": None}, TypeError, "a base method must be an object .* got None"),
    ({"methods": [nn.Linear(2, 2)]}, TypeError, "a base method must be .* got Linear"),
    ({"methods": uda_methods.DANN()}, TypeError, "DANN is a base method .* with UDAModule"),
    ({"cm_weight": NAN}, ValueError, "cm_weight must be a number of 0 or more, got nan"),
    ({"cm_weight": "1"}, ValueError, "cm_weight must be a number of 0 or more, got '1'"),
    ({"cm_weight": None}, ValueError, "cm_weight must be a number of 0 or more, got None"),
    ({"cm_weight": True}, ValueError, "cm_weight must be a number of 0 or more, got True"),
    ({"cm_ramp": 0.5}, TypeError, r"cm_ramp must be an object such as LinearRampUp\(\), got 0.5"),
    ({"cm_ramp": LinearRampUp}, TypeError, "cm_ramp must be an object .* got <class"),
    ({"centroids": "mean"}, ValueError, "centroids must be one of .* got 'mean'"),
    ({"centroid_threshold": "0.9"}, ValueError, r"must lie in \(0, 1\), got '0.9'"),
    ({"bottleneck": 2.5}, TypeError, "bottleneck must be an int, got 2.5"),
    ({"bottleneck": 0}, ValueError, "bottleneck must be 1 or more, got 0"),
    ({"feature_size": "8", "bottleneck": 3}, TypeError, "feature_size must be an int, got '8'"),
    ({"feature_size": 0, "bottleneck": 3}, ValueError, "feature_size must be 1 or more, got 0"),
    ({"optimizer": "Adam"}, TypeError, "optimizer must be a class or function .* got 'Adam'"),
    ({"lr_scheduler": "cosine"}, TypeError, "lr_scheduler must be a class or function .*'cosine'"),
    ({"backbone_lr_factor": None}, ValueError, "backbone_lr_factor must be 0 or more, got None"),
    ({"backbone_lr_factor": NAN}, ValueError, "backbone_lr_factor must be 0 or more, got nan"),
    ({"orthonormal": "no"}, TypeError, "orthonormal must be True or False, got 'no'"),
    ({"normalize": 2}, TypeError, "normalize must be True or False, got 2"),
]


@pytest.mark.parametrize(("options", "error", "message"), MODULE)
def test_modules(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ssl(**options)


def test_an_optimizer_that_is_already_there() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(TypeError, match="optimizer must be a class or function such as torch"):
        ssl(optimizer=optimizer)


@pytest.mark.parametrize("given", ["SND", validators.SND, [uda_methods.DANN()], None])
def test_validators(given: Any) -> None:
    with pytest.raises(TypeError, match=r"a validator must be an object such as SND\(\), got"):
        UDAModule(MLP(4, (8,)), 3, validators=given)


def test_bias_of_the_head() -> None:
    with pytest.raises(TypeError, match="bias must be True or False, got 'yes'"):
        ClusteringHead(4, 3, bias="yes")  # type: ignore[arg-type]


TERMS: list[tuple[Callable[..., Any], str, tuple[Any, ...]]] = [
    *((term, "weight", ("1", None, True, NAN)) for term in (ssl_methods.VAT, uda_methods.DANN)),
    *(
        (term, "ramp", ("x", True, 2.0, NAN, max))
        for term in (ssl_methods.PiModel, uda_methods.DAN)
    ),
    (ssl_methods.FixMatch, "threshold", ("0.9", None, 95, NAN)),
    (ssl_methods.FixMatch, "temperature", ("x", 0, NAN, INF)),
    (ssl_methods.PseudoLabel, "threshold", ("x", 1.0)),
    (ssl_methods.MeanTeacher, "momentum", ("x", None, 1.0, NAN)),
    (ssl_methods.ICT, "alpha", ("x", 0, NAN)),
    (ssl_methods.VAT, "epsilon", ("x", -1, NAN)),
    (ssl_methods.VAT, "xi", ("x", 0)),
    (ssl_methods.VAT, "power_iterations", ("x", 0, 1.5, NAN, True)),
    (ssl_methods.AdaMatch, "window", ("x", 0, 1.5, None)),
    (ssl_methods.FlexMatch, "num_samples", ("x", 0, 1.5)),
    (ssl_methods.FreeMatch, "fairness_weight", ("x", -1, NAN)),
    (uda_methods.DANN, "max_reversal", ("x", -1, NAN)),
    (uda_methods.DANN, "reversal", ("x", 1.0, AdversarialRampUp)),
    (uda_methods.CDAN, "random_features", ("x", 0, NAN)),
    (uda_methods.MDD, "margin", ("x", 0.5, NAN)),
    (uda_methods.MDD, "hidden_features", ("x", 0, NAN)),
    (uda_methods.MDD, "dropout", ("x", 1.0)),
]


@pytest.mark.parametrize(
    ("term", "name", "value"),
    [
        pytest.param(term, name, value, id=f"{term.__name__}-{name}-{value}")
        for term, name, values in TERMS
        for value in values
    ],
)
def test_base_methods(term: Callable[..., Any], name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=f"{name} must .* got ") as caught:
        term(**{name: value})
    assert repr(value) in str(caught.value)


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LinearRampUp("x"), r"end must lie in \(0, 1\], got 'x'"),
        (lambda: SigmoidRampUp(NAN), r"end must lie in \(0, 1\], got nan"),
        (lambda: AdversarialRampUp(NAN), "gamma must be a number above 0, got nan"),
        (lambda: AdversarialRampUp("x"), "gamma must be a number above 0, got 'x'"),
        (lambda: WarmupCosineLR(optimizer(), 0.1), "warmup_steps must be an int, got 0.1"),
        (lambda: WarmupCosineLR(optimizer(), 0, "x"), "total_steps must be an int, got 'x'"),
        (lambda: WarmupCosineLR(optimizer(), 10, 5), "must be 5 or less, the total_steps, got 10"),
        (lambda: WarmupCosineLR(optimizer(), 0, 5, "x"), r"must lie in \[0, 1\], got 'x'"),
        (lambda: InverseDecayLR(optimizer(), NAN), "gamma must be a number of 0 or more, got nan"),
        (lambda: InverseDecayLR(optimizer(), 1, INF), "power must be a number .* got inf"),
    ],
)
def test_ramps_and_schedules(call: Callable[[], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call()


IMAGES = torch.rand(2, 3, 8, 8)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: AffineNoise(rotation=float("nan")), ValueError, "rotation must be 0 or more"),
        (lambda: AffineNoise(rotation=float("inf")), ValueError, "rotation must be 0 or more"),
        (lambda: GaussianNoise(float("nan")), ValueError, "deviation must be 0 or more, got nan"),
        (lambda: GaussianNoise(float("inf")), ValueError, "deviation must be 0 or more, got inf"),
        (lambda: FlipCrop(padding=1.5), ValueError, "padding must be 0 or more pixels, got 1.5"),
        (lambda: FlipCrop(8)(IMAGES), ValueError, "padding must be smaller than the image's sides"),
        (lambda: FlipCrop()([1]), TypeError, r"images must be a tensor \(B, C, H, W\), got list"),
        (lambda: AffineNoise()(IMAGES[0]), ValueError, r"takes images \(B, C, H, W\), got shape"),
        (lambda: AffineNoise()(IMAGES.byte()), TypeError, "floating-point tensor, got torch.uint8"),
        (lambda: GaussianNoise()(IMAGES.byte()), TypeError, "floating-point .* got torch.uint8"),
        (lambda: GaussianNoise()([1.0]), TypeError, "inputs must be a floating-point .* got list"),
    ],
)
def test_transforms(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


ROWS = np.random.default_rng(0).normal(size=(40, 3))
LABELS = np.where(np.arange(40) < 8, np.arange(40) % 2, -1)


@pytest.mark.parametrize(
    ("options", "rows", "message"),
    [
        ({"cm_weight": NAN}, ROWS, "cm_weight must be finite, got nan"),
        ({"cm_weight": INF}, ROWS, "cm_weight must be finite, got inf"),
        ({"noise": NAN}, ROWS, "noise must be finite, got nan"),
        ({"learning_rate": INF}, ROWS, "learning_rate must be finite, got inf"),
        ({"alpha": NAN}, ROWS, "alpha must be finite, got nan"),
        ({"learning_rate": 1e30}, ROWS, "the loss is nan at step 1: learning_rate 1e.30 is too hi"),
        ({"standardize": False}, ROWS * 1e300, "the loss is .* values too large for standardize"),
        ({}, np.where(ROWS > 1, NAN, ROWS), "Input X contains NaN"),
        ({}, ROWS[:, 0], "Expected 2D array, got 1D array instead"),
        ({}, ROWS[:3], "inconsistent numbers of samples"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_the_estimator(options: dict[str, Any], rows: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SuperCMClassifier(**{"max_steps": 3, "random_state": 0, **options}).fit(rows, LABELS)


@pytest.mark.parametrize("weights", [None, np.ones(3)])
def test_a_score_of_other_lengths(weights: Any) -> None:
    classifier = SuperCMClassifier(max_steps=1, random_state=0).fit(ROWS, LABELS)
    labels = LABELS[:3] if weights is None else LABELS
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        classifier.score(ROWS, labels, weights)
