"""Every shipped configuration trains, alone and combined, on small data in the real file formats.

A method of the generic folders meets one data set; with ``SUPERCM_ALL_CONFIGS=1`` in the
environment, every one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LightningCLI

from supercm_pl.cli.command import SuperCMCLI
from supercm_pl.cli.main import main
from tests.support.stand_ins import write_stand_ins

CONFIGS = Path(__file__).parents[2] / "configs"
EVERYTHING = os.environ.get("SUPERCM_ALL_CONFIGS") == "1"


def names(folder: str) -> list[str]:
    return sorted(f"{folder}/{path.stem}" for path in (CONFIGS / folder).glob("*.yaml"))


def content(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    return loaded


# Whole configurations have a trainer, fragments have none.
SSL = names("ssl")
UDA = names("uda")
RESNETS = [name for name in UDA if content(name)["model"]["init_args"].get("bottleneck")]
PAPER = [name for name in names("ssl/paper") if "trainer" in content(name)]
ROWS = [name for name in names("ssl/paper") if "trainer" not in content(name)]
WHOLE = [*SSL, *UDA, *PAPER]


def paired(data_sets: list[str], methods: list[str]) -> list[tuple[str, str]]:
    """Each method with a data set, taking turns; all with all if that is asked for."""
    if EVERYTHING:
        return list(product(data_sets, methods))
    return [(data_sets[i % len(data_sets)], name) for i, name in enumerate(methods)]


def cells() -> list[tuple[str, str]]:
    """The cells of the authors' table: which row is for which data set."""
    pairs = []
    for row in ROWS:
        words = Path(row).stem.split("_")
        known = [name for name in PAPER if Path(name).stem in words]
        pairs += [(name, row) for name in known] if known else paired(PAPER, [row])
    return pairs


COMBINED = [
    *paired(SSL, names("ssl/methods")),
    *paired([name for name in UDA if name not in RESNETS], names("uda/methods")),
    *paired(RESNETS, names("uda/office")),
    *cells(),
]


# --- Stand-ins


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with ``data`` as the configurations look for it."""
    folder = tmp_path_factory.mktemp("configs")
    data = folder / "data"
    with pytest.MonkeyPatch.context() as patch:
        write_stand_ins(data, patch)
        yield folder


# --- Running


@cache
def reduced(name: str) -> dict[str, Any]:
    """What makes a configuration small: its network, batches and images."""
    given = content(name)
    model, data = (given[part]["init_args"] for part in ("model", "data"))
    network = {
        "WideResNet": {"depth": 10, "width": 1},
        "ConvNet": {"widths": [4, 4]},
        "TorchvisionBackbone": {"name": "resnet18", "weights": None},
    }[model["backbone"]["class_path"].rpartition(".")[2]]
    small: dict[str, Any] = {"steps_per_epoch": 2, "num_workers": 0}
    small |= {key: 4 for key in data if key.endswith("batch_size")}
    if "labels_per_class" in data:
        small["labels_per_class"] = 1
    if "preprocess" in data:  # to fit ZCA takes 15 seconds
        small["preprocess"] = {"class_path": "supercm_pl.data.GlobalContrastNormalization"}
    if "num_labels" in data:
        small["num_labels"] = 100 if "cifar100" in name else 10
    if "SSL" in given["data"]["class_path"]:
        small["val_size"] = 0
    for domain in ("source", "target"):
        source = data.get(domain, {})
        if isinstance(source, dict) and source.get("init_args", {}).get("image_size", 0) > 32:
            small[domain] = {"init_args": {"image_size": 32}}
    return {
        "trainer": {
            "accelerator": "cpu",
            "max_steps": 2,
            "logger": False,
            "log_every_n_steps": 1,
            "enable_progress_bar": False,
            "enable_model_summary": False,
        },
        "model": {"init_args": {"backbone": {"init_args": network}}},
        "data": {"init_args": small},
    }


@pytest.fixture(autouse=True)
def in_folder(stand_ins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the test's own, in which ``data`` is found."""
    (tmp_path / "data").symlink_to(stand_ins / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUPERCM_DEBUG", "1")
    # To make parsers takes longer than to train: one for all tests, for fit alone.
    fit = {"fit": LightningCLI.subcommands()["fit"]}
    monkeypatch.setattr(SuperCMCLI, "subcommands", staticmethod(lambda: fit))
    monkeypatch.setattr(SuperCMCLI, "setup_parser", set_up_once)


PARSERS: dict[str, Any] = {}


def set_up_once(self: SuperCMCLI, *arguments: Any) -> None:
    if not PARSERS:
        before = set(vars(self))
        LightningCLI.setup_parser(self, *arguments)
        PARSERS.update({name: vars(self)[name] for name in set(vars(self)) - before})
    vars(self).update(PARSERS)


def built(*configs: str, change: dict[str, Any] | None = None) -> SuperCMCLI:
    """What the command makes of the named files, and of a last one with changes."""
    words = [word for name in configs for word in ("--config", str(CONFIGS / f"{name}.yaml"))]
    if change is not None:
        Path("change.yaml").write_text(yaml.safe_dump(change))
        words += ["--config", "change.yaml"]
    made: list[SuperCMCLI] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SuperCMCLI, "_run_subcommand", lambda self, subcommand: made.append(self))
        main(["fit", *words])
    return made[0]


