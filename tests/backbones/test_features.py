"""The feature size is read off the backbone, or asked for."""

import re

import pytest
import torch
import torchvision
from torch import nn

from supercm_pl import SSLDataModule, SSLModule
from supercm_pl.backbones import MLP, ConvNet
from supercm_pl.backbones.features import feature_size
from tests.support.trainers import quiet_trainer


class _Opaque(nn.Module):
    pass


class _Timm(nn.Module):
    num_features = 7


@pytest.mark.parametrize(
    ("backbone", "inputs"),
    [
        (ConvNet(3, widths=(4, 6)), torch.zeros(2, 3, 8, 8)),
        (MLP(5, (3, 9)), torch.zeros(2, 5)),
        (nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout()), torch.zeros(2, 4)),
        (
            nn.Sequential(nn.Linear(4, 6), nn.Sequential(nn.Linear(6, 2), nn.ReLU())),
            torch.zeros(2, 4),
        ),
    ],
)
def test_agrees_with_what_the_backbone_returns(backbone, inputs):
    assert feature_size(backbone) == backbone(inputs).shape[1]


def test_reads_the_attribute_of_timm_models():
    assert feature_size(_Timm()) == 7


@pytest.mark.bad_input
def test_says_what_to_do_where_it_cannot_tell():
    with pytest.raises(ValueError, match=r"_Opaque.*feature_size="):
        feature_size(_Opaque())


@pytest.mark.bad_input
@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_a_network_with_its_classifier_is_refused(library: str) -> None:
    if library == "timm":
        timm = pytest.importorskip("timm", reason="timm is not installed")
        pooled, plain, backbone = (
            timm.create_model("resnet10t", **options)
            for options in ({"num_classes": 0}, {"num_classes": 0, "global_pool": ""}, {})
        )
        message = r"ResNet has its classifier: write backbone.fc = .*=512, or TimmBackbone\("
        SSLModule(pooled, 3)(torch.zeros(2, 3, 32, 32))
        with pytest.raises(ValueError, match=r"512\), got \(2, 512, 1, 1\) .*: write nn.Seq"):
            SSLModule(plain, 3)(torch.zeros(2, 3, 32, 32))
    else:
        backbone = torchvision.models.mobilenet_v2()
        message = r"backbone.classifier\[1\] = nn.Identity\(\) and feature_size=1280, or Torchv"
    for size in (None, 512, 1000):
        with pytest.raises(ValueError, match=message):
            SSLModule(backbone, 3, feature_size=size)
    with pytest.raises(TypeError, match=rf"such as {library.title()}Backbone\(\"resnet10t\"\)"):
        SSLModule("resnet10t" if library == "torchvision" else "timm/resnet10t", 3)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 8)),
            "does not fit inputs of shape (1, 8, 8): a convolution requires 3 channels",
        ),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(100, 8)),
            "does not fit inputs of shape (1, 8, 8): a linear layer requires 100 values, got 64",
        ),
    ],
    ids=["channels", "values"],
)
def test_a_backbone_that_does_not_fit_the_inputs(backbone: nn.Module, message: str) -> None:
    trainer = quiet_trainer(max_steps=1)
    with pytest.raises(ValueError, match=re.escape(f"backbone Sequential {message}")):
        trainer.fit(SSLModule(backbone), SSLDataModule(labels_per_class=2))
