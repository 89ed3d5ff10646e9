"""Speed of data loading: images per second by itself, and the share of a step spent waiting.

Every arm provides the same batches: labeled samples with a weak view, unlabeled ones with a weak
and a strong view. The weak view is a flip and a shifted crop; the strong view adds RandAugment and
an erased square. The arms differ in where the images are (tensors in memory, or items of a data
set), in who reads them (this process or workers), and in the augmentation. Ours and kornia's
augment batches on the device; torchvision's augments image by image while reading. Each turn of an
arm is a separate epoch, so that no workers read ahead while others are timed.

The step is FixMatch with SuperCM on a WRN-28-2. Waiting is the time until the loader returns the
batch; augmentation on the device counts as part of the step.

    python -m benchmarks.loader [--labeled 50 --unlabeled 50 --batches 10 --rounds 5 --json FILE]
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from benchmarks.timing import interleave, machine, ratio, synchronize, write_json
from supercm_pl import SSLDataModule, SSLModule
from supercm_pl.backbones import WideResNet
from supercm_pl.data import ArraySource, Compose, Cutout, DatasetSource, FlipCrop, RandAugment
from supercm_pl.ssl.methods import FixMatch

_IMAGES = 4096
Batch = dict[str, Any]


class _Items(Dataset[Any]):
    """Single images; ``transform``, if given, makes both views."""

    def __init__(self, images: Tensor, targets: Tensor, transform: Any = None) -> None:
        self.images, self.targets, self.transform = images, targets, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.images[index]
        views = image if self.transform is None else torch.stack(self.transform(image))
        return views, self.targets[index]


class _Torchvision:
    """Makes the weak and the strong view of one image ``(3, 32, 32)``."""

    def __init__(self) -> None:
        from torchvision.transforms import v2

        weak = [v2.RandomHorizontalFlip(), v2.RandomCrop(32, 4, padding_mode="reflect")]
        self.weak = v2.Compose(weak)
        erased = v2.RandomErasing(1.0, (0.25, 0.25), (1.0, 1.0), value=127)
        self.strong = v2.Compose([*weak, v2.RandAugment(2, 10), erased])

    def __call__(self, image: Tensor) -> list[Tensor]:
        return [self.weak(image), self.strong(image)]


def _ours() -> tuple[nn.Module, nn.Module]:
    return FlipCrop(), Compose([FlipCrop(), RandAugment(), Cutout()])


def _kornia() -> tuple[nn.Module, nn.Module]:
    import kornia.augmentation as K

    def weak() -> list[nn.Module]:
        crop = K.RandomCrop((32, 32), padding=4, padding_mode="reflect")
        return [K.RandomHorizontalFlip(), crop]

    erased = K.RandomErasing(p=1.0, scale=(0.25, 0.25), ratio=(1.0, 1.0), value=0.5)
    strong = nn.Sequential(*weak(), K.auto.RandAugment(2, 10), erased)
    return nn.Sequential(*weak()), strong


class _Arm:
    """A loader with its augmentation; a turn is an epoch.

    Args:
        module: Determines the views, and takes the steps.
        data: Provides the batches.
        views_in_items: Whether views are made while reading.
    """

    def __init__(self, module: SSLModule, data: SSLDataModule, views_in_items: bool) -> None:
        self.module, self.data, self.views_in_items = module, data, views_in_items
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        trainer = L.Trainer(devices=1, enable_checkpointing=False, **quiet)  # type: ignore[arg-type]
        trainer.strategy.connect(module)
        data.trainer = trainer
        self.loader = data.train_dataloader()
        self.device = trainer.strategy.root_device
        self.optimizer = torch.optim.Adam(module.parameters(), lr=3e-4)
        self.shares: list[float] = []

    def batches(self) -> Iterator[Batch]:
        """Yield augmented batches on the device."""
        for batch in self.loader:
            yield self._ready(batch)

    def draw(self) -> None:
        for _ in self.batches():
            pass

    def train(self) -> None:
        waited, start = 0.0, time.perf_counter()
        batches = iter(self.loader)
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            waited += time.perf_counter() - asked
            if batch is None:
                break
            loss = self.module.training_step(self._ready(batch))
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        synchronize()
        self.shares.append(waited / (time.perf_counter() - start))

    def _ready(self, batch: Batch) -> Batch:
        moved = self.data.transfer_batch_to_device(batch, self.device, 0)
        if not self.views_in_items:
            ready: Batch = self.data.on_after_batch_transfer(moved)
            return ready
        (x, y), u = moved["labeled"], moved["unlabeled"].float().div_(255.0)
        return {
            "labeled": (x[:, 0].float().div_(255.0), y),
            "unlabeled": {"weak": u[:, 0], "strong": u[:, 1]},
        }


def _arms(arguments: argparse.Namespace) -> dict[str, _Arm]:
    torch.manual_seed(0)
    module = SSLModule(WideResNet(), 10, FixMatch(), cm_weight=0.186)
    images = torch.randint(0, 256, (_IMAGES, 3, 32, 32), dtype=torch.uint8)
    labels = torch.arange(_IMAGES) % 10

    def arm(
        dataset: Dataset[Any] | None = None,
        transforms: tuple[nn.Module, nn.Module] | None = None,
        views_in_items: bool = False,
        **options: Any,
    ) -> _Arm:
        weak, strong = _ours() if transforms is None else transforms
        data = SSLDataModule(
            ArraySource(images, labels) if dataset is None else DatasetSource(dataset),
            labels_per_class=25,
            labeled_batch_size=arguments.labeled,
            unlabeled_batch_size=arguments.unlabeled,
            steps_per_epoch=arguments.batches,
            weak=weak,
            strong=strong,
            seed=0,
            **{"keep_on_device": False, **options},
        )
        return _Arm(module, data, views_in_items)

    def plain() -> Dataset[Any]:
        return _Items(images, labels)

    def augmented() -> Dataset[Any]:
        return _Items(images, labels, _Torchvision())

    arms: dict[str, Callable[[], _Arm]] = {
        "in memory": arm,
        "in memory, 2 workers": lambda: arm(num_workers=2),
        "items": lambda: arm(plain()),
        "items, 2 workers": lambda: arm(plain(), num_workers=2),
        "in memory, kornia": lambda: arm(transforms=_kornia()),
        "items, torchvision": lambda: arm(augmented(), views_in_items=True),
        "items, torchvision, 2 workers": lambda: arm(
            augmented(), views_in_items=True, num_workers=2
        ),
    }
    if torch.cuda.is_available():
        arms["on the device"] = lambda: arm(keep_on_device=True)
    names = arguments.arms or list(arms)
    built = {name: arms[name]() for name in arms if name in names}
    module.to(next(iter(built.values())).device)
    return built


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--labeled", type=int, default=50)
    parser.add_argument("--unlabeled", type=int, default=50)
    parser.add_argument("--batches", type=int, default=10, help="batches per turn of an arm")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--arms", nargs="+", default=None, help='run only these, e.g. "in memory"')
    parser.add_argument("--json", default=None, help="write the results to this file")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    arms = _arms(arguments)
    alone = interleave({name: arm.draw for name, arm in arms.items()}, arguments.rounds, warmup=1)
    steps = interleave({name: arm.train for name, arm in arms.items()}, arguments.rounds, warmup=1)
    images = arguments.batches * (arguments.labeled + arguments.unlabeled)
    per_second = {name: images / statistics.median(times) for name, times in alone.items()}
    shares = {name: statistics.median(arm.shares[1:]) for name, arm in arms.items()}
    first = next(iter(arms))
    over_first = {name: ratio(alone[first], times) for name, times in alone.items()}

    print(f"{arguments.labeled} + {arguments.unlabeled} images of 32x32, WRN-28-2, {machine()}\n")
    print(f"| data | images/s alone | speed over {first} | share of the step spent waiting |")
    print("| --- | --- | --- | --- |")
    for name in arms:
        numbers = f"{per_second[name]:,.0f} | {over_first[name]:.2f} | {shares[name]:.1%}"
        print(f"| {name} | {numbers} |")
    result = {
        "arguments": vars(arguments),
        "machine": machine(),
        "seconds_alone": alone,
        "seconds_of_steps": steps,
        "share_waiting": {name: arm.shares[1:] for name, arm in arms.items()},
        "images_per_second": per_second,
        "speed_over_first": over_first,
    }
    write_json(arguments.json, result)


if __name__ == "__main__":
    main()
