"""A trained run becomes a full report, with nothing recorded in training."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from supercm_pl.clustering import ClusteringHead
from supercm_pl.clustering.functional import dirichlet_prior
from supercm_pl.report import read_run
from supercm_pl.report.evaluation import _prior_minimum, evaluation
from supercm_pl.report.loading import load_run
from supercm_pl.report.outputs import PartOutputs
from supercm_pl.report.snapshot import KINDS
from supercm_pl.report.suspects import suspect_labels, write_suspects
from tests.support.command import SMALL, supercm, table

pytest.importorskip("plotly", reason="the report's page needs Plotly")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run that has written its report, and what the command printed."""
    here = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("trained"))
    try:
        Path("small.yaml").write_text(SMALL)
        Path("more.yaml").write_text("no_report: false\n")
        outcome = supercm("fit", "--config", "small.yaml", "--config", "more.yaml")
        assert not outcome.status, outcome.err
        yield Path("runs/small/version_0").resolve(), outcome
    finally:
        os.chdir(here)


def test_fit_ends_with_a_report_and_names_it(trained):
    folder, out = trained[0], trained[1].out
    assert table(out)["report"] == ["runs/small/version_0/report.html"]
    text = (folder / "report.html").read_text(encoding="utf-8")
    for part in ("test/acc of logistic regression on pixels", "450 samples", "Calibration"):
        assert part in text
    final = read_run(folder).final
    assert dict(zip(final.domain_names, final.sizes[:, 1], strict=True)) == {
        "labeled": 20,
        "unlabeled": 1307,
        "validation": 20,
        "test": 450,
    }
    assert final.confusion[3].sum() == 450 == final.calibration[3, :, 0].sum()
    assert not final.confusion[1].any()  # labels of unlabeled samples are not read
    accuracy = final.confusion[3].trace() / 450
    assert f"{accuracy:.4f}" == table(out)["accuracy"][0]
    assert sorted({KINDS[kind] for kind in final.kinds}) >= ["doubtful", "mistake"]
    assert set(final.baselines) == {
        f"{name} on {what}"
        for name in ("logistic regression", "label spreading")
        for what in ("pixels", "features")
    }


def test_fit_compares_the_model_with_simple_classifiers(trained):
    folder, (_, out, _) = trained
    final, rows = read_run(folder).final, table(out)
    others = dict(zip(final.baselines, final.baseline_accuracy, strict=True))
    assert {name: rows[name] for name in others} == {
        name: [f"{accuracy:.4f}"] for name, accuracy in others.items()
    }
    best = max(others["logistic regression on pixels"], others["label spreading on pixels"])
    assert best > float(rows["accuracy"][0])  # after a few steps
    told = f"label spreading on pixels is right on {best:.1%} of the test samples"
    assert f"A simple classifier is as good or better: {told}" in out


def test_a_checkpoint_gives_the_same_report(trained, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder)
    (folder / "report" / "final.npz").unlink()
    monkeypatch.chdir(tmp_path)
    outcome = supercm("report", str(folder))
    assert not outcome.status
    ours, theirs = (read_run(place).final for place in (folder, trained[0]))
    np.testing.assert_array_equal(ours.sizes[:, 1], theirs.sizes[:, 1])
    np.testing.assert_array_equal(ours.confusion[3], theirs.confusion[3])
    # Label spreading sees more of the unlabeled samples than at the end of the run.
    np.testing.assert_allclose(ours.baseline_accuracy[::2], theirs.baseline_accuracy[::2])


def test_a_run_is_rebuilt_with_its_split(trained):
    run = load_run(trained[0])
    assert run.step == 12
    assert run.data.describe().startswith("20 labeled · 1,307 unlabeled · 20 validation")


def test_classes_of_strangers_are_not_built(trained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder)
    path = folder / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    content["data_options"] = {"class_path": "subprocess.Popen", "init_args": {"args": "true"}}
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"names 'subprocess.Popen', which is not a trusted"):
        load_run(folder)


@pytest.mark.parametrize("alpha", [1.0, 1.2, [1.0, 2.0, 1.5], 0.5])
def test_the_constant_of_the_prior_is_its_smallest_value(alpha):
    head = ClusteringHead(4, 3, alpha=alpha)
    smallest = _prior_minimum(head)
    shares = torch.rand(2000, 3, generator=torch.Generator().manual_seed(0)).double()
    shares = shares / shares.sum(dim=1, keepdim=True)
    found = torch.stack([dirichlet_prior(share, head.alpha) for share in shares]).min()
    if alpha == 0.5:  # unbounded
        assert smallest == 0
    else:
        assert smallest - 1e-6 <= float(found) <= smallest + 0.05


def made_up(count: int, wrong: int) -> tuple[list[PartOutputs], np.ndarray]:
    """Three groups with labels, some of them wrong, and more samples without."""
    random = torch.Generator().manual_seed(0)
    classes = torch.arange(count + 60) % 3
    inputs = torch.randn(len(classes), 5, generator=random) + 6 * torch.eye(3, 5)[classes]
    labels = classes.clone()
    labels[:wrong] = (labels[:wrong] + 1) % 3
    labels[count:] = -1
    parts = []
    for name, rows in (("labeled", slice(0, count)), ("unlabeled", slice(count, None))):
        x, y = inputs[rows], labels[rows]
        parts.append(
            PartOutputs(
                name=name,
                size=len(x),
                rows=np.arange(len(x)),
                ids=[f"{name}/{i}.png" for i in range(len(x))],
                inputs=x,
                features=x,
                assignments=torch.eye(3)[classes[rows]],
                labels=y,
            )
        )
    return parts, (labels[:count] != classes[:count]).numpy()


def test_wrong_labels_are_suspect(tmp_path):
    parts, wrong = made_up(60, 6)
    found = suspect_labels(parts, 3)
    assert {each.position for each in found} == set(np.flatnonzero(wrong))
    assert all((each.suggested + 1) % 3 == each.label for each in found)
    write_suspects(tmp_path / "suspects.csv", parts[0], found, ["a", "b", "c"])
    with (tmp_path / "suspects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"file": "labeled/0.png", "label": "b", "suggested": "a", "share": "1.00"}
    record = evaluation(parts, found, {}, ClusteringHead(5, 3), ["a", "b", "c"], 1, 0)
    shown = record.mistaken[record.kinds == KINDS.index("suspect")]
    assert shown[:, :2].tolist() == [[each.label, each.suggested] for each in found]
    assert suspect_labels(made_up(60, 0)[0], 3) == []
    assert suspect_labels(made_up(3, 1)[0], 3) == []  # one label of a class: nothing to compare
