"""A checkpoint, a configuration or an image from a stranger runs no code of theirs."""

from __future__ import annotations

import ast
import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import supercm_pl
from supercm_pl import SSLModule
from supercm_pl.backbones import MLP
from supercm_pl.checkpoints.files import AtomicCheckpointIO, check_class_paths
from tests.support.command import supercm

PACKAGE = Path(supercm_pl.__file__).parent


def calls() -> list[tuple[str, str, set[str]]]:
    """Every call in the package: its place, its name, and the keywords that are True or False."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                said = {f"{k.arg}={ast.unparse(k.value)}" for k in node.keywords}
                found.append((f"{path.name}:{node.lineno}", ast.unparse(node.func), said))
    return found


def test_every_load_in_the_package_is_restricted_to_weights() -> None:
    loads = [call for call in calls() if call[1] in ("torch.load", "_load", "pl_load")]
    assert len(loads) >= 3
    assert [place for place, _, said in loads if "weights_only=True" not in said] == []


def test_arrays_are_read_without_unpickling() -> None:
    loads = [call for call in calls() if call[1] in ("np.load", "numpy.load")]
    assert [place for place, _, said in loads if "allow_pickle=False" not in said] == []


@pytest.mark.parametrize(
    "forbidden",
    [
        r"pickle\.loads?|Unpickler",
        r"yaml\.(load|unsafe_load|full_load)(_all)?",
        r"eval|exec|compile|__import__",
        r"os\.(system|popen|exec\w*|spawn\w*)|subprocess\.\w+",
        r"\w+\.extractall|shutil\.unpack_archive",
    ],
)
def test_nothing_that_runs_what_it_reads_is_called(forbidden: str) -> None:
    assert [call for call in calls() if re.fullmatch(forbidden, call[1])] == []


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("pwned",))


@pytest.fixture(autouse=True)
def stranger(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    (folder / "stranger.py").write_text(
        "import os\nos.mkdir('pwned')\n"
        "import torch\nclass Net(torch.nn.Linear):\n    out_features = 4\n"
        "def build(x): os.mkdir('pwned')\n"
    )


LOADS: dict[str, Callable[[], Any]] = {
    "load_from_checkpoint": lambda: SSLModule.load_from_checkpoint("x.ckpt"),
    "of an open file": lambda: SSLModule.load_from_checkpoint(
        io.BytesIO(Path("x.ckpt").read_bytes())
    ),
    "plugin": lambda: AtomicCheckpointIO().load_checkpoint("x.ckpt"),
}


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("legacy", [False, True])
def test_a_malicious_pickle_is_never_run(load: str, legacy: bool, folder: Path) -> None:
    torch.save(
        {"state_dict": {}, "hyper_parameters": Malicious()},
        "x.ckpt",
        _use_new_zipfile_serialization=not legacy,
    )
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        LOADS[load]()
    assert not (folder / "pwned").exists()


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_no_command_runs_it_either(command: str, folder: Path) -> None:
    torch.save({"state_dict": {}, "callbacks": Malicious()}, "x.ckpt")
    outcome = supercm(command, "--config", "small.yaml", "--ckpt_path", "x.ckpt")
    assert outcome.status == 2
    assert re.search(r"x\.ckpt is refused: it holds \w+\.mkdir, .*a stranger's code", outcome.err)
    assert not (folder / "pwned").exists()


def with_hyperparameters(**chosen: Any) -> None:
    own = SSLModule(MLP(64, (4,)), 10)
    mlp = {"class_path": "supercm_pl.backbones.MLP", "init_args": {"in_features": 64}}
    hyper_parameters = {
        "_class_path": "supercm_pl.SSLModule",
        "_instantiator": "lightning.pytorch.cli.instantiate_module",
        "num_classes": 10,
        "backbone": mlp,
        **chosen,
    }
    content = {
        "pytorch-lightning_version": "2.6.0",
        "state_dict": own.state_dict(),
        "hyper_parameters": hyper_parameters,
    }
    torch.save(content, "x.ckpt")


LAMBDA = {"class_path": "torch.optim.lr_scheduler.LambdaLR", "init_args": {}}
HOSTILE: dict[str, dict[str, Any]] = {
    "a network of a module that lies about": {
        "backbone": {"class_path": "stranger.Net", "init_args": {}}
    },
    "the module itself": {"_class_path": "stranger.Net"},
    "a function for a schedule": {"lr_scheduler": "stranger.build"},
    "a function of the system": {"optimizer": "os.system"},
    "a function in an argument": {
        "lr_scheduler": {**LAMBDA, "init_args": {"lr_lambda": "stranger.build"}}
    },
    "deep within": {
        "backbone": {
            "class_path": "torch.nn.Sequential",
            "init_args": {"args": [{"class_path": "stranger.Net", "init_args": {}}]},
        }
    },
    "what a trusted module imported": {
        "backbone": {"class_path": "torch.nn.modules.module.OrderedDict"}
    },
    "what this package imported": {"backbone": {"class_path": "supercm_pl.cli.os.system"}},
    "another instantiator": {"_instantiator": "stranger.build"},
}


@pytest.mark.parametrize("how", HOSTILE)
def test_a_class_that_nobody_vouched_for_is_not_even_imported(how: str, folder: Path) -> None:
    with_hyperparameters(**HOSTILE[how])
    with pytest.raises(ValueError, match=r"the checkpoint x\.ckpt wants to build|allowlist"):
        SSLModule.load_from_checkpoint("x.ckpt")
    assert not (folder / "pwned").exists()


@pytest.mark.parametrize("how", [how for how in HOSTILE if how != "another instantiator"])
def test_nor_by_the_command(how: str, folder: Path) -> None:
    with_hyperparameters(**HOSTILE[how])
    outcome = supercm("test", "--config", "small.yaml", "--ckpt_path", "x.ckpt")
    assert outcome.status == 2
    assert "the checkpoint x.ckpt wants to build" in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (folder / "pwned").exists()


def test_the_command_drops_the_name_of_an_instantiator(folder: Path) -> None:
    with_hyperparameters(_instantiator="stranger.build")
    supercm("test", "--config", "small.yaml", "--ckpt_path", "x.ckpt")
    assert not (folder / "pwned").exists()


def test_a_class_that_the_user_names_too_is_allowed(folder: Path) -> None:
    with_hyperparameters(backbone={"class_path": "stranger.Net", "init_args": {}})
    check_class_paths("x.ckpt", own={"stranger.Net"})
    with pytest.raises(ValueError, match=r"wants to build stranger\.Net, which is not of"):
        check_class_paths("x.ckpt", own={"stranger.Other"})


def test_checkpoints_of_ones_own_load() -> None:
    with_hyperparameters(
        methods=[{"class_path": "supercm_pl.ssl.methods.VAT", "init_args": {}}],
        cm_ramp={"class_path": "supercm_pl.training.ramps.SigmoidRampUp", "init_args": {}},
        optimizer={"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.1}},
        lr_scheduler={"class_path": "supercm_pl.training.optim.WarmupCosineLR", "init_args": {}},
    )
    check_class_paths("x.ckpt")


def test_a_name_with_dots_that_is_no_module_is_just_a_name() -> None:
    with_hyperparameters(backbone={"class_path": "supercm_pl.backbones.MLP", "name": "vit.in1k"})
    check_class_paths("x.ckpt")


def test_a_configuration_is_data_to_the_parser_of_yaml(folder: Path) -> None:
    (folder / "bad.yaml").write_text("trainer: !!python/object/apply:os.mkdir ['pwned']\n")
    assert supercm("fit", "--config", "bad.yaml").status == 2
    assert not (folder / "pwned").exists()
