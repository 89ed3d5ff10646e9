"""``--quiet``: the result alone on standard output, nothing at all on standard error."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

from tests.support.command import supercm, supercm_process, table

pytestmark = pytest.mark.usefixtures("folder")


def test_the_installed_command_trains_and_quiet_leaves_the_closing_table_alone() -> None:
    loud = supercm_process("fit", "--config", "small.yaml")
    assert loud.returncode == 0, loud.stderr
    assert re.search(r"^fit 12/12 · train/loss \d+\.\d+ · val/acc \d\.\d+ · ", loud.stdout, re.M)
    expected = ("Seed set to 0", "20 labeled ", "SSLModule with ")
    assert [line for line in loud.stderr.splitlines() if not line.startswith(expected)] == []
    assert "trainable parameters" in loud.stdout + loud.stderr  # what is to be silent
    quiet = supercm_process("fit", "--config", "small.yaml", "--quiet")
    assert (quiet.returncode, quiet.stderr) == (0, "")
    assert quiet.stdout.startswith("supercm fit ")
    assert len(quiet.stdout.splitlines()) == 1 + len(table(quiet.stdout))  # and the line below
    assert table(quiet.stdout)["accuracy"] == table(loud.stdout)["accuracy"]


def test_quiet_still_says_what_is_wrong() -> None:
    outcome = supercm("fit", "--config", "small.yaml", "--quiet", "--model.cm_weight", "-1")
    assert outcome.status == 2
    assert outcome.out == ""
    assert "cm_weight must be at least 0, got -1" in outcome.err


def test_a_run_after_a_quiet_one_is_not_quiet() -> None:
    quick = ["--trainer.max_steps", "1", "--test_after_fit", "false"]
    supercm("fit", "--config", "small.yaml", "--quiet", *quick)
    assert "fit 1/1" in supercm("fit", "--config", "small.yaml", *quick).out


def test_a_configuration_of_the_package_is_found_from_anywhere() -> None:
    name = "configs/ssl/digits.yaml"
    outcome = supercm("fit", "--config", name, "--trainer.max_steps", "1", "--no_report")
    assert outcome.status == 0, outcome.err
    assert f"supercm: using {name} from the package: " in outcome.err
    Path("configs/ssl").mkdir(parents=True)
    Path(name).write_text("trainer: {max_stepz: 1}")  # one of the user's own comes first
    assert "max_stepz" in supercm("fit", f"--config={name}").err


def test_a_logger_without_a_folder_of_the_run_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    Path("to_server.py").write_text(
        "from lightning.pytorch.loggers.logger import Logger\n"
        "class ToServer(Logger):\n"
        "    name, version = 'server', 1\n"
        "    def log_metrics(self, metrics, step=None): ...\n"
        "    def log_hyperparams(self, params): ...\n"
    )
    Path("server.yaml").write_text("trainer: {logger: {class_path: to_server.ToServer}}")
    words = ["--config", "server.yaml", "--trainer.max_steps", "1", "--quiet"]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        outcome = supercm("fit", "--config", "small.yaml", *words)
    assert outcome.status == 0, outcome.err
    said = "supercm: warning: ToServer has no local folder: config.yaml and split.json are not"
    (line,) = [line for line in outcome.err.splitlines() if "ToServer" in line]
    assert line.startswith(said)  # one line, without the place in the source
    assert "logs" not in table(outcome.out)
