"""Requirements of a module, and facts about its data, in one object."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from supercm_pl.data.views import Views
from supercm_pl.names import first_of


@dataclass(frozen=True)
class Contract:
    """The requirements of a module, and the facts about its data; both read it in ``setup``.

    Either side may be missing or come from another library; its values are then the defaults.

    Args:
        module: May have ``required_views``, a mapping from part to views, each with the names of
            the methods that need it, and ``dtype``.
        data: May have ``run_seed``, ``num_unlabeled`` and ``classes``.
    """

    module: object = None
    data: object = None

    @classmethod
    def of(cls, trainer: Any) -> Contract:
        """Create the contract of the module and the data module of a trainer, if there is one."""
        module = getattr(trainer, "lightning_module", None)
        return cls(module, getattr(trainer, "datamodule", None))

    def required_views(self, part: str) -> Views:
        """The views of a part that the module requires; by default the weak view."""
        views: Mapping[str, Views] = getattr(self.module, "required_views", {})
        return views.get(part, {"weak": ()})

    @property
    def dtype(self) -> torch.dtype | None:
        """The floating-point type of the module's parameters."""
        dtype = getattr(self.module, "dtype", None)
        known = isinstance(dtype, torch.dtype) and dtype.is_floating_point
        return dtype if known else None

    @property
    def seed(self) -> int | None:
        """The seed of the data module, else that of ``seed_everything``."""
        seed = getattr(self.data, "run_seed", None)
        return global_seed() if seed is None else int(seed)

    def training_batches(self, part: str, device: torch.device) -> Iterator[Any]:
        """All samples of a part in order, not augmented; a ``ValueError`` without such batches."""
        batches = getattr(self.data, "training_batches", None)
        if batches is None:
            raise ValueError(
                "a data module with `training_batches` is required, such as SSLDataModule"
            )
        yield from batches(part, device)

    @property
    def num_unlabeled(self) -> int | None:
        """Number of unlabeled samples; ``None`` if unknown or without a length."""
        number: int | None = getattr(self.data, "num_unlabeled", None)
        return number

    @property
    def num_classes(self) -> int | None:
        """Number of classes of the data; ``None`` if unknown."""
        number: int | None = getattr(self.data, "num_classes", None)
        return number

    def check_parts(self, labeled: str) -> None:
        """Require the part ``labeled`` of a data module of this package; else a ``TypeError``."""
        parts = getattr(self.data, "parts", None)
        if callable(parts) and labeled not in parts():
            raise TypeError(
                f"{type(self.module).__name__} trains on a part {labeled!r}, and "
                f"{type(self.data).__name__} has {', '.join(parts())}: use SSLModule with "
                "SSLDataModule, and UDAModule with UDADataModule"
            )

    def agree_on_classes(self) -> None:
        """Give the module the number of classes of the data, or require that it has the same.

        A ``ValueError`` if the numbers differ, or neither side has one.
        """
        module: Any = self.module
        if not hasattr(module, "take_num_classes"):
            return
        given, counted = module.num_classes, self.num_classes
        if given is None and counted is None:
            raise ValueError(
                "num_classes can't be taken from the data: write num_classes=... in the model, or "
                "pass a data module to fit, such as SSLDataModule"
            )
        if given is None:
            module.take_num_classes(counted)
        elif counted is not None and given != counted:
            data = f"the data has {counted} classes, {first_of(self.class_names(counted))}"
            if getattr(module, "has_trained_head", False):
                raise ValueError(
                    f"the model was trained on {given} classes, but {data}: to train on them, "
                    f"write {type(module).__name__}(model.backbone)"
                )
            raise ValueError(f"num_classes of the model is {given}, but {data}: omit num_classes")

    def class_names(self, count: int) -> tuple[str, ...]:
        """The names of ``count`` classes; their numbers unless the data have as many names."""
        names = getattr(self.data, "classes", None) or ()
        return tuple(map(str, names if len(names) == count else range(count)))


def global_seed() -> int | None:
    """The seed that ``seed_everything`` set, if any."""
    seed = os.environ.get("PL_GLOBAL_SEED")
    return None if seed is None else int(seed)
