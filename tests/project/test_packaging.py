"""What ``pip install supercm-pl`` brings: built from a copy, installed beside the checkout."""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import supercm_pl

ROOT = Path(__file__).parents[2]
UNWANTED = (".*", "*.egg-info", "__pycache__", "build", "dist", "runs", "site", "lightning_logs")


def run(*words: object, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    copy = folder / "copy"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*UNWANTED), symlinks=True)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, copy, folder=folder)
    return folder


@pytest.fixture(scope="module")
def installed(dist: Path) -> Path:
    """Folder that the wheel is installed into, without what it needs, which is there."""
    (wheel,) = dist.glob("*.whl")
    options = ["--no-deps", "--no-index", "--quiet", "--target", dist / "installed"]
    run(sys.executable, "-m", "pip", "install", *options, wheel, folder=dist)
    return dist / "installed"


def test_the_wheel_holds_the_package_its_types_configurations_and_template(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    sources = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("supercm_pl/**/*.py")}
    configs = {
        f"supercm_pl/{path.relative_to(ROOT).as_posix()}" for path in ROOT.glob("configs/**/*.yaml")
    }
    template = {
        f"supercm_pl/{path.relative_to(ROOT).as_posix()}"
        for path in ROOT.glob("examples/my_method/**/*")
        if path.suffix in (".md", ".py", ".toml", ".yaml") and "runs" not in path.parts
    }
    info = {name for name in names if ".dist-info/" in name}
    others = {"supercm_pl/py.typed", "supercm_pl/report/style.css"}
    assert names - info == sources | configs | template | others
    assert any(name.endswith("licenses/LICENSE") for name in info)


def test_the_metadata_name_what_is_needed_and_the_extras(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        metadata = email.message_from_bytes(archive.read(name))
    assert metadata["Name"] == "supercm-pl"
    assert metadata["Version"] == supercm_pl.__version__
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["License-Expression"] or metadata["License"] == "Apache-2.0"
    extras = metadata.get_all("Provides-Extra", [])
    assert {"bolts", "export", "hf", "lora", "plot", "report", "stream", "timm", "tune"} <= set(
        extras
    )
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert len(needed) == 9
    assert not any("bolts" in line for line in needed)


def test_the_sdist_holds_what_a_distributor_needs(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        assert not [member.name for member in archive if member.issym()]  # Windows has none
    wanted = {"LICENSE", "CITATION.cff", "CHANGELOG.md", "pyproject.toml", "setup.cfg", "setup.py"}
    wanted |= {"tests/project/test_packaging.py", "configs/ssl/digits.yaml", "docs/architecture.md"}
    assert wanted <= names
    assert not [name for name in names if "__pycache__" in name or "/runs/" in name]


def test_the_installed_command_trains_by_a_configuration_of_its_own(
    installed: Path, tmp_path: Path
) -> None:
    code = "import supercm_pl; print(supercm_pl.__file__)"
    paths = {"PYTHONPATH": str(installed)}
    found = run(sys.executable, "-c", code, folder=tmp_path, **paths).stdout.strip()
    assert Path(found) == installed / "supercm_pl" / "__init__.py"
    command = installed / "bin" / "supercm"
    version = run(command, "--version", folder=tmp_path, **paths).stdout
    assert version == f"supercm {supercm_pl.__version__}\n"
    words = ["fit", "--config", "configs/ssl/digits.yaml", "--trainer.max_steps", "2"]
    done = run(command, *words, folder=tmp_path, **paths)
    assert str(installed / "supercm_pl" / "configs" / "ssl" / "digits.yaml") in done.stderr
    assert (tmp_path / "runs/ssl_digits/version_0/checkpoints/last.ckpt").is_file()


def test_the_citation_names_both_papers() -> None:
    yaml = pytest.importorskip("yaml")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    papers = [citation["preferred-citation"], *citation["references"]]
    assert [paper["url"].rpartition("/")[2] for paper in papers] == ["2507.13779", "2506.23824"]