def fitted(*configs: str) -> SuperCMCLI:
    cli = built(*configs, change=reduced(configs[0]))
    before = {name: value.clone() for name, value in cli.model.head.named_parameters()}
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    assert cli.trainer.global_step == 2
    assert all(torch.isfinite(value).all() for value in cli.model.parameters())
    assert any(not torch.equal(before[name], v) for name, v in cli.model.head.named_parameters())
    return cli


# The few images of a stand-in need not have labels of all classes.
@pytest.mark.filterwarnings("ignore:no sample is labeled of the classes:RuntimeWarning")
@pytest.mark.parametrize(("data_set", "method"), COMBINED)
def test_a_method_trains_on_a_data_set(data_set: str, method: str) -> None:
    cli = fitted(data_set, method)
    arguments = content(method)["model"]["init_args"]
    asked = arguments.get("methods", [])
    assert [type(term).__name__ for term in cli.model.methods] == [
        term["class_path"].rpartition(".")[2] for term in asked
    ]
    if cli.datamodule.has_test_data:
        (metrics,) = cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
        assert 0.0 <= metrics.get("test/acc", metrics.get("test/target_acc")) <= 1.0


def test_each_data_set_meets_a_method() -> None:
    assert {name for name, _ in COMBINED} >= {*SSL, *UDA, *PAPER}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_file_builds_as_it_is(name: str) -> None:
    # Weights are downloaded, and two networks are big.
    network = {"weights": None} if "Torchvision" in str(content(name)["model"]) else {}
    change = {"trainer": {"accelerator": "cpu"}}
    change["model"] = {"init_args": {"backbone": {"init_args": network}}}
    cli = built(name, change=change)
    assert cli.trainer.max_steps == content(name)["trainer"]["max_steps"]
    assert cli.model.num_classes == cli.datamodule.num_classes
    # jsonargparse carries arguments of a default class over to the class that is named instead:
    # AdamW's weight decay would go into Adam, for example.
    given = content(name)["model"]["init_args"]["optimizer"]
    optimizer = cli.model._optimizer(cli.model.parameters())
    own = type(optimizer)([torch.nn.Parameter(torch.zeros(1))], **given["init_args"])
    assert type(optimizer).__name__ == given["class_path"].rpartition(".")[2]
    assert optimizer.defaults == own.defaults


# --- The authors' table

# Without SuperCM, with SuperCM: learning rate, β, weight of the base method as published.
PUBLISHED = {
    ("cifar10", None): ((3e-4, 0.186, None),),
    ("svhn", None): ((1e-3, 0.186, None),),
    ("mnist", None): ((1.38e-3, 0.186, None),),
    ("cifar100", None): ((1e-3, 0.0158, None),),
    ("cifar10", "pi_model"): ((1e-3, 0.0, 0.2), (1e-3, 0.177, 0.2)),
    ("cifar10", "mean_teacher"): ((1e-3, 0.0, 0.155), (1e-3, 0.129, 0.155)),
    ("cifar10", "pseudo_label_cifar10"): ((3e-4, 0.0, 0.133), (3e-4, 3.04, 0.185)),
    ("cifar10", "pseudo_label_cifar10_600"): ((1.15e-3, 0.0, 0.133),),
    ("svhn", "pseudo_label_svhn_mnist"): ((1e-3, 0.0, 0.186), (1e-3, 3.02, 0.186)),
    ("cifar10", "vat_cifar10"): ((3.59e-4, 0.0, 0.391), (3.59e-4, 0.631, 5.62)),
    ("cifar10", "vat_cifar10_4000"): ((3e-3, 0.0, 1.45), (3e-3, 0.38, 3.69)),
    ("cifar100", "vat_cifar100"): ((3.59e-4, 0.0, 0.391), (3.59e-4, 0.38, 3.69)),
    ("mnist", "vat_svhn_mnist"): ((1e-3, 0.0, 0.391), (1e-3, 0.631, 0.391)),
}
# What 1 of their weights is here; see the methods' docstrings.
SCALE = {"PiModel": 0.5, "PseudoLabel": 10.0, "MeanTeacher": 1.0, "VAT": 1.0}


