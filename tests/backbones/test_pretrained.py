"""Networks of torchvision and timm as backbones; nothing is downloaded."""

import sys
from importlib.util import find_spec
from urllib.error import URLError

import pytest
import torch
from torch import nn

from supercm_pl.backbones import TimmBackbone, TorchvisionBackbone
from supercm_pl.backbones.features import feature_size

needs_timm = pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")

TORCHVISION = TorchvisionBackbone, "resnet18"
TIMM = TimmBackbone, "resnet18"
BOTH = pytest.mark.parametrize(
    ("kind", "name"), [TORCHVISION, pytest.param(*TIMM, marks=needs_timm)]
)


def images(count=3, channels=3, size=32):
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("kind", "name", "features", "size"),
    [
        (TorchvisionBackbone, "resnet18", 512, 32),
        (TorchvisionBackbone, "shufflenet_v2_x0_5", 1024, 32),
        (TorchvisionBackbone, "mobilenet_v3_small", 1024, 32),  # a hidden layer in the classifier
        (TorchvisionBackbone, "efficientnet_b0", 1280, 32),
        (TorchvisionBackbone, "densenet121", 1024, 32),
        (TorchvisionBackbone, "squeezenet1_1", 512, 32),  # a convolution as classifier
        (TorchvisionBackbone, "googlenet", 1024, 32),  # further classifiers on the way
        (TorchvisionBackbone, "swin_t", 768, 32),
        pytest.param(TimmBackbone, "resnet18", 512, 32, marks=needs_timm),
        pytest.param(TimmBackbone, "mobilenetv3_small_050.lamb_in1k", 1024, 32, marks=needs_timm),
        pytest.param(TimmBackbone, "convnext_atto", 320, 32, marks=needs_timm),
        pytest.param(TimmBackbone, "vit_tiny_patch16_224", 192, 224, marks=needs_timm),
    ],
)
def test_the_classifier_is_off_and_the_feature_size_is_found(kind, name, features, size):
    backbone = kind(name)
    assert feature_size(backbone) == features
    out = backbone(images(2, 3, size))
    assert out.shape == (2, features)
    out.sum().backward()
    assert all(p.grad is not None for p in backbone.parameters())


def test_features_are_what_the_last_layer_saw():
    backbone = TorchvisionBackbone("efficientnet_b0", finetune="none")
    seen = []
    from torchvision import models

    whole = models.efficientnet_b0().eval()
    whole.load_state_dict({**whole.state_dict(), **backbone.model.state_dict()})
    whole.classifier[1].register_forward_pre_hook(lambda module, inputs: seen.append(*inputs))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        whole((images() - mean.view(-1, 1, 1)) / std.view(-1, 1, 1))
        torch.testing.assert_close(backbone(images()), seen[0])


def test_no_dropout_is_left_before_the_classifier():
    for name in ("efficientnet_b0", "googlenet", "mobilenet_v2"):
        modules = TorchvisionBackbone(name).modules()
        assert not any(isinstance(module, nn.Dropout) for module in modules)


@BOTH
def test_images_are_normalized_inside(kind, name):
    with_it, without = kind(name).eval(), kind(name, normalize=False).eval()
    without.load_state_dict(with_it.state_dict())
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalized = (images() - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)
    torch.testing.assert_close(with_it(images()), without(normalized))
    assert not torch.allclose(with_it(images()), without(images()), atol=1e-3)


@needs_timm
def test_timm_normalizes_by_the_weights_own_values():
    mean = TimmBackbone("vit_tiny_patch16_224").mean
    assert mean.flatten().tolist() == [0.5, 0.5, 0.5]


@BOTH
def test_gray_images_are_repeated_and_others_refused(kind, name):
    backbone = kind(name).eval()
    gray = images(channels=1)
    torch.testing.assert_close(backbone(gray), backbone(gray.repeat(1, 3, 1, 1)))
    for wrong in (images(channels=2), torch.rand(3, 64)):
        with pytest.raises(ValueError, match=r"\(N, 3, H, W\) or \(N, 1, H, W\), got"):
            backbone(wrong)


