"""Handling of non-finite losses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from supercm_pl._lightning import batches_done, is_accumulating
from supercm_pl.checks import check_at_least, check_choice, check_optional

Action = Literal["stop", "skip"]


class NonFiniteLossError(ValueError):
    """A loss, a gradient or a weight is NaN or infinite."""


class NonFiniteLoss(L.Callback):
    """Stops training at a non-finite loss, or skips its step.

    The error names the step, the non-finite parts of its loss, and the last checkpoint. No
    checkpoint is saved while the loss or a weight is non-finite.

    ``"stop"`` does not synchronize with the device in a step. Flags on the device are read every
    ``check_every_n_steps`` batches and before a checkpoint is saved. A GPU run therefore stops up
    to that many batches late, but the error names the right one. On the CPU, training stops before
    the weights change.

    ``"skip"`` drops the gradients of such a step and restores the buffers, such as batch norm
    statistics and centroids. It reads one flag from the device per batch and copies the buffers.
    It also skips steps with non-finite gradients, unless a gradient scaler does so itself. The
    count is logged as ``train/skipped_steps`` and reported at the end.

    Args:
        action: ``"stop"`` or ``"skip"``.
        check_every_n_steps: Batches between two checks for ``"stop"``, 1 or more; ``None`` uses the
            trainer's ``log_every_n_steps``.
        max_consecutive: Consecutive steps that ``"skip"`` may skip, 1 or more; one more raises.

    Attributes:
        skipped: Steps skipped in the run so far.

    Raises:
        NonFiniteLossError: In training, if a loss is non-finite.
    """

    def __init__(
        self,
        action: Action = "stop",
        check_every_n_steps: int | None = None,
        max_consecutive: int = 20,
    ) -> None:
        check_choice("action", action, get_args(Action))
        check_optional(check_at_least, "check_every_n_steps", check_every_n_steps, 1)
        check_at_least("max_consecutive", max_consecutive, 1)
        self.action = action
        self.check_every_n_steps = check_every_n_steps
        self.max_consecutive = max_consecutive
        self.skipped = 0
        self._reset()

    def _reset(self) -> None:
        self._names: list[str] = []
        # The first non-finite step, or -1, and a flag for each part of its loss.
        self._first: Tensor | None = None
        self._broken: Tensor | None = None
        self._buffers: list[Tensor] = []
        self._spoiled = False
        self._consecutive = 0

    def on_train_start(self, *_: Any) -> None:
        """Reset the flags."""
        self._reset()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any
    ) -> None:
        """Copy the buffers, which a skipped step must not change."""
        if self.action == "skip":
            self._buffers = [buffer.detach().clone() for buffer in pl_module.buffers()]

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor
    ) -> None:
        """Record on the device whether this is the first non-finite step."""
        values: Mapping[str, Tensor] = getattr(pl_module, "step_values", None) or {"loss": loss}
        if list(values) != self._names:  # a method may have no loss in some steps
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
        """Drop the gradients of a step to skip."""
        if self.action != "skip":
            return
        broken = self._first is not None and int(self._first) >= 0
        if not broken and getattr(trainer.precision_plugin, "scaler", None) is None:
            broken = not _all_finite([p.grad for p in pl_module.parameters() if p.grad is not None])
        if broken or self._spoiled:
            self._spoiled = True
            # Without gradients, no optimizer changes weights or moments.
            optimizer.zero_grad(set_to_none=True)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Check the flags if due."""
        if self.action == "skip":
            self._finish_step(trainer, pl_module)
            return
        every = self.check_every_n_steps or max(getattr(trainer, "log_every_n_steps", 0), 1)
        if (batch_idx + 1) % every == 0 or trainer.is_last_batch:
            self._stop_if_broken(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Reject a checkpoint with non-finite values."""
        if not trainer.training:
            return
        self._stop_if_broken(trainer)
        weights = [p.detach() for p in pl_module.parameters() if p.is_floating_point()]
        if not _all_finite(weights):
            raise NonFiniteLossError(
                f"weights are non-finite after step {trainer.global_step}; {_last_good(trainer)}"
            )

    def on_train_end(self, *_: Any) -> None:
        """Report the number of skipped steps."""
        if self.skipped:
            message = f"{self.skipped} steps were skipped because of non-finite losses"
            rank_zero_warn(message, category=RuntimeWarning)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of skipped steps; empty if 0, so that tests can omit the callback."""
        return {"skipped": self.skipped} if self.skipped else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the number of skipped steps."""
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
                    f"{self._consecutive} consecutive steps were skipped, the last one "
                    f"{self._describe(trainer)}; {_last_good(trainer)}"
                )
        else:
            self._consecutive = 0
        # A non-finite batch spoils the whole window of accumulated gradients.
        self._spoiled = (broken or self._spoiled) and is_accumulating(trainer)
        self._first = self._broken = None
        self._buffers = []
        pl_module.log("train/skipped_steps", float(self.skipped), sync_dist=False)

    def _stop_if_broken(self, trainer: L.Trainer) -> None:
        if self._first is None or int(self._first) < 0:
            return
        raise NonFiniteLossError(f"{self._describe(trainer)}; {_last_good(trainer)}")

    def _describe(self, trainer: L.Trainer) -> str:
        if self._first is None or self._broken is None or int(self._first) < 0:
            return f"batch {batches_done(trainer)}: gradients are non-finite"
        parts = [name for name, bad in zip(self._names, self._broken.tolist(), strict=True) if bad]
        # The total is non-finite whenever a part is.
        named = [name for name in parts if name != "loss"] or parts
        return f"batch {int(self._first)} of the run: non-finite {', '.join(named)}"


def _all_finite(tensors: list[Tensor]) -> bool:
    """Whether all tensors are finite, with one synchronization."""
    flags = [tensor.isfinite().all() for tensor in tensors]
    return not flags or bool(torch.stack([flag.to(flags[0].device) for flag in flags]).all())


def _last_good(trainer: L.Trainer) -> str:
    saved = last_checkpoint(trainer)
    return f"the last good checkpoint is {saved}" if saved else "no checkpoint was saved yet"


def last_checkpoint(trainer: L.Trainer) -> str | None:
    """Return the newest checkpoint that the trainer's callbacks saved, or ``None``."""
    saved = {
        path
        for callback in trainer.callbacks  # type: ignore[attr-defined]  # set in Trainer.__init__
        # Lightning sets the first two before it saves the file.
        for name in ("last_model_path", "best_model_path", "_last_checkpoint_saved")
        if (path := getattr(callback, name, "")) and Path(path).exists()
    }
    return max(saved, key=lambda path: Path(path).stat().st_mtime, default=None)
