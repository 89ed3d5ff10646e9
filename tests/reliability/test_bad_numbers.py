"""Wrong arguments of constructors: each an error that names the argument, its value, the right."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from supercm_pl import SSLModule, UDAModule
from supercm_pl.backbones import MLP
from supercm_pl.callbacks import NonFiniteLoss
from supercm_pl.checks import shown
from supercm_pl.data import (
    ZCA,
    AffineNoise,
    Cutout,
    FlipCrop,
    GaussianNoise,
    GlobalContrastNormalization,
    RandAugment,
    StrongAugment,
)
from supercm_pl.ssl import methods as ssl_methods
from supercm_pl.training.method import Method
from supercm_pl.training.optim import InverseDecayLR, WarmupCosineLR
from supercm_pl.training.ramps import AdversarialRampUp, LinearRampUp, SigmoidRampUp
from supercm_pl.uda import methods as uda_methods
from supercm_pl.uda import validators
from tests.support.methods import SSL_METHODS, UDA_METHODS

pytestmark = pytest.mark.bad_input

NAN, INF = math.nan, math.inf
METHODS = [*SSL_METHODS.values(), *UDA_METHODS.values()]


def ssl(**options: Any) -> SSLModule:
    return SSLModule(**{"backbone": MLP(4, (8,)), "num_classes": 3, **options})


MODULE: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"backbone": None}, TypeError, "backbone must be an object such as MLP.* got None"),
    ({"backbone": "resnet"}, TypeError, "must be .* such as TorchvisionBackbone.* got 'resnet'"),
    ({"backbone": MLP}, TypeError, "backbone must be an object such as MLP.* the class MLP"),
    ({"num_classes": 3.0}, TypeError, r"num_classes must be an int, got 3\.0"),
    ({"num_classes": True}, TypeError, "num_classes must be an int, got True"),
    ({"num_classes": 1}, ValueError, "num_classes must be at least 2, got 1"),
    ({"methods": ssl_methods.VAT}, TypeError, "methods must be an object .* the class"),
    ({"methods": "VAT"}, TypeError, r"methods must be .* VAT\(\) or DANN.* got 'VAT'"),
    ({"methods": None}, TypeError, "methods must be an object .* got None"),
    ({"methods": [nn.Linear(2, 2)]}, TypeError, "methods must be .* got Linear"),
    ({"methods": uda_methods.DANN()}, TypeError, "DANN is a method .* with UDAModule"),
    ({"cm_weight": -1.0}, ValueError, "cm_weight must be at least 0, got -1.0"),
    ({"cm_weight": NAN}, ValueError, "cm_weight must be finite, got nan"),
    ({"cm_weight": "1"}, TypeError, "cm_weight must be a number, got '1'"),
    ({"cm_weight": None}, TypeError, "cm_weight must be a number, got None"),
    ({"cm_weight": True}, TypeError, "cm_weight must be a number, got True"),
    ({"cm_ramp": 0.5}, TypeError, r"cm_ramp must be an object such as LinearRampUp\(\), got 0.5"),
    ({"cm_ramp": LinearRampUp}, TypeError, "cm_ramp must be an object .* the class"),
    ({"centroid_threshold": 1.0}, ValueError, r"centroid_threshold must be in \(0, 1\), got 1.0"),
    ({"centroid_threshold": "0.9"}, TypeError, "must be a number, got '0.9'"),
    ({"bottleneck": 2.5}, TypeError, "bottleneck must be an int, got 2.5"),
    ({"bottleneck": 0}, ValueError, "bottleneck must be at least 1, got 0"),
    ({"feature_size": "8", "bottleneck": 3}, TypeError, "feature_size must be an int, got '8'"),
    ({"feature_size": 0, "bottleneck": 3}, ValueError, "feature_size must be at least 1, got 0"),
    ({"optimizer": "Adam"}, TypeError, "optimizer must be a class or function, got 'Adam'"),
    ({"lr_scheduler": "cosine"}, TypeError, "lr_scheduler must be a class or function, .*'cosin"),
    ({"backbone_lr_factor": -1.0}, ValueError, "backbone_lr_factor must be at least 0, got -1.0"),
    ({"backbone_lr_factor": None}, TypeError, "backbone_lr_factor must be a number, got None"),
    ({"backbone_lr_factor": NAN}, ValueError, "backbone_lr_factor must be finite, got nan"),
    ({"compile_mode": "fast"}, ValueError, "compile_mode must be one of .*'default'.*got 'fast'"),
    ({"normalize": 2}, TypeError, "normalize must be True or False, got 2"),
]


@pytest.mark.parametrize(("options", "error", "message"), MODULE)
def test_modules(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ssl(**options)


def test_an_optimizer_that_is_already_there() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(TypeError, match="optimizer must be a class or function, got an object"):
        ssl(optimizer=optimizer)


@pytest.mark.parametrize("given", ["SND", validators.SND, [uda_methods.DANN()], None])
def test_validators(given: Any) -> None:
    with pytest.raises(TypeError, match=r"validators must be an object such as SND\(\), got"):
        UDAModule(MLP(4, (8,)), 3, validators=given)


# Bad values of every argument of every method, by the name of the argument.
FLAG = ("x", None, 1)
METHOD_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "weight": ("1", None, True, NAN, INF, -1.0),
    "ramp": ("x", True, 0.0, 1.5, NAN, max),
    "alpha": ("x", None, 0, NAN, INF),
    "batch_norm": FLAG,
    "dropout": ("x", 1.0, -0.1),
    "duration": ("x", None, 0.0, 1.1, NAN),
    "entropy": FLAG,
    "epsilon": ("x", 0.0, -1, NAN, INF),
    "estimator": ("median", None),
    "fairness_weight": ("x", -0.1, NAN),
    "learning_rate": ("x", 0.0, -1, NAN, INF),
    "layers": ((), "logits", ("features", "features"), ("fc8",)),
    "margin": ("x", 0.5, NAN),
    "max_reversal": ("x", -1.0, NAN),
    "neighbors": ("x", None, 0, 1.5),
    "momentum": ("x", None, -0.1, 1.0, NAN),
    "multiples": ((), (1.0, -1.0), (0.0,), ("x",)),
    "num_samples": ("x", 0, 1.5),
    "num_sigmas": ("x", 0.0, NAN),
    "power_iterations": ("x", 0, 1.5, NAN, True),
    "pretrain": ("x", 0.0, 1.0, NAN),
    "probability_bandwidth": ("x", 0.0),
    "radius": ("x", -25.0),
    "random_features": ("x", 0, NAN),
    "randomized": ("x", 1),
    "reversal": ("x", 1.0, 0, True, AdversarialRampUp),
    "step_size": ("x", 0.0),
    "temperature": ("x", 0, -1.0, NAN, INF),
    "threshold": ("0.9", None, 0.0, 1.0, 95, NAN),
    "tsa": ("cosine", None),
    "uniform_alignment": FLAG,
    "variant": ("soft", None),
    "warm_up": FLAG,
    "window": ("x", 0, 1.5, None),
    "xi": ("x", 0),
}


def test_no_argument_of_a_method_is_left_out() -> None:
    names = {name for kind in METHODS for name in inspect.signature(kind).parameters}
    assert names - {"hidden_features"} == set(METHOD_ARGUMENTS)


@pytest.mark.parametrize(
    ("method", "name", "value"),
    [
        pytest.param(kind, name, value, id=f"{kind.__module__}.{kind.__name__}-{name}-{value}")
        for kind in METHODS
        for name in inspect.signature(kind).parameters
        for value in METHOD_ARGUMENTS.get(name, ("x", 0) if kind is uda_methods.MDD else ((0,),))
    ],
)
def test_methods(method: type[Method], name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=f"{name} must .* got ") as caught:
        method(**{name: value})
    parts = value[-1:] if isinstance(value, tuple) else ()
    assert any(shown(each) in str(caught.value) for each in (value, *parts))


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LinearRampUp(0.0), "end must be .*0.0"),
        (lambda: LinearRampUp(1.1), "end must be .*1.1"),
        (lambda: LinearRampUp("x"), "end must be a number, got 'x'"),
        (lambda: SigmoidRampUp(NAN), "end must be finite, got nan"),
        (lambda: AdversarialRampUp(NAN), "gamma must be finite, got nan"),
        (lambda: AdversarialRampUp("x"), "gamma must be a number, got 'x'"),
        (lambda: WarmupCosineLR(optimizer(), -1), "warmup_steps.*got -1"),
        (lambda: WarmupCosineLR(optimizer(), 0, 0), "total_steps.*got 0"),
        (lambda: WarmupCosineLR(optimizer(), 0, 5, 1.5), "final_factor.*got 1.5"),
        (lambda: WarmupCosineLR(optimizer(), 0.1), "warmup_steps must be an int, got 0.1"),
        (lambda: WarmupCosineLR(optimizer(), 0, "x"), "total_steps must be an int, got 'x'"),
        (lambda: WarmupCosineLR(optimizer(), 10, 5), "must be at most the total_steps, 5, got 10"),
        (lambda: WarmupCosineLR(optimizer(), 0, 5, "x"), "final_factor must be a number, got 'x'"),
        (lambda: NonFiniteLoss("ignore"), "action must be one of 'stop', 'skip', got 'ignore'"),
        (lambda: NonFiniteLoss(check_every_n_steps=0), "check_every_n_steps must be at least 1"),
        (lambda: NonFiniteLoss("skip", max_consecutive=0), "max_consecutive must be at least 1"),
        (lambda: InverseDecayLR(optimizer(), NAN), "gamma must be finite, got nan"),
        (lambda: InverseDecayLR(optimizer(), 1, INF), "power must be finite, got inf"),
    ],
)
def test_ramps_schedules_and_callbacks(call: Callable[[], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call()


IMAGES = torch.rand(2, 3, 8, 8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AffineNoise(rotation=NAN), "rotation must be finite"),
        (lambda: AffineNoise(rotation=INF), "rotation must be finite"),
        (lambda: AffineNoise(rotation=-1.0), "rotation must be at least 0, got -1.0"),
        (lambda: AffineNoise(shift=1.5), r"shift must be in \[0, 1\], got 1.5"),
        (lambda: AffineNoise(scale=1.0), r"scale must be in \[0, 1\), got 1.0"),
        (lambda: AffineNoise(noise=-0.1), "noise must be at least 0, got -0.1"),
        (lambda: AffineNoise(padding_mode="wrap"), "padding_mode must be .* got 'wrap'"),
        (lambda: AffineNoise()(IMAGES[0]), r"takes images \(B, C, H, W\), got shape"),
        (lambda: AffineNoise()(IMAGES.byte()), "floating-point tensor, got torch.uint8"),
        (lambda: GaussianNoise(NAN), "std must be finite, got nan"),
        (lambda: GaussianNoise(INF), "std must be finite, got inf"),
        (lambda: GaussianNoise()(IMAGES.byte()), "floating-point .* got torch.uint8"),
        (lambda: GaussianNoise()([1.0]), "inputs must be a floating-point .* got list"),
        (lambda: FlipCrop(padding=1.5), "padding must be an int, got 1.5"),
        (lambda: FlipCrop(-1), "padding must be .*0.*, got -1"),
        (lambda: FlipCrop(flip=2.0), r"flip must be in \[0, 1\], got 2.0"),
        (lambda: FlipCrop(8)(IMAGES), "padding must be smaller .* got 8 for .* 8 x 8"),
        (lambda: FlipCrop()([1]), r"images must be a tensor \(B, C, H, W\), got list"),
        (lambda: FlipCrop()(torch.rand(4, 64)), r"takes images .* got shape \(4, 64\)"),
        (lambda: RandAugment(0), "num_ops must be at least 1, got 0"),
        (lambda: RandAugment(magnitude=11), r"magnitude must be in \[0, 10\], got 11"),
        (lambda: RandAugment(operations=["shear"]), "operations must be .*shear_x.* got 'shear'"),
        (lambda: RandAugment(operations=[]), "operations must name at least one"),
        (lambda: RandAugment()(IMAGES[0]), "takes images .* got shape"),
        (lambda: RandAugment()(IMAGES[:, :2]), r"1 or 3 channels, got shape \(2, 2,"),
        (lambda: RandAugment()(IMAGES.byte()), "floating-point images .* torch.uint8"),
        (lambda: Cutout(1.5), r"size must be in \[0, 1\], got 1.5"),
        (lambda: Cutout(fill=2.0), r"fill must be in \[0, 1\], got 2.0"),
        (lambda: Cutout()(IMAGES[0]), "takes images .* got shape"),
        (lambda: StrongAugment(cutout=-1.0), r"size must be in \[0, 1\], got -1.0"),
        (lambda: GlobalContrastNormalization(0.0), "scale must be greater than 0, got 0.0"),
        (lambda: GlobalContrastNormalization(bias=-1.0), "bias must be at least 0, got -1.0"),
        (lambda: ZCA(-0.1), "epsilon must be at least 0, got -0.1"),
        (lambda: ZCA().fit(IMAGES[:1]), "two images or more, got 1"),
        (lambda: ZCA().fit([]), "two images or more, got 0"),
        (lambda: ZCA().fit(torch.rand(5, 3)), r"got shape \(5, 3\)"),
        (lambda: ZCA().fit(IMAGES * NAN), "NaN or Inf"),
        (lambda: ZCA(0.0).fit(IMAGES), "no variance in some direction"),
        (lambda: ZCA().fit([IMAGES, IMAGES[..., 1:]]), r"one shape, got .*8, 8\) and .*8, 7\)"),
        (lambda: ZCA().fit(IMAGES)(IMAGES[..., 1:]), r"fitted on images of shape .*8, 8\), got"),
    ],
)
def test_transforms(call: Callable[[], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call()
