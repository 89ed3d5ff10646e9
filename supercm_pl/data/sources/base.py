"""The base class of all sources."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset

from supercm_pl.checks import shown
from supercm_pl.options import suggest_arguments


@dataclass(frozen=True)
class SourceData:
    """The map-style data sets of a source.

    Attributes:
        train: Items ``(input, label)``: the labeled samples, and those whose labels a split hides.
        classes: Names of the classes; label ``k`` is ``classes[k]``.
        test: Items ``(input, label)``, used only by ``test`` and ``predict``.
        val: Items ``(input, label)`` of the source's own validation set.
        unlabeled: Items are inputs; labels, if any, are dropped. An ``IterableDataset`` here
            replaces the unlabeled samples of ``train``.
    """

    train: Dataset[Any]
    classes: tuple[str, ...]
    test: Dataset[Any] | None = None
    val: Dataset[Any] | None = None
    unlabeled: Dataset[Any] | None = None

    def __post_init__(self) -> None:
        given: Any = self.classes
        if isinstance(given, str) or not isinstance(given, Sequence):
            number = given if isinstance(given, int) else 10
            raise TypeError(
                f"classes of SourceData must be names, got {shown(given)}: write "
                f"classes=tuple(map(str, range({number})))"
            )


class Source(ABC):
    """A source of samples.

    For a data set of your own, subclass it and implement :meth:`load`. In YAML, name the class by
    its path, as in ``data.init_args.source.class_path: my_package.MySource``.
    """

    left_out = ""
    """What :meth:`load` did not read, for the line that opens a run."""

    _class_names: tuple[str, ...] | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        suggest_arguments(cls)

    def prepare(self) -> None:  # noqa: B027 - most sources have nothing to prepare
        """Download and unpack; called in one process per machine."""

    @abstractmethod
    def load(self) -> SourceData:
        """Open the data; called in every process, after :meth:`prepare`."""

    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; override it if they are known without loading the data."""
        return self._class_names or load_source(self).classes


def load_source(source: Source) -> SourceData:
    """Call ``load`` of a source, which may be a user's own; a ``TypeError`` for other values."""
    data: Any = source.load()
    if not isinstance(data, SourceData):
        raise TypeError(
            f"{type(source).__name__}.load must return SourceData(train, classes), got an object "
            f"of {type(data).__name__}"
        )
    return data
