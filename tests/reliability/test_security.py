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
from supercm_pl.checkpoints.files import AtomicCheckpointIO
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
    assert re.search(r"x\.ckpt is rejected: it contains \w+\.mkdir, .*arbitrary code", outcome.err)
    assert not (folder / "pwned").exists()


def test_a_configuration_is_data_to_the_parser_of_yaml(folder: Path) -> None:
    (folder / "bad.yaml").write_text("trainer: !!python/object/apply:os.mkdir ['pwned']\n")
    assert supercm("fit", "--config", "bad.yaml").status == 2
    assert not (folder / "pwned").exists()
