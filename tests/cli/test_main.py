from __future__ import annotations

import contextlib
import csv
import io
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from supercm_pl import SSLDataModule, SSLModule
from supercm_pl.cli.main import main
from tests.support.command import printed_config, supercm, supercm_process, table

pytestmark = pytest.mark.usefixtures("folder")


def written(folder: Path, text: str, name: str = "change.yaml") -> str:
    (folder / name).write_text(text)
    return name


# --- What the commands do


def test_fit_ends_with_one_table_of_what_matters_first(trained: tuple[Path, str]) -> None:
    rows = table(trained[1])
    assert list(rows) == [
        *("supercm fit", "accuracy", "NMI", "ARI", "top-5 accuracy", "calibration error"),
        *("seconds", "checkpoint", "logs"),
    ]
    assert rows["supercm fit"] == ["test", "val"]
    assert rows["checkpoint"] == ["runs/small/version_0/checkpoints/last.ckpt"]
    assert trained[1].count("accuracy  ") == 2  # plain and top-5, once each


def test_the_run_folder_holds_what_makes_the_run_again(trained: tuple[Path, str]) -> None:
    run = trained[0].parent.parent
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["seed_everything"] == 0
    assert config["model"]["init_args"]["num_classes"] == 10  # although taken from the data
    assert (run / "split.json").is_file()
    outcome = supercm("fit", "--config", str(run / "config.yaml"))
    assert table(outcome.out)["accuracy"] == table(trained[1])["accuracy"]


def test_a_checkpoint_loads_by_itself_and_safely(trained: tuple[Path, str]) -> None:
    module = SSLModule.load_from_checkpoint(trained[0], weights_only=True)
    saved = torch.load(trained[0], weights_only=True)["state_dict"]
    assert module.num_classes == 10
    assert all(torch.equal(value, saved[name]) for name, value in module.state_dict().items())


def test_test_gives_what_fit_printed(trained: tuple[Path, str]) -> None:
    outcome = supercm("test", "--config", "small.yaml", "--ckpt_path", str(trained[0]))
    fitted, tested = table(trained[1]), table(outcome.out)
    names = ("accuracy", "NMI", "ARI", "top-5 accuracy", "calibration error")
    assert [tested[name][0] for name in names] == [fitted[name][0] for name in names]
    assert "Test metric" not in outcome.out  # Lightning's table would be a second one


def test_validate_gives_what_fit_printed(trained: tuple[Path, str]) -> None:
    outcome = supercm("validate", "--config", "small.yaml", "--ckpt_path", str(trained[0]))
    assert table(outcome.out)["accuracy"][0] == table(trained[1])["accuracy"][1]


