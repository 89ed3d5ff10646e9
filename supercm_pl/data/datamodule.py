"""What the data modules of both tasks share: loaders, views, and augmentation on the device."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import lightning.pytorch as L
import torch
import torch.distributed as dist
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from supercm_pl.checkpoints.hyperparameters import class_and_arguments
from supercm_pl.checks import check_at_least, check_flag, check_object
from supercm_pl.data.datasets import Samples, as_float, as_is
from supercm_pl.data.loading.device_cache import PositionSamples, ResidentSamples, resident_streams
from supercm_pl.data.loading.loader import PairedLoader, Stream, inputs_of
from supercm_pl.data.loading.steps import NUMBERS, POSITION
from supercm_pl.data.views import INDEX, Views, check_views, make_view, required_views
from supercm_pl.seeding import derive_seed, isolated_rng

__all__ = ["SuperCMDataModule"]


class DataOptions(TypedDict, total=False):
    """The options of :class:`SuperCMDataModule`, with its defaults."""

    weak: nn.Module | None
    strong: nn.Module | None
    preprocess: nn.Module | None
    steps_per_epoch: int | None
    eval_batch_size: int
    num_workers: int
    pin_memory: bool | None
    keep_on_device: bool | None
    seed: int | None
    predict_path: str | Path | None


class SuperCMDataModule(L.LightningDataModule, ABC):
    """Training batches of several streams, augmented on the device; plain ones for evaluation.

    Base of :class:`~supercm_pl.SSLDataModule`. A subclass implements :meth:`load`, :meth:`streams`,
    :meth:`fingerprint`, :meth:`describe` and :attr:`has_val_data`, and gives its evaluation sets to
    :meth:`evaluation_loader`.

    Inputs reach the module as floats; ``uint8`` becomes ``[0, 1]`` on the device. In training, a
    stream gets the views that ``trainer.lightning_module.required_views`` names for it, a mapping
    from stream to view to the names of those who want it; a stream that is not in it gets
    ``"weak"``. The inputs are a tensor if that is ``"weak"`` alone, else a mapping from view to
    tensor; nothing wanted leaves the stream out. ``"weak_2"`` and ``"strong_2"`` are further
    independent draws, and ``"index"`` is ``(B,)``, which samples of the stream these are.

    Every draw is a function of seed, step, rank, stream and view alone: a resumed run sees the same
    images, and the global random number generators are left as they were.

    Args:
        weak: Transform of ``(B, ...)`` to ``(B, ...)`` that makes the weak view; ``None`` leaves
            inputs as they are.
        strong: Transform that makes the strong view; needed where a method wants one.
        preprocess: Transform of all inputs, in training before the views and in evaluation, such as
            :class:`~supercm_pl.data.ZCA`. One that has a method ``fit`` and is not ``fitted`` is
            fitted to the training inputs when it is first used, and saved in checkpoints.
        steps_per_epoch: Training batches of an epoch; ``None``: one pass over the longest stream.
            Required with unlabeled samples of an ``IterableDataset``.
        eval_batch_size: Samples of a batch in validation, test and prediction, 1 or more.
        num_workers: Processes that read data; 0 reads in the main process, best for data in memory.
        pin_memory: Read into pinned memory; ``None`` does where there is a CUDA device.
        keep_on_device: Copy training data that are tensors in memory to the device once, and draw
            the rows there; on the CPU it changes nothing. ``None`` does with ``num_workers=0``
            where all of them fit in a quarter of the device's free memory.
        seed: Of split, order and augmentation, 0 or more; ``None`` takes that of
            ``seed_everything``, else 0.
        predict_path: Folder of images for ``predict``; ``None`` takes the test data.

    Raises:
        ValueError: If a number is out of range; or, at the start of training, if ``keep_on_device``
            is ``True`` and data are not in memory.
    """

    def __init__(
        self,
        *,
        weak: nn.Module | None = None,
        strong: nn.Module | None = None,
        preprocess: nn.Module | None = None,
        steps_per_epoch: int | None = None,
        eval_batch_size: int = 256,
        num_workers: int = 0,
        pin_memory: bool | None = None,
        keep_on_device: bool | None = None,
        seed: int | None = None,
        predict_path: str | Path | None = None,
    ) -> None:
        super().__init__()
        if steps_per_epoch is not None:
            check_at_least("steps_per_epoch", steps_per_epoch, 1)
        check_at_least("eval_batch_size", eval_batch_size, 1)
        check_at_least("num_workers", num_workers, 0)
        if seed is not None:
            check_at_least("seed", seed, 0)
        given = {"weak": weak, "strong": strong, "preprocess": preprocess}
        for name, transform in given.items():
            if transform is not None:
                check_object(name, transform, nn.Module, "AffineNoise()")
        for name, flag in (("pin_memory", pin_memory), ("keep_on_device", keep_on_device)):
            if flag is not None:
                check_flag(name, flag)
        self.transforms: dict[str, nn.Module | None] = {"weak": weak, "strong": strong}
        self.preprocess = preprocess
        self.steps_per_epoch = steps_per_epoch
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.pin_memory = torch.cuda.is_available() if pin_memory is None else pin_memory
        self.keep_on_device = keep_on_device
        self.seed = seed
        self.predict_path = None if predict_path is None else Path(predict_path)
        self._resident: dict[str, ResidentSamples] = {}
        self._run_seed: int | None = None
        self._described = False

    @abstractmethod
    def load(self) -> None:
        """Open the data and choose the split, unless that is done; called before all else."""

    @abstractmethod
    def streams(self) -> dict[str, Stream]:
        """The training streams, by their key in a batch."""

    def __str__(self) -> str:
        # Lightning's own would make every loader.
        return f"{type(self).__name__}(seed={self.seed})"

    @abstractmethod
    def fingerprint(self) -> str:
        """A digest of what a resumed run must find unchanged: the split."""

    @abstractmethod
    def describe(self) -> str:
        """One line on how many samples play which part."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input without the batch, ``(C, H, W)`` or ``(D,)``."""

    @property
    @abstractmethod
    def has_val_data(self) -> bool:
        """Whether there is anything to validate on."""

    @property
    def run_seed(self) -> int:
        """The seed in use; fixed when it is first needed."""
        if self._run_seed is None:
            found = os.environ.get("PL_GLOBAL_SEED", "0") if self.seed is None else self.seed
            self._run_seed = int(found)
        return self._run_seed

    def setup(self, stage: str | None = None) -> None:
        """Open the data, and say once what there is to train on."""
        self.load()
        if stage == "fit" and not self._described:
            rank_zero_info(self.describe())
            self._described = True
        if stage == "fit" and self.trainer is not None and not self.has_val_data:
            # Lightning warns of an empty loader, and would validate on nothing at the end of it.
            self.trainer.limit_val_batches = 0

    def train_dataloader(self) -> PairedLoader:
        """The training streams, side by side; see :class:`~supercm_pl.data.PairedLoader`."""
        self.load()
        streams = self.streams()
        wanted = {name: self._required_views(name) for name in streams}
        for views in wanted.values():
            check_views(views, self.transforms)
        unused = [name for name, views in wanted.items() if not views]
        self._resident = resident_streams(
            {name: stream for name, stream in streams.items() if name not in unused},
            device=None if self.trainer is None else self.trainer.strategy.root_device,
            keep=self.keep_on_device,
            num_workers=self.num_workers,
        )
        for name in self._resident:
            stream = streams[name]
            assert isinstance(stream.samples, Samples)
            streams[name] = Stream(PositionSamples(stream.samples), stream.batch_size)
        return PairedLoader(
            streams,
            numbered=[name for name, views in wanted.items() if INDEX in views],
            unused=unused,
            seed=self.run_seed,
            steps_per_epoch=self.steps_per_epoch,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            # Lightning's own count is right in every checkpoint, at the end of an epoch and in the
            # middle of a step as well, where a count of batches handed out is not restored or is
            # one too high.
            completed=None if self.trainer is None else self._completed_batches,
        )

    def teardown(self, stage: str | None = None) -> None:
        """Free what training kept on the device."""
        if stage in (None, "fit"):
            self._resident = {}

    def evaluation_loader(self, samples: Dataset[Any]) -> DataLoader[Any]:
        """Batches in order, of a data set whose ``__getitems__`` gives a whole batch."""
        return DataLoader(
            samples,
            batch_size=self.eval_batch_size,
            collate_fn=as_is,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            persistent_workers=self.num_workers > 0,
            generator=torch.Generator(),  # else evaluation would draw from the global generator
        )

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        """Turn ``uint8`` into floats, and augment a training batch."""
        if isinstance(batch, dict) and POSITION in batch:
            return self._augmented(batch)
        # Inputs alone, or first, or by that name; labels need nothing.
        if isinstance(batch, Mapping):
            return {**batch, "inputs": self._evaluated(batch["inputs"])}
        if isinstance(batch, Tensor):
            return self._evaluated(batch)
        inputs, *others = batch
        return (self._evaluated(inputs), *others)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run is checked against, and what the model needs without its data."""
        state: dict[str, Any] = {"fingerprint": self.fingerprint(), "seed": self.run_seed}
        state |= {"classes": list(self.classes), "input_shape": list(self.input_shape)}
        if self._is_fitted() and self.preprocess is not None:
            state["preprocess"] = self.preprocess.state_dict()
            state["preprocess_class"] = class_and_arguments(self.preprocess)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what the transform was fitted to; refuse to resume on another split.

        Raises:
            ValueError: If the split differs from that of the checkpoint.
        """
        if "preprocess" in state_dict and self.preprocess is not None:
            self.preprocess.load_state_dict(state_dict["preprocess"])
        fitting = self.trainer is not None and self.trainer.state.fn == TrainerFn.FITTING
        if fitting and state_dict["fingerprint"] != self.fingerprint():
            raise ValueError(
                f"the checkpoint was trained on another split, with seed {state_dict['seed']}, and "
                f"this run has seed {self.run_seed}: resume with the same data, seed and split"
            )

    @torch.no_grad()
    def _augmented(self, batch: dict[str, Any]) -> dict[str, Any]:
        position, numbers = batch.pop(POSITION), batch.pop(NUMBERS, {})
        for name, samples in self._resident.items():
            batch[name] = samples.fetch(batch[name])
        ready: dict[str, Any] = {}
        with isolated_rng(_device_of(batch)) as reseed:
            for name, part in batch.items():
                inputs, *labels = (part,) if isinstance(part, Tensor) else part
                wanted = self._required_views(name)
                check_views(wanted, self.transforms)
                views = {}
                for view in wanted:
                    if view == INDEX:
                        views[view] = numbers[name]
                        continue
                    reseed(derive_seed(self.run_seed, "view", position, _rank(), name, view))
                    images = self._preprocessed(as_float(inputs))
                    views[view] = self._finished(make_view(view, images, self.transforms))
                if views:
                    augmented = views["weak"] if list(views) == ["weak"] else views
                    ready[name] = (augmented, *labels) if labels else augmented
        return ready

    @torch.no_grad()
    def _evaluated(self, inputs: Tensor) -> Tensor:
        return self._finished(self._preprocessed(as_float(inputs)))

    def _preprocessed(self, inputs: Tensor) -> Tensor:
        if self.preprocess is None:
            return inputs
        if not self._is_fitted():
            self.preprocess.fit(inputs_of(self.streams()))  # type: ignore[operator]
        done: Tensor = self.preprocess.to(inputs.device)(inputs)
        return done

    def _is_fitted(self) -> bool:
        return not hasattr(self.preprocess, "fit") or bool(getattr(self.preprocess, "fitted", True))

    def _finished(self, inputs: Tensor) -> Tensor:
        """Floats of the module's own precision."""
        module = None if self.trainer is None else self.trainer.lightning_module
        dtype = getattr(module, "dtype", None)
        known = isinstance(dtype, torch.dtype) and dtype.is_floating_point
        return inputs.to(dtype) if known and inputs.is_floating_point() else inputs

    def _required_views(self, stream: str) -> Views:
        module = None if self.trainer is None else self.trainer.lightning_module
        return required_views(module, stream)

    def _completed_batches(self) -> int:
        trainer: Any = self.trainer
        progress = trainer.fit_loop.epoch_loop.batch_progress
        # To overfit means the same few batches in every epoch.
        count = progress.current if trainer.overfit_batches else progress.total
        return int(count.processed)


def _rank() -> int:
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def _device_of(batch: Mapping[str, Any]) -> torch.device | None:
    for part in batch.values():
        inputs: Tensor = part if isinstance(part, Tensor) else part[0]
        return inputs.device
    return None
