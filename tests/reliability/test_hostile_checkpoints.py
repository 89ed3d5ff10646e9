"""A checkpoint imports, builds, calls and touches nothing but what the user trusts."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from supercm_pl import SSLDataModule, SSLModule, UDAModule
from supercm_pl.backbones import MLP, TimmBackbone, TorchvisionBackbone
from supercm_pl.checkpoints.building import build
from supercm_pl.checkpoints.files import AtomicCheckpointIO
from supercm_pl.checkpoints.trust import resolve
from supercm_pl.export import load_classifier
from supercm_pl.report.loading import load_run
from supercm_pl.ssl.methods import FlexMatch, LabelPropagation
from supercm_pl.uda.methods import ADDA
from tests.support.command import supercm
from tests.support.fuzz_checkpoints import CONFIG, fuzz
from tests.support.images import paint
from tests.support.runs import data, digits_module
from tests.support.runs import fit as run

BOTH = ("--config", "small.yaml", "--ckpt_path", "x.ckpt")
DATA = yaml.safe_load(CONFIG)["data"]["init_args"]
BARE = CONFIG.replace("preprocess: {class_path: supercm_pl.data.ZCA}", "")
# Its module tells that it was imported; the class is as the one of the checkpoint.
STRANGER = """
import os
os.makedirs('pwned')
from supercm_pl.backbones import MLP
from supercm_pl.data import ZCA
from supercm_pl import SSLModule
class Net(MLP): pass
class Whitening(ZCA): pass
class Own(SSLModule): pass
def call(*given): os.makedirs('called', exist_ok=True); return 1.0
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of ``supercm fit`` after two steps."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "small.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        outcome = supercm("fit", "--config", "small.yaml", "--test_after_fit=false")
    assert outcome.status == 0, outcome.err
    (found,) = folder.rglob("last.ckpt")
    return found


@pytest.fixture(autouse=True)
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with configurations, images and a module that nobody imports."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("small.yaml").write_text(CONFIG)
    Path("bare.yaml").write_text(BARE)
    Path("stranger.py").write_text(STRANGER)
    shutil.copy(trained, "x.ckpt")
    paint(tmp_path / "images", "1.png")
    yield tmp_path
    sys.modules.pop("stranger", None)


def spoil(part: str = "hyper_parameters", **changes: Any) -> None:
    content = torch.load("x.ckpt", weights_only=True)
    content[part] = {**content.get(part, {}), **changes}
    torch.save(content, "x.ckpt")


def from_hub() -> Any:
    hub = pytest.importorskip("supercm_pl.integrations.hub")
    pytest.importorskip("safetensors", reason="safetensors is not installed: supercm-pl[hf]")
    content = torch.load("x.ckpt", weights_only=True)["hyper_parameters"]
    hub.save_pretrained("x.ckpt", "hub")
    config = {**json.loads(Path("hub/config.json").read_text()), "hyper_parameters": content}
    Path("hub/config.json").write_text(json.dumps(config))
    return hub.from_pretrained("hub")


LOADS: dict[str, Callable[[], Any]] = {
    "load_from_checkpoint": lambda: SSLModule.load_from_checkpoint("x.ckpt"),
    "of an open file": lambda: SSLModule.load_from_checkpoint(io.BytesIO(_bytes())),
    "load_classifier": lambda: load_classifier("x.ckpt"),
    "with a configuration": lambda: load_classifier("x.ckpt", "bare.yaml"),
    "from_pretrained": from_hub,
    "the report's load_run": lambda: load_run("x.ckpt"),
}
COMMANDS = {
    "predict CKPT": ("predict", "x.ckpt", "images"),
    "export": ("export", "x.ckpt"),
    "export --config": ("export", "x.ckpt", "--config", "bare.yaml"),
    **{name: (name, *BOTH) for name in ("fit", "validate", "test", "predict")},
}


def _bytes() -> bytes:
    return Path("x.ckpt").read_bytes()


def is_untouched() -> bool:
    return not Path("pwned").exists() and not Path("called").exists()