def test_predict_writes_what_test_measures(trained: tuple[Path, str], folder: Path) -> None:
    words = ("--config", "small.yaml", "--ckpt_path", str(trained[0]), "--output", "to/p.csv")
    outcome = supercm("predict", *words)
    assert table(outcome.out)["predictions"] == ["to/p.csv"]
    with (folder / "to/p.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["id", "class", "probability", *"0123456789"]
    data = SSLDataModule(labels_per_class=2, seed=0)
    data.setup("test")
    labels = torch.cat([y for _, y in data.test_dataloader()])
    right = np.mean([row[1] == str(int(label)) for row, label in zip(rows, labels, strict=True)])
    assert f"{right:.4f}" == table(trained[1])["accuracy"][0]
    assert all(abs(sum(map(float, row[3:])) - 1) < 1e-4 for row in rows)
    assert not (folder / "runs").exists()  # nothing is logged


def test_fit_goes_on_from_a_checkpoint(trained: tuple[Path, str]) -> None:
    words = ("--config", "small.yaml", "--ckpt_path", str(trained[0]), "--trainer.max_steps", "18")
    checkpoint = Path(table(supercm("fit", *words).out)["checkpoint"][0])
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 18


def test_the_seed_decides_split_and_result(trained: tuple[Path, str], folder: Path) -> None:
    same = table(supercm("fit", "--config", "small.yaml", "--seed_everything", "0").out)
    other = table(supercm("fit", "--config", "small.yaml", "--seed_everything", "1").out)
    first = table(trained[1])
    metrics = ("accuracy", "NMI", "ARI", "top-5 accuracy", "calibration error")
    assert [same[name] for name in metrics] == [first[name] for name in metrics]
    assert [other[name] for name in metrics] != [first[name] for name in metrics]
    splits = [
        (run / "split.json").read_text()
        for run in (trained[0].parent.parent, Path("runs/small/version_0"), Path(other["logs"][0]))
    ]
    assert splits[0] == splits[1] != splits[2]


def test_null_reaches_an_argument_of_any_depth(folder: Path) -> None:
    words = ("fit", "--config", "small.yaml", "--data.source", "FolderSource")
    given = ("--data.source.labeled", "cats", "--data.source.test", "null", "--print_config")
    outcome = supercm(*words, *given)
    assert outcome.status == 0, outcome.err
    source = yaml.safe_load(outcome.out)["data"]["init_args"]["source"]["init_args"]
    assert source["labeled"] == "cats"
    assert source["test"] is None


def test_help_lists_this_packages_modules(folder: Path) -> None:
    said = "".join(supercm("fit", "--help", "all").out.split())  # lines break anywhere
    for name in ("SSLModule", "UDAModule", "SSLDataModule", "UDADataModule"):
        assert f"supercm_pl.{name}" in said


def test_fit_without_the_test(folder: Path) -> None:
    words = ("--config", "small.yaml", "--test_after_fit", "false", "--trainer.max_steps", "1")
    assert "test" not in supercm("fit", *words).out


def test_an_interrupted_run_says_how_to_go_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "interrupting.py").write_text(
        "from lightning.pytorch.callbacks import Callback\n"
        "class AtStep(Callback):\n"
        "    def __init__(self, step: int):\n"
        "        self.step = step\n"
        "    def on_train_batch_end(self, trainer, *_):\n"
        "        if trainer.global_step == self.step: raise KeyboardInterrupt\n"
    )
    monkeypatch.syspath_prepend(folder)
    before = signal.getsignal(signal.SIGINT)
    callback = ("--trainer.callbacks+", "interrupting.AtStep", "--trainer.callbacks.step")
    try:
        early = supercm("fit", "--config", "small.yaml", *callback, "3")
        late = supercm("fit", "--config", "small.yaml", *callback, "9")
    finally:
        signal.signal(signal.SIGINT, before)  # Lightning ignores it from then on
    assert early.status == late.status == 130
    assert early.err == "supercm: stopped at step 3; no checkpoint was saved yet\n"
    assert late.err.startswith("supercm: stopped at step 9; resume with\n  supercm fit --config ")
    checkpoint = late.err.strip().rpartition(" ")[2]
    assert checkpoint == "runs/small/version_1/checkpoints/last.ckpt"
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 6


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_one_bar_for_the_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    with contextlib.redirect_stdout(out):
        main(["fit", "--config", "small.yaml"])
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", out.getvalue())
    assert re.search(r"fit .*12/12 .*train/loss \d", plain)
    assert "Epoch" not in plain
    assert re.search(r"^accuracy +\d\.\d{4}", plain, re.MULTILINE)


# --- How it is configured


def test_a_later_file_changes_only_what_it_names(folder: Path) -> None:
    change = written(
        folder, "model: {init_args: {cm_weight: 0.25, backbone: {init_args: {widths: [4]}}}}"
    )
    config = printed_config("--config", "small.yaml", "--config", change)
    arguments = config["model"]["init_args"]
    assert arguments["cm_weight"] == 0.25
    assert arguments["backbone"]["init_args"]["widths"] == [4]
    assert arguments["backbone"]["init_args"]["in_channels"] == 1
    assert arguments["optimizer"]["init_args"]["lr"] == 0.01


