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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"step,a\n1," + b"9" * 2_000_000, "has a line of more than 1,000,000 characters"),
        (b"step," + b"a" * 200_000, "field larger than field limit"),
        (b'step,a\n1,"' + b"x\n" * 200_000, "field larger than field limit"),
        (b"step" + b",a" * 2_000 + b"\n", "has more than 1,000 columns"),
        (b"step,\xff\n", "can't decode byte 0xff"),
        (b"\0\n", "has no column step"),
        (b"", "has no column step"),
    ],
)
def test_metrics_that_no_logger_wrote(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_bytes(content)
    with pytest.raises(ValueError, match=rf"metrics\.csv can't be read: .*{message}"):
        read_run(tmp_path)


def test_rows_that_a_full_disk_or_a_crash_spoiled_are_left_out(tmp_path: Path) -> None:
    rows = "step,a,,b\n1,2,,\n\n2\n3,x,,4\ninf,1,,1\n5,6,7,8,9\n7,8"
    (tmp_path / "metrics.csv").write_text(rows)
    curves = read_run(tmp_path).curves
    assert curves == {"a": ([1, 5, 7], [2, 6, 8]), "b": ([3, 5], [4, 8])}


@pytest.mark.parametrize(
    "text", ["a: 2001-99-99", "a: !!timestamp x", "a: !!bool x", "a: 0x" + "f" * 9999]
)
def test_yaml_of_wrong_values_is_shown_as_text(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    run = read_run(tmp_path)
    assert run.config == text
    assert not run.settings


@pytest.mark.parametrize("name", ["config.yaml", "metrics.csv"])
def test_a_huge_file_is_not_read(name: str, tmp_path: Path) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(300_000_000)
    with pytest.raises(ValueError, match=f"{name} has more than [0-9,]+ bytes"):
        read_run(tmp_path)


VALUES = {
    "epoch": 0,
    "step": 1,
    "classes": ["a", "b"],
    "domain_names": ["v"],
    "confusion": np.ones((1, 2, 2), dtype=np.int64),
    "images": np.zeros((1, 2, 2, 1), dtype=np.uint8),
    "mistaken": np.zeros((1, 4), dtype=np.int64),
    "mistake_confidence": np.zeros(1),
    **dict.fromkeys(("points", "centroids"), np.zeros((3, 2))),
    **dict.fromkeys(("labels", "predicted", "confidence", "domains", "rows"), np.zeros(3)),
}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("points", np.full((3, 2), "x"), "points must be numbers, got <U1"),
        ("confidence", np.zeros(3, dtype=[("a", "f4")]), "confidence must be numbers"),
        ("confusion", np.full((1, 2, 2), "x"), "confusion must be numbers"),
        ("images", np.zeros((1, 2, 2, 7), dtype=np.uint8), "images must be uint8"),
        ("points", np.zeros((100_001, 2)), "more than 100,000 points"),
        ("epoch", np.nan, "cannot convert float NaN"),
        ("classes", np.asarray([{}, 1], dtype=object), "allow_pickle=False"),
    ],
)
def test_a_record_that_no_run_wrote(name: str, value: object, message: str, tmp_path: Path) -> None:
    columns = {"format": "supercm_pl report 1", **VALUES, name: value}
    np.savez(tmp_path / "x.npz", **columns)
    with pytest.raises(ValueError, match=rf"x\.npz is not a file of a report: .*{message}"):
        Snapshot.load(tmp_path / "x.npz")


def test_long_names_are_cut_off(tmp_path: Path) -> None:
    columns = {"format": "supercm_pl report 1", **VALUES, "classes": ["a" * 9_999, "b"]}
    np.savez(tmp_path / "x.npz", **columns)
    assert Snapshot.load(tmp_path / "x.npz").classes.tolist() == ["a" * 200, "b"]
