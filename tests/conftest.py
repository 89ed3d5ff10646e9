"""What all tests share: a folder of their own, and long ones left out unless ``-m slow``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import SMALL, supercm


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "slow" in config.getoption("-m"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: run with -m slow"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the test, with ``small.yaml``, a short run, in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL)
    return tmp_path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A checkpoint of ``supercm fit`` with ``small.yaml``, and what was printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("trained"))
        Path("small.yaml").write_text(SMALL)
        outcome = supercm("fit", "--config", "small.yaml")
        assert outcome.status == 0, outcome.err
        return Path("runs/small/version_0/checkpoints/last.ckpt").resolve(), outcome.out
