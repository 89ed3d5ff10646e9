"""FigureLogger: what it writes where, what it samples, and that training does not notice it."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import lightning.pytorch as L
import matplotlib as mpl
import numpy as np
import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, WandbLogger
from torch.utils.data import DataLoader, TensorDataset

from supercm_pl import SSLModule, UDAModule
from supercm_pl.backbones import MLP
from supercm_pl.callbacks import FigureLogger
from supercm_pl.viz.sampling import ValidationSampler
from tests.support.trainers import quiet_trainer

mpl.use("Agg")


def draw(count: int, shift: float = 0.0, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    means = 4 * torch.eye(3, 4)
    return means[labels] + torch.randn(count, 4, generator=generator) + shift, labels


class Keeper(ValidationSampler):
    """Keeps what it is given."""

    def __init__(self, every_n_epochs: int = 1, max_samples: int = 40, max_mistakes: int = 5):
        super().__init__(every_n_epochs, max_samples, max_mistakes)
        self.kept: list[Any] = []
        self.epochs: list[int] = []

    def use(self, trainer, samples):
        self.kept.append(samples)
        self.epochs.append(trainer.current_epoch)


class Pictures(Logger):
    """Has no folder, and takes no images by itself."""

    name, version, log_dir = "pictures", 0, None

    def __init__(self) -> None:
        super().__init__()
        self.images: list[tuple[str, int]] = []

    def log_hyperparams(self, *args, **kwargs):
        pass

    def log_metrics(self, *args, **kwargs):
        pass


class LikeWandb(Pictures):
    def log_image(self, key, images, step):
        assert images[0].size[0] > 100
        self.images.append((key, step))


class LikeTensorBoard(Pictures):
    @property
    def experiment(self):
        return self

    def add_figure(self, tag, figure, global_step, close):
        assert figure.axes
        self.images.append((tag, global_step))


def fit_ssl(*callbacks, logger=False, epochs=1, rows=90, dropout=0.0) -> SSLModule:
    L.seed_everything(0, verbose=False)
    module = SSLModule(MLP(4, (8,), dropout=dropout), 3)
    batches = [{"labeled": draw(6, seed=s), "unlabeled": draw(12, seed=s + 9)[0]} for s in (1, 2)]
    validation = DataLoader(TensorDataset(*draw(rows, seed=5)), batch_size=32)
    _trainer(callbacks, logger, epochs).fit(
        module, DataLoader(batches, batch_size=None), validation
    )
    return module


def fit_uda(*callbacks, logger=False) -> UDAModule:
    L.seed_everything(0, verbose=False)
    module = UDAModule(MLP(4, (8,)), 3, batch_norm="domain")
    batches = [{"source": draw(6, seed=s), "target": draw(12, 1.0, s + 9)[0]} for s in (1, 2)]
    source = DataLoader([draw(60, seed=5)], batch_size=None)
    target = DataLoader([draw(60, 1.0, seed=6)[0]], batch_size=None)
    _trainer(callbacks, logger, 1).fit(
        module, DataLoader(batches, batch_size=None), [source, target]
    )
    return module


def _trainer(callbacks, logger, epochs) -> L.Trainer:
    return quiet_trainer(
        logger=logger, callbacks=list(callbacks), max_epochs=epochs, num_sanity_val_steps=1
    )


def test_pictures_go_to_the_folder_of_a_csv_logger(tmp_path):
    logger = CSVLogger(tmp_path, name="run")
    fit_ssl(FigureLogger(projection="pca"), logger=logger, epochs=2)
    figures = tmp_path / "run" / "version_0" / "figures"
    assert sorted(path.name for path in figures.iterdir()) == ["step_00000002", "step_00000004"]
    names = {path.name for path in (figures / "step_00000002").iterdir()}
    # There is one domain: nothing to compare.
    assert names == {"embedding.png", "confusion.png", "confidence.png", "reliability.png"}


def test_pictures_of_two_domains_without_target_labels(tmp_path):
    fit_uda(FigureLogger(projection="pca"), logger=CSVLogger(tmp_path, name="run"))
    names = {path.stem for path in tmp_path.rglob("*.png")}
    assert names == {"embedding", "confusion", "confidence", "reliability", "domains"}


@pytest.mark.parametrize("kind", [LikeWandb, LikeTensorBoard])
def test_loggers_of_images_get_images(kind):
    logger = kind()
    fit_ssl(FigureLogger(figures=["confusion"], projection="pca"), logger=logger)
    assert logger.images == [("figures/confusion", 2)]


@pytest.mark.filterwarnings("ignore")  # of the service's own dependencies
def test_pictures_go_to_the_artifacts_of_mlflow(tmp_path):
    pytest.importorskip("mlflow", reason="mlflow is a service of the user's choice")
    pytest.importorskip("alembic", reason="mlflow-skinny alone has no local store")
    logger = MLFlowLogger(
        tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}",
        artifact_location=str(tmp_path / "files"),
    )
    fit_ssl(FigureLogger(figures=["confusion"], projection="pca"), logger=logger)
    written = logger.experiment.list_artifacts(logger.run_id, "figures/step_00000002")
    assert [entry.path for entry in written] == ["figures/step_00000002/confusion.png"]
    assert "val/acc" in logger.experiment.get_run(logger.run_id).data.metrics


@pytest.mark.filterwarnings("ignore")  # of the service's own dependencies
def test_pictures_go_to_the_media_of_weights_and_biases(tmp_path):
    wandb = pytest.importorskip("wandb", reason="wandb is a service of the user's choice")
    logger = WandbLogger(project="supercm", save_dir=tmp_path, offline=True)
    fit_ssl(FigureLogger(figures=["confusion"], projection="pca"), logger=logger)
    wandb.finish()
    written = [path.parent.name for path in tmp_path.rglob("confusion_*.png")]
    assert written == ["figures"]


def test_training_is_the_same_with_and_without(tmp_path):
    states, drawn = [], []
    for callbacks in ((), (FigureLogger(projection="tsne"), Keeper())):
        module = fit_ssl(*callbacks, logger=CSVLogger(tmp_path), epochs=2, dropout=0.3)
        states.append(module.state_dict())
        drawn.append((random.random(), np.random.rand(), torch.rand(1)))  # noqa: NPY002
        assert not module.head._forward_hooks
    assert drawn[0] == drawn[1]
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def test_samples_are_rows_of_the_validation_data_as_the_model_sees_them():
    keeper = Keeper()
    module = fit_ssl(keeper).eval()
    x, y = draw(90, seed=5)
    (samples,) = keeper.kept
    assert len(samples.rows) == 40
    assert len(set(samples.rows.tolist())) == 40
    assert not samples.features.requires_grad
    assert torch.equal(samples.labels, y[samples.rows])
    with torch.no_grad():
        rows = module.forward_outputs(x)
    torch.testing.assert_close(samples.features, rows.features[samples.rows])
    torch.testing.assert_close(samples.assignments, rows.assignments[samples.rows])
    torch.testing.assert_close(samples.centroids, module.head.centroids)
    # All 90 rows are counted, not only those of the sample.
    assert int(samples.confusion.sum()) == 90
    wrong = (rows.assignments.argmax(1) != y).nonzero().squeeze(1)
    assert int(samples.confusion[0].diagonal().sum()) == 90 - len(wrong)
    surest = wrong[rows.assignments[wrong].amax(1).argsort(descending=True)[:5]]
    assert samples.mistakes.rows.tolist() == surest.tolist()
    torch.testing.assert_close(samples.mistakes.inputs, x[surest])


def test_each_validation_takes_the_same_rows_and_the_interval_is_kept():
    often, seldom = Keeper(), Keeper(every_n_epochs=2)
    fit_ssl(often, seldom, epochs=5)
    assert often.epochs == [0, 1, 2, 3, 4]
    assert seldom.epochs == [0, 2, 4]
    assert all(torch.equal(often.kept[0].rows, other.rows) for other in often.kept)


def test_both_domains_are_sampled_and_the_target_has_no_labels():
    keeper = Keeper()
    module = fit_uda(keeper).eval()
    (samples,) = keeper.kept
    assert samples.domain_names == ("source", "target")
    assert torch.bincount(samples.domains).tolist() == [20, 20]
    assert (samples.labels[samples.domains == 1] == -1).all()
    assert not samples.confusion[1].any()
    source = samples.rows[samples.domains == 0]
    with torch.no_grad(), module._source():
        expected = module.forward_outputs(draw(60, seed=5)[0]).features[source]
    torch.testing.assert_close(samples.features[samples.domains == 0], expected)


def test_less_data_than_samples_are_all_taken():
    keeper = Keeper(max_samples=500)
    fit_ssl(keeper, rows=7)
    assert keeper.kept[0].rows.tolist() == list(range(7))


def test_without_labels_the_pictures_that_need_none_are_drawn(tmp_path):
    kept = []

    class Keeper(FigureLogger):
        def use(self, trainer, samples):
            kept.append(samples)

    keeper = Keeper(figures=["embedding", "confusion", "reliability", "domains"])
    fit_uda(keeper, logger=CSVLogger(tmp_path))
    unknown = torch.full_like(kept[0].labels, -1)
    blind = replace(kept[0], labels=unknown, confusion=torch.zeros_like(kept[0].confusion))
    drawn = keeper.draw(blind)
    assert set(drawn) == {"embedding", "domains"}
    assert [ax.axison for ax in drawn["domains"].axes] == [True, False]


def test_a_logger_that_takes_no_pictures_is_told():
    with pytest.warns(UserWarning, match="Pictures"):
        fit_ssl(FigureLogger(figures=["confusion"]), logger=Pictures())


@pytest.mark.bad_input
def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"figures must be a list.*got \['curve'\]"):
        FigureLogger(figures=["curve"])
    with pytest.raises(ValueError, match=r"projection must be one of"):
        FigureLogger(projection="lda")
    with pytest.raises(ValueError, match=r"every_n_epochs must be at least 1, got 0"):
        FigureLogger(every_n_epochs=0)
    trainer = _trainer([FigureLogger()], False, 1)
    with pytest.raises(TypeError, match=r"requires a module with a clustering.*got BoringModel"):
        trainer.fit(BoringModel())


def test_a_trainer_without_a_logger_is_told():
    with pytest.warns(UserWarning, match="writes nothing"):
        fit_ssl(FigureLogger(projection="pca"))
