"""Wrong arguments are answered by one line that shows what to write instead."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from lightning.pytorch.callbacks import EarlyStopping
from PIL import Image
from torch.optim import AdamW
from torch.utils.data import DataLoader, Dataset, TensorDataset

from supercm_pl import (
    ClusteringHead,
    SSLDataModule,
    SSLModule,
    SuperCMClassifier,
    UDADataModule,
    UDAModule,
)
from supercm_pl.backbones import MLP, ConvNet, TorchvisionBackbone, WideResNet
from supercm_pl.backbones.pretrained import weights_follow
from supercm_pl.callbacks import FigureLogger
from supercm_pl.data import (
    AffineNoise,
    ArraySource,
    DatasetSource,
    Digits,
    Distortion,
    FolderSource,
    ImageList,
    Resized,
    Source,
    SourceData,
)
from supercm_pl.data.transforms.augment import GaussianNoise
from supercm_pl.export import Classifier, export_torch
from supercm_pl.ssl.methods import ICT, VAT, AdaMatch, FixMatch, MeanTeacher, PiModel
from supercm_pl.training.ramps import LinearRampUp
from supercm_pl.uda.methods import DANN, MCD
from supercm_pl.viz import plot_curves
from tests.support.trainers import quiet_trainer

pytestmark = pytest.mark.bad_input

NET = MLP(4, (8,))
X, Y = torch.randn(24, 4), torch.arange(24) % 3
SGD_OF = partial(torch.optim.SGD, lr=0.1)


class Unlabeled(Dataset[torch.Tensor]):
    """Inputs alone, as in many data sets of a target domain."""

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> torch.Tensor:
        return X[index] + 1


class OwnSource(Source):
    """Returns what it was given."""

    def __init__(self, given: Any) -> None:
        self.given = given

    def load(self) -> SourceData:
        return self.given


SGD = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)

UDA_ARRAYS = partial(UDADataModule.from_arrays, X, Y, X)

MISSPELT: list[tuple[Callable[..., Any], str, str]] = [
    (SSLDataModule, "labels_per_clas", "did you mean labels_per_class?"),
    (
        partial(SSLDataModule.from_arrays, X, Y),
        "lables_per_class",
        "did you mean labels_per_class?",
    ),
    (SSLDataModule, "batch_size", "write labeled_batch_size=... and unlabeled_batch_size=..."),
    (UDADataModule, "target_batchsize", "did you mean target_batch_size?"),
    (partial(SSLModule, NET), "cm_wieght", "did you mean cm_weight?"),
    (partial(SSLModule, NET), "orthonomal", "did you mean orthonormal?"),
    (partial(SSLModule, NET), "lr", "write optimizer=partial(torch.optim.AdamW, lr=...)"),
    (partial(SSLModule, NET), "weight_decay", "write optimizer=partial(torch.optim.AdamW, weight_"),
    (partial(SSLModule, NET), "class_weights", "write alpha=[1 + 2 * p for p in proportions], a"),
    (
        partial(SSLModule, NET),
        "label_smoothing",
        "or override cross_entropy(step, num_labeled) in a subc",
    ),
    (partial(SSLModule, NET), "max_epochs", "write Trainer (max_epochs=...)"),
    (ICT, "beta", "write weight=..."),
    (partial(ClusteringHead, 4, 3), "beta", "the weight as a factor of head.loss(...).total"),
    (partial(ClusteringHead, num_classes=3), "feature_dim", "write in_features=..."),
    (FixMatch, "lambda_u", "write weight=..."),
    (SSLDataModule, "train_transform", "write weak=..."),
    (SSLDataModule, "test", "write source=DatasetSource(train, test, unlabeled)"),
    (UDADataModule, "test", "write target=DatasetSource(train, test)"),
    (SuperCMClassifier, "lr", "write learning_rate=..."),
    (SuperCMClassifier, "n_epochs", "write max_steps=..."),
    (partial(UDAModule, NET), "botleneck", "did you mean bottleneck?"),
    (partial(ClusteringHead, 4, 3), "temprature", "did you mean temperature?"),
    (FixMatch, "treshold", "did you mean threshold?"),
    (PiModel, "wieght", "did you mean weight?"),
    (DANN, "hiden_features", "did you mean hidden_features?"),
    (partial(MLP, 4), "hidden_feature", "did you mean hidden_features?"),
    (ConvNet, "in_channel", "did you mean in_channels?"),
    (partial(TorchvisionBackbone, "resnet18"), "weight", "did you mean weights?"),
    (partial(FolderSource, "a"), "imagesize", "did you mean image_size?"),
    (AffineNoise, "rotaton", "did you mean rotation?"),
    (Distortion, "label_nois", "did you mean label_noise?"),
    (partial(LinearRampUp, 1), "ennd", "did you mean end?"),
    (FigureLogger, "every_n_epoch", "did you mean every_n_epochs?"),
    (SuperCMClassifier, "cm_wieght", "did you mean cm_weight?"),
    (
        SuperCMClassifier,
        "verbose",
        "it takes hidden_features, cm_weight, alpha, centroids, temperature, standardize, "
        "n_neighbors, walk_length, noise, learning_rate, max_steps, labeled_batch_size and 2 more",
    ),
    (SuperCMClassifier, "hidden_layer_sizes", "write hidden_features=..., a list of widths"),
    (FixMatch, "p_cutoff", "write threshold=..."),
    (FixMatch, "T", "write temperature=..."),
    (PiModel, "rate", "has no argument 'rate': it takes weight, ramp"),
    (MeanTeacher, "ema_decay", "write momentum=..."),
    (partial(SSLModule, NET), "ema_decay", "write methods=[MeanTeacher(momentum=...)]"),
    (partial(SSLModule, NET), "criterion", "write methods=[...], or override cross_entropy("),
    (partial(SSLModule, NET), "freeze", 'write TorchvisionBackbone(..., finetune="none")'),
    (VAT, "eps", "write epsilon=..."),
    (DANN, "hidden_size", "write hidden_features=..., a list of widths"),
    (partial(MLP, 4), "hidden", "write hidden_features=..., a list of widths"),
    (ConvNet, "hidden", "write widths=(32, 64), the channels of each block"),
    (ConvNet, "in_chans", "write in_channels=..."),
    (ConvNet, "num_classes", "SSLModule(backbone, num_classes): a backbone has no classifier"),
    (WideResNet, "widen_factor", "write width=..."),
    (partial(TorchvisionBackbone, "resnet18"), "pretrained", 'write weights="DEFAULT"'),
    (partial(TorchvisionBackbone, "resnet18"), "in_chans", "nothing, as a gray channel is"),
    (partial(FolderSource, "a"), "size", "write image_size=..."),
    (partial(Resized, Digits()), "img_size", "write size=..."),
    (SSLDataModule, "train_dataset", "write source=DatasetSource(train, test, unlabeled)"),
    (SSLDataModule, "val_split", "write val_size=..."),
    (UDADataModule, "batch_size", "write source_batch_size=... and target_batch_size=..."),
    (UDA_ARRAYS, "val_size", "write source_val_size=... and target_val_size=..."),
    (UDA_ARRAYS, "y_target", "write UDADataModule(ArraySource(x, y), ArraySource(x_target, y_t"),
]


@pytest.mark.parametrize(("make", "name", "hint"), MISSPELT)
def test_misspelt_arguments(make: Callable[..., Any], name: str, hint: str) -> None:
    with pytest.raises(TypeError) as caught:
        make(**{name: 1})
    assert f"has no argument {name!r}" in str(caught.value)
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


SSL_ARRAYS = partial(SSLDataModule.from_arrays, X, Y, labels_per_class=4)
HEAD = ClusteringHead(4, 3)
DATASET = TensorDataset(X, Y)
PICTURE = Image.new("RGB", (8, 8))
CLASSIFIER = Classifier(SSLModule(NET, 3), ["a", "b", "c"], (4,))


class UsesIndex(SSLModule):
    def objective(self, step: Any) -> Any:
        return super().objective(step) + step.index.sum()


class WithoutLoss(SSLModule):
    def objective(self, step: Any) -> Any:
        super().objective(step)


PI = PiModel()


def train(kind: type[SSLModule] = SSLModule, freeze: bool = False, **options: Any) -> SSLModule:
    module = kind(MLP(4, (8,)), 3, **options)
    if freeze:
        module.freeze()
    quiet_trainer(max_steps=2).fit(module, SSL_ARRAYS(val_size=0, weak=GaussianNoise()))
    return module


def learned(head: ClusteringHead) -> ClusteringHead:
    head.update_centroids(X, Y)
    return head


def resumed(*optimizers: Any) -> None:
    """Train a step with each optimizer, the second from the checkpoint of the first."""
    path = None
    for steps, optimizer in enumerate(optimizers, 1):
        trainer = quiet_trainer(max_steps=steps)
        trainer.fit(SSLModule(MLP(4, (8,)), optimizer=optimizer), SSL_ARRAYS(), ckpt_path=path)
        trainer.save_checkpoint(path := Path("resumed.ckpt"))


MISTAKES: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (
        lambda: SSLDataModule(DATASET, DATASET),
        TypeError,
        "SSLDataModule takes source by position, ",
    ),
    (
        lambda: SSLDataModule(DATASET, DATASET),
        TypeError,
        "write source=DatasetSource(train, test, ",
    ),
    (lambda: FixMatch(0.9), TypeError, "write the names of the others, threshold, temperature, we"),
    (lambda: SSL_ARRAYS(x_val=X), ValueError, "only x_val: write y_val=..."),
    (lambda: UDA_ARRAYS(Y), TypeError, "got labels: with labels of the target, write UDADataModul"),
    (lambda: SSLDataModule(Unlabeled()).load(), ValueError, "no labels: items must be (input, lab"),
    (
        lambda: ConvNet(widths=64),
        TypeError,
        "widths must be a list of integers, got 64: write [64]",
    ),
    (lambda: OwnSource((DATASET,)).class_names(), TypeError, "OwnSource.load must return SourceDa"),
    (lambda: SourceData(DATASET, 10), TypeError, "write classes=tuple(map(str, range(10)))"),
    (lambda: ImageList(X), TypeError, "list_file must be a path, got an object of Tensor: write"),
    (lambda: SSLDataModule.from_folder(X), TypeError, 'SSLDataModule.from_folder("labels.csv")'),
    (lambda: SSLModule(NET, 3)("inputs"), TypeError, 'got str: write x = batch["inputs"] for a b'),
    (
        lambda: SSLModule(NET, 3).training_step({"labeled": (X, Y), "unlabeled": (X, Y)}),
        TypeError,
        "got tuple: leave out labels",
    ),
    (
        lambda: SSLDataModule(DatasetSource(DATASET, DATASET)).load(),
        ValueError,
        "x_unlabeled=... of from_arrays, or unlabeled=... of from_folder and DatasetSource",
    ),
    (lambda: MLP(4, 8), TypeError, "hidden_features must be a list of integers, got 8: write [8]"),
    (
        lambda: SSLModule(ConvNet(3, (8,)), 3)(torch.zeros(2, 3, 8, 8).long()),
        ValueError,
        "does not take inputs of torch.int64: write inputs.float(), for images",
    ),
    (lambda: SSLModule(3, NET), TypeError, "num_classes must be an int, got an object of MLP"),
    (lambda: TorchvisionBackbone("resnet18", True), TypeError, 'got True: write weights="DEFAULT"'),
    (lambda: TorchvisionBackbone(MLP), TypeError, 'name must be an object such as "resnet18", go'),
    (
        lambda: SSLModule(TorchvisionBackbone("vit_b_16"), 2)(torch.rand(2, 3, 32, 32)),
        ValueError,
        "resize them, as by image_size=224 of from_folder or of the backbone",
    ),
    (
        lambda: SSLModule(NET, methods=[len]),
        TypeError,
        "for your own loss, subclass supercm_pl.ssl",
    ),
    (
        lambda: SSLModule(NET, methods=torch.nn.MSELoss()),
        TypeError,
        "return MethodLoss(loss) from ",
    ),
    (
        lambda: HEAD.loss(X, HEAD(X).assignments),
        ValueError,
        "before head.loss, call head.update_cen",
    ),
    (
        lambda: HEAD.update_centroids(X, Y - 1),
        ValueError,
        "in update_centroids by mask=labels >= 0",
    ),
    (
        lambda: export_torch(SSLModule(NET, 3), "a.pt2"),
        TypeError,
        "write Classifier(module, data.c",
    ),
    (
        lambda: export_torch("a.ckpt", "a.pt2"),
        TypeError,
        "got 'a.ckpt': write Classifier(module, d",
    ),
    (lambda: Classifier(SSLModule(NET), ["a", "b", "c"], (4,)), ValueError, "module must be train"),
    (lambda: Classifier("a.ckpt", ["a", "b", "c"], (4,)), TypeError, "load_classifier reads check"),
    (lambda: Classifier(SSLModule(NET, 3), 3, (4,)), TypeError, "names, as in data.classes, got 3"),
    (lambda: CLASSIFIER.predict(X / 0), ValueError, "inputs must be finite, but 24 of 24 samples"),
    (
        lambda: quiet_trainer().predict(SSLModule(NET, 3), loader(X / 0)),
        ValueError,
        "inputs must be finite, but 8 of 8 samples hold NaN or infinity, the first is sample 0",
    ),
    (
        lambda: quiet_trainer().test(SSLModule(NET, 3), loader(TensorDataset(X / 0, Y))),
        ValueError,
        "inputs must be finite",
    ),
    (
        lambda: quiet_trainer().validate(UDAModule(NET, 3), loader(TensorDataset(X / 0, Y))),
        ValueError,
        "inputs must be finite",
    ),
    (
        lambda: 0.5 * HEAD.loss(X, learned(HEAD)(X).assignments),
        TypeError,
        "write head.loss(...).to",
    ),
    (
        lambda: X.sum() + HEAD.loss(X, learned(HEAD)(X).assignments),
        TypeError,
        "a clustering loss is a tuple of terms",
    ),
    (
        lambda: quiet_trainer(max_steps=1).fit(
            SSLModule(NET), {"labeled": loader(TensorDataset(X, Y + 1)), "unlabeled": loader(X)}
        ),
        ValueError,
        "the labeled loader has no sample of class 0: pass num_classes=... to the module, or",
    ),
    *[
        (partial(SSLDataModule.from_folder, "a", **{name: ["b"]}), TypeError, f"{name} must be a ")
        for name in ("unlabeled", "test", "val", "predict_path")
    ],
    (lambda: FolderSource("a", ["b"]), TypeError, "unlabeled must be a path, got ['b']: write 'b'"),
    (lambda: UDADataModule.from_folders([], ["b"]), TypeError, "target must be a path, got ['b']"),
    (lambda: UDADataModule.from_folders([], "b", ["c"]), TypeError, "test must be a path, got ['c"),
    (lambda: TorchvisionBackbone("resnet18", {}), TypeError, "weights must be a name or a path, "),
    (lambda: plot_curves(["run"]), TypeError, "runs must be a path, or several by name, got ['ru"),
    (lambda: train(optimizer=lambda p: None), TypeError, "must return a torch.optim.Optimizer, go"),
    (lambda: train(lr_scheduler=lambda o: None), TypeError, "lr_scheduler must return a schedule"),
    (
        lambda: train(optimizer=partial(AdamW, lr="1e-3")),
        TypeError,
        "lr of optimizer must be a number, got '1e-3': write 1e-3",
    ),
    (lambda: train(freeze=True), ValueError, "no parameter of the module is trainable: write modu"),
    (lambda: train(methods=[PI] * 2), ValueError, "methods must be different objects, got one of "),
    (lambda: train(UsesIndex), ValueError, "step.index is unknown: write needs_index = True in th"),
    (lambda: train(WithoutLoss), TypeError, "WithoutLoss.objective must return the loss, a scalar"),
    (lambda: SSLModule(NET).head.in_features, AttributeError, "self.num_features is the size of "),
    (
        lambda: quiet_trainer(max_steps=9).fit(
            SSLModule(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8))),
            {"labeled": loader(TensorDataset(X, Y)), "unlabeled": loader(X[:9])},
        ),
        ValueError,
        "in a forward pass of training, got 1: pass drop_last=True to your DataLoader",
    ),
    (
        lambda: quiet_trainer(max_steps=1, callbacks=[EarlyStopping("val/bnm", mode="max")]).fit(
            UDAModule(MLP(4, (8,))), UDADataModule.from_arrays(X, Y, X)
        ),
        ValueError,
        "EarlyStopping monitors val/bnm, which is not logged: write UDAModule(..., validators=Bat",
    ),
    (
        lambda: SSLModule(ConvNet(12, (8,)), 2)(torch.rand(2, 8, 8, 12)),
        ValueError,
        "got (2, 8, 8, 12): write images.permute(0, 3, 1, 2) for (N, H, W, C)",
    ),
    (lambda: CLASSIFIER.predict(X[0]), ValueError, "got (4,): write inputs[None] for one sample"),
    (lambda: CLASSIFIER.predict(loader(X)), TypeError, "a folder, files, PIL images or an array, "),
    (lambda: SuperCMClassifier().fit([PICTURE] * 2, [0, 1]), ValueError, "got images: write np.st"),
    (lambda: SuperCMClassifier().fit(torch.rand(2, 1, 8, 8), [0, 1]), ValueError, "got images: wr"),
    (
        lambda: resumed(SGD_OF, AdamW),
        ValueError,
        "another optimizer than AdamW, without betas, eps",
    ),
    (
        lambda: resumed(None, SGD_OF),
        ValueError,
        "another optimizer than SGD, without dampening, mo",
    ),
    (
        lambda: quiet_trainer(max_steps=1, callbacks=[EarlyStopping("val/acc")]).fit(
            SSLModule(NET), SSL_ARRAYS(val_size=0)
        ),
        ValueError,
        "EarlyStopping monitors val/acc, but there are no validation samples: hold some out, as b",
    ),
    (
        lambda: SSLModule.load_from_checkpoint("a", NET),
        TypeError,
        "write load_from_checkpoint(path",
    ),
]


@pytest.mark.parametrize(("make", "error", "message"), MISTAKES)
def test_mistakes(
    make: Callable[[], Any],
    error: type[Exception],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as caught:
        make()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_taken(tmp_path: Path) -> None:
    data = SSL_ARRAYS(x_val=X[:9], y_val=Y[:9])
    assert data.describe().startswith("12 labeled · 12 unlabeled · 9 validation")
    none = TensorDataset(X, torch.full_like(Y, -1))
    arrays = ArraySource(X + 1), ArraySource(X + 1, -torch.ones(24), X, Y, classes=["0", "1", "2"])
    for unlabeled in (Unlabeled(), TensorDataset(X), none, DatasetSource(Unlabeled()), *arrays):
        data = UDADataModule(DATASET, unlabeled)  # type: ignore[arg-type]
        quiet_trainer(max_steps=1).fit(UDAModule(MLP(4, (8,))), data)
        assert data.describe().startswith("22 source · 22 target · 2 source and 2 target val")
    data = UDADataModule(ArraySource(X, Y), ArraySource(X + 1, Y), num_target_labels=3)
    assert " 3 labeled target · 19 target · " in data.describe()
    assert "21 test (all target samples but the labeled)" in data.describe()
    family = torchvision.models.ResNet18_Weights
    with weights_follow():
        TorchvisionBackbone("resnet18", family.DEFAULT)  # type: ignore[arg-type]
    images = Classifier(SSLModule(ConvNet(3, (8,)), 2), ["a", "b"], (3, 8, 8), uint8=True)
    alone, listed = images.predict(PICTURE), images.predict([PICTURE])
    assert torch.equal(alone.probabilities, listed.probabilities)
    pixels = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(images(pixels)[0], images(pixels / 255)[0])
    torch.save(NET.state_dict(), tmp_path / "state.pt")
    with pytest.raises(ValueError, match=r"it is a state_dict: write module.load_state_dict\(to"):
        SSLModule.load_from_checkpoint(tmp_path / "state.pt", backbone=NET)


def test_a_table_is_an_array() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    table = pandas.DataFrame(X.numpy())
    assert CLASSIFIER.predict(table).classes == CLASSIFIER.predict(X).classes


def test_two_methods_of_a_name_are_logged_by_number() -> None:
    module = train(methods=[PiModel(), PiModel(weight=0.0)])
    assert {"pi_model", "pi_model_2"} <= module.step_values.keys()


def test_batch_norm_follows_the_methods() -> None:
    for methods, chosen in (
        ([], "mixed"),
        (MCD(), "separate"),
        ([MCD(), AdaMatch()], "mixed"),  # which requires it
    ):
        assert UDAModule(NET, 3, methods).batch_norm == chosen
    assert UDAModule(NET, 3, MCD(), batch_norm="mixed").batch_norm == "mixed"


class OwnEvaluation(SSLModule):
    """Validates and tests without the metrics of the package."""

    def validation_step(self, batch: Any, batch_idx: int = 0) -> None:
        self.log("val/own", self.forward(batch[0]).mean())

    def test_step(self, batch: Any, batch_idx: int = 0) -> None:
        self.log("test/own", self.forward(batch[0]).mean())


def test_an_evaluation_of_ones_own_needs_no_metrics_of_the_package() -> None:
    trainer = quiet_trainer(max_steps=1)
    model, data = OwnEvaluation(MLP(4, (8,))), SSL_ARRAYS(x_test=X, y_test=Y)
    trainer.fit(model, data)
    (found,) = trainer.test(model, data, verbose=False)
    assert found.keys() == {"test/own"}


def test_loaders_of_images_are_scaled_as_in_evaluation() -> None:
    pixels, labels = torch.randint(256, (12, 3, 8, 8), dtype=torch.uint8), torch.arange(12) % 2

    def trained(images: torch.Tensor) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        model = OwnEvaluation(ConvNet(3, (8,)), 2)
        loaders = {"labeled": loader(TensorDataset(images, labels)), "unlabeled": loader(images)}
        quiet_trainer(max_steps=2).fit(model, loaders, loader(TensorDataset(images, labels)))
        return model.state_dict()

    torch.testing.assert_close(trained(pixels), trained(pixels / 255))
    with pytest.raises(ValueError, match="are floats from 0 to 255"):
        SSLModule(ConvNet(3, (8,)), 2).training_step(
            {"labeled": (pixels.float(), labels), "unlabeled": pixels.float()}
        )


def test_checked_constructors_copy_and_pickle() -> None:
    for made in (FixMatch(threshold=0.9), MLP(4, (8,)), AffineNoise(), Digits(), Distortion()):
        for again in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
            assert type(again) is type(made)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "SGD"}, "got 'SGD': write optimizer=torch.optim.SGD, or partial(torch.opti"),
        ({"optimizer": "adamw"}, "got 'adamw': write optimizer=torch.optim.AdamW, or partial"),
        ({"optimizer": SGD}, "got an object of SGD: write optimizer=torch.optim.SGD, or partial("),
        ({"lr_scheduler": "StepLR"}, "=partial(torch.optim.lr_scheduler.StepLR, step_size=...)"),
        ({"methods": "FixMatch"}, "got 'FixMatch': import the class from supercm_pl.ssl.methods"),
        ({"methods": [PiModel(), "dann"]}, "got 'dann': import the class from supercm_pl.ssl.meth"),
        ({"methods": FixMatch}, "got the class FixMatch: write FixMatch(...)"),
        ({"cm_ramp": 0.4}, "cm_ramp must be an object such as LinearRampUp(), got 0.4"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_names_and_objects_of_the_wrong_kind(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        SSLModule(NET, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_backbone_by_name() -> None:
    with pytest.raises(TypeError, match=r"backbone must be an object such as .*, got 'resnet18'"):
        SSLModule("resnet18")  # type: ignore[arg-type]


def test_arrays_for_the_model_and_objects_of_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"got ndarray: write torch.as_tensor\(inputs\)"):
        SSLModule(NET, 3)(X.numpy())
    trainer = quiet_trainer(max_steps=1)
    data = SSLDataModule.from_arrays(X, Y, labels_per_class=4, val_size=3)
    trainer.fit(SSLModule(MLP(4, (8,))), data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(TypeError, match=r"'backbone': checkpoints contain no objects, so pass"):
        SSLModule.load_from_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"no test data: pass x_test and y_test to from_arrays"):
        trainer.test(SSLModule(NET, 3), data)


def test_a_mistake_of_training_is_told_before_it() -> None:
    data = SSLDataModule.from_arrays(X, Y, labels_per_class=4)
    trainer = quiet_trainer(max_steps=1)
    with pytest.raises(TypeError, match=r"lacks an argument: .*'T_max'; write .*T_max=1000\)"):
        trainer.fit(SSLModule(NET, lr_scheduler=torch.optim.lr_scheduler.CosineAnnealingLR), data)
    with pytest.raises(TypeError, match=r"UDAModule trains on a part 'source', and SSLDataModule "):
        trainer.fit(UDAModule(NET), data)
    with pytest.raises(TypeError, match=r"SSLModule trains on a part 'labeled', and UDADataModule"):
        trainer.fit(SSLModule(NET), UDADataModule.from_arrays(X, Y, X))
    with pytest.raises(TypeError, match=r"such as TorchvisionBackbone\(\"resnet18\"\), got"):
        SSLModule("resnet18")  # type: ignore[arg-type]


def test_a_model_takes_doubles() -> None:
    model = SSLModule(NET, 3).eval()
    assert torch.equal(model(X.double()), model(X))


def loader(samples: Any) -> DataLoader[Any]:
    return DataLoader(samples, 8)


def test_a_loader_alone_is_told_what_to_give() -> None:
    with pytest.raises(
        TypeError, match=r"got list: pass a data module to fit, or \{\"labeled\": lo"
    ):
        quiet_trainer(max_steps=1).fit(SSLModule(NET, 3), loader(TensorDataset(X, Y)))


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_num_classes_of_a_loader_without_labels_at_hand() -> None:
    loaders = {"labeled": loader(TensorDataset(X, Y)), "unlabeled": loader(X)}
    unknown = {**loaders, "labeled": loader([*zip(X, Y, strict=True)])}
    with pytest.raises(ValueError, match=r"num_classes can't be taken from the data: write num_c"):
        quiet_trainer(max_steps=1).fit(SSLModule(MLP(4, (8,))), unknown)
