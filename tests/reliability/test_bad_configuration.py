"""Wrong configurations: the command ends with one line that names the key and what is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import supercm

pytestmark = pytest.mark.bad_input

ADAPTING = """
seed_everything: 0
trainer: {accelerator: cpu, max_steps: 2, logger: false, enable_checkpointing: false}
model:
  class_path: supercm_pl.UDAModule
  init_args:
    backbone: {class_path: supercm_pl.backbones.ConvNet, init_args: {in_channels: 3, widths: [8]}}
data: {class_path: supercm_pl.UDADataModule, init_args: {steps_per_epoch: 2}}
"""


@pytest.fixture(autouse=True)
def adapting(folder: Path) -> None:
    (folder / "adapting.yaml").write_text(ADAPTING)


def model(change: str) -> str:
    return f"model: {{init_args: {{{change}}}}}"


def data(change: str) -> str:
    return f"data: {{init_args: {{{change}}}}}"


def of(key: str, path: str, arguments: str) -> str:
    """A class of the package, by its whole path: short ones depend on what is imported."""
    return f"{key}: {{class_path: supercm_pl.{path}, init_args: {{{arguments}}}}}"


def refused(base: str, change: str) -> str:
    """The line on standard error."""
    Path("change.yaml").write_text(change)
    outcome = supercm("fit", "--config", base, "--config", "change.yaml")
    lines = [line for line in outcome.err.splitlines() if line.startswith("supercm: error: ")]
    assert outcome.status == 2
    assert len(lines) == 1
    assert outcome.err.endswith(f"{lines[0]}\n")
    return lines[0].removeprefix("supercm: error: ")


MODEL = [
    ("cm_weight: .nan", "cm_weight must be finite, got nan"),
    ("cm_weight: null", "cm_weight must be a number, got None"),
    ("cm_weight: true", "model.cm_weight must be float, got True"),
    ("temperature: 0", "temperature must be greater than 0, got 0.0"),
    ("momentum: 1.0", "momentum must be in (0, 1), got 1.0"),
    ("alpha: [1, 2]", "alpha must have shape (K=10), got (2,)"),
    ("centroids: mean", "model.centroids must be one of cumulative, ema, batch, learnable, got m"),
    ("centroid_threshold: 1.5", "centroid_threshold must be in (0, 1), got 1.5"),
    ("batch_norm: none", "model.batch_norm must be one of all, labeled, frozen, got none"),
    ("bottleneck: 2.5", "model.bottleneck must be int, got 2.5"),
    ("feature_size: 7", "features must have shape (N, in_features=7), got (64, 8)"),
    ("num_classes: 1", "model.num_classes is 1, but the data have 10 classes: leave it out"),
    ("methods: 3", "model.methods must be subclass of Method or Sequence, got 3"),
    (
        "methods: {class_path: supercm_pl.ssl.methods.FixMatc}",
        "model.methods: there is no class supercm_pl.ssl.methods.FixMatc; did you mean",
    ),
    (of("methods", "ssl.methods.VAT", "weight: .nan"), "weight must be finite, got nan"),
    (
        "methods: [{class_path: supercm_pl.ssl.methods.FixMatch}]",
        'view "strong", required by fix_match, has no transform: pass one to the data module as',
    ),
    (
        "methods: {class_path: supercm_pl.uda.methods.DANN}",
        "DANN is a method for domain adaptation: train it with UDAModule",
    ),
    ("cm_ramp: 0.5", "model.cm_ramp must be subclass of Ramp, got 0.5"),
    (of("cm_ramp", "training.ramps.LinearRampUp", "end: 2"), "end must be in (0, 1], got 2.0"),
    (
        of("cm_ramp", "training.ramps.SigmoidRampUp", "end: x"),
        "model.cm_ramp.end must be float, got x",
    ),
    (
        "optimizer: {class_path: torch.optim.SGD, init_args: {lr: fast}}",
        "model.optimizer.lr must be float",
    ),
    (
        "optimizer: {class_path: torch.optim.lr_scheduler.StepLR}",
        "model.optimizer must be a subclass of Optimizer, got torch.optim.lr_scheduler.StepLR",
    ),
    (
        of("lr_scheduler", "training.optim.WarmupCosineLR", "warmup_steps: -5"),
        "warmup_steps must be at least 0, got -5",
    ),
    (
        of("lr_scheduler", "training.optim.WarmupCosineLR", "warmup_steps: 9, total_steps: 5"),
        "warmup_steps must be at most the total_steps, 5, got 9",
    ),
    (
        "lr_scheduler: {class_path: torch.optim.lr_scheduler.ReduceLROnPlateau}",
        "lr_scheduler must be a schedule of steps, got ReduceLROnPlateau",
    ),
    ("backbone: null", "model.backbone is missing: give it in a file with --config"),
    (
        of("backbone", "backbones.MLP", "in_features: 63"),
        "inputs must have 63 values per sample, the in_features, got shape (64, 1, 8, 8)",
    ),
    ("backbone: {init_args: {in_channels: 3}}", "images must have shape (N, 3, H, W) with H"),
]


@pytest.mark.parametrize(("change", "said"), MODEL)
def test_models(change: str, said: str) -> None:
    assert refused("small.yaml", model(change)).startswith(said)


DATA = [
    ("labels_per_class: 2.5", "data.labels_per_class must be int, got 2.5"),
    ("labels_per_class: null", "say which samples are labeled, by one of labels_per_class"),
    ("num_labels: 20", "only one of labels_per_class, num_labels, labeled_fraction, labeled_in"),
    ("val_size: 1.5", "val_size must be a number of samples, a share in (0, 1], or"),
    ("num_workers: many", "data.num_workers must be int, got many"),
    ("weak: flip", "data.weak: there is no class flip; did you mean supercm_pl.data.FlipCrop?"),
    (of("weak", "data.AffineNoise", "noise: .nan"), "noise must be finite, got nan"),
    (
        of("weak", "data.FlipCrop", "padding: 8"),
        "padding must be smaller than the image's sides, got 8 for images of 8 x 8",
    ),
    ("distortion: {label_noise: 2}", "label_noise must be in [0, 1], got 2.0"),
    ("source: nowhere", "data.source: there is no class nowhere"),
    (
        of("source", "data.FolderSource", "labeled: nowhere"),
        "labeled folder nowhere does not exist",
    ),
    (
        "labels_per_class: null, labeled_indices: rows.txt",
        "labeled_indices: can't read row numbers from rows.txt: [Errno 2] No such file",
    ),
    ("keep_on_device: maybe", "data.keep_on_device must be bool, got maybe"),
    ("predict_path: 3", "data.predict_path must be str, got 3"),
]


@pytest.mark.parametrize(("change", "said"), DATA)
def test_data(change: str, said: str) -> None:
    assert refused("small.yaml", data(change)).startswith(said)


OTHER = [
    ("trainer: {precision: 15}", "trainer.precision must be one of 64, 32, 16"),
    ("trainer: {max_epochs: -2}", "`max_epochs` must be a non-negative integer or -1"),
    ("trainer: {limit_val_batches: 2.5}", "You have passed invalid value 2.5 for limit_val"),
    ("trainer: {accumulate_grad_batches: 0}", "trainer.accumulate_grad_batches must be 1 or more"),
    ("trainer: {gradient_clip_val: x}", "trainer.gradient_clip_val must be int or float, got x"),
    (
        "trainer: {callbacks: [{class_path: supercm_pl.callbacks.non_finite.NonFiniteLoss, "
        "init_args: {action: ignore}}]}",
        "trainer.callbacks.action must be one of stop, skip, got ignore",
    ),
    ("trainer: {callbacks: [{class_path: NoSuch}]}", "trainer.callbacks: there is no class NoSuch"),
    ("trainer: fast", "trainer must hold keys and values, got fast"),
    ("model: 3", "model must be subclass of SuperCMModule, got 3"),
    ("model: {class_path: torch.nn.Linear}", "model must be a subclass of SuperCMModule, got torc"),
    ("data: []", "data must be subclass of LightningDataModule, got []"),
    ("seed_everything: abc", "seed_everything must be bool or int, got abc"),
    ("test_after_fit: perhaps", "test_after_fit must be bool, got perhaps"),
    ("ckpt_path: [1]", "ckpt_path must be str, got [1]"),
    ("", "change.yaml must hold keys and values, such as `trainer:`, got None"),
    ("{", "change.yaml, line 1 is not YAML: expected the node content"),
    ("\t- x", r"change.yaml, line 1 is not YAML: found character '\t' that cannot start any token"),
    (
        "model: !!python/object/apply:os.system [ls]",
        "change.yaml, line 1 is not YAML: could not determine a constructor for the tag",
    ),
    (
        "trainer:\n  max_steps: 1\ndata: {}\ntrainer:\n  max_epochs: 2\n",
        "change.yaml, line 4: the key trainer is there twice",
    ),
    (
        "model: {init_args: {cm_weight: 1, cm_weight: 0}}",
        "change.yaml, line 1: the key cm_weight is there twice",
    ),
    ("trainer: &a [*a]", "change.yaml, line 1: an anchor must not hold itself"),
]


@pytest.mark.parametrize(("change", "said"), OTHER)
def test_the_rest(change: str, said: str) -> None:
    assert refused("small.yaml", change).startswith(said)


def test_a_file_that_is_no_text(folder: Path) -> None:
    (folder / "change.yaml").write_bytes(b"\xff\xfe\x00model")
    outcome = supercm("fit", "--config", "change.yaml")
    assert outcome.status == 2
    assert outcome.err.startswith("supercm: error: change.yaml is not YAML: ")


def test_keys_merged_from_an_anchor_are_not_there_twice(folder: Path) -> None:
    text = "a: &a {x: 1}\nb: &b {y: 2}\nc: {<<: *a, <<: *b, x: 3}\n"
    assert "there twice" not in refused("small.yaml", text)


ADAPTATION = [
    (model("batch_norm: all"), "model.batch_norm must be one of mixed, separate, domain, got all"),
    (
        model(of("methods", "uda.methods.DANN", "max_reversal: -1")),
        "max_reversal must be at least 0, got -1.0",
    ),
    (model(of("validators", "uda.validators.SND", "temperature: 0")), "temperature must be g"),
    (model("validators: DANN"), "model.validators: there is no class DANN"),
    (data("target_val_size: 3.0"), "target_val_size must be in (0, 1], such as"),
    (data("resize: 0"), "resize must be 1 pixel or more, got 0"),
    (data("oracle: maybe"), "data.oracle must be bool, got maybe"),
    (
        data("target_labels_per_class: 1, num_target_labels: 10"),
        "only one of target_labels_per_class, num_target_labels, labeled_target_indices may be",
    ),
    (data("source: []"), "source must be a source or a list of at least one, got an empty list"),
    (
        data("labels_per_class: 2"),
        "unknown key data.labels_per_class (change.yaml, line 1); did you mean data.target_labels",
    ),
]


@pytest.mark.parametrize(("change", "said"), ADAPTATION)
def test_adaptation(change: str, said: str) -> None:
    assert refused("adapting.yaml", change).startswith(said)
