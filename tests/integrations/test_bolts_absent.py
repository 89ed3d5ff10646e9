"""What is said where lightning-bolts is not there, or not with what it needs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from supercm_pl.integrations.bolts import BoltsEncoder, BoltsSource
from tests.support.command import supercm

CONFIG = Path(__file__).parents[2] / "configs" / "ssl" / "bolts" / "cifar10.yaml"
USES: list[Callable[[], object]] = [BoltsEncoder, lambda: BoltsSource("CIFAR10DataModule")]


@pytest.fixture(autouse=True)
def without_bolts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "pl_bolts"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pl_bolts", None)


@pytest.mark.parametrize("use", USES)
def test_without_the_package_the_extra_is_named(use: Callable[[], object]) -> None:
    with pytest.raises(ImportError, match=r"is not installed: pip install 'supercm-pl\[bolts\]'"):
        use()


def test_without_what_it_needs_this_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pl_bolts").mkdir()
    (tmp_path / "pl_bolts" / "__init__.py").write_text("import pkg_resources")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pl_bolts")
    monkeypatch.setitem(sys.modules, "pkg_resources", None)  # as setuptools 81 has it
    with pytest.raises(ImportError, match=r"pkg_resources.*pytorch-lightning<2 and setuptools<81"):
        BoltsEncoder()


def test_the_command_says_it_in_one_line(folder: Path) -> None:
    # Without its optimizer, a class path that the parser itself can't find.
    config = yaml.safe_load(CONFIG.read_text())
    del config["model"]["init_args"]["optimizer"], config["model"]["init_args"]["lr_scheduler"]
    config["base"] = str(CONFIG.parent / config["base"])
    Path("encoder.yaml").write_text(yaml.safe_dump(config))
    for file, told in ((CONFIG, "pl_bolts"), ("encoder.yaml", "supercm-pl[bolts]")):
        outcome = supercm("fit", "--config", str(file))
        assert outcome.status == 2
        assert outcome.err.count("\n") == 1
        assert told in outcome.err
