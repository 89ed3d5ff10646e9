"""Modules in the format of the Hugging Face Hub; nothing here touches the network."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from supercm_pl import SSLDataModule, SSLModule
from supercm_pl.backbones import ConvNet
from supercm_pl.data import ZCA
from tests.support.command import SMALL, supercm
from tests.support.trainers import quiet_trainer

pytest.importorskip("safetensors", reason="safetensors is not installed: supercm-pl[hf]")
hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")

from supercm_pl.integrations.hub import from_pretrained, push_to_hub, save_pretrained  # noqa: E402

DIGITS = list("0123456789")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of ``supercm fit``, channels last."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "small.yaml").write_text(SMALL)
    words = [f"--trainer.logger.init_args.save_dir={folder}", "--test_after_fit=false"]
    words += ["--trainer.max_steps=6", "--model.init_args.channels_last=true"]
    outcome = supercm("fit", "--config", str(folder / "small.yaml"), *words)
    assert outcome.status == 0, outcome.err
    return folder / "small/version_0/checkpoints/last.ckpt"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    values = b.state_dict()
    return a.state_dict().keys() == values.keys() and all(
        torch.equal(value, values[name]) for name, value in a.state_dict().items()
    )


def test_a_module_comes_back_with_its_weights_and_its_arguments(
    trained: Path, tmp_path: Path
) -> None:
    save_pretrained(trained, tmp_path / "model", classes=DIGITS)
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        *("README.md", "config.json", "model.safetensors")
    }
    loaded = from_pretrained(tmp_path / "model")
    module = SSLModule.load_from_checkpoint(trained)
    assert type(loaded) is SSLModule
    assert same(loaded, module)
    assert loaded.cm_weight == module.cm_weight
    images = torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(loaded.eval()(images), module.eval()(images))
    config = json.loads((tmp_path / "model/config.json").read_text())
    assert config["classes"] == DIGITS
    assert "the classes 0, 1, 2," in (tmp_path / "model/README.md").read_text()


def test_a_module_built_in_python_takes_its_objects_again(tmp_path: Path) -> None:
    module = SSLModule(ConvNet(widths=(4,)), 3, cm_weight=0.25)
    save_pretrained(module, tmp_path)
    loaded = from_pretrained(tmp_path, backbone=ConvNet(widths=(4,)))
    assert same(loaded, module)
    assert loaded.cm_weight == 0.25
    with pytest.raises(TypeError, match="backbone"):
        from_pretrained(tmp_path)


@pytest.mark.parametrize("given", ["module", "checkpoint"])
def test_the_preprocessing_travels_with_the_model(given: str, tmp_path: Path) -> None:
    data = SSLDataModule(labels_per_class=2, preprocess=ZCA(epsilon=1e-3), seed=0)
    arguments = {"class_path": "supercm_pl.backbones.ConvNet", "init_args": {"widths": [4]}}
    module, run = SSLModule(ConvNet(widths=(4,)), 10), quiet_trainer(max_steps=2)
    run.fit(module, data)
    run.save_checkpoint(tmp_path / "run.ckpt")
    if given == "checkpoint":  # as `supercm fit` writes it
        content = torch.load(tmp_path / "run.ckpt")
        named = {"_class_path": "supercm_pl.ssl.module.SSLModule", "backbone": arguments}
        content["hyper_parameters"] |= named
        torch.save(content, tmp_path / "run.ckpt")
    save_pretrained(module if given == "module" else tmp_path / "run.ckpt", tmp_path / "model")
    own = {"backbone": ConvNet(widths=(4,))} if given == "module" else {}
    loaded, images = from_pretrained(tmp_path / "model", **own).eval(), torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), module.eval()(images))
        prepared = module.forward_outputs(data.preprocess(images)).logits
        torch.testing.assert_close(loaded(images), prepared)


def test_a_model_card_of_ones_own_is_kept(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    save_pretrained(trained, tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"
    with pytest.raises(ValueError, match="classes must be 10 names"):
        save_pretrained(trained, tmp_path, classes=["cat", "dog"])


@pytest.mark.parametrize("where", ["backbone", "module"])
def test_a_strangers_class_is_not_even_imported(
    where: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "stranger_net.py").write_text("raise AssertionError('imported')")
    save_pretrained(trained, tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    config = json.loads(file.read_text())
    if where == "module":
        config["class_path"] = "stranger_net.Net"
    else:
        config["hyper_parameters"]["backbone"] = {"class_path": "stranger_net.Net"}
    file.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"names 'stranger_net\.Net', which is not a trusted"):
        from_pretrained(tmp_path / "model")


def test_what_is_no_module_is_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"it has no config\.json"):
        from_pretrained(tmp_path)
    save_pretrained(trained, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["class_path"] = "torch.nn.Linear"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"must be a SuperCMModule, got torch\.nn\.Linear"):
        from_pretrained(tmp_path)
    torch.save({"state_dict": {}, "hyper_parameters": {}}, tmp_path / "python.ckpt")
    with pytest.raises(ValueError, match=r"python\.ckpt has no class path"):
        save_pretrained(tmp_path / "python.ckpt", tmp_path)


def test_what_is_uploaded_is_what_comes_back(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def create_repo(self: Any, repo_id: str, **options: Any) -> None:
        made.append((repo_id, options))

    def upload_folder(self: Any, *, repo_id: str, folder_path: Path, **_: Any) -> str:
        shutil.copytree(folder_path, tmp_path / "uploaded")
        return f"commit of {repo_id}"

    monkeypatch.setattr(hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(hub.HfApi, "upload_folder", upload_folder)
    assert push_to_hub(trained, "me/digits", classes=DIGITS, private=True) == "commit of me/digits"
    assert made == [("me/digits", {"private": True, "exist_ok": True})]

    def snapshot_download(repo_id: str, **options: Any) -> str:
        assert (repo_id, options["revision"]) == ("me/digits", "v1")
        assert options["allow_patterns"] == ["config.json", "model.safetensors"]
        return str(tmp_path / "uploaded")

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    module = SSLModule.load_from_checkpoint(trained)
    assert same(from_pretrained("me/digits", revision="v1"), module)


def test_a_repository_that_is_not_cached_is_not_looked_for_unless_asked(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match="me/nothing is not a folder, and can't be downloaded"
    ):
        from_pretrained("me/nothing", local_files_only=True)
