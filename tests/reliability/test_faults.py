"""A loss that is no number stops the run with what broke, or its step is left out and counted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from supercm_pl import SSLModule
from supercm_pl.backbones import MLP
from supercm_pl.callbacks.non_finite import NonFiniteLoss, NonFiniteLossError
from supercm_pl.training.method import Method, MethodLoss
from tests.support.command import supercm
from tests.support.runs import Run, data, equal, fit
from tests.support.trainers import every_step, quiet_trainer


class Breaking(Method):
    """A term that is ``value`` in the batches ``at``."""

    def __init__(self, at: tuple[int, ...], value: float = math.nan) -> None:
        super().__init__(weight=0.1)
        self.at = at
        self.value = value
        self.calls = 0

    def forward(self, step: Any) -> MethodLoss:
        loss = step.unlabeled["weak"].features.square().mean()
        self.calls += 1
        return MethodLoss(loss * self.value if self.calls - 1 in self.at else loss)


def model(method: Method | None = None) -> SSLModule:
    torch.manual_seed(0)
    methods = [] if method is None else [method]
    return SSLModule(MLP(64, (16,)), 10, methods, optimizer=torch.optim.Adam)


class Poison(L.Callback):
    """Makes the inputs of batch ``at`` NaN: the forward pass spoils running statistics too."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.fit_loop.total_batch_idx == self.at:
            batch["unlabeled"].fill_(math.nan)


# Stop.


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_training_stops_and_names_step_term_and_checkpoint(value: float, tmp_path: Path) -> None:
    with pytest.raises(
        NonFiniteLossError,
        match=rf"batch 3 of the run: non-finite breaking; .*{tmp_path}/step=3\.ckpt",
    ):
        fit(model(Breaking((3,), value)), data("VAT"), NonFiniteLoss(), every_step(tmp_path))


def test_on_the_cpu_the_weights_are_those_of_the_step_before(tmp_path: Path) -> None:
    broken = model(Breaking((3,)))
    with pytest.raises(NonFiniteLossError, match="no checkpoint was saved yet"):
        fit(broken, data("VAT"), NonFiniteLoss())
    good = model(Breaking(()))
    fit(good, data("VAT"), NonFiniteLoss(), max_steps=3)
    assert all(map(torch.equal, broken.parameters(), good.parameters()))


class Later(NonFiniteLoss):
    """Reads its notes as it does on a GPU."""

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Tensor) -> None:
        self.action, action = "skip", self.action
        super().on_before_backward(trainer, pl_module, loss)
        self.action = action


def test_read_later_it_still_names_the_first_step_that_broke() -> None:
    run = Run()
    with pytest.raises(NonFiniteLossError, match="batch 1 of the run: non-finite breaking;"):
        fit(model(Breaking((1,))), data("VAT"), run, Later(check_every_n_steps=3))
    assert max(run.losses) == 2


def test_nothing_broken_is_ever_written(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError, match=r"batch 2 .*step=2\.ckpt"):
        fit(model(Breaking((2,))), data("VAT"), Later(), every_step(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step=1.ckpt", "step=2.ckpt"]


def test_weights_that_broke_under_a_finite_loss_are_not_written(tmp_path: Path) -> None:
    class Overflow(L.Callback):
        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, _: Any) -> None:
            if trainer.global_step == 1:
                next(pl_module.parameters()).grad.fill_(math.nan)

    with pytest.raises(NonFiniteLossError, match=r"weights are non-finite after step 2; .*step=1"):
        fit(model(), data("VAT"), NonFiniteLoss(), Overflow(), every_step(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["step=1.ckpt"]


def test_a_module_of_another_kind_is_watched_by_its_loss() -> None:
    class Plain(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self.layer(batch).mean() * math.inf

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    with pytest.raises(NonFiniteLossError, match="batch 0 of the run: non-finite loss"):
        quiet_trainer(max_steps=2, limit_val_batches=0, callbacks=[NonFiniteLoss()]).fit(
            Plain(), DataLoader(torch.ones(8, 4), batch_size=2)
        )


def test_the_command_stops_by_itself(folder: Path) -> None:
    outcome = supercm("fit", "--config", "small.yaml", "--optimizer.lr", "1.0e+30")
    assert outcome.status == 2
    assert outcome.err.startswith("supercm: error: batch ")
    assert "of the run: non-finite" in outcome.err
    assert outcome.err.count("\n") == 1


# Skip.


def test_a_step_is_left_out_as_if_its_batch_had_not_been(tmp_path: Path) -> None:
    class LeaveOut(L.Callback):
        """The oracle: no update, and buffers by hand."""

        def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            self.kept = [buffer.clone() for buffer in pl_module.buffers()]
            self.now = trainer.fit_loop.total_batch_idx == 3

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            if self.now:
                optimizer.zero_grad()

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            for buffer, kept in zip(pl_module.buffers(), self.kept, strict=True):
                if self.now:
                    buffer.copy_(kept)

    skip = NonFiniteLoss("skip")
    broken, oracle = model(), model()
    with pytest.warns(RuntimeWarning, match="1 steps were skipped"):
        one = fit(broken, data("VAT"), skip, Poison(3))
    other = fit(oracle, data("VAT"), LeaveOut())
    assert skip.skipped == 1
    assert equal(one.state["module"], other.state["module"])
    assert equal(one.state["optimizer"], other.state["optimizer"])
    assert all(torch.isfinite(value).all() for value in broken.state_dict().values())


def test_gradients_that_broke_are_left_out_too() -> None:
    class Overflow(L.Callback):
        def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
            if trainer.global_step == 2:
                next(pl_module.parameters()).grad.fill_(math.inf)

    skip, trained = NonFiniteLoss("skip"), model()
    with pytest.warns(RuntimeWarning, match="1 steps were skipped"):
        fit(trained, data("VAT"), Overflow(), skip)
    assert all(torch.isfinite(parameter).all() for parameter in trained.parameters())


def test_a_spoiled_batch_spoils_its_window_of_accumulated_gradients() -> None:
    skip, trained = NonFiniteLoss("skip"), model()
    with pytest.warns(RuntimeWarning, match="steps were skipped"):
        fit(trained, data("VAT"), skip, Poison(2), accumulate_grad_batches=2, max_steps=4)
    assert skip.skipped == 2  # the batches 2 and 3 make the second update
    assert all(torch.isfinite(value).all() for value in trained.state_dict().values())


def test_skipping_without_end_stops() -> None:
    broken = model(Breaking(tuple(range(2, 99))))
    with pytest.raises(NonFiniteLossError, match=r"3 consecutive steps were skipped, the last"):
        fit(broken, data("VAT"), NonFiniteLoss("skip", max_consecutive=2))


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
def test_the_count_is_logged_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="1 steps"):
        fit(model(), data("VAT"), NonFiniteLoss("skip"), Poison(1), every_step(tmp_path))
    again = NonFiniteLoss("skip")
    with pytest.warns(RuntimeWarning, match="2 steps"):
        fit(
            *(model(), data("VAT"), again, Poison(7), every_step(tmp_path)),
            ckpt_path=tmp_path / "step=6.ckpt",
            max_steps=9,
        )
    assert again.skipped == 2
