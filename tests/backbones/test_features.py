"""The feature size is read off the backbone, or asked for."""

import pytest
import torch
from torch import nn

from supercm_pl.backbones import MLP, ConvNet
from supercm_pl.backbones.features import feature_size


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
