"""The private names of Lightning and PyTorch that the package uses exist and do what it needs."""

from __future__ import annotations

from pathlib import Path

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader

from supercm_pl import SSLDataModule, SSLModule, _lightning
from supercm_pl.backbones import MLP
from tests.support.trainers import quiet_trainer

X, Y = torch.randn(24, 4), torch.arange(24) % 3


def test_hyperparameters_given_are_what_a_module_saves():
    class Module(L.LightningModule):
        def __init__(self, size: int = 1) -> None:
            super().__init__()
            self.save_hyperparameters()

    assert _lightning.given_hyperparameters() is None
    with _lightning.hyperparameters_given({"size": 3}, "somewhere"):
        assert Module().hparams["size"] == 3
    assert Module().hparams["size"] == 1


def test_the_loaders_given_to_fit_are_known_before_they_are_set_up():
    class Module(L.LightningModule):
        def setup(self, stage):
            self.seen = _lightning.loaders_given(self.trainer)

        def training_step(self, batch):
            return torch.zeros((), requires_grad=True)

        def configure_optimizers(self):
            return torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1)

    module, loaders = Module(), {"labeled": [1]}
    quiet_trainer(max_steps=1).fit(module, loaders)
    assert module.seen is loaders


def test_an_error_in_a_loader_hook_leaves_other_loaders_as_they_are():
    module, data = SSLModule(MLP(4, (8,)), 3), SSLDataModule.from_arrays(X, Y, labels_per_class=2)
    for _ in range(2):
        with pytest.raises(ValueError, match="predict needs predict_path"):
            quiet_trainer().predict(module, data)
    assert len(quiet_trainer().predict(module, DataLoader(X, 8))) == 3


def test_a_trainer_tells_its_progress():
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    assert _lightning.batches_done(trainer) == 0
    assert _lightning.is_accumulating(trainer) in (True, False)


def test_the_methods_of_lightnings_signal_handlers_are_those_that_are_overridden():
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    lightnings = type(trainer._signal_connector)
    signals = _lightning.step_signals(trainer)
    assert signals is _lightning.step_signals(trainer) is trainer._signal_connector
    own = {name for name in vars(_lightning.StepSignals) if name.startswith(("_s", "register"))}
    assert own <= vars(lightnings).keys()
    assert not trainer.received_sigterm
    signals.stop_training()
    assert trainer.received_sigterm


def test_loggers_of_one_folder_share_a_claimed_version(tmp_path):
    loggers = [CSVLogger(tmp_path, "a"), CSVLogger(tmp_path, "a"), CSVLogger(tmp_path, "b")]
    _lightning.claim_folders(loggers)
    assert [logger.version for logger in loggers] == [0, 0, 0]
    assert Path(loggers[0].log_dir).is_dir()
    given, late = CSVLogger(tmp_path, "a", version="mine"), CSVLogger(tmp_path, "a")
    (tmp_path / "a" / f"version_{late.version}").mkdir()  # another run looked at the same moment
    late._version = None
    _lightning.claim_folders([given, late])
    assert (given.version, late.version) == ("mine", 2)


def test_lightning_cli_has_the_hooks_that_are_overridden():
    assert all(callable(getattr(LightningCLI, name)) for name in _lightning.CLI_HOOKS)


def test_ddp_reads_which_buffers_to_leave_out():
    from torch.nn.parallel import DistributedDataParallel

    module, expected = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    _lightning.exclude_from_ddp(module, ["running_mean"])
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(expected, ["running_mean"])
    added = vars(expected).keys() - vars(nn.BatchNorm1d(2)).keys()
    assert {name: vars(module)[name] for name in added} == {n: vars(expected)[n] for n in added}


def test_every_batch_norm_is_one():
    layers = (nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.BatchNorm3d(2), nn.SyncBatchNorm(2))
    assert all(isinstance(layer, _lightning.BatchNorm) for layer in layers)


def test_a_bar_does_not_show_an_unknown_number_of_epochs():
    pytest.importorskip("rich", reason="Lightning's default bar is that of rich")
    trainer = L.Trainer(max_steps=5, accelerator="cpu", logger=False, callbacks=[RichProgressBar()])
    trainer.fit_loop.max_epochs = -1  # which fit sets before the setup
    bar = trainer.progress_bar_callback
    bar.setup(trainer, None, "fit")
    assert "-2" in bar._get_train_description(0)  # else the function is not needed any more
    _lightning.hide_unknown_epochs(trainer)
    assert bar._get_train_description(3).strip() == "Epoch 3"


def test_a_checkpoint_is_read_from_a_url(tmp_path):
    torch.save({"weight": torch.ones(2)}, tmp_path / "a.ckpt")
    content = _lightning.load_file((tmp_path / "a.ckpt").as_uri(), weights_only=True)
    assert content["weight"].tolist() == [1.0, 1.0]
