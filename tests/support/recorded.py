"""Folders of runs as training leaves them, made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from supercm_pl.report import Snapshot

EVIL = "<script>alert(1)</script>"


def snapshot(step: int = 100, classes: tuple[str, ...] = ("ant", "bee", "cat"), **changes):
    random = np.random.default_rng(step)
    labels = np.arange(30, dtype=np.int32) % 3
    predicted = labels.copy()
    predicted[:2] = (labels[:2] + 1) % 3
    confusion = np.zeros((1, 3, 3), dtype=np.int64)
    np.add.at(confusion, (0, labels, predicted), 1)
    fields = {
        "epoch": step // 100 - 1,
        "step": step,
        "points": random.normal(size=(30, 2)).astype(np.float32),
        "centroids": random.normal(size=(3, 2)).astype(np.float32),
        "labels": labels,
        "predicted": predicted,
        "confidence": np.full(30, 0.75, dtype=np.float32),
        "domains": np.zeros(30, dtype=np.int32),
        "rows": np.arange(30) + 1000,
        "classes": np.asarray(classes),
        "domain_names": np.asarray(["validation"]),
        "confusion": confusion,
        "images": random.integers(0, 256, (2, 8, 8, 1), dtype=np.uint8),
        "mistaken": np.asarray([[0, 1, 0, 1000], [1, 2, 0, 1001]]),
        "mistake_confidence": np.asarray([0.75, 0.75], dtype=np.float32),
    }
    return Snapshot(**{**fields, **changes})


def run_folder(folder: Path, steps: tuple[int, ...] = (100, 200, 300), weight=0.5, **options):
    folder.mkdir(parents=True)
    for step in steps:
        snapshot(step, **options).save(folder / "report")
    (folder / "metrics.csv").write_text(
        "epoch,step,train/loss,val/acc,test/acc\n"
        "0,99,1.5,,\n0,99,,0.5,\n1,199,1.0,,\n1,199,,0.75,\n1,200,,,0.625\n"
    )
    (folder / "config.yaml").write_text(
        f"model:\n  class_path: supercm_pl.SSLModule\n  init_args:\n    cm_weight: {weight}\n"
    )
    (folder / "split.json").write_text('{"labeled": [1, 2], "unlabeled": [3], "val": []}')
    return folder