@pytest.mark.parametrize(("data_set", "row"), PUBLISHED)
def test_a_cell_has_the_published_numbers(data_set: str, row: str | None) -> None:
    steps = content(f"ssl/paper/{data_set}")["trainer"]["max_steps"]
    assert steps == 500_000
    for rate, cm_weight, weight in PUBLISHED[data_set, row]:
        files = [f"ssl/paper/{data_set}"]
        if row is not None:
            files.append(f"ssl/paper/{row}{'' if cm_weight else '_alone'}")
        cli = built(*files, change=reduced(files[0]))
        optimizer = cli.model._optimizer(cli.model.parameters())
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.defaults["lr"] == rate
        assert cli.model.cm_weight == cm_weight
        schedule = cli.model._lr_scheduler(optimizer)
        assert (dict(schedule.milestones), schedule.gamma) == ({400_000: 1}, 0.2)
        assert len(cli.model.methods) == (weight is not None)
        for term in cli.model.methods:
            full = weight * SCALE[type(term).__name__]
            assert term.weight_at(0.4) == pytest.approx(full)  # 200,000 steps
            assert term.weight_at(0.2) == pytest.approx(full * np.exp(-5 * 0.25))


# --- Averaged weights


class Recorder(Callback):
    """The weights after each step, and those in use during validation."""

    def __init__(self) -> None:
        self.after_steps: list[torch.Tensor] = []
        self.in_validation: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.after_steps.append(pl_module.head.classifier.weight.detach().clone())

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.in_validation.append(pl_module.head.classifier.weight.detach().clone())

    def average(self, decay: float) -> torch.Tensor:
        value = self.after_steps[0]
        for weight in self.after_steps[1:]:
            value = decay * value + (1 - decay) * weight
        return value


def averaged_run(
    folder: str, checkpoint: Path | None = None, decay: float = 0.9
) -> tuple[Recorder, dict[str, Any], SuperCMCLI]:
    change = reduced("ssl/paper/cifar10")
    given = content("ssl/paper/cifar10")["trainer"]["callbacks"]
    averaging = {**given[0], "init_args": {**given[0]["init_args"], "decay": decay}}
    saving = {"every_n_train_steps": 2, "save_top_k": -1, "save_last": True, "dirpath": folder}
    callbacks = [averaging, {**given[1], "init_args": saving}]
    change = {
        **change,
        "trainer": {**change["trainer"], "max_steps": 4, "callbacks": callbacks},
        "data": {"init_args": {**change["data"]["init_args"], "val_size": 10}},
    }
    cli = built("ssl/paper/cifar10", "ssl/paper/mean_teacher", change=change)
    recorder = Recorder()
    cli.trainer.callbacks.insert(0, recorder)
    cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=checkpoint, weights_only=True)
    return recorder, torch.load(f"{folder}/last.ckpt", weights_only=True), cli


def test_evaluation_and_checkpoint_have_the_averaged_weights() -> None:
    recorder, saved, cli = averaged_run("run")
    name = "head.classifier.weight"
    expected = recorder.average(0.9)
    torch.testing.assert_close(recorder.in_validation[-1], expected)
    torch.testing.assert_close(saved["state_dict"][name], expected)
    torch.testing.assert_close(cli.model.head.classifier.weight.detach(), expected)  # for the test
    torch.testing.assert_close(saved["current_model_state"][name], recorder.after_steps[-1])
    assert not torch.equal(expected, recorder.after_steps[-1])


def test_what_cannot_be_averaged_is_that_of_the_last_step() -> None:
    _, saved, cli = averaged_run("run")
    state, current = saved["state_dict"], saved["current_model_state"]
    whole = [name for name, value in current.items() if not value.is_floating_point()]
    assert {"head.centroid_counts", "head.centroid_updates"} <= set(whole)
    buffers = [name for name, _ in cli.model.named_buffers() if name in state]
    assert all(torch.equal(state[name], current[name]) for name in (*whole, *buffers))
    assert int(state["head.centroid_counts"].sum()) == 4 * 4  # steps of four labeled images
    assert torch.equal(cli.model.head.centroid_counts, state["head.centroid_counts"])


@pytest.mark.filterwarnings("ignore:The dirpath has changed from")
def test_a_resumed_run_has_the_same_averages() -> None:
    _, expected, _ = averaged_run("whole")
    (half,) = Path("whole").glob("*step=2.ckpt")
    _, resumed, _ = averaged_run("resumed", checkpoint=half)
    assert resumed["global_step"] == expected["global_step"] == 4
    for part in ("state_dict", "current_model_state", "averaging_state"):
        for name, value in expected[part].items():
            assert torch.equal(resumed[part][name], value), (part, name)
