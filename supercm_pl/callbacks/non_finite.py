"""What to do when a loss is no longer a number."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from supercm_pl._lightning import batches_done, is_accumulating
from supercm_pl.checks import check_at_least, check_choice

Action = Literal["stop", "skip"]


class NonFiniteLossError(ValueError):
    """A loss, a gradient or a weight is NaN or infinite."""


class NonFiniteLoss(L.Callback):
    """Stops at a loss that is NaN or infinite, or leaves out its step.

    The message names the step, the terms of the loss that broke in it, and the last checkpoint. No
    checkpoint is written while the loss, or any weight, is not finite, so that the last one is
    good.

    With ``"stop"`` nothing waits for the device in a step: each notes there whether its terms are
    finite, and the notes are read every ``check_every_n_steps`` batches and before a checkpoint is
    written, where the values are fetched anyway. On a GPU training thus stops up to that many
    batches late, and names the right one. On the CPU, where there is nothing to wait for, it stops
    before the weights change.

    With ``"skip"`` the update of such a step is left out: gradients are dropped, and buffers such
    as the statistics of batch norm and the centroids go back to what they were. That reads one flag
    off the device in each batch, and keeps a copy of the buffers. Gradients that are not finite
    count too, except under a gradient scaler, which leaves such updates out itself. The number is
    logged as ``train/skipped_steps`` and reported at the end.

    Args:
        action: What to do.
        check_every_n_steps: Batches between two readings for ``"stop"``, 1 or more; ``None``: the
            trainer's ``log_every_n_steps``.
        max_consecutive: Steps in a row that ``"skip"`` may leave out, 1 or more; one more stops.

    Attributes:
        skipped: Steps left out in the run so far.

    Raises:
        ValueError: If an argument is out of range.
        NonFiniteLossError: In training, as said above.
    """

    def __init__(
        self,
        action: Action = "stop",
        check_every_n_steps: int | None = None,
        max_consecutive: int = 20,
    ) -> None:
        check_choice("action", action, get_args(Action))
        if check_every_n_steps is not None:
            check_at_least("check_every_n_steps", check_every_n_steps, 1)
        check_at_least("max_consecutive", max_consecutive, 1)
        self.action = action
        self.check_every_n_steps = check_every_n_steps
        self.max_consecutive = max_consecutive
        self.skipped = 0
        self._forget()

    def _forget(self) -> None:
        self._names: list[str] = []
        # Of the first step that broke: its number, or -1, and which terms did.
        self._first: Tensor | None = None
        self._broken: Tensor | None = None
        self._buffers: list[Tensor] = []
        self._spoiled = False
        self._consecutive = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start anew."""
        self._forget()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep the buffers, to which a step that is left out must not add."""
        if self.action == "skip":
            self._buffers = [buffer.detach().clone() for buffer in pl_module.buffers()]

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor
    ) -> None:
        """Note on the device whether this step is the first that broke."""
        values: Mapping[str, Tensor] = getattr(pl_module, "step_values", None) or {"loss": loss}
        if list(values) != self._names:  # a term that logs now and then
            self._stop_if_broken(trainer)
            self._names, self._first = list(values), None
        with torch.no_grad():
            broken = ~torch.stack([value.detach() for value in values.values()]).isfinite()
            if self._first is None or self._broken is None:
                self._first = torch.full((), -1, dtype=torch.long, device=broken.device)
                self._broken = torch.zeros_like(broken)
            is_first = (self._first < 0) & broken.any()
            self._first = torch.where(is_first, batches_done(trainer), self._first)
            self._broken = torch.where(is_first, broken, self._broken)
        if self.action == "stop" and loss.device.type == "cpu":
            self._stop_if_broken(trainer)

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Drop the gradients of a step that is to be left out."""
        if self.action != "skip":
            return
        broken = self._first is not None and int(self._first) >= 0
        if not broken and getattr(trainer.precision_plugin, "scaler", None) is None:
            broken = not _all_finite([p.grad for p in pl_module.parameters() if p.grad is not None])
        if broken or self._spoiled:
            self._spoiled = True
            # Without gradients every optimizer leaves weights and moments alone.
            optimizer.zero_grad(set_to_none=True)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Read the notes where it is time to."""
        if self.action == "skip":
            self._finish_step(trainer, pl_module)
            return
        every = self.check_every_n_steps or max(getattr(trainer, "log_every_n_steps", 0), 1)
        if (batch_idx + 1) % every == 0 or trainer.is_last_batch:
            self._stop_if_broken(trainer)

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse to write what can't be gone on with."""
        if not trainer.training:
            return
        self._stop_if_broken(trainer)
        weights = [p.detach() for p in pl_module.parameters() if p.is_floating_point()]
        if not _all_finite(weights):
            raise NonFiniteLossError(
                f"weights are not finite after step {trainer.global_step}; {_last_good(trainer)}"
            )

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say how many steps were left out."""
        if self.skipped:
            rank_zero_warn(
                f"{self.skipped} steps were left out because their loss was not finite",
                category=RuntimeWarning,
            )

    def state_dict(self) -> dict[str, Any]:
        """The number of steps left out; nothing where none is, so that a test needs no callback."""
        return {"skipped": self.skipped} if self.skipped else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.skipped = state_dict["skipped"]

    def _finish_step(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        broken = self._first is not None and int(self._first) >= 0
        if broken or self._spoiled:
            with torch.no_grad():
                for buffer, kept in zip(pl_module.buffers(), self._buffers, strict=True):
                    buffer.copy_(kept)
            self.skipped += 1
            self._consecutive += 1
            if self._consecutive > self.max_consecutive:
                raise NonFiniteLossError(
                    f"{self._consecutive} steps in a row had to be left out, the last one "
                    f"{self._describe(trainer)}; {_last_good(trainer)}"
                )
        else:
            self._consecutive = 0
        # Within a window of accumulated gradients the whole window is spoiled.
        accumulating = is_accumulating(trainer)
        self._spoiled = (broken or self._spoiled) and accumulating
        self._first = self._broken = None
        self._buffers = []
        pl_module.log("train/skipped_steps", float(self.skipped), sync_dist=False)

    def _stop_if_broken(self, trainer: L.Trainer) -> None:
        if self._first is None or int(self._first) < 0:
            return
        raise NonFiniteLossError(f"{self._describe(trainer)}; {_last_good(trainer)}")

    def _describe(self, trainer: L.Trainer) -> str:
        if self._first is None or self._broken is None or int(self._first) < 0:
            return f"batch {batches_done(trainer)}: gradients are not finite"
        terms = [name for name, bad in zip(self._names, self._broken.tolist(), strict=True) if bad]
        # The sum breaks with its terms: it says nothing where one of them is named.
        named = [name for name in terms if name != "loss"] or terms
        return f"batch {int(self._first)} of the run: not finite are {', '.join(named)}"


def _all_finite(tensors: list[Tensor]) -> bool:
    """Waits once, however many tensors there are."""
    flags = [tensor.isfinite().all() for tensor in tensors]
    return not flags or bool(torch.stack([flag.to(flags[0].device) for flag in flags]).all())


def _last_good(trainer: L.Trainer) -> str:
    saved = last_checkpoint(trainer)
    if saved is None:
        return "no checkpoint was saved yet"
    return f"the last good checkpoint is {saved}"


def last_checkpoint(trainer: L.Trainer) -> str | None:
    """The newest checkpoint that a callback of ``trainer`` has written; ``None`` if none."""
    saved = {
        path
        for callback in trainer.callbacks  # type: ignore[attr-defined]  # set when it is built
        # Lightning sets the first two to the file that it is about to write.
        for name in ("last_model_path", "best_model_path", "_last_checkpoint_saved")
        if (path := getattr(callback, name, "")) and Path(path).exists()
    }
    return max(saved, key=lambda path: Path(path).stat().st_mtime, default=None)
