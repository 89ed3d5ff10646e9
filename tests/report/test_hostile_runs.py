"""A run's folder from a stranger costs little time and memory, and ends in one line."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from supercm_pl.report import Snapshot, read_run

BOMB = "a0: &a0 [x]\n"
BOMB += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40))


@pytest.mark.parametrize(
    "text", [BOMB, "a: &a {b: *a}", "a: &a [*a, {b: *a}]", "[" * 5_000, "{a: " * 5_000]
)
def test_aliases_do_not_multiply(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    run = read_run(tmp_path)
    assert len(run.settings) <= 10_000
    assert sum(map(len, run.settings.values())) < 10_000_000


@pytest.mark.parametrize("claimed", [(2_000_000_000, 2), (100, 2)])
def test_an_array_is_no_larger_than_its_file(claimed: tuple[int, int], tmp_path: Path) -> None:
    file = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": claimed}
    np.lib.format.write_array_header_1_0(file, header)
    path = tmp_path / "step_00000001.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("points.npy", file.getvalue() + b"\0" * 8)
    with pytest.raises(ValueError, match="is shorter than its shape"):
        Snapshot.load(path)


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    for name in ("config.yaml", "metrics.csv", "split.json", "report/step_00000001.npz"):
        os.mkfifo(tmp_path / name)
    run = read_run(tmp_path)
    assert not run.settings
    assert not run.snapshots


@pytest.mark.parametrize("name", ["config.yaml", "metrics.csv"])
def test_a_huge_file_is_not_read(name: str, tmp_path: Path) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(300_000_000)
    with pytest.raises(ValueError, match=f"{name} has more than [0-9,]+ bytes"):
        read_run(tmp_path)