def test_images_are_resized():
    backbone = TorchvisionBackbone("resnet18", image_size=48).eval()
    other = TorchvisionBackbone("resnet18").eval()
    other.load_state_dict(backbone.state_dict())
    larger = nn.functional.interpolate(images(), size=(48, 48), mode="bilinear")
    torch.testing.assert_close(backbone(images()), other(larger), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(backbone(images()), other(images()), atol=1e-3)
    assert torch.equal(backbone(larger), other(larger))


@BOTH
def test_a_frozen_network_never_changes(kind, name):
    model = nn.Sequential(kind(name, finetune="none"), nn.Linear(512, 2))
    before = {key: value.clone() for key, value in model[0].state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    model.train()
    assert model[1].training
    assert not any(module.training for module in model[0].model.modules())
    model(images()).square().sum().backward()
    optimizer.step()
    assert model[1].weight.grad.abs().sum() > 0
    after = model[0].state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert torch.equal(model.train()[0](images()), model.eval()[0](images()))


@BOTH
@pytest.mark.parametrize("finetune", ["last_block", "lora"])
def test_only_the_chosen_parameters_change(kind, name, finetune):
    if finetune == "lora":
        pytest.importorskip("peft", reason="LoRA needs peft, the extra lora")
    model = nn.Sequential(kind(name, finetune=finetune), nn.Linear(512, 2)).train()
    before = {key: value.clone() for key, value in model[0].state_dict().items()}
    trained = [key for key, value in model[0].named_parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-3)
    for _ in range(2):  # LoRA begins with a factor of zero
        model(images()).square().sum().backward()
        optimizer.step()
    after = model[0].state_dict()
    changed = {key for key, value in before.items() if not torch.equal(after[key], value)}
    if finetune == "lora":
        assert set(trained) == {key for key in before if "lora_" in key}
        assert changed
        assert changed <= set(trained)
        assert sum(before[key].numel() for key in trained) < 0.1 * sum(
            value.numel() for value in before.values()
        )
    else:
        assert changed >= set(trained)
        assert {key.rpartition("model.")[2].split(".")[0] for key in changed} == {"layer4"}
        assert not model[0].model.bn1.training
    restored = kind(name, finetune=finetune)
    restored.load_state_dict(after)
    assert torch.equal(restored.eval()(images()), model[0].eval()(images()))


def test_weights_frozen_by_hand_keep_the_statistics_of_pytorch():
    backbone = TorchvisionBackbone("resnet18")
    backbone.requires_grad_(False).train()
    assert backbone.model.bn1.training


def test_lora_names_its_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModuleNotFoundError, match=r"supercm-pl\[lora\]"):
        TorchvisionBackbone("resnet18", finetune="lora")


def test_an_unknown_choice_is_refused():
    with pytest.raises(ValueError, match="finetune must be one of 'all', 'last_block', 'lora'"):
        TorchvisionBackbone("resnet18", finetune="half")


def test_a_frozen_network_still_passes_the_gradient_on_to_images():
    inputs = images().requires_grad_()
    TorchvisionBackbone("resnet18", finetune="none")(inputs).sum().backward()
    assert inputs.grad.abs().sum() > 0


@BOTH
def test_a_network_that_is_not_frozen_trains_and_evaluates(kind, name):
    backbone = kind(name)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    optimizer = torch.optim.SGD(backbone.parameters(), lr=1e-3)
    for _ in range(2):  # timm's residual branches begin with a factor of zero
        backbone(images()).square().sum().backward()
        optimizer.step()
    changed = [key for key, value in backbone.state_dict().items() if not value.equal(before[key])]
    assert changed == list(before)  # running statistics among them
    assert not any(module.training for module in backbone.eval().modules())


@BOTH
def test_weights_come_from_a_file(kind, name, tmp_path):
    backbone = kind(name)
    whole = {
        **backbone.model.state_dict(),
        "fc.weight": torch.rand(7, 512),
        "fc.bias": torch.rand(7),
    }
    for state in (backbone.model.state_dict(), whole):
        torch.save(state, tmp_path / "weights.pt")
        for path in (tmp_path / "weights.pt", str(tmp_path / "weights.pt")):
            other = kind(name, weights=path)
            for key, value in backbone.state_dict().items():
                assert torch.equal(other.state_dict()[key], value)


@needs_timm
def test_weights_come_from_safetensors(tmp_path):
    from safetensors.torch import save_file

    backbone = TimmBackbone("resnet18")
    save_file(backbone.model.state_dict(), tmp_path / "model.safetensors")
    other = TimmBackbone("resnet18", weights=tmp_path / "model.safetensors")
    assert torch.equal(other.model.conv1.weight, backbone.model.conv1.weight)
    (tmp_path / "model.safetensors").write_text("nothing")
    with pytest.raises(ValueError, match=r"model\.safetensors is not a file of weights"):
        TimmBackbone("resnet18", weights=tmp_path / "model.safetensors")


def test_weights_of_older_names_are_understood(tmp_path):
    backbone = TorchvisionBackbone("densenet121")
    state = backbone.model.state_dict()
    older = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value
        for key, value in state.items()
    }
    assert older.keys() != state.keys()
    torch.save(older, tmp_path / "weights.pt")
    loaded = TorchvisionBackbone("densenet121", weights=tmp_path / "weights.pt").model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


