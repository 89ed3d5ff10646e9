"""The networks of the package map inputs to (N, d) features."""

from functools import partial

import pytest
import torch

from supercm_pl.backbones import MLP, ConvNet, Embeddings, ResNet18, WideResNet


@pytest.mark.parametrize("size", [8, 16, 28, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_convnet_takes_small_images_of_any_size(size, channels):
    backbone = ConvNet(channels, widths=(4, 8, 16))
    features = backbone(torch.rand(3, channels, size, size))
    assert features.shape == (3, backbone.out_features)
    assert backbone.out_features == 16


def test_convnet_projects_to_the_features_asked_for():
    backbone = ConvNet(1, widths=(4, 8), out_features=3)
    assert backbone(torch.rand(5, 1, 8, 8)).shape == (5, 3)
    assert backbone.out_features == 3


def test_convnet_trains_every_parameter():
    backbone = ConvNet(1, widths=(4, 8))
    backbone(torch.rand(6, 1, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in backbone.parameters())


def test_mlp_takes_vectors_and_flattens_images():
    assert MLP(64, (32, 16))(torch.rand(3, 64)).shape == (3, 16)
    assert MLP(64, (32,))(torch.rand(3, 1, 8, 8)).shape == (3, 32)


@pytest.mark.bad_input
def test_wrong_images_are_named():
    backbone = ConvNet(3, widths=(4, 8, 16))
    with pytest.raises(ValueError, match=r"\(N, 3, H, W\).*got \(2, 1, 8, 8\)"):
        backbone(torch.rand(2, 1, 8, 8))
    with pytest.raises(ValueError, match=r"4 or more, got \(2, 3, 3, 8\)"):
        backbone(torch.rand(2, 3, 3, 8))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (ConvNet, "in_channels", 0),
        (ConvNet, "widths", ()),
        (ConvNet, "widths", (4, 0)),
        (ConvNet, "layers_per_block", 0),
        (ConvNet, "out_features", 0),
        (MLP, "in_features", 0),
        (partial(MLP, 4), "hidden_features", ()),
        (partial(MLP, 4), "dropout", 1.0),
        (ResNet18, "in_channels", 0),
        (ResNet18, "width", 0),
        (WideResNet, "depth", 27),
        (WideResNet, "depth", 4),
        (WideResNet, "width", 0),
        (WideResNet, "in_channels", 0),
        (WideResNet, "batch_norm_momentum", 0.0),
    ],
)
def test_a_value_out_of_range_is_named(kind, name, value):
    with pytest.raises(ValueError, match=name):
        kind(**{name: value})


def test_wide_resnet_28_2_is_the_published_one():
    backbone = WideResNet()
    assert backbone(torch.rand(2, 3, 32, 32)).shape == (2, 128)
    with_classifier = sum(p.numel() for p in backbone.parameters()) + 128 * 10 + 10
    assert with_classifier == 1_467_610  # as printed by implementations of FixMatch
    assert len([m for m in backbone.modules() if isinstance(m, torch.nn.Conv2d)]) == 28
    norm = next(m for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert (norm.momentum, norm.eps) == (0.001, 0.001)


def test_wide_resnet_28_8_has_the_parameters_counted_by_hand():
    # Stem; then for each group its first unit, with a shortcut of 1×1, and three units like it
    # inside; the batch norms with two parameters for each channel of the inputs of convolutions.
    channels, expected = 16, 3 * 16 * 9
    for group in (128, 256, 512):
        expected += 2 * channels + channels * group * 9 + 2 * group + group * group * 9
        expected += channels * group
        expected += 3 * 2 * (2 * group + group * group * 9)
        channels = group
    expected += 2 * channels
    backbone = WideResNet(width=8)
    assert backbone.out_features == 512
    assert sum(p.numel() for p in backbone.parameters()) == expected == 23_354_842 - 512 * 10 - 10


def test_resnet18_is_the_usual_one_for_small_images():
    backbone = ResNet18()
    with torch.no_grad():
        assert backbone(torch.rand(2, 3, 32, 32)).shape == (2, 512)
    with_classifier = sum(p.numel() for p in backbone.parameters()) + 512 * 10 + 10
    assert with_classifier == 11_173_962  # as counted for CIFAR-10 elsewhere
    convolutions = [m for m in backbone.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len([m for m in convolutions if m.kernel_size == (3, 3)]) == 17


def test_resnet18_is_torchvisions_behind_the_stem():
    from torchvision.models import resnet18

    backbone, other = ResNet18(width=64).eval(), resnet18().eval()
    stem, _, *blocks = backbone.layers
    theirs = [block for stage in range(1, 5) for block in getattr(other, f"layer{stage}")]
    for mine, block in zip(blocks, theirs, strict=True):
        mine.load_state_dict(dict(zip(mine.state_dict(), block.state_dict().values(), strict=True)))
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        hidden = stem(images).relu()
        for block in theirs:
            hidden = block(hidden)
        torch.testing.assert_close(backbone(images), hidden.mean((2, 3)))


@pytest.mark.parametrize("channels", [1, 3])
def test_resnet18_trains_every_parameter(channels):
    backbone = ResNet18(channels, width=4)
    assert backbone.out_features == 32
    backbone(torch.rand(6, channels, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in backbone.parameters())


def test_embeddings_pass_through():
    vectors = torch.rand(5, 7)
    backbone = Embeddings(7)
    assert torch.equal(backbone(vectors), vectors)
    assert backbone.out_features == 7
    for wrong in (torch.rand(5, 8), torch.rand(5, 7, 1)):
        with pytest.raises(ValueError, match=r"vectors must have shape \(N, 7\), got"):
            backbone(wrong)
    with pytest.raises(ValueError, match="in_features must be at least 1, got 0"):
        Embeddings(0)
