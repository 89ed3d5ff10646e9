"""Every shipped configuration trains, alone and combined, on small data in the real file formats.

A method of the generic folders meets one data set; with ``SUPERCM_ALL_CONFIGS=1`` in the
environment, every one.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator, Sequence
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
from supercm_pl.cli.config_files import layers
from supercm_pl.cli.main import main
from supercm_pl.uda.methods import ADDA
from tests.support.stand_ins import write_stand_ins

CONFIGS = Path(__file__).parents[2] / "configs"
EVERYTHING = os.environ.get("SUPERCM_ALL_CONFIGS") == "1"


def names(folder: str) -> list[str]:
    return sorted(f"{folder}/{path.stem}" for path in (CONFIGS / folder).glob("*.yaml"))


def merged(below: Any, change: Any) -> Any:
    """``change`` over ``below``; nothing is left of the arguments of another class."""
    if not isinstance(below, dict) or not isinstance(change, dict):
        return change
    if "class_path" in change and change["class_path"] != below.get("class_path"):
        return change
    return {**below, **{key: merged(below.get(key), value) for key, value in change.items()}}


@cache
def content(name: str) -> dict[str, Any]:
    """A file and its bases as one."""
    whole: dict[str, Any] = {}
    for path in layers(CONFIGS / f"{name}.yaml"):
        whole = merged(whole, yaml.safe_load(path.read_text()))
    whole.pop("base", None)
    return whole


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


# The table of the authors' settings: run, first file, second file, words that leave SuperCM out.
TABLE = (CONFIGS / "ssl/paper/README.md").read_text().partition("| --- |")[2]
LINES = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| [^|]+ \| `(.+)` \|$", TABLE, re.MULTILINE)


def files(cell: str) -> list[str]:
    named = [f"ssl/paper/{name}" for name in re.findall(r"(\w+)\.yaml", cell)]
    return PAPER[:1] if cell == "any" else named


COMBINED = [
    *paired(SSL, names("ssl/methods")),
    *paired([name for name in UDA if name not in RESNETS], names("uda/methods")),
    *paired(RESNETS, names("uda/office")),
    *dict.fromkeys(pair for line in LINES for pair in product(files(line[1]), files(line[2]))),
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
    if data.get("labels_per_class"):
        small["labels_per_class"] = 1
    if data.get("preprocess"):  # to fit ZCA takes 15 seconds
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


def built(
    *configs: str, change: dict[str, Any] | None = None, words: Sequence[str] = ()
) -> SuperCMCLI:
    """What the command makes of the named files, of a last one with changes, and of words."""
    named = [word for name in configs for word in ("--config", str(CONFIGS / f"{name}.yaml"))]
    if change is not None:
        Path("change.yaml").write_text(yaml.safe_dump(change))
        named += ["--config", "change.yaml"]
    made: list[SuperCMCLI] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SuperCMCLI, "_run_subcommand", lambda self, subcommand: made.append(self))
        main(["fit", *named, *words])
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
@pytest.mark.filterwarnings("ignore:no samples are labeled in classes:RuntimeWarning")
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
    change: dict[str, Any] = {"trainer": {"accelerator": "cpu", "logger": False}}
    change["model"] = {"init_args": {"backbone": {"init_args": network}}}
    cli = built(name, change=change)
    assert cli.trainer.max_steps == content(name)["trainer"]["max_steps"]
    assert cli.model.num_classes == cli.datamodule.num_classes
    # jsonargparse carries arguments over to a class that is named instead: the weight decay of
    # AdamW, the default, to Adam, and a base's folder to another source.
    Path("whole.yaml").write_text(yaml.safe_dump(content(name)))
    alone = built(str(Path("whole").absolute()), change=change)
    for part in ("trainer", "model", "data"):
        assert cli.config["fit"][part] == alone.config["fit"][part]
    given = content(name)["model"]["init_args"]["optimizer"]
    optimizer = cli.model._optimizer(cli.model.parameters())
    own = type(optimizer)([torch.nn.Parameter(torch.zeros(1))], **given["init_args"])
    assert type(optimizer).__name__ == given["class_path"].rpartition(".")[2]
    assert optimizer.defaults == own.defaults


# --- The authors' table

# Learning rate, β and weight of the method as published, with SuperCM and without.
PUBLISHED = {
    "SuperCM, CIFAR-10": ((3e-4, 0.186, None), (3e-4, 0.0, None)),
    "SuperCM, SVHN": ((1e-3, 0.186, None), (1e-3, 0.0, None)),
    "SuperCM, MNIST": ((1.38e-3, 0.186, None), (1.38e-3, 0.0, None)),
    "SuperCM, CIFAR-100": ((1e-3, 0.0158, None), (1e-3, 0.0, None)),
    "Pi-model": ((1e-3, 0.177, 0.2), (1e-3, 0.0, 0.2)),
    "Mean Teacher": ((1e-3, 0.129, 0.155), (1e-3, 0.0, 0.155)),
    "Pseudo-label, CIFAR-10": ((3e-4, 3.04, 0.185), (3e-4, 0.0, 0.133)),
    "Pseudo-label, CIFAR-10, 600 labels": ((3e-4, 3.04, 0.185), (1.15e-3, 0.0, 0.133)),
    "Pseudo-label, SVHN and MNIST": ((1e-3, 3.02, 0.186), (1e-3, 0.0, 0.186)),
    "VAT, CIFAR-10, up to 2,000 labels": ((3.59e-4, 0.631, 5.62), (3.59e-4, 0.0, 0.391)),
    "VAT, CIFAR-10, 4,000 labels": ((3e-3, 0.38, 3.69), (3e-3, 0.0, 1.45)),
    "VAT, CIFAR-100": ((3.59e-4, 0.38, 3.69), (3.59e-4, 0.0, 0.391)),
    "VAT, SVHN and MNIST": ((1e-3, 0.631, 0.391), (1e-3, 0.0, 0.391)),
}
# What 1 of their weights is here; see the methods' docstrings.
SCALE = {"PiModel": 0.5, "PseudoLabel": 10.0, "MeanTeacher": 1.0, "VAT": 1.0}


def test_the_table_lists_every_file() -> None:
    assert [line[0] for line in LINES] == list(PUBLISHED)
    assert {file for line in LINES for file in files(" ".join(line))} == {*PAPER, *ROWS}


@pytest.mark.parametrize(("run", "first", "second", "without"), LINES)
def test_a_cell_has_the_published_numbers(run: str, first: str, second: str, without: str) -> None:
    file = files(first)[0]
    assert content(file)["trainer"]["max_steps"] == 500_000
    for words, (rate, cm_weight, weight) in zip(([], without.split()), PUBLISHED[run], strict=True):
        cli = built(file, *files(second), change=reduced(file), words=words)
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


# --- Settings of the references

# Rate, weight decay, decay of the rate, factor of the backbone, bottleneck, steps, batch size and
# batch norm (None: of the module) for Office-31, in tllib's scripts; BNM's in the authors' code.
OFFICE = {
    "dann": (0.01, 1e-3, 1e-3, 0.1, 256, 20_000, 32, None),
    "cdan": (0.01, 1e-3, 1e-3, 0.1, 256, 20_000, 32, None),
    "cdan_e": (0.01, 1e-3, 1e-3, 0.1, 256, 20_000, 32, None),
    "adda": (0.001, 1e-3, 3e-4, 0.1, 256, 20_000, 32, "separate"),
    "dan": (0.003, 5e-4, 3e-4, 0.1, 256, 10_000, 32, "separate"),
    "jan": (0.003, 5e-4, 3e-4, 0.1, 256, 10_000, 32, None),
    "mcd": (0.001, 5e-4, None, 1.0, 1024, 10_000, 32, "separate"),
    "mdd": (0.004, 5e-4, 2e-4, 0.1, 1024, 20_000, 32, None),
    "mcc": (0.005, 1e-3, 1e-3, 0.1, 1024, 10_000, 36, None),
    "afn": (0.001, 5e-4, None, 1.0, 1000, 10_000, 32, "separate"),
    "bnm": (0.01, 1e-3, 1e-3, 0.1, None, 6_000, 36, "separate"),
}
# Arguments of the methods, there and in the short runs of other files.
ARGUMENTS = {
    "uda/office/dann": {"reversal": 1000},
    "uda/office/cdan": {"reversal": 1000, "randomized": False},
    "uda/office/cdan_e": {"reversal": 1000, "randomized": False, "entropy": True},
    "uda/office/adda": {"learning_rate": None, "hidden_features": [1024, 1024], "pretrain": 0.13},
    "uda/office/dan": {"estimator": "linear"},
    "uda/office/jan": {"probability_bandwidth": 1.6928},
    "uda/office/mcd": {"weight": 10.0, "max_reversal": 4.0},
    "uda/office/mdd": {"margin": 4.0, "max_reversal": 0.1, "reversal": 1000},
    "uda/office/mcc": {"temperature": 2.5},
    "uda/office/afn": {"weight": 0.05, "step_size": 1.0},
    "uda/office/bnm": {"weight": 1.161},
    "uda/methods/mcd": {"weight": 3.2},
    "ssl/methods/mean_teacher": {"weight": 10.0, "momentum": 0.95},
    "ssl/methods/ict": {"weight": 10.0, "momentum": 0.95},
    "ssl/methods/pi_model": {"weight": 10.0},
    "ssl/methods/mixmatch": {"weight": 10.0, "ramp": 0.5},
    "ssl/methods/freematch": {"momentum": 0.99},
    "ssl/methods/softmatch": {"momentum": 0.99},
    "ssl/methods/adamatch": {"momentum": 0.99},
}


@pytest.mark.parametrize("method", OFFICE)
def test_office_31_has_the_settings_of_the_reference(method: str) -> None:
    whole = merged(content("uda/office31"), content(f"uda/office/{method}"))
    model, data = whole["model"]["init_args"], whole["data"]["init_args"]
    optimizer, schedule = model["optimizer"]["init_args"], model["lr_scheduler"]
    assert data["source_batch_size"] == data["target_batch_size"]
    assert OFFICE[method] == (
        optimizer["lr"],
        optimizer["weight_decay"],
        schedule and schedule["init_args"]["gamma"],
        model["backbone_lr_factor"],
        model["bottleneck"],
        whole["trainer"]["max_steps"],
        data["source_batch_size"],
        model.get("batch_norm"),
    )


@pytest.mark.parametrize("file", ARGUMENTS)
def test_a_method_has_these_arguments(file: str) -> None:
    (method,) = content(file)["model"]["init_args"]["methods"]
    assert method["init_args"].items() >= ARGUMENTS[file].items()


def test_networks_and_rates_are_those_of_the_references() -> None:
    paper = content("ssl/paper/cifar10")["model"]["init_args"]["backbone"]["init_args"]
    assert (paper["batch_norm_momentum"], paper["batch_norm_eps"]) == (0.1, 1e-5)
    recipe = content("ssl/cifar10")["model"]["init_args"]["lr_scheduler"]["init_args"]
    assert recipe == {"periods": 7 / 32}
    assert content("uda/methods/mcd")["model"]["init_args"]["batch_norm"] == "separate"
    assert inspect.signature(ADDA).parameters["learning_rate"].default == 2e-4


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


def test_evaluation_and_checkpoint_have_averaged_weights_and_the_last_counts() -> None:
    change = dict(reduced("ssl/paper/cifar10"))
    given = content("ssl/paper/cifar10")["trainer"]["callbacks"]
    averaging = {**given[0], "init_args": {**given[0]["init_args"], "decay": 0.9}}
    often = {"every_n_train_steps": 2, "save_top_k": -1, "save_last": True, "dirpath": "run"}
    saving = {**given[1], "init_args": often}
    trainer = {"max_steps": 4, "callbacks": [averaging, saving]}
    change["trainer"] = {**change["trainer"], **trainer}
    change["data"] = {"init_args": {**change["data"]["init_args"], "val_size": 10}}
    cli, recorder = built("ssl/paper/cifar10", "ssl/paper/mean_teacher", change=change), Recorder()
    cli.trainer.callbacks.insert(0, recorder)
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    expected, *later = recorder.after_steps
    for weight in later:
        expected = 0.9 * expected + 0.1 * weight
    saved = torch.load("run/last.ckpt", weights_only=True)
    state, current = saved["state_dict"], saved["current_model_state"]
    name = "head.classifier.weight"
    torch.testing.assert_close(recorder.in_validation[-1], expected)
    torch.testing.assert_close(state[name], expected)
    torch.testing.assert_close(cli.model.head.classifier.weight.detach(), expected)  # for the test
    torch.testing.assert_close(current[name], later[-1])
    assert not torch.equal(expected, later[-1])
    # What cannot be averaged is that of the last step.
    whole = [name for name, value in current.items() if not value.is_floating_point()]
    assert {"head.centroid_counts", "head.centroid_updates"} <= set(whole)
    buffers = [name for name, _ in cli.model.named_buffers() if name in state]
    assert all(torch.equal(state[name], current[name]) for name in (*whole, *buffers))
    assert int(state["head.centroid_counts"].sum()) == 4 * 4  # steps of four labeled images
    assert torch.equal(cli.model.head.centroid_counts, state["head.centroid_counts"])
