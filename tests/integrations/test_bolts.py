"""The real package: its encoders, schedule, optimizer and data train here."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

if "pl_bolts" not in sys.modules and find_spec("pl_bolts") is None:
    pytest.skip(
        "lightning-bolts is not installed; it has an environment of its own: nox -s bolts",
        allow_module_level=True,
    )

from supercm_pl import SSLDataModule, SSLModule
from supercm_pl.data import CIFAR10, DatasetSource
from supercm_pl.integrations.bolts import BoltsEncoder, BoltsSource, import_bolts
from tests.support.command import supercm, table
from tests.support.torchvision_files import write_cifar

# It warns of itself, and uses what NumPy, PyTorch and setuptools have deprecated since.
pytestmark = pytest.mark.filterwarnings("ignore")

CONFIG = Path(__file__).parents[2] / "configs" / "ssl" / "bolts" / "cifar10.yaml"
NEEDED: dict[str, Any] = {"gpus": 0, "num_samples": 8, "batch_size": 4, "dataset": "cifar10"}


def pictures(count: int = 3, size: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def pretrained(method: str, path: Path, legacy: bool = False) -> Any:
    """A checkpoint as Lightning 1 wrote them, of the package's own module; gives its network."""
    ssl = import_bolts("models.self_supervised")
    from pytorch_lightning import Trainer
    from pytorch_lightning.callbacks import ModelCheckpoint

    torch.manual_seed(1)
    module = (ssl.SimCLR if method == "simclr" else ssl.SwAV)(arch="resnet18", **NEEDED)
    network = module.encoder if method == "simclr" else module.model
    for name, buffer in network.named_buffers():  # not the values that every network starts with
        if name.endswith("running_mean"):
            buffer.normal_()
    trainer = Trainer(logger=False, max_epochs=0, accelerator="cpu", enable_model_summary=False)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path)
    if legacy:  # before Lightning 1.5, callbacks were named by their classes
        content = torch.load(path, weights_only=False)
        content["callbacks"] = {ModelCheckpoint: {"best_model_score": torch.tensor(0.1)}}
        torch.save(content, path)
    return network.eval()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("method", ["simclr", "swav"])
def test_an_encoder_gives_the_features_of_the_module_that_was_trained(
    method: Any, legacy: bool, tmp_path: Path
) -> None:
    network = pretrained(method, tmp_path / "x.ckpt", legacy)
    encoder = BoltsEncoder(
        method, "resnet18", tmp_path / "x.ckpt", normalize=False, finetune="none", image_size=64
    )
    images = pictures(size=64)
    with torch.no_grad():
        expected = network(images)[0] if method == "simclr" else network.forward_backbone(images)
        torch.testing.assert_close(encoder(images), expected)
    assert encoder.out_features == expected.shape[1] == 512


@pytest.mark.parametrize("method", ["simclr", "swav"])
def test_every_parameter_of_an_encoder_is_trained(method: Any) -> None:
    encoder = BoltsEncoder(method, "resnet18", first_conv=False, maxpool1=False)
    encoder(pictures()).sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_weights_of_the_other_method_and_of_no_network_are_refused(tmp_path: Path) -> None:
    pretrained("swav", tmp_path / "swav.ckpt")
    with pytest.raises(ValueError, match=r"has other shapes of|lacks|has unknown"):
        BoltsEncoder("simclr", "resnet50", tmp_path / "swav.ckpt")
    torch.save({"state_dict": {"a.weight": torch.zeros(1)}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"none has the name conv1\.weight"):
        BoltsEncoder("simclr", "resnet18", tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"no network 'resnet7', only .*resnet18"):
        BoltsEncoder("simclr", "resnet7")


def test_weights_that_cannot_be_downloaded_say_where_they_belong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(url: str, path: str) -> None:
        raise OSError(f"no route to {url}")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fails)
    with pytest.raises(FileNotFoundError, match=r"simclr_imagenet\.ckpt.*put the file there"):
        BoltsEncoder("simclr", weights="imagenet")


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.mkdir, (tmp_path / "pwned",))

    torch.save({"state_dict": {}, "hyper_parameters": Malicious()}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="is not a file of weights"):
        BoltsEncoder("simclr", "resnet18", tmp_path / "x.ckpt")
    assert not (tmp_path / "pwned").exists()


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10's files, with 50 and 10 images."""
    write_cifar(tmp_path, monkeypatch)
    return tmp_path