ARGUMENTS = {"in_features": 64, "hidden_features": [8]}
NET = {"class_path": "stranger.Net", "init_args": ARGUMENTS}
CALL = {
    "class_path": "torch.optim.lr_scheduler.LambdaLR",
    "init_args": {"lr_lambda": "stranger.call"},
}
HOSTILE: dict[str, dict[str, Any]] = {
    "an object": {"backbone": NET},
    "YAML": {"backbone": yaml.safe_dump(NET)},
    "YAML in one line": {"backbone": "{class_path: stranger.Net}"},
    "JSON": {"backbone": json.dumps(NET)},
    "JSON with escapes": {"backbone": json.dumps(NET).replace("class_path", "class\\u005fpath")},
    "a name": {"backbone": "stranger.Net"},
    "a bare name": {"backbone": "Net"},
    "a bare name as class": {"backbone": {"class_path": "Net", "init_args": ARGUMENTS}},
    "a path of keys": {"backbone": {"class_path.x": "stranger.Net", "init_args": ARGUMENTS}},
    "a path of keys in arguments": {
        "backbone": {
            "class_path": "supercm_pl.backbones.MLP",
            "init_args": {**ARGUMENTS, "activation.class_path": "stranger.Net"},
        }
    },
    "text for any type": {
        "backbone": {
            "class_path": "torch.nn.Linear",
            "init_args": {"in_features": 64, "out_features": 8, "device": yaml.safe_dump(NET)},
        }
    },
    "the module itself": {"_class_path": "stranger.Own"},
    "a list as text": {"methods": json.dumps([NET])},
    "texts in a list": {"methods": [json.dumps(NET)]},
    "an argument of a trusted class": {
        "backbone": {"class_path": "torch.nn.Sequential", "init_args": {"args": [NET]}}
    },
    "a function": {"optimizer": "stranger.call"},
    "a function in an argument": {"lr_scheduler": CALL},
    "a function in text": {"lr_scheduler": yaml.safe_dump(CALL)},
    "a function of the system": {"optimizer": "os.abort"},
    "what this package imports": {"backbone": {"class_path": "supercm_pl.cli.main.os.abort"}},
    "what a listed module imports": {"backbone": {"class_path": "torch.nn.modules.OrderedDict"}},
    "no class": {"backbone": {"class_path": "torch.nn.init.normal_"}},
    "no name": {"backbone": {"class_path": ["stranger.Net"]}},
    "a plain value too many": {"backbone": {**NET, "class_path": 3}},
}


@pytest.mark.parametrize(
    ("load", "how"),
    [*(("load_classifier", how) for how in HOSTILE), *((load, "YAML") for load in LOADS)],
)
def test_no_function_that_loads_it_takes_what_it_names(load: str, how: str) -> None:
    spoil(**HOSTILE[how])
    with pytest.raises(ValueError, match=r"the checkpoint (names|has)|has no argument"):
        LOADS[load]()
    assert is_untouched()


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_takes_it_either(command: str) -> None:
    spoil(**HOSTILE["YAML"])
    outcome = supercm(*COMMANDS[command])
    assert outcome.status == 2
    assert outcome.err.startswith("supercm: error: the checkpoint ")
    assert outcome.err.count("\n") == 1
    assert is_untouched()


@pytest.mark.parametrize("command", ["export", "test", "fit"])
@pytest.mark.parametrize("key", ["backbone.class_path", "model.init_args.backbone", "methods.0"])
def test_a_path_of_keys_names_nothing(key: str, command: str) -> None:
    spoil(**{key: "stranger.Net"})
    outcome = supercm(
        *COMMANDS[command], *(["--trainer.max_steps", "3"] if command == "fit" else [])
    )
    assert outcome.status == 0, outcome.err
    assert is_untouched()


def test_neither_sets_nor_functions_are_values() -> None:
    spoil(backbone={"class_path: stranger.Net"})
    with pytest.raises(
        ValueError, match="hyperparameters are plain values, the checkpoint has set"
    ):
        SSLModule.load_from_checkpoint("x.ckpt")
    spoil("callbacks", EarlyStopping=torch._utils._rebuild_tensor_v2)
    for load in (SSLModule.load_from_checkpoint, AtomicCheckpointIO().load_checkpoint):
        with pytest.raises(ValueError, match="only plain values, got <function _rebuild"):
            load("x.ckpt")