@pytest.mark.bad_input
@BOTH
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("bn1.bias"), r"lacks bn1\.bias$"),
        (lambda state: state.update(other=torch.zeros(1)), "has unknown other$"),
        (
            lambda state: state.update({"bn1.bias": torch.zeros(1)}),
            r"has other shapes of bn1\.bias$",
        ),
        (lambda state: state.clear(), r"lacks bn1\.bias, bn1\.num.*, .* and \d+ more$"),
        (lambda state: state.update(epoch=3), r"is not a file of weights: it must hold a state"),
    ],
)
def test_a_file_for_another_network_is_refused(kind, name, change, message, tmp_path):
    state = kind(name).model.state_dict()
    change(state)
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=message):
        kind(name, weights=tmp_path / "weights.pt")


def test_a_file_that_would_run_code_is_refused(tmp_path):
    torch.save({"weight": print}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"weights\.pt is not a file of weights"):
        TorchvisionBackbone("resnet18", weights=tmp_path / "weights.pt")


@pytest.mark.bad_input
def test_weights_that_torchvision_lacks_are_named(tmp_path):
    missing = str(tmp_path / "missing.pt")
    for weights in ("IMAGENET1K_V9", missing):
        with pytest.raises(
            ValueError, match=f"of resnet50 must be .*IMAGENET1K_V2.*DEFAULT or .* '{weights}'"
        ):
            TorchvisionBackbone("resnet50", weights=weights)


@pytest.mark.parametrize("weights", ["DEFAULT", "IMAGENET1K_V1", "ResNet18_Weights.DEFAULT"])
def test_named_weights_are_torchvisions(weights, monkeypatch):
    from torchvision import models

    state = models.resnet18().state_dict()
    monkeypatch.setattr(
        type(models.ResNet18_Weights.DEFAULT), "get_state_dict", lambda self, **options: state
    )
    backbone = TorchvisionBackbone("resnet18", weights)
    assert torch.equal(backbone.model.conv1.weight, state["conv1.weight"])


def test_a_failed_download_tells_what_to_do(monkeypatch):
    from torchvision import models

    def fail(self, **options):
        raise URLError("no network")

    monkeypatch.setattr(models.ResNet18_Weights, "get_state_dict", fail)
    with pytest.raises(
        FileNotFoundError,
        match=r"IMAGENET1K_V1 of resnet18 from https://.*/(resnet18-\w+\.pth) to .*\1 \(.*"
        r"no network.*pass its path as weights=",
    ):
        TorchvisionBackbone("resnet18", "DEFAULT")


@needs_timm
def test_a_failed_download_of_timm_tells_what_to_do(monkeypatch):
    import timm

    create = timm.create_model

    def fail(name, pretrained, **options):
        if pretrained:
            raise OSError("no network")
        return create(name, pretrained, **options)

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(
        FileNotFoundError,
        match=r"resnet18 from huggingface.co/timm/resnet18\.\w+ \(no network\).*weights=",
    ):
        TimmBackbone("resnet18", pretrained=True)


@pytest.mark.bad_input
def test_an_unknown_network_of_torchvision_is_named_with_those_like_it():
    with pytest.raises(ValueError, match=r"named 'resnet19'; did you mean .*resnet18"):
        TorchvisionBackbone("resnet19")
    with pytest.raises(ValueError, match=r"named 'qqq'; see its list_models"):
        TorchvisionBackbone("qqq")
    with pytest.raises(ValueError, match="image_size must be at least 1, got 0"):
        TorchvisionBackbone("resnet18", image_size=0)


@pytest.mark.bad_input
@needs_timm
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet19"}, "timm has no .* 'resnet19'; did you mean .*resnet18"),
        ({"name": "resnet18.qqq"}, "no weights 'qqq' of resnet18, only a1_in1k"),
        (
            {"name": "resnet18", "pretrained": True, "weights": "file.pt"},
            r"either downloaded or read .* weights='file\.pt'",
        ),
        ({"name": "resnet18", "weights": "file.pt"}, r"path of a file, got 'file\.pt'"),
    ],
)
def test_timm_names_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        TimmBackbone(**arguments)


def test_without_timm_the_error_tells_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModuleNotFoundError, match="TimmBackbone requires timm: pip install timm"):
        TimmBackbone("resnet18")
