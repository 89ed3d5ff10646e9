"""ReportRecorder and its files: from a real run to the page."""

from __future__ import annotations

import io
import pickle
import zipfile

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from supercm_pl import SSLDataModule, SSLModule
from supercm_pl.backbones import ConvNet
from supercm_pl.callbacks import ReportRecorder
from supercm_pl.report import Snapshot, read_run
from tests.support.recorded import run_folder, snapshot
from tests.support.trainers import quiet_trainer


def test_a_run_leaves_a_file_for_each_validation(tmp_path):
    L.seed_everything(0, verbose=False)
    data = SSLDataModule(labels_per_class=2, val_size=60, steps_per_epoch=2, seed=0)
    trainer = quiet_trainer(
        max_epochs=2,
        logger=CSVLogger(tmp_path, name="run"),
        callbacks=[ReportRecorder(max_samples=50, max_mistakes=3, projection="tsne")],
        num_sanity_val_steps=1,
    )
    trainer.fit(SSLModule(ConvNet(1, widths=(8,)), 10), datamodule=data)
    first, last = read_run(tmp_path / "run" / "version_0").snapshots
    assert (first.epoch, first.step, last.epoch, last.step) == (0, 2, 1, 4)
    np.testing.assert_array_equal(first.rows, last.rows)
    assert set(first.rows) <= set(data.split.val)
    assert last.points.shape == (50, 2)
    assert last.centroids.shape == (10, 2)
    assert list(last.classes) == list(data.classes)
    assert last.confusion.sum() == 60
    assert last.images.shape == (3, 8, 8, 1)
    assert set(last.mistaken[:, 3]) <= set(data.split.val)
    assert (np.diff(last.mistake_confidence) <= 0).all()
    for path in tmp_path.rglob("step_*.npz"):
        assert path.stat().st_size < 20_000
    assert not list(tmp_path.rglob("*.partial"))


def test_a_file_brings_back_what_was_saved(tmp_path):
    saved = snapshot(300)
    loaded = Snapshot.load(saved.save(tmp_path))
    for name, value in vars(saved).items():
        np.testing.assert_array_equal(getattr(loaded, name), value)


def test_thumbnails_are_small_and_of_the_whole_range():
    from supercm_pl.report.thumbnails import thumbnails

    images = torch.linspace(-2, 2, 2 * 3 * 200 * 100).view(2, 3, 200, 100)
    small = thumbnails(images)
    assert small.shape == (2, 64, 32, 3)
    assert small[0].min() == small[1].min() == 0
    assert small[0].max() == small[1].max() == 255
    inside = torch.full((1, 1, 4, 4), 0.5)
    assert (thumbnails(inside) == 128).all()
    assert thumbnails(torch.zeros(5, 7)).shape == (5, 0, 0, 1)


class Malicious:
    def __reduce__(self):
        return (print, ("run",))


def test_nothing_in_a_file_is_unpickled_and_damage_is_named(tmp_path, capsys):
    path = snapshot(100).save(tmp_path)
    array = np.asarray([None], dtype=object)
    array[0] = Malicious()
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=True)
    assert pickle.PROTO in buffer.getvalue()
    evil = tmp_path / "step_00000001.npz"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(evil, "w") as target:
        for name in source.namelist():
            payload = buffer.getvalue() if name == "classes.npy" else source.read(name)
            target.writestr(name, payload)
    with pytest.raises(ValueError, match=r"is not a file of a report.*allow_pickle"):
        Snapshot.load(evil)
    assert "run" not in capsys.readouterr().out

    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"step_00000100.npz is not a file of a report"):
        Snapshot.load(path)
    for change in ({"labels": np.full(30, 3)}, {"points": np.zeros((29, 2))}):
        wrong = snapshot(200, **change).save(tmp_path)
        with pytest.raises(ValueError, match=r"is not a file of a report"):
            Snapshot.load(wrong)


def test_a_long_run_is_thinned_out_and_keeps_its_first_and_last(tmp_path):
    run = read_run(run_folder(tmp_path / "run", tuple(range(100, 8100, 100))))
    steps = [found.step for found in run.snapshots]
    assert len(steps) == 60
    assert steps[0] == 100
    assert steps[-1] == 8000
    assert steps == sorted(set(steps))


def test_settings_go_by_their_path(tmp_path):
    folder = run_folder(tmp_path / "run")
    (folder / "config.yaml").write_text("a: {b: [1, 2], c: [{d: 3}]}\ne: {}\n")
    assert read_run(folder).settings == {"a.b": "[1, 2]", "a.c.0.d": "3", "e": "{}"}
    (folder / "config.yaml").write_text("a: !!python/object/apply:print [run]\n")
    run = read_run(folder)
    assert run.settings == {}
    assert "python/object" in run.config


def test_without_a_folder_nothing_is_written_and_the_user_is_told(folder):
    data = SSLDataModule(labels_per_class=2, steps_per_epoch=2, seed=0)
    module = SSLModule(ConvNet(1, (4,)), 10)
    trainer = quiet_trainer(max_epochs=1, callbacks=[ReportRecorder(projection="pca")])
    with pytest.warns(UserWarning, match="ReportRecorder writes nothing"):
        trainer.fit(module, data)
    assert not list(folder.rglob("*.npz"))


@pytest.mark.bad_input
def test_a_projection_that_there_is_not():
    with pytest.raises(ValueError, match=r"projection must be one of .* got 'lda'"):
        ReportRecorder(projection="lda")
