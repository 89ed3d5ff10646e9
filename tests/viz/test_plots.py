"""Confusion, reliability, curves and domains: the numbers behind the pictures, and the pictures."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from supercm_pl.report import render_report
from supercm_pl.report.suggestions import suggest
from supercm_pl.viz import (
    Curve,
    class_accuracy,
    plot_a_distance,
    plot_class_accuracy,
    plot_confidence,
    plot_confusion_matrix,
    plot_curves,
    plot_embedding,
    plot_reliability,
    proxy_a_distance,
    read_curves,
    reliability,
)

mpl.use("Agg")


@pytest.fixture
def predictions():
    generator = torch.Generator().manual_seed(0)
    assignments = torch.softmax(2 * torch.randn(200, 4, generator=generator), dim=1)
    return assignments, torch.randint(0, 4, (200,), generator=generator)


def test_the_confusion_matrix_counts_pairs(predictions):
    assignments, labels = predictions
    ax = plot_confusion_matrix(assignments, labels, normalize=False)
    expected = np.zeros((4, 4), dtype=int)
    for found, label in zip(assignments.argmax(1).tolist(), labels.tolist(), strict=True):
        expected[label, found] += 1
    shown = np.zeros((4, 4), dtype=int)
    for text in ax.texts:
        column, row = text.get_position()
        shown[row, column] = int(text.get_text())
    np.testing.assert_array_equal(shown, expected)
    np.testing.assert_allclose(ax.images[0].get_array().sum(axis=1), 1.0, rtol=1e-6)


def test_a_class_without_samples_has_an_empty_row():
    ax = plot_confusion_matrix(torch.tensor([0, 2]), torch.tensor([0, 0]), names=["a", "b", "c"])
    assert [text.get_text() for text in ax.texts] == ["50", "50"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b", "c"]


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_the_calibration_error_is_that_of_torchmetrics(predictions, bins):
    assignments, labels = predictions
    expected = multiclass_calibration_error(assignments, labels, 4, n_bins=bins)
    found = reliability(assignments, labels, bins)
    torch.testing.assert_close(found.error.float(), expected, atol=1e-6, rtol=1e-5)
    assert int(found.counts.sum()) == 200


def test_the_reliability_diagram_shows_the_accuracy_of_each_bin(predictions):
    assignments, labels = predictions
    ax = plot_reliability(assignments, labels, bins=5)
    confidence, found = assignments.max(1)
    for bar in ax.patches:
        low = bar.get_x()
        inside = (confidence > low) & (confidence <= low + 0.2)
        right = (found == labels)[inside].float().mean()
        assert bar.get_height() == pytest.approx(float(right), abs=1e-6)


def test_the_histogram_holds_every_sample_right_or_wrong(predictions):
    assignments, labels = predictions
    ax = plot_confidence(assignments, labels)
    right = int((assignments.argmax(1) == labels).sum())
    heights = [sum(bar.get_height() for bar in part) for part in ax.containers]
    assert heights == [right, 200 - right]
    unknown = plot_confidence(assignments)
    assert sum(bar.get_height() for bar in unknown.containers[0]) == 200


def test_domains_that_can_be_told_apart_are_at_distance_two_and_equal_ones_near_zero():
    generator = torch.Generator().manual_seed(0)
    here, there = torch.randn(300, 3, generator=generator), torch.randn(100, 3, generator=generator)
    assert proxy_a_distance(here, there + 20) == 2.0
    assert abs(proxy_a_distance(here, there)) < 0.4
    half = proxy_a_distance(here, there + 1)
    assert 0.4 < half < 2.0


def test_the_distance_has_bars():
    ax = plot_a_distance({"source only": 1.9, "with SuperCM": 0.8})
    assert [bar.get_height() for bar in ax.patches] == [1.9, 0.8]


def test_class_accuracy_is_the_share_of_each_class(predictions):
    assignments, labels = predictions
    found = class_accuracy(assignments, labels)
    for k in range(4):
        of_class = assignments[labels == k].argmax(1)
        assert found[k] == pytest.approx(float((of_class == k).float().mean()))
    assert class_accuracy(assignments[:1], labels[:1]).isnan().sum() == 3
    ax = plot_class_accuracy({"before": found, "after": found / 2}, names=["a", "b", "c", "d"])
    heights = [bar.get_height() for bar in ax.patches]
    np.testing.assert_allclose(heights, torch.cat([found, found / 2]).numpy())


def test_a_confusion_of_many_classes_is_colors_alone():
    labels = torch.arange(40)
    ax = plot_confusion_matrix(labels, labels)
    assert len(ax.texts) == 0
    assert len(plot_confusion_matrix(labels[:5], labels[:5]).texts) == 5


def test_curves_of_a_run_that_lacks_one_are_left_out(tmp_path):
    runs = {"one": {"a": Curve([1, 2], [3.0, 4.0])}, "two": {"b": Curve([1, 2], [5.0, 6.0])}}
    assert [len(ax.lines) for ax in plot_curves(runs, ["a", "b"]).axes] == [1, 1]


METRICS = "epoch,step,train/loss,val/acc\n0,19,1.5,\n0,39,0.5,\n0,39,,0.25\n1,59,nan,x\n"


def test_curves_are_read_as_they_were_logged(tmp_path):
    (tmp_path / "metrics.csv").write_text(METRICS)
    expected = {"train/loss": Curve([19, 39], [1.5, 0.5]), "val/acc": Curve([39], [0.25])}
    assert read_curves(tmp_path) == expected == read_curves(tmp_path / "metrics.csv")


def test_curves_of_several_runs_share_a_panel(tmp_path):
    (tmp_path / "metrics.csv").write_text(METRICS)
    figure = plot_curves({"one": tmp_path, "two": {"train/loss": Curve([1, 2], [3.0, 4.0])}})
    (ax,) = figure.axes
    assert ax.get_title() == "train/loss"
    assert [line.get_ydata().tolist() for line in ax.lines] == [[1.5, 0.5], [3.0, 4.0]]
    assert len(plot_curves(tmp_path, ["train/loss", "val/acc", "gone"]).axes) == 2


def test_arrays_are_taken_as_tensors_are(predictions):
    assignments, labels = predictions
    given = assignments.numpy(), labels.numpy()
    assert reliability(*given).error == reliability(assignments, labels).error
    assert torch.equal(class_accuracy(*given), class_accuracy(assignments, labels))
    assert proxy_a_distance(given[0], given[0] + 20) == 2.0
    for plot in (plot_reliability, plot_confidence, plot_confusion_matrix, plot_embedding):
        plot(*given)
    plot_class_accuracy(np.ones(3))
    assert suggest(*given[:1], given[0], given[0][:5], 3) == suggest(
        assignments, assignments, assignments[:5], 3
    )


@pytest.mark.bad_input
@pytest.mark.parametrize("use", [reliability, plot_reliability, plot_confidence])
def test_logits_are_not_assignments(predictions, use):
    assignments, labels = predictions
    with pytest.raises(ValueError, match=r"rows that sum to 1: write head\(features\).assignments"):
        use(assignments.log(), labels)
    with pytest.raises(ValueError, match="rows that sum to 1"):
        suggest(assignments.log(), assignments, assignments[:5], 3)
    with pytest.raises(
        TypeError, match=r"runs must be an object such as read_run\(folder\), got 'a"
    ):
        render_report(["a"])
    with pytest.raises(ValueError, match=r"got -1: leave out samples without a label$"):
        use(assignments, torch.full_like(labels, -1))


@pytest.mark.bad_input
def test_wrong_arguments_are_named(predictions, tmp_path):
    assignments, labels = predictions
    with pytest.raises(ValueError, match=r"labels must have shape \(N=200,\).*got \(3,\)"):
        plot_reliability(assignments, labels[:3])
    with pytest.raises(ValueError, match=r"labels must be in 0..3 .*got 9"):
        class_accuracy(assignments, torch.where(labels == 3, 9, labels))
    with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
        reliability(assignments, labels, 0)
    with pytest.raises(ValueError, match=r"names must have 4 entries.*got 1"):
        plot_confusion_matrix(assignments, labels, names=["a"])
    with pytest.raises(ValueError, match=r"assignments must have shape \(N, K\)"):
        plot_confidence(labels)
    with pytest.raises(ValueError, match=r"predicted and labels must have one shape"):
        plot_confusion_matrix(labels[:3], labels)
    with pytest.raises(ValueError, match=r"at least 5 rows.*got 3 and 200"):
        proxy_a_distance(assignments[:3], assignments)
    with pytest.raises(ValueError, match="finite"):
        proxy_a_distance(assignments.log() * float("inf"), assignments)
    with pytest.raises(ValueError, match=r"shapes \(N_s, d\) and \(N_t, d\), got .*\(200, 3\)"):
        proxy_a_distance(assignments, assignments[:, :3])
    with pytest.raises(ValueError, match="folds must be at least 2, got 1"):
        proxy_a_distance(assignments, assignments, folds=1)
    with pytest.raises(ValueError, match="at least one entry, got none"):
        plot_a_distance({})
    with pytest.raises(ValueError, match=r"the same for all, got \[\(3,\), \(4,\)\]"):
        plot_class_accuracy({"a": torch.ones(3), "b": torch.ones(4)})
    with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
        plot_confidence(assignments, bins=0)
    with pytest.raises(TypeError, match=r"labels must be a tensor of integers, got torch\.float32"):
        class_accuracy(assignments, labels.float())
    with pytest.raises(ValueError, match="CSVLogger"):
        read_curves(tmp_path)
    (tmp_path / "metrics.csv").write_text("epoch,loss\n0,1.5\n")
    with pytest.raises(ValueError, match="has no column step"):
        read_curves(tmp_path)
    with pytest.raises(ValueError, match="no run has logged val/acc; logged: a"):
        plot_curves({"run": {"a": Curve([1], [1.0])}}, ["val/acc"])