@pytest.mark.parametrize(
    "name",
    ["hparams", "module_arguments", "hparams_name", "hparams_type", "datamodule_hyper_parameters"],
)
def test_other_places_that_lightning_looks_at_say_nothing(name: str) -> None:
    content = torch.load("x.ckpt", weights_only=True)
    content[name] = "backbone" if name == "hparams_name" else HOSTILE["YAML"]
    content["datamodule_hyper_parameters"] = {
        "_instantiator": "lightning.pytorch.cli.instantiate_module",
        "_class_path": "supercm_pl.SSLDataModule",
        "source": json.dumps(NET),
    }
    torch.save(content, "x.ckpt")
    assert isinstance(SSLModule.load_from_checkpoint("x.ckpt").backbone, MLP)
    data = SSLDataModule.load_from_checkpoint("x.ckpt", labels_per_class=2)
    assert data.source is None or type(data.source).__module__.startswith("supercm_pl.")
    assert is_untouched()


def test_the_name_of_an_instantiator_is_not_looked_at() -> None:
    spoil(_instantiator="stranger.call")
    SSLModule.load_from_checkpoint("x.ckpt")
    assert supercm("test", *BOTH).status == 0
    assert is_untouched()


@pytest.mark.parametrize(
    "path",
    [
        *("torch.fx.GraphModule", "torch.jit.ScriptModule", "torch.jit._script.ScriptModule"),
        *("torch.optim.swa_utils.AveragedModel", "torch.nn.Parameter", "torch.nn.init.normal_"),
        *("timm.models.FeatureGraphNet", "timm.models.create_model", "torchvision.models.resnet18"),
        *(
            "torchmetrics.text.BERTScore",
            "torchmetrics.MetricCollection",
            "torch.nn.modules.Tensor",
        ),
        *("lightning.pytorch.LightningModule", "supercm_pl.SSLDataModule", "supercm_pl.cli.main"),
        *("tests.reliability.test_hostile_checkpoints.Imported", "torch.hub.load", "MLP", "", "."),
        *("torch.nn.Linear.forward", "torch.nn..Linear", "torch.nn.Linear\n", "torch.nn.modules.F"),
    ],
)
def test_what_is_not_on_the_list_is_rejected_though_it_is_imported(path: str) -> None:
    with pytest.raises(ValueError, match="which is not a trusted class"):
        resolve(path)


class Imported(nn.Linear):
    """As any class of the program that loads a checkpoint."""


@pytest.mark.parametrize(
    "path",
    [
        *("torch.nn.Linear", "torch.nn.modules.linear.Linear", "torch.optim.SGD"),
        *("torch.optim.sgd.SGD", "torch.optim.lr_scheduler.OneCycleLR", "torchvision.models.VGG"),
        *("torchvision.models.resnet.ResNet", "torchmetrics.classification.Accuracy"),
        *(
            "supercm_pl.SSLModule",
            "supercm_pl.backbones.mlp.MLP",
            "supercm_pl.training.optim.WarmupCosineLR",
        ),
        *(
            "supercm_pl.training.ramps.SigmoidRampUp",
            "supercm_pl.data.ZCA",
            "supercm_pl.uda.validators.BatchNuclearNorm",
        ),
    ],
)
def test_what_is_on_the_list(path: str) -> None:
    assert resolve(path).__name__ == path.rpartition(".")[2]


def test_a_package_that_the_user_names_is_trusted() -> None:
    spoil(backbone=NET)
    module = SSLModule.load_from_checkpoint("x.ckpt", trust="stranger")
    assert type(module.backbone).__name__ == "Net"
    shutil.rmtree("pwned")
    for words in (COMMANDS["export"], COMMANDS["test"], COMMANDS["fit"]):
        del sys.modules["stranger"]
        outcome = supercm(*words, "--trust", "my_package,stranger")
        assert outcome.status == 0, outcome.err
        shutil.rmtree("pwned")
    with pytest.raises(ValueError, match=r"names 'stranger\.os\.abort', which is not a trusted"):
        resolve("stranger.os.abort", ["stranger"])
    with pytest.raises(ValueError, match=r"can't import stranger\.Nothing"):
        resolve("stranger.Nothing", ["stranger"])