def test_a_data_module_is_a_source(cifar: Path) -> None:
    options = {"data_dir": str(cifar), "val_split": 4}
    source = BoltsSource("CIFAR10DataModule", options)
    source.prepare()
    data = source.load()
    assert [len(part) for part in (data.train, data.val, data.test)] == [46, 4, 10]  # type: ignore[arg-type]
    assert data.classes == CIFAR10().class_names()
    assert data.train[3][0].max() <= 1  # type: ignore[index]
    from pl_bolts.datamodules import CIFAR10DataModule

    made = BoltsSource(CIFAR10DataModule(**options)).load()
    assert torch.equal(made.train[3][0], data.train[3][0])
    with pytest.raises(ValueError, match=r"no 'CIFAR11DataModule', only .*CIFAR10DataModule"):
        BoltsSource("CIFAR11DataModule")


def test_its_data_sets_are_sources_as_they_are() -> None:
    from pl_bolts.datasets import ArrayDataset, DataModel

    inputs = torch.rand(12, 5)
    dataset = ArrayDataset(DataModel(data=inputs), DataModel(data=[0, 1, 2] * 4))
    data = SSLDataModule(DatasetSource(dataset), labels_per_class=1)
    data.setup("fit")
    assert data.classes == ("0", "1", "2")
    assert data.input_shape == (5,)


def test_a_sklearn_data_module_is_a_source() -> None:
    from pl_bolts.datamodules import SklearnDataModule
    from sklearn.datasets import load_wine

    class Labels:
        """The package makes labels floats; a source's are integers."""

        def __call__(self, y: Any) -> int:
            return int(y)

    datamodule = SklearnDataModule(*load_wine(return_X_y=True))
    for part in (datamodule.train_dataset, datamodule.val_dataset, datamodule.test_dataset):
        part.labels_transform = Labels()
    data = SSLDataModule(BoltsSource(datamodule), labels_per_class=2)
    data.setup("fit")
    assert data.classes == ("0", "1", "2")
    assert data.input_shape == (13,)


def test_the_configuration_trains_with_all_of_it(
    cifar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pretrained("swav", tmp_path / "swav.ckpt")
    model = "--model.init_args"
    quick = [
        *(f"{model}.backbone.init_args.arch=resnet18", f"{model}.bottleneck=16"),
        *(f"{model}.backbone.init_args.weights=swav.ckpt",),
        *(f"{model}.backbone.init_args.image_size=32",),
        *(f"{model}.lr_scheduler.init_args.max_epochs=4",),
        *(f"{model}.lr_scheduler.init_args.warmup_epochs=2",),
        *("--trainer.max_steps=4", "--trainer.accelerator=cpu", "--trainer.log_every_n_steps=1"),
        *("--data.init_args.num_workers=0", "--data.init_args.labels_per_class=1"),
        *("--data.init_args.labeled_batch_size=4", "--data.init_args.unlabeled_batch_size=6"),
        f"--data.init_args.source.init_args.options={{data_dir: {cifar}, val_split: 0}}",
    ]
    outcome = supercm("fit", "--config", str(CONFIG), *quick)
    assert outcome.status == 0, outcome.err
    rows = table(outcome.out)
    checkpoint = torch.load(rows["checkpoint"][0], weights_only=True)
    lr = checkpoint["lr_schedulers"][0]
    assert (lr["max_epochs"], lr["last_epoch"]) == (4, 4)  # a step of it for every step
    module = SSLModule.load_from_checkpoint(rows["checkpoint"][0])
    assert type(module.backbone) is BoltsEncoder
    tested = supercm("test", "--config", str(CONFIG), *quick, "--ckpt_path", rows["checkpoint"][0])
    assert table(tested.out)["accuracy"] == rows["accuracy"][:1]
