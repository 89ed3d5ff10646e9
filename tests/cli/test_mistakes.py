"""Wrong configurations and commands: one line that names the key, its value and what is right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from supercm_pl.cli.main import main
from tests.support.command import supercm

pytestmark = [pytest.mark.bad_input, pytest.mark.usefixtures("folder")]


def model(change: str) -> str:
    return f"model: {{init_args: {{{change}}}}}"


def data(change: str) -> str:
    return f"data: {{init_args: {{{change}}}}}"


def of(key: str, path: str, arguments: str) -> str:
    """A class of the package, by its whole path: short ones depend on what is imported."""
    return f"{key}: {{class_path: supercm_pl.{path}, init_args: {{{arguments}}}}}"


def error_line(*words: str) -> str:
    """The line on standard error."""
    outcome = supercm(*words)
    lines = [line for line in outcome.err.splitlines() if line.startswith("supercm: error: ")]
    assert outcome.status == 2
    assert len(lines) == 1
    assert outcome.err.endswith(f"{lines[0]}\n")
    return lines[0].removeprefix("supercm: error: ")


def refused(change: str, *base: str) -> str:
    Path("change.yaml").write_text(change)
    return error_line("fit", *base, "--config", "small.yaml", "--config", "change.yaml")


MODEL = [
    ("cm_wieght: 0", "unknown key model.cm_wieght (change.yaml, line 1); did you mean model.cm_"),
    (
        "backbone: {init_args: {in_chanels: 1}}",
        "unknown key model.backbone.in_chanels (change.yaml, line 1); did you mean model.backbone.",
    ),
    (
        "optimizer: {class_path: torch.optim.SGD, init_args: {momentm: 1}}",
        "unknown key model.optimizer.momentm (change.yaml, line 1); did you mean model.optimizer.m",
    ),
    (
        of("lr_scheduler", "training.optim.WarmupCosineLR", "x: 1"),
        "unknown key model.lr_scheduler.x (change.yaml, line 1); WarmupCosineLR takes optimizer, w",
    ),
    ("cm_weight: .nan", "cm_weight must be finite, got nan"),
    ("cm_weight: true", "model.cm_weight must be float, got True"),
    ("centroids: mean", "model.centroids must be one of cumulative, ema, batch, learnable, got m"),
    ("batch_norm: none", "model.batch_norm must be one of all, labeled, got none"),
    ("feature_size: 7", "features must have shape (N, in_features=7), got (32, 8)"),
    ("num_classes: 9", "model.num_classes is 9, but the data has 10 classes: remove it"),
    ("methods: 3", "model.methods must be subclass of Method or Sequence, got 3"),
    (
        "methods: [{class_path: supercm_pl.ssl.methods.FixMatch}]",
        'view "strong", required by fix_match, has no transform: pass one to the data module as',
    ),
    (
        "methods: {class_path: supercm_pl.uda.methods.DANN}",
        "DANN is a method for domain adaptation: train it with UDAModule",
    ),
    (of("cm_ramp", "training.ramps.LinearRampUp", "end: 2"), "end must be in (0, 1], got 2.0"),
    (
        "optimizer: {class_path: torch.optim.lr_scheduler.StepLR}",
        "model.optimizer must be a subclass of Optimizer, got torch.optim.lr_scheduler.StepLR",
    ),
    (
        of("lr_scheduler", "training.optim.WarmupCosineLR", "warmup_steps: 9, total_steps: 5"),
        "warmup_steps must be at most the total_steps, 5, got 9",
    ),
    (
        "lr_scheduler: {class_path: torch.optim.lr_scheduler.ReduceLROnPlateau}",
        "lr_scheduler must name the metric that it monitors: use",
    ),
    (
        "backbone: null",
        "model.backbone is missing: set it in a --config file, or with --model.backbone",
    ),
    (
        "backbone: {class_path: supercm_pl.backbone.ConvNet}",
        "model.backbone: there is no class supercm_pl.backbone.ConvNet; did you mean supercm_pl.ba",
    ),
    (
        of("backbone", "backbones.MLP", "in_features: 63"),
        "inputs must have 63 values per sample, the in_features, got shape (32, 1, 8, 8)",
    ),
    ("backbone: {init_args: {in_channels: 3}}", "images must have shape (N, 3, H, W) with H"),
]
DATA = [
    ("labels_per_clas: 2", "unknown key data.labels_per_clas (change.yaml, line 1); did you mean "),
    ("labels_per_class: 2.5", "data.labels_per_class must be int, got 2.5"),
    ("labels_per_class: null", "choose the labeled samples by one of labels_per_class"),
    ("weak: flip", "data.weak: there is no class flip; did you mean supercm_pl.data.FlipCrop?"),
    (
        of("weak", "data.FlipCrop", "padding: 8"),
        "padding must be smaller than the image's sides, got 8 for images of 8 x 8",
    ),
    (of("source", "data.FolderSource", "labeled: gone"), "labeled folder gone does not exist"),
    (
        "labels_per_class: null, labeled_indices: rows.txt",
        "labeled_indices: can't read row numbers from rows.txt: [Errno 2] No such file",
    ),
    ("keep_on_device: maybe", "data.keep_on_device must be bool, got maybe"),
    ("predict_path: 3", "data.predict_path must be str, got 3"),
]
OTHER = [
    ("trainer:\n  max_stepss: 2\n", "unknown key trainer.max_stepss (change.yaml, line 2); did yo"),
    ("trainr: {max_steps: 2}", "unknown key trainr (change.yaml, line 1); did you mean trainer?"),
    ("model: {init_arg: {cm_weight: 0}}", "unknown key model.init_arg.cm_weight (change.yaml, lin"),
    ("trainer: {max_steps: [1]}", "trainer.max_steps must be int, got [1]"),
    ("trainer: {precision: 15}", "trainer.precision must be one of 64, 32, 16"),
    ("trainer: {max_epochs: -2}", "`max_epochs` must be a non-negative integer or -1"),
    ("trainer: {accumulate_grad_batches: 0}", "trainer.accumulate_grad_batches must be 1 or more"),
    (
        "trainer: {callbacks: [{class_path: supercm_pl.callbacks.non_finite.NonFiniteLoss, "
        "init_args: {action: ignore}}]}",
        "trainer.callbacks.action must be one of stop, skip, got ignore",
    ),
    ("trainer: {callbacks: [{class_path: NoSuch}]}", "trainer.callbacks: there is no class NoSuch"),
    ("trainer: fast", "trainer must contain keys and values, got fast"),
    ("model: 3", "model must be subclass of SuperCMModule, got 3"),
    ("model: {class_path: torch.nn.Linear}", "model must be a subclass of SuperCMModule, got torc"),
    ("seed_everything: abc", "seed_everything must be bool or int, got abc"),
    ("ckpt_path: [1]", "ckpt_path must be str, got [1]"),
    ("", "change.yaml must contain keys and values, got None"),
    (
        "model:\n  - [1,\nb: 2\n",
        "change.yaml, line 4 is not YAML: expected ',' or ']', but got '<stream end>', "
        "while parsing a flow sequence from line 2",
    ),
    ("\t- x", r"change.yaml, line 1 is not YAML: found character '\t' that cannot start any token"),
    (
        "model: !!python/object/apply:os.system [ls]",
        "change.yaml, line 1 is not YAML: could not determine a constructor for the tag",
    ),
    (
        "trainer:\n  max_steps: 1\ndata: {}\ntrainer:\n  max_epochs: 2\n",
        "change.yaml, line 4: duplicate key trainer",
    ),
    (
        "model: {init_args: {cm_weight: 1, cm_weight: 0}}",
        "change.yaml, line 1: duplicate key cm_weight",
    ),
    ("trainer: &a [*a]", "change.yaml, line 1: an anchor must not contain itself"),
    ("base: smal.yaml", "change.yaml, line 1: there is no base smal.yaml; did you mean small.yaml"),
    ("base: change.yaml", "change.yaml is a base of itself: change.yaml -> change.yaml"),
    ("base: {a: b}", "change.yaml, line 1: base must be a path or a list of paths"),
]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        *((model(change), said) for change, said in MODEL),
        *((data(change), said) for change, said in DATA),
        *OTHER,
    ],
)
def test_a_file(change: str, said: str) -> None:
    assert refused(change).startswith(said)


ADAPTATION = [
    (model("batch_norm: all"), "model.batch_norm must be one of mixed, separate, domain, got all"),
    (
        model(of("methods", "uda.methods.DANN", "max_reversal: -1")),
        "max_reversal must be at least 0, got -1.0",
    ),
    (model("validators: DANN"), "model.validators: there is no class DANN"),
    (data("target_val_size: 3.0"), "target_val_size must be in (0, 1], such as"),
    (data("oracle: maybe"), "data.oracle must be bool, got maybe"),
    (
        data("labels_per_class: 2"),
        "unknown key data.labels_per_class (change.yaml, line 1); did you mean data.target_labels",
    ),
]


@pytest.mark.parametrize(("change", "said"), ADAPTATION)
def test_a_file_of_an_adaptation(folder: Path, change: str, said: str) -> None:
    (folder / "small.yaml").write_text(
        "trainer: {accelerator: cpu, max_steps: 2, logger: false, enable_checkpointing: false}\n"
        "model: {class_path: supercm_pl.UDAModule, init_args: {backbone: {class_path: "
        "supercm_pl.backbones.ConvNet, init_args: {in_channels: 3, widths: [8]}}}}\n"
        "data: {class_path: supercm_pl.UDADataModule, init_args: {steps_per_epoch: 2}}\n"
    )
    assert refused(change).startswith(said)


def test_a_file_that_is_no_text(folder: Path) -> None:
    (folder / "change.yaml").write_bytes(b"\xff\xfe\x00model")
    assert error_line("fit", "--config", "change.yaml").startswith("change.yaml is not YAML: ")


def test_keys_merged_from_an_anchor_are_not_duplicates() -> None:
    assert "duplicate" not in refused("a: &a {x: 1}\nb: &b {y: 2}\nc: {<<: *a, <<: *b, x: 3}\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--cm_weight=1", "unknown option --cm_weight; did you mean --model.cm_weight?"),
        (
            "--optimizer SDG",
            "model.optimizer: there is no class SDG; did you mean torch.optim.SGD?",
        ),
        ("--model SSLModul", "model: there is no class SSLModul; did you mean supercm_pl.SSLModu"),
        ("--trainer.max_steps", "--trainer.max_steps requires a value"),
        ("--trainer.max_steps many", "trainer.max_steps must be int, got many"),
        ("--model.cm_weight -1", "cm_weight must be"),
        ("--model.backbone.in_channels 0", "in_channels"),
        ("--data.labels_per_class 1000", "asked for 1000 labels of a class"),
        ("--optimizer.lr -1", "Invalid learning rate: -1"),
        ("--trainer.accelerator gpuu", "You selected an invalid accelerator name"),
        ("--trainer.devices 0", "`Trainer(devices="),
        ("--budget soon", "--budget must be a time, such as 90s, 5min or 2h, got 'soon'"),
        ("--budget", "--budget must be a time, such as 90s, 5min or 2h, got ''"),
        ("--budge 5min", "unknown option --budge; did you mean --budget?"),
    ],
)
def test_a_mistake_on_the_command_line(words: str, said: str) -> None:
    assert error_line("fit", "--config", "small.yaml", *words.split()).startswith(said)


def test_a_missing_argument_is_named(folder: Path) -> None:
    text = "model: {class_path: supercm_pl.SSLModule}\ndata: {class_path: supercm_pl.SSLDataModule}"
    (folder / "change.yaml").write_text(text)
    assert error_line("fit", "--config", "change.yaml").startswith("model.backbone is missing")
    assert re.match("(data|model).* missing: .*--config", error_line("fit", "--quiet"))


@pytest.mark.parametrize("option", ["--model.backbone={}", "--model.methods=[{{class_path: {}}}]"])
@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("lacking", "import no_such_package", "ModuleNotFoundError: No module named 'no_such_pack"),
        (
            "hidden",
            "from torch import Tenser",
            "ImportError: cannot import name 'Tenser' from 'tor",
        ),
        ("broken", "class Mine(:", "SyntaxError: invalid syntax"),
    ],
)
def test_a_file_of_ones_own_that_cannot_be_imported(
    folder: Path, monkeypatch: pytest.MonkeyPatch, option: str, name: str, text: str, said: str
) -> None:
    (folder / f"{name}.py").write_text(f"import torch\n{text}\n")
    monkeypatch.syspath_prepend(folder)
    found = error_line("fit", "--config", "small.yaml", option.format(f"{name}.Mine"))
    assert found.startswith(f"{name}.Mine can't be imported: {said}")
    assert f"{name}.py, line 2)" in found


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
@pytest.mark.parametrize("words", [(), ("--ckpt_path", "last")])
def test_random_weights_are_never_measured(command: str, words: Sequence[str]) -> None:
    said = f"{command} requires a checkpoint: pass --ckpt_path"
    assert said in error_line(command, "--config", "small.yaml", *words)


def spoiled(kind: str, checkpoint: Path) -> None:
    if kind == "half":
        Path("bad.ckpt").write_bytes(checkpoint.read_bytes()[:5000])
    elif kind == "text":
        Path("bad.ckpt").write_text("hello")
    elif kind == "weights alone":
        torch.save({"weight": torch.zeros(1)}, "bad.ckpt")
    else:
        content = torch.load(checkpoint, weights_only=True)
        content["state_dict"].popitem()
        torch.save(content, "bad.ckpt")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("half", r"bad\.ckpt can't be loaded: it is damaged, or not a checkpoint"),
        ("text", r"bad\.ckpt can't be loaded: it is damaged, or not a checkpoint"),
        ("weights alone", r"bad\.ckpt can't be loaded: it is a state_dict: write"),
        ("a weight less", r"bad\.ckpt does not fit the model of this configuration: Missing key"),
    ],
)
def test_a_bad_checkpoint_is_refused(trained: tuple[Path, str], kind: str, said: str) -> None:
    spoiled(kind, trained[0])
    assert re.match(said, error_line("test", "--config", "small.yaml", "--ckpt_path", "bad.ckpt"))


def test_a_missing_checkpoint_suggests_the_nearest_file(trained: tuple[Path, str]) -> None:
    wrong = trained[0].with_name("lst.ckpt")
    outcome = supercm("test", "--config", "small.yaml", "--ckpt_path", str(wrong))
    assert outcome.err == (
        f"supercm: error: there is no checkpoint {wrong}; did you mean {trained[0]}?\n"
    )


def test_a_programs_defect_keeps_its_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "defect.py").write_text(
        "from lightning.pytorch.callbacks import Callback\n"
        "class Defect(Callback):\n"
        "    def on_fit_start(self, *_):\n"
        "        None + 1\n"
    )
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(TypeError, match="unsupported operand"):
        main(["fit", "--config", "small.yaml", "--trainer.callbacks+", "defect.Defect"])


def test_the_traceback_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERCM_DEBUG", "1")
    with pytest.raises(ValueError, match="cm_weight must be"):
        main(["fit", "--config", "small.yaml", "--model.cm_weight", "-1"])
