"""Which samples to label next, and their labels as the next run reads them."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from supercm_pl.data import FolderSource
from supercm_pl.data.sources.labels_csv import read_labels_csv
from supercm_pl.report.suggestion_page import render_suggestions
from supercm_pl.report.suggestions import suggest
from supercm_pl.spreadsheet import write_rows
from tests.support.command import SMALL, supercm


def test_uncertain_samples_have_the_smallest_margins():
    shares = torch.tensor([[0.9, 0.1, 0], [0.4, 0.39, 0.21], [0.5, 0.3, 0.2], [0.34, 0.33, 0.33]])
    features = torch.randn(4, 2)
    found = suggest(shares, features, features[:1], 2, "uncertain")
    assert {each.position for each in found} == {1, 3}


def test_diverse_samples_are_typical_of_groups_without_labels():
    centers = torch.eye(4) * 10
    features = torch.cat([center + 0.3 * torch.randn(15, 4) for center in centers])
    shares = torch.full((60, 2), 0.5)
    found = suggest(shares, features, centers[:2], 2, "diverse")
    assert {each.position // 15 for each in found} == {2, 3}
    assert [each.why for each in found] == ["diverse"] * 2


def test_both_in_turn_and_no_more_than_there_are():
    torch.manual_seed(0)
    features, shares = torch.randn(30, 4), torch.rand(30, 3).softmax(dim=1)
    found = suggest(shares, features, features[:3] + 9, 6)
    assert [each.why for each in found[:2]] == ["uncertain", "diverse"]
    assert len({each.position for each in found}) == len(found) == 6
    assert len(suggest(shares, features, features[:3], 50)) == 30
    with pytest.raises(ValueError, match="number must be"):
        suggest(shares, features, features, 0)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    names = [f"labeled/{name}/{i}.png" for name in ("cat", "dog") for i in range(3)]
    for number, name in enumerate([*names, *(f"unlabeled/{i}.png" for i in range(60))]):
        path = Path("photos", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 100, (8, 8, 3), dtype=np.uint8) + (100 if number % 2 else 0)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    Path("small.yaml").write_text(SMALL.replace("in_channels: 1", "in_channels: 3"))
    words = ["fit", "--config", "small.yaml", "--data.labels_per_class=null", "--data.val_size=0"]
    words += ["--data.source", "supercm_pl.data.FolderSource", "--data.source.image_size=8"]
    words += [f"--data.source.{part}=photos/{part}" for part in ("labeled", "unlabeled")]
    return words


def test_a_round_of_labeling(photos, caplog):
    assert not supercm(*photos).status
    outcome = supercm("suggest", "runs/small/version_0", "--number", "7")
    assert not outcome.status, outcome.err
    assert "suggestions.csv: 7 images to label" in outcome.out
    assert "--add_labels suggestions.csv" in outcome.out
    page = Path("suggestions.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 7
    with open("suggestions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(Path(row["file"]).is_file() and not row["label"] for row in rows)
    with open("suggestions.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, "label": "cat" if i < 5 else ""} for i, row in enumerate(rows))
    again = supercm("suggest", "runs/small/version_0")
    assert again.status == 2
    assert "suggestions.csv has labels already: choose another --output" in again.err
    caplog.set_level("INFO")
    assert not supercm(*photos, "--add_labels", "suggestions.csv").status
    assert "11 labeled · 55 unlabeled" in caplog.text
    # The next round does not suggest what has a label.
    words = ("suggest", "runs/small/version_1", "--folder", "photos/unlabeled", "--number", "60")
    assert "55 images to label" in supercm(*words, "--output", "more.csv").out
    # 6 labels were trained on: too few to choose a threshold, and not to be trusted.
    words = ("predict", "runs/small/version_1/checkpoints/last.ckpt", "photos/unlabeled")
    outcome = supercm(*words, "--precision", "0.9")
    assert outcome.status == 2
    assert "requires 50 labeled validation or test samples, the run has none" in outcome.err
    outcome = supercm(*words, "--min_confidence", "0.999")
    assert "left to a person: 60 with a probability below 0.999" in outcome.out


def test_a_round_of_labeling_in_a_target(photos, caplog):
    adapt = ("fit", "--source", "photos/labeled", "--target", "photos/unlabeled")
    adapt += ("--trainer.max_steps=2", "--seed_everything=0", "--no_report")
    caplog.set_level("INFO")
    Path("labels.csv").write_text("file,label\n0.png,dog\nphotos/unlabeled/7.png,cat\n")
    assert not supercm(*adapt, "--add_labels", "labels.csv").status
    assert "2 labeled target · 52 target" in caplog.text
    run = "runs/labeled_unlabeled/version_0"
    assert "52 images to label" in supercm("suggest", run, "--number", "60").out
    Path("labels.csv").write_text("file,label\n0.png,dgo\n")
    outcome = supercm(*adapt, "--add_labels=labels.csv")
    assert "0.png has the label dgo, which is no class; did you mean dog?" in outcome.err
    Path("labels.csv").write_text("file,label\nphotos/labeled/cat/0.png,cat\n")
    outcome = supercm(*adapt, "--add_labels", "labels.csv")
    assert "has a label, but is no training image of photos/unlabeled" in outcome.err


@pytest.mark.parametrize(
    "text",
    [
        "file,label\nunlabeled/0.png,dog\nlabeled/cat/1.png,dog\n",
        "\ufeffpredicted;label;file\ncat;dog;unlabeled/0.png\ncat;dog;labeled/cat/1.png\n;;\n",
        "unlabeled/0.png,dog\nlabeled/cat/1.png,dog\nunlabeled/1.png,\n",
    ],
)
def test_labels_of_a_file_add_and_replace(photos, text):
    Path("photos/labels.csv").write_text(text, encoding="utf-8")
    options = {"image_size": 8, "labels": "photos/labels.csv"}
    data = FolderSource("photos/labeled", "photos/unlabeled", **options).load()
    assert len(data.unlabeled) == 59
    assert sorted(data.train.targets) == [0] * 2 + [1] * 5
    names = dict(zip(map(str, data.train.paths), data.train.targets, strict=True))
    assert names["photos/labeled/cat/1.png"] == names["photos/unlabeled/0.png"] == 1


NAMES = ["=1+1.png", "'a.png", "a\nb.png", "a,b;c.png", "a\x0bb.png", "<img src=x>.png", "ü.png"]


def test_names_come_back_as_they_were_written(photos):
    names = [*NAMES, os.fsdecode(b"\xe9.png")]
    for number, name in enumerate(names):
        Path(f"photos/unlabeled/{number}.png").rename(f"photos/unlabeled/{name}")
    write_rows("labels.csv", ["file", "label"], [[name, "cat"] for name in names])
    assert read_labels_csv(Path("labels.csv")) == [(name, "cat") for name in names]
    data = FolderSource("photos/labeled", "photos/unlabeled", labels="labels.csv").load()
    assert sorted(path.name for path in data.train.paths[6:]) == sorted(names)


def test_the_page_runs_no_name():
    rows = [["<script>x</script>.png", "", '"><img src=x onerror=y>', "0.5", "uncertain"]]
    page = render_suggestions(rows, [torch.zeros(3, 8, 8)], ["<script>", "b"], "<b>.csv")
    assert page.count("<script") == page.count("<b>.csv") == page.count("<img src=x") == 0
    assert page.count("<img ") == 1


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\n99.png,dog\n", "labels.csv: there is no file 99.png"),
        ("file,label\n0.png,dgo\n", "0.png has the label dgo, which is no class; did you mean dog"),
        ("file,label\n0.png,owl\n", "which is no class; they are cat, dog"),
        ("file,label\n0.png\n", "labels.csv, line 2: expected a file and a label"),
        ("file,label\n0\0.png,dog\n", "labels.csv"),
    ],
)
def test_labels_that_are_wrong(photos, text, message):
    Path("labels.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        FolderSource("photos/labeled", "photos/unlabeled", labels="labels.csv").load()