def test_so_is_a_class_that_the_users_configuration_names_and_no_other() -> None:
    spoil(backbone=NET)
    mine = CONFIG.replace("class_path: supercm_pl.backbones.MLP", "class_path: stranger.Net")
    Path("small.yaml").write_text(mine)
    assert supercm("test", *BOTH).status == 0
    spoil(optimizer="stranger.call")
    outcome = supercm("test", *BOTH)
    assert "the checkpoint names 'stranger.call', which is not a trusted class" in outcome.err


def test_the_class_that_is_loaded_vouches_for_its_package() -> None:
    import stranger  # type: ignore[import-not-found]

    spoil(backbone=NET, _class_path="stranger.Own")
    assert type(stranger.Own.load_from_checkpoint("x.ckpt").backbone) is stranger.Net
    with pytest.raises(ValueError, match=r"names 'stranger\.Own'"):
        SSLModule.load_from_checkpoint("x.ckpt")
    spoil(_class_path="supercm_pl.UDAModule")
    with pytest.raises(ValueError, match=r"module must be a SSLModule, got supercm_pl\.UDAModule"):
        SSLModule.load_from_checkpoint("x.ckpt")


def test_a_preprocessing_of_a_stranger_is_built_only_if_the_configuration_names_it() -> None:
    spoil("SSLDataModule", preprocess_class={"class_path": "stranger.Whitening"})
    for words in (COMMANDS["export"], COMMANDS["export --config"], COMMANDS["predict CKPT"]):
        outcome = supercm(*words)
        assert outcome.status == 2
        assert "names 'stranger.Whitening', which is not a trusted class" in outcome.err
    assert is_untouched()
    mine = CONFIG.replace("supercm_pl.data.ZCA", "stranger.Whitening")
    Path("bare.yaml").write_text(mine)
    assert supercm(*COMMANDS["export --config"]).status == 0


HUB = "supercm_pl.data.sources.hugging_face.HuggingFaceSource"


@pytest.mark.parametrize(
    "source",
    [
        {"class_path": "stranger.Net"},
        json.dumps(NET),
        "stranger.call",
        # Its library may run code that comes with the data.
        {"class_path": HUB, "init_args": {"dataset": "stranger/data", "options": {"x": True}}},
        {"class_path": HUB.replace(".sources.hugging_face", ""), "init_args": {"dataset": "a/b"}},
    ],
)
def test_a_report_reads_data_by_sources_that_run_no_code(source: Any) -> None:
    assert isinstance(load_run("x.ckpt").module, SSLModule)
    spoil("data_options", init_args={**DATA, "source": source})
    with pytest.raises(ValueError, match=r"the checkpoint (names|has)"):
        load_run("x.ckpt")
    assert is_untouched()


def test_what_is_built_is_what_was_trained(trained: Path) -> None:
    module = SSLModule.load_from_checkpoint("x.ckpt")
    optimizer = module._optimizer(module.parameters())
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)
    assert type(module._lr_scheduler(optimizer)) is torch.optim.lr_scheduler.MultiStepLR  # type: ignore[misc]
    assert type(module.methods[0].ramp).__name__ == "SigmoidRampUp"
    assert module.hparams == torch.load("x.ckpt", weights_only=True)["hyper_parameters"]


def test_a_run_that_goes_on_says_which_model_it_trains() -> None:
    spoil(cm_weight=0.125)
    outcome = supercm("fit", *BOTH, "--trainer.max_steps=3", "--test_after_fit=false")
    assert outcome.status == 0, outcome.err
    (file,) = Path("runs").rglob("config.yaml")
    saved = yaml.safe_load(file.read_text())["model"]
    assert saved["class_path"] == "supercm_pl.SSLModule"
    assert saved["init_args"]["cm_weight"] == 0.125
    (last,) = Path("runs").rglob("last.ckpt")
    assert SSLModule.load_from_checkpoint(last).cm_weight == 0.125
    # That file is the user's from now on: nothing in it may be taken for code either.
    assert supercm("test", "--config", str(file), "--ckpt_path", str(last)).status == 0


# --- Networks with weights of their own


