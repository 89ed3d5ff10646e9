"""Scripts with which shells complete commands and options."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from supercm_pl.cli.help import COMMANDS
from tests.support.command import supercm


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_knows_commands_and_options(shell: str) -> None:
    pytest.importorskip("shtab", reason="the extra completion is not installed")
    script = supercm("completion", shell).out
    names = (*COMMANDS, "trainer.max_steps", "model.cm_weight", "data.labels_per_class")
    assert not [name for name in (*names, "no_baselines", "ckpt_path") if name not in script]
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_bash_completes() -> None:
    pytest.importorskip("shtab", reason="the extra completion is not installed")
    words = ["supercm fi", "supercm fit --trainer.max_st", "supercm export --form"]
    lines = [supercm("completion", "bash").out]
    for line in words:
        *before, word = line.split()
        lines.append(
            f"COMP_WORDS=({line}); COMP_CWORD={len(before)}; COMPREPLY=()\n"
            f"_shtab_supercm supercm {word} {before[-1]}; echo ${{COMPREPLY[@]}}"
        )
    done = subprocess.run(
        ["bash"], input="\n".join(lines), capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:3] == ["fit", "--trainer.max_steps", "--format"]


@pytest.mark.bad_input
def test_a_wrong_shell_and_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "argument SHELL: invalid choice: 'csh'" in supercm("completion", "csh").err
    monkeypatch.setitem(sys.modules, "shtab", None)
    said = "completion requires shtab: pip install 'supercm-pl[completion]'"
    assert supercm("completion", "bash") == (2, "", f"supercm: error: {said}\n")