def test_options_override_files(folder: Path) -> None:
    change = written(folder, "model: {init_args: {cm_weight: 0.25}}\ntrainer: {max_steps: 7}")
    words = ("--config", "small.yaml", "--config", change, "--model.cm_weight", "0.5")
    config = printed_config(*words, "--trainer.max_steps=3", "--data.seed", "4")
    assert config["model"]["init_args"]["cm_weight"] == 0.5
    assert config["trainer"]["max_steps"] == 3
    assert config["data"]["init_args"]["seed"] == 4


def test_the_optimizer_has_a_short_form(folder: Path) -> None:
    words = ("--optimizer", "SGD", "--optimizer.lr=0.5", "--optimizer.momentum", "0.9")
    optimizer = printed_config("--config", "small.yaml", *words)["model"]["init_args"]["optimizer"]
    assert optimizer["class_path"] == "torch.optim.SGD"
    assert (optimizer["init_args"]["lr"], optimizer["init_args"]["momentum"]) == (0.5, 0.9)


def test_the_number_of_classes_may_be_given(folder: Path) -> None:
    words = ("fit", "--config", "small.yaml", "--trainer.max_steps", "1", "--model.num_classes")
    assert supercm(*words, "10").status == 0


def test_data_and_models_of_ones_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "own.py").write_text(
        "import lightning.pytorch as L\n"
        "from torch import nn\n"
        "from supercm_pl import SSLDataModule, SSLModule\n"
        "class Data(L.LightningDataModule):\n"  # does not know its number of classes
        "    def __init__(self, size: int = 3):\n"
        "        super().__init__()\n"
        "        self.inner = SSLDataModule(labels_per_class=size, seed=0)\n"
        "    def setup(self, stage):\n"
        "        self.inner.trainer = self.trainer\n"
        "        self.inner.setup(stage)\n"
        "    def train_dataloader(self): return self.inner.train_dataloader()\n"
        "    def test_dataloader(self): return self.inner.test_dataloader()\n"
        "class Ten(SSLModule):\n"  # does not take a number of classes
        "    def __init__(self, backbone: nn.Module, cm_weight: float = 0.1):\n"
        "        super().__init__(backbone, 10, cm_weight=cm_weight)\n"
    )
    monkeypatch.syspath_prepend(folder)
    trainer = ("--trainer.max_steps", "1", "--trainer.logger", "false", "--trainer.accelerator=cpu")
    model = ("--model.backbone", "ConvNet", "--model.backbone.in_channels", "1")
    saving = ("--trainer.callbacks+", "ModelCheckpoint", "--trainer.callbacks.save_last", "true")
    own = ("--data", "own.Data", *trainer, *saving)
    named = ("--model", "SSLModule", *model, "--model.num_classes", "10")
    fitted = supercm("fit", *own, *named, "--trainer.default_root_dir", "first")
    assert fitted.status == 0, fitted.err
    words = (
        "--model",
        "own.Ten",
        *model,
        "--data",
        "SSLDataModule",
        "--data.labels_per_class",
        "2",
    )
    fitted = supercm("fit", *words, *trainer, *saving, "--trainer.default_root_dir", "second")
    assert fitted.status == 0, fitted.err
    assert "logs" not in table(fitted.out)
    assert not list(folder.rglob("config.yaml"))  # without a logger there is no folder for it
    checkpoint = table(fitted.out)["checkpoint"][0]
    tested = supercm("test", *words, *trainer, "--ckpt_path", checkpoint)
    assert table(tested.out)["accuracy"][0] == table(fitted.out)["accuracy"][0]


# --- The command by itself


def test_the_command_leaves_the_process_as_it_was() -> None:
    before = list(sys.argv)
    supercm("fit", "--config", "none.yaml")
    assert sys.argv == before


def test_two_processes_train_as_one_run(folder: Path) -> None:
    words = ("--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.max_steps", "6")
    done = supercm_process("fit", "--config", "small.yaml", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("supercm fit") == 1
    run = folder / "runs/small/version_0"
    assert all((run / name).is_file() for name in ("config.yaml", "split.json"))
    assert [path.name for path in (folder / "runs/small").iterdir()] == ["version_0"]