@pytest.mark.parametrize("weights", ["secret.pt", "IMAGENET1K_V1"])
def test_a_pretrained_network_reads_and_downloads_nothing(
    weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", None)
    Path("secret.pt").write_text("no weights at all")
    spec = {"class_path": "supercm_pl.backbones.TorchvisionBackbone"}
    network = build({**spec, "init_args": {"name": "resnet18", "weights": weights}})
    assert isinstance(network, TorchvisionBackbone)
    vit = build({**spec, "init_args": {"name": "vit_b_16", "weights": "IMAGENET1K_SWAG_E2E_V1"}})
    assert vit.model.image_size == 384


def test_a_network_of_the_hub_is_fetched_only_where_timm_is_trusted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    spec = {"class_path": "supercm_pl.backbones.TimmBackbone"}
    hub = {**spec, "init_args": {"name": "hf-hub:stranger/net"}}
    own = build({**spec, "init_args": {"name": "resnet18", "pretrained": True}})
    assert isinstance(own, TimmBackbone)
    with pytest.raises(ValueError, match=r"'hf-hub:stranger/net', which is not a network of timm"):
        build(hub)
    monkeypatch.setattr(timm, "create_model", lambda name, **_: own.model)
    assert build(hub, ["timm"]).model is own.model


# --- Files that callbacks remember


@pytest.fixture
def thesis(folder: Path) -> Path:
    """What is not the run's, beside it."""
    (folder / "home" / "thesis").mkdir(parents=True)
    (folder / "home" / "thesis" / "chapter.txt").write_text("years of work")
    shutil.copy("x.ckpt", folder / "home" / "thesis" / "other.ckpt")
    return folder / "home" / "thesis"


RUN = "runs/small/version_0/checkpoints"
FILES: dict[str, Callable[[str], dict[str, Any]]] = {
    "last": lambda path: {"last_model_path": path},
    "best": lambda path: {"best_model_path": path},
    "the worst of the best": lambda path: {
        "best_k_models": {path: torch.tensor(99.0)},
        "kth_best_model_path": path,
        "kth_value": torch.tensor(99.0),
    },
}


@pytest.mark.parametrize(
    ("which", "path"),
    [
        ("last", "local://{}"),
        ("last", RUN + "/../../../../home/thesis/other.ckpt"),
        ("best", "file://{}/other.ckpt"),
        ("best", "{}/other.ckpt"),
        ("the worst of the best", "local://{}/chapter.txt"),
        ("the worst of the best", RUN + "/../../../../home/thesis/chapter.txt"),
    ],
)
def test_a_run_that_goes_on_removes_and_reads_nothing_of_others(
    which: str, path: str, thesis: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = torch.load("x.ckpt", weights_only=True)
    for state in content["callbacks"].values():
        if "dirpath" in state:
            state.update(FILES[which](path.format(thesis)))
            del state["dirpath"]  # so that it is that of the run, whichever that is
    torch.save(content, "x.ckpt")
    loaded: list[str] = []
    load = AtomicCheckpointIO.load_checkpoint
    monkeypatch.setattr(
        AtomicCheckpointIO,
        "load_checkpoint",
        lambda self, path, *rest, **more: (
            loaded.append(str(path)) or load(self, path, *rest, **more)
        ),
    )
    outcome = supercm("fit", *BOTH, "--trainer.max_steps", "4")
    assert outcome.status == 0, outcome.err
    assert sorted(path.name for path in thesis.iterdir()) == ["chapter.txt", "other.ckpt"]
    assert all(path == "x.ckpt" or path.startswith(RUN) for path in loaded)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_run_in_its_own_folder_goes_on_with_what_it_remembers() -> None:
    Path("small.yaml").write_text(
        CONFIG.replace("{save_last: true", "{dirpath: own, save_last: true")
    )
    words = (*BOTH[:2], "--test_after_fit=false")
    assert supercm("fit", *words).status == 0
    before = {path.name for path in Path("own").iterdir()}
    again = ("--ckpt_path", "own/last.ckpt", "--trainer.max_steps", "4")
    assert supercm("fit", *words, *again).status == 0
    after = {path.name for path in Path("own").iterdir()}
    assert len(before) == len(after) == 2
    assert before != after  # the best of before was removed


def test_only_checkpoints_are_removed(thesis: Path) -> None:
    plugin = AtomicCheckpointIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(thesis)
        Path("zip.docx").write_bytes(b"PK\x05\x06" + bytes(18))
        others = [
            thesis,
            "chapter.txt",
            "zip.docx",
            f"local://{thesis}",
            f"file://{thesis}/other.ckpt",
            f"simplecache::local://{thesis}/other.ckpt",
            "nothing",
        ]
        for path in others:
            plugin.remove_checkpoint(path)
        assert {p.name for p in thesis.iterdir()} == {"chapter.txt", "other.ckpt", "zip.docx"}
        Path("last.ckpt").symlink_to("other.ckpt")
        for path in ("last.ckpt", "other.ckpt"):
            plugin.remove_checkpoint(path)
        Path("sharded").mkdir()
        for name in ("meta.pt", ".metadata", "__0_0.distcp"):
            Path("sharded", name).write_text("")
        plugin.remove_checkpoint("sharded")
        assert {p.name for p in thesis.iterdir()} == {"chapter.txt", "zip.docx"}
    plugin.save_checkpoint({"state_dict": {}}, "memory://runs/a.ckpt")
    plugin.remove_checkpoint("memory://runs/a.ckpt")
    with pytest.raises(FileNotFoundError):
        plugin.load_checkpoint("memory://runs/a.ckpt")


NAN = float("nan")
FOUND = {"labels": torch.zeros(3, dtype=torch.int64), "trust": 1.0, "begin": 0.0}
STATES: list[tuple[Any, str, Any, str]] = [
    (FlexMatch, "memory._extra_state", torch.zeros(2, 3).int(), r"must hold labels \(N,\)"),
    (FlexMatch, "memory._extra_state", torch.zeros(3), r"must hold labels \(N,\)"),
    (FlexMatch, "memory._extra_state", [0], r"must hold labels \(N,\)"),
    (FlexMatch, "memory._extra_state", torch.tensor([9]), r"must be in -1\.\.2, got 9 to 9"),
    (FlexMatch, "memory._extra_state", torch.tensor([-2]), r"must be in -1\.\.2, got -2"),
    (LabelPropagation, "_extra_state", [FOUND], "state of LabelPropagation must be"),
    (LabelPropagation, "_extra_state", {}, "begin must be a number"),
    (LabelPropagation, "_extra_state", {**FOUND, "trust": NAN}, "trust must be .* nan"),
    (LabelPropagation, "_extra_state", {**FOUND, "trust": "os.system"}, "trust must be a number"),
    (LabelPropagation, "_extra_state", {**FOUND, "begin": -1}, r"begin must be in \[0, 1\]"),
    (LabelPropagation, "_extra_state", {**FOUND, "labels": FOUND["labels"] + 3}, r"in 0\.\.2"),
    (LabelPropagation, "_extra_state", {**FOUND, "labels": torch.zeros(3)}, "must hold labels"),
    (ADDA, "_extra_state", torch.zeros(3), "the state of ADDA must be"),
    (ADDA, "_extra_state", {"adapting": "no"}, "adapting must be True or False"),
    (None, "calibration", torch.tensor(NAN), "calibration must be above 0 and finite"),
    (None, "calibration", torch.tensor(0.0), "calibration must be above 0 and finite"),
    (None, "calibration", torch.ones(2), "size mismatch for head.calibration"),
    (None, "calibration", None, "calibration"),
]


@pytest.mark.parametrize(("method", "name", "value", "message"), STATES)
def test_a_state_that_no_run_wrote(method: Any, name: str, value: Any, message: str) -> None:
    kind = UDAModule if method is ADDA else SSLModule
    module = kind(MLP(4, (8,)), 3, () if method is None else method())
    state = module.state_dict()
    key = f"head.{name}" if method is None else f"methods.0.{name}"
    assert key in state
    with pytest.raises((ValueError, TypeError, RuntimeError), match=message):
        module.load_state_dict({**state, key: value})


def test_labels_of_other_data_are_found_anew() -> None:
    method = LabelPropagation()
    module = digits_module(method)
    module.load_state_dict({**module.state_dict(), "methods.0._extra_state": FOUND})
    run(module, data("LabelPropagation"))
    assert len(method.labels) == module._num_unlabeled


@pytest.mark.filterwarnings("ignore")
def test_no_mutated_file_does_anything(tmp_path: Path) -> None:
    (tmp_path / "fuzz").mkdir()
    fuzzer = fuzz(tmp_path / "fuzz", 200, seed=3, commands_every=100)
    assert fuzzer.faults == []
    assert fuzzer.ended["loaded"] > 30
    assert fuzzer.ended["raised ValueError"] > 20
