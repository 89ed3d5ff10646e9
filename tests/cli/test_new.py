"""``supercm new NAME``: a project that runs as it is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import supercm

pytestmark = pytest.mark.usefixtures("folder")


def test_a_project_under_a_name_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = supercm("new", "of/leaf-types")
    assert outcome.status == 0
    assert "cd of/leaf-types && pip install -e ." in outcome.out
    files = [path for path in Path("of/leaf-types").rglob("*") if path.is_file()]
    assert not [path for path in files if "my_method" in path.read_text() + str(path)]
    names = {str(path.relative_to("of/leaf-types")) for path in files}
    assert {"README.md", "pyproject.toml", "configs/ssl.yaml", "configs/uda.yaml"} < names
    assert {"leaf_types/__init__.py", "tests/test_view_consistency.py"} < names
    monkeypatch.chdir("of/leaf-types")
    monkeypatch.syspath_prepend(Path.cwd())
    words = ("--config", "configs/ssl.yaml", "--trainer.max_steps=1", "--quiet", "--no_report")
    assert supercm("fit", *words).status == 0
    assert pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir=.", "tests"]) == 0


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("2nd", "NAME must be the name of a Python package, such as my_project, got 2nd"),
        ("class", "NAME must be the name of a Python package, such as my_project, got class"),
        ("yaml", "yaml is the name of an installed package: choose another name"),
        ("there", "there exists"),
    ],
)
def test_a_wrong_name(name: str, said: str) -> None:
    Path("there").mkdir()
    assert supercm("new", name) == (2, "", f"supercm: error: {said}\n")
