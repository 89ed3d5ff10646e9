"""Base of the data modules: loaders, views, and augmentation on the device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, TypedDict

import lightning.pytorch as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from supercm_pl._lightning import restore_loaders, restricted_classmethod
from supercm_pl.checkpoints.data_state import is_fitted, preprocess_state
from supercm_pl.checkpoints.files import read_checkpoint
from supercm_pl.checks import (
    check_at_least,
    check_flag,
    check_object,
    check_optional,
    check_path,
    check_size,
)
from supercm_pl.data.contract import Contract, global_seed
from supercm_pl.data.datasets import IdentifiedSamples, Samples, as_float, as_tuple, first_input
from supercm_pl.data.domain import Domain
from supercm_pl.data.inspection import begins_linear, inspect_parts, warn_of_equal_views
from supercm_pl.data.loading.device_cache import PositionSamples, ResidentSamples, resident_parts
from supercm_pl.data.loading.loader import PairedLoader, inputs_of
from supercm_pl.data.loading.steps import NUMBERS, POSITION, Part
from supercm_pl.data.loading.workers import make_loader
from supercm_pl.data.sources.base import Source
from supercm_pl.data.sources.folder import images_to_predict
from supercm_pl.data.transforms.augment import as_transform
from supercm_pl.data.views import INDEX, check_views, make_view
from supercm_pl.distributed import rank, world_size
from supercm_pl.names import first_of
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
    """Training batches of several parts, augmented on the device, and plain evaluation batches.

    Base of :class:`~supercm_pl.SSLDataModule` and :class:`~supercm_pl.UDADataModule`.

    Inputs reach the module as floats; ``uint8`` becomes ``[0, 1]`` on the device. In training, each
    part has the views that the module's ``required_views`` lists: by part and view, the names of
    the methods that need it; only ``"weak"`` for a part that is not listed. ``"weak_2"`` and
    ``"strong_2"`` are further independent draws, and ``"index"`` is ``(B,)``, the numbers of the
    samples. The inputs are a tensor if ``"weak"`` is the only view, else a mapping from view to
    tensor; a part without views is left out.

    Every draw is a function of seed, step, rank, part and view. So a resumed run sees the same
    images, and the global random number generators stay untouched.

    Args:
        sources: Sources of the run; the last one has the test data.
        weak: Transform of ``(B, ...)`` to ``(B, ...)`` that makes the weak view: a module, a
            function, or a list of them; ``None`` leaves inputs unchanged.
        strong: Transform that makes the strong view; required by some methods.
        preprocess: Transform of all inputs before the views and in evaluation, such as
            :class:`~supercm_pl.data.ZCA`. If it has a method ``fit`` and is not ``fitted``, it is
            fitted to the training inputs at its first use. Checkpoints contain it, and the module
            applies it to inputs that come without the data module.
        steps_per_epoch: Training batches of an epoch; ``None``: one pass over the longest part.
            Required if unlabeled samples come from an ``IterableDataset``.
        eval_batch_size: Samples of a batch in validation, test and prediction, 1 or more.
        num_workers: Processes that read data; 0 reads in the main process, best for data in memory.
        pin_memory: Read into pinned memory; ``None``: if there is a CUDA device.
        keep_on_device: Copy training data that are tensors in memory to the device once, and draw
            samples there; no effect on the CPU. ``None``: with ``num_workers=0``, if all of them
            fit in a quarter of the device's free memory.
        seed: Seed of split, order and augmentation, 0 or more; ``None``: that of
            ``seed_everything``, else 0.
        predict_path: Folder of images for ``predict``; ``None``: the test data.

    Raises:
        ValueError: If a number is out of range; at the start of training, if ``keep_on_device`` is
            ``True`` and data are not in memory.
    """

    prepares_inputs = True  # else the module does it

    def __init__(
        self,
        sources: Sequence[Source],
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
        weak, strong = as_transform("weak", weak), as_transform("strong", strong)
        example = "ZCA(), or scale arrays before"
        check_optional(check_object, "preprocess", preprocess, nn.Module, example)
        check_optional(check_flag, "pin_memory", pin_memory)
        self._sources = sources
        self.transforms: dict[str, nn.Module | None] = {"weak": weak, "strong": strong}
        self.preprocess = preprocess
        self.steps_per_epoch = check_optional(check_size, "steps_per_epoch", steps_per_epoch)
        self.eval_batch_size = check_size("eval_batch_size", eval_batch_size)
        self.num_workers = check_at_least("num_workers", num_workers, 0)
        self.pin_memory = torch.cuda.is_available() if pin_memory is None else pin_memory
        self.keep_on_device = check_optional(check_flag, "keep_on_device", keep_on_device)
        self.seed = check_optional(check_at_least, "seed", seed, 0)
        self.predict_path = check_optional(check_path, "predict_path", predict_path)
        self.contract = Contract()
        self._domains: tuple[Domain, ...] = ()
        self._resident: dict[str, ResidentSamples] = {}
        self._run_seed: int | None = None
        self._described = False
        self._inspected: set[str] = set()
        self._val_limit: int | float | None = None

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; known before ``setup``."""

    @abstractmethod
    def open_domains(self) -> tuple[Domain, ...]:
        """Open the sources and choose their splits."""

    @abstractmethod
    def parts(self) -> dict[str, Part]:
        """The training parts, by their key in a batch."""

    @abstractmethod
    def describe(self) -> str:
        """One line with the number of samples in each part."""

    def classes_and_rest(self) -> str:
        """The number of classes, their names, and what the sources left out; for messages."""
        names = self.classes
        told = "" if all(name.isdigit() for name in names) else f" ({first_of(names, 5)})"
        rest = [source.left_out for source in self._sources if source.left_out]
        return " · ".join([f"{len(names):,} classes{told}", *rest])

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The opened sources, with their splits."""
        self.load()
        return self._domains

    @property
    def num_classes(self) -> int:
        """``K``; known before ``setup``."""
        return len(self.classes)

    @property
    def num_unlabeled(self) -> int | None:
        """Number of unlabeled samples; ``None`` for an ``IterableDataset``."""
        return self.domains[-1].num_unlabeled

    @property
    def has_val_data(self) -> bool:
        """Whether there are samples to validate on."""
        return any(len(domain.val) for domain in self.domains)

    @property
    def has_test_data(self) -> bool:
        """Whether there are labeled samples to test on."""
        return self.domains[-1].num_test > 0

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input without the batch, ``(C, H, W)`` or ``(D,)``."""
        return tuple(first_input(self.domains[-1].data.train, "training").shape[1:])

    @property
    def run_seed(self) -> int:
        """The seed in use; fixed at its first use."""
        if self._run_seed is None:
            self._run_seed = (global_seed() or 0) if self.seed is None else self.seed
        return self._run_seed

    def fingerprint(self) -> str:
        """A digest of the splits, which a resumed run must share."""
        digests = [domain.split.digest for domain in self.domains]
        return digests[0] if len(digests) == 1 else sha256(" ".join(digests).encode()).hexdigest()

    def prepare_data(self) -> None:
        """Download what the sources need; Lightning calls it on one process of each machine."""
        for source in self._sources:
            source.prepare()

    def load(self) -> None:
        """Open the data and choose the splits, once."""
        if not self._domains:
            self._domains = self.open_domains()

    def __str__(self) -> str:
        # Lightning's method would create every loader.
        return f"{type(self).__name__}(seed={self.seed})"

    def setup(self, stage: str | None = None) -> None:
        """Open the data, and describe them once before training."""
        self.contract = Contract.of(self.trainer)
        self.load()
        self.contract.agree_on_classes()
        if hasattr(self.contract.module, "use_preprocess"):
            self.contract.module.use_preprocess(self.preprocess)
        if stage == "fit" and not self._described:
            rank_zero_info(self.describe())
            self._described = True
        self._inspect(stage)
        if stage == "fit" and self.trainer is not None and not self.has_val_data:
            # Lightning warns about an empty loader, and would run an empty validation.
            self._val_limit, self.trainer.limit_val_batches = self.trainer.limit_val_batches, 0

    def _inspect(self, stage: str | None) -> None:
        if stage in (None, "predict") or stage in self._inspected:
            return
        self._inspected.add(stage)
        parts = {name: part.samples for name, part in self.parts().items()}
        views = {name: self.contract.required_views(name) for name in parts if stage == "fit"}
        for required in views.values():
            check_views(required, self.transforms)
        if stage == "test":
            parts["test"] = self.domains[-1].test
        else:
            parts |= {f"{d.name} validation".strip(): d.val for d in self.domains}
        module: Any = self.contract.module
        scaled = self.preprocess is not None or not begins_linear(getattr(module, "backbone", None))
        inspect_parts(parts, views, self.transforms, scaled)
        if stage == "fit":
            warn_of_equal_views(module, self.transforms)

    def train_dataloader(self) -> PairedLoader:
        """Batches of all training parts; see :class:`~supercm_pl.data.PairedLoader`."""
        self.load()
        parts = self.parts()
        required = {name: self.contract.required_views(name) for name in parts}
        for views in required.values():
            check_views(views, self.transforms)
        unused = [name for name, views in required.items() if not views]
        self._resident = resident_parts(
            {name: part for name, part in parts.items() if name not in unused},
            device=None if self.trainer is None else self.trainer.strategy.root_device,
            keep=self.keep_on_device,
            num_workers=self.num_workers,
        )
        for name in self._resident:
            samples, batch_size = parts[name].samples, parts[name].batch_size
            assert isinstance(samples, Samples)
            parts[name] = Part(PositionSamples(samples), batch_size)
        return PairedLoader(
            parts,
            numbered=[name for name, views in required.items() if INDEX in views],
            unused=unused,
            seed=self.run_seed,
            steps_per_epoch=self.steps_per_epoch,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            # Lightning's count is right in every checkpoint, also at the end of an epoch and in the
            # middle of a step. A count of batches handed out would be missing, or one too high.
            completed=None if self.trainer is None else self._completed_batches,
        )

    def test_dataloader(self) -> DataLoader[Any]:
        """Test batches ``(x, y)``."""
        return self.evaluation_loader(self.domains[-1].test)

    def predict_dataloader(self) -> DataLoader[Any]:
        """Batches ``{"inputs": x, "ids": [...]}``; ids are file paths or row numbers."""
        if self.predict_path is None:
            samples = IdentifiedSamples(self.domains[-1].to_predict)
        else:
            samples = images_to_predict(self.predict_path, self.input_shape)
        if len(samples) < world_size():  # Lightning requires one for each rank
            raise ValueError(f"{world_size()} ranks can't share {len(samples)} samples to predict")
        return self.evaluation_loader(samples)

    def teardown(self, stage: str | None = None) -> None:
        """Free what training kept on the device."""
        if stage in (None, "fit"):
            self._resident = {}
            self._restore_trainer()

    def on_exception(self, exception: BaseException) -> None:
        """Restore the trainer, and what Lightning changes while loaders are made."""
        self._restore_trainer()
        restore_loaders()

    def _restore_trainer(self) -> None:
        if self.trainer is not None and self._val_limit is not None:
            self.trainer.limit_val_batches, self._val_limit = self._val_limit, None

    def evaluation_loader(self, samples: Dataset[Any]) -> DataLoader[Any]:
        """Batches, in order, of a data set whose ``__getitems__`` returns a whole batch."""
        return make_loader(
            samples,
            batch_size=self.eval_batch_size,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
        )

    def training_batches(self, part: str, device: torch.device) -> Iterator[Any]:
        """All samples of a part in order on a device, as for evaluation: not augmented."""
        samples = self.parts()[part].samples
        if not isinstance(samples, Samples):
            raise ValueError(f"{part} samples must have a length, got an IterableDataset")
        for batch in self.evaluation_loader(samples):
            yield self.on_after_batch_transfer(self.transfer_batch_to_device(batch, device, 0))

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        """Turn ``uint8`` into floats, and augment a training batch."""
        if isinstance(batch, dict) and POSITION in batch:
            return self._augmented(batch)
        # A tensor, a sequence that starts with inputs, or a mapping; labels do not change.
        if isinstance(batch, Mapping):
            return {**batch, "inputs": self._evaluated(batch["inputs"])}
        if isinstance(batch, Tensor):
            return self._evaluated(batch)
        return (self._evaluated(batch[0]), *batch[1:])

    def state_dict(self) -> dict[str, Any]:
        """Return the digest of the split, and preprocessing, classes and shape for later use."""
        state: dict[str, Any] = {"fingerprint": self.fingerprint(), "seed": self.run_seed}
        state |= {"classes": list(self.classes), "input_shape": list(self.input_shape)}
        return state | preprocess_state(self.preprocess)

    @classmethod
    def from_datasets(cls, *datasets: Any, **options: Any) -> Any:
        """Raise a ``TypeError``: Lightning's method would replace the loaders alone."""
        raise TypeError(f"write {cls.__name__}(DatasetSource(train, test), ...) for data sets")

    @restricted_classmethod
    def load_from_checkpoint(
        cls,  # noqa: N805
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Build from ``kwargs``, and load the state of this class from the checkpoint.

        With ``weights_only=False`` or an ``hparams_file``, load as Lightning does.
        """
        if weights_only is False or hparams_file is not None:
            return super().load_from_checkpoint(
                checkpoint_path, map_location, hparams_file, weights_only, **kwargs
            )
        content = read_checkpoint(checkpoint_path, map_location)
        data = cls(**kwargs)
        if cls.__qualname__ in content:
            data.load_state_dict(content[cls.__qualname__])
        return data

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state of the preprocessing; reject a resumed run with another split.

        Raises:
            ValueError: If the split differs from that of the checkpoint.
        """
        if "preprocess" in state_dict and self.preprocess is not None:
            self.preprocess.load_state_dict(state_dict["preprocess"])
        fitting = self.trainer is not None and self.trainer.state.fn == TrainerFn.FITTING
        if fitting and state_dict["fingerprint"] != self.fingerprint():
            raise ValueError(
                f"the checkpoint was trained on another split, with seed {state_dict['seed']}, and "
                f"this run has {self._differs_by(state_dict['seed'])}: resume with the same data, "
                "seed and split"
            )

    def _differs_by(self, seed: int) -> str:
        same = seed == self.run_seed
        return "the same seed but other data or labels" if same else f"seed {self.run_seed}"

    @torch.no_grad()
    def _augmented(self, batch: dict[str, Any]) -> dict[str, Any]:
        position, numbers = batch.pop(POSITION), batch.pop(NUMBERS, {})
        for name, samples in self._resident.items():
            batch[name] = samples.fetch(batch[name])
        ready: dict[str, Any] = {}
        device = next((as_tuple(part)[0].device for part in batch.values()), None)
        with isolated_rng(device) as reseed:
            for name, part in batch.items():
                inputs, *labels = as_tuple(part)
                required = self.contract.required_views(name)
                check_views(required, self.transforms)
                views: dict[str, Tensor] = {}
                for view in required:
                    if view == INDEX:
                        views[view] = numbers[name]
                        continue
                    reseed(derive_seed(self.run_seed, "view", position, rank(), name, view))
                    images = self._preprocessed(as_float(inputs))
                    views[view] = self._cast(make_view(view, images, self.transforms))
                if views:
                    augmented = views["weak"] if list(views) == ["weak"] else views
                    ready[name] = (augmented, *labels) if labels else augmented
        return ready

    @torch.no_grad()
    def _evaluated(self, inputs: Tensor) -> Tensor:
        return self._cast(self._preprocessed(as_float(inputs)))

    def _preprocessed(self, inputs: Tensor) -> Tensor:
        if self.preprocess is None:
            return inputs
        if not is_fitted(self.preprocess):
            self.preprocess.fit(inputs_of(self.parts()))  # type: ignore[operator]
        done: Tensor = self.preprocess.to(inputs.device)(inputs)
        return done

    def _cast(self, inputs: Tensor) -> Tensor:
        """Floats in the precision of the module."""
        dtype = self.contract.dtype
        return inputs if dtype is None or not inputs.is_floating_point() else inputs.to(dtype)

    def _completed_batches(self) -> int:
        trainer: Any = self.trainer
        progress = trainer.fit_loop.epoch_loop.batch_progress
        # With `overfit_batches`, every epoch has the same batches.
        count = progress.current if trainer.overfit_batches else progress.total
        return int(count.processed)


def counted(number: int | None) -> str:
    """The number of samples of a part, for messages; ``None`` is an ``IterableDataset``."""
    return "endless" if number is None else f"{number:,}"
