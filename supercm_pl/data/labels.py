"""Class labels of data sets, found without decoding images where possible."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import ArrayLike
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from supercm_pl.checks import MISSING_AS_TEXT, is_missing
from supercm_pl.data.datasets import BatchedDataset, Indices, dataset_length
from supercm_pl.names import first_of
from supercm_pl.seeding import isolated_rng

_UNLABELED = (
    "pass samples without a label as unlabeled data, as in DatasetSource(Subset(train, rows), "
    "unlabeled=Subset(train, others))"
)


def labels_of(dataset: Dataset[Any], name: str = "train") -> Indices:
    """Labels ``(N,)``, int64, of a map-style data set with items ``(input, label)``.

    They are taken from the attribute ``targets`` or ``labels``, or from the tensors of a
    ``TensorDataset``, also through ``Subset`` and ``ConcatDataset``. If there are none, or the
    first or last item disagrees, the whole data set is read once.

    Raises:
        TypeError: If an item has no label or one that is not an integer.
    """
    size = dataset_length(dataset)
    with isolated_rng() as reseed:  # random transforms of the items must not disturb the run
        reseed(0)
        held = held_labels(dataset)
        if held is not None:
            ends = {0, size - 1} if size and not isinstance(dataset, BatchedDataset) else set()
            if all(held[i] == _item_label(dataset, i, name) for i in ends):
                return held
        if size > 1000:
            rank_zero_info(f"reading all {size:,} samples of {name}, which has no `targets`")
        return np.asarray([_item_label(dataset, i, name) for i in range(size)], dtype=np.int64)


def held_labels(dataset: Any) -> Indices | None:
    """Labels ``(N,)`` that a data set has at hand, without reading its items, else ``None``."""
    if isinstance(dataset, Subset):
        held = held_labels(dataset.dataset)
        return None if held is None else held[np.asarray(dataset.indices, dtype=np.int64)]
    if isinstance(dataset, ConcatDataset):
        parts = [held_labels(part) for part in dataset.datasets]
        known = [part for part in parts if part is not None]
        return np.concatenate(known) if len(known) == len(parts) else None
    if isinstance(dataset, TensorDataset):
        values: Any = dataset.tensors[1] if len(dataset.tensors) > 1 else None
    else:
        values = getattr(dataset, "targets", getattr(dataset, "labels", None))
    if values is None:
        return None
    transform = getattr(dataset, "target_transform", None)
    if transform is not None:
        values = [transform(value) for value in values]
    try:
        return as_labels(values, "targets", dataset_length(dataset))
    except (TypeError, ValueError):
        return None  # not the labels of the items: read those


def as_labels(
    values: ArrayLike | Tensor, name: str, size: int, unlabeled: str = _UNLABELED
) -> Indices:
    """Labels ``(N,)`` or ``(N, 1)`` as int64 ``(N,)``.

    A ``TypeError`` if not integers, a ``ValueError`` if negative or not ``size`` of them;
    ``unlabeled`` says what to do about samples without a label.
    """
    labels = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or len(labels) != size:
        raise ValueError(
            f"{name} must have one label for each of {size} inputs, got shape {labels.shape}"
        )
    if labels.dtype.kind not in "iub":
        raise TypeError(
            f"{name} must be integers from 0 on, got {labels.dtype}: "
            "np.unique(..., return_inverse=True) turns names into numbers"
        )
    labels = labels.astype(np.int64)
    if size and labels.min() < 0:
        raise ValueError(
            f"{name} must be 0 or more, got {labels.min()} at sample {labels.argmin()}: {unlabeled}"
        )
    return labels


def named_labels(
    values: Any, name: str, size: int, classes: Sequence[str] | None = None
) -> tuple[Indices, tuple[str, ...]]:
    """Labels as numbers int64 ``(N,)``, -1 where a sample has none, and the names of the classes.

    Args:
        values: Numbers from 0 on, or names; -1, ``"-1"``, ``""``, ``None`` and NaN mean no
            label.
        name: The argument, for messages.
        size: ``N``.
        classes: Names of the classes; ``None`` takes the names found, sorted, or the numbers.

    Raises:
        TypeError: If labels are neither all integers nor all names.
        ValueError: If their number is not ``N``, one is of no class, or numbers are skipped.
    """
    if values is None:
        raise TypeError(f"{name} must be labels, -1 where a sample has none, got None")
    given = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if given.ndim == 2 and given.shape[1] > 1 and len(given) == size:
        raise ValueError(
            f"{name} must have one label for each of {size} inputs, got shape {given.shape}: "
            f"{name}.argmax(1) turns one-hot labels into numbers"
        )
    if given.dtype.kind not in "OUSf" or given.ndim not in (1, 2) or len(given) != size:
        labels = _numbers_or_none(given, name, size)
        return labels, _checked_numbers(labels, name, classes)
    flat: list[Any] = given.ravel().tolist()
    absent = [is_missing(value) or str(value) in ("-1", "-1.0") for value in flat]
    known = [value for value, no in zip(flat, absent, strict=True) if not no]
    if all(isinstance(value, str) for value in known) and known:
        if classes is None:
            check_no_missing(known, name, "write -1 where a sample has no label")
        names = checked_classes(sorted(set(known)) if classes is None else classes)
        foreign = sorted(set(known) - set(names))
        if foreign:
            raise ValueError(f"{name} has the class {foreign[0]!r}, which is not one of {names}")
        numbers = {each: number for number, each in enumerate(names)}
        pairs = zip(flat, absent, strict=True)
        return np.array([-1 if no else numbers[value] for value, no in pairs]), names
    whole = [isinstance(value, int | float) and float(value).is_integer() for value in known]
    if not all(whole):
        raise TypeError(
            f"{name} must be integers from 0 on or names, got {known[whole.index(False)]!r} of "
            f"{given.dtype}"
        )
    filled = [-1 if no else int(value) for value, no in zip(flat, absent, strict=True)]
    labels = _numbers_or_none(np.array(filled, dtype=np.int64), name, size)
    return labels, _checked_numbers(labels, name, classes)


def check_no_missing(names: Iterable[str], source: str, advice: str) -> None:
    """Reject names that are the text of missing values, with advice for the ``ValueError``."""
    doubtful = sorted({*names}.intersection(MISSING_AS_TEXT))
    if doubtful:
        raise ValueError(
            f"{source} has the label {doubtful[0]!r}, the text of a missing value: {advice}, or "
            "name all classes by classes=[...]"
        )


def as_names(values: Any, like: Any) -> Any:
    """Numbers as text where ``like`` has names: as positions they could mean other classes."""
    texts = [] if isinstance(like, Tensor) else np.asarray(like).ravel().tolist()
    if not any(isinstance(value, str) for value in texts):
        return values
    given = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    flat = [
        str(int(value)) if isinstance(value, float) and value.is_integer() else value
        for value in given.ravel().tolist()
    ]
    named = [value if is_missing(value) else str(value) for value in flat]
    return np.array(named, dtype=object).reshape(given.shape)


def _numbers_or_none(values: Any, name: str, size: int) -> Indices:
    signed = values.dtype.kind == "i" and values.size == size
    none = signed & (np.asarray(values) == -1).ravel() if signed else np.zeros(size, dtype=bool)
    known = np.where(none, 0, values.ravel()) if signed else values
    labels = as_labels(known, name, size, "write -1 where a sample has no label")
    return np.where(none, -1, labels)


def _checked_numbers(labels: Indices, name: str, classes: Sequence[str] | None) -> tuple[str, ...]:
    known = labels[labels >= 0]
    if classes is None and not len(known):
        return ()
    numbered = f"number them from 0 on, classes, {name} = np.unique({name}, return_inverse=True)"
    hint = f"name all classes by classes=[...], or {numbered}"
    names = checked_classes(numbered_classes(known, name, hint) if classes is None else classes)
    check_class_range(known, len(names), name, np.flatnonzero(labels >= 0))
    skipped = np.setdiff1d(np.arange(len(names)), known)
    if classes is None and len(skipped):
        raise ValueError(f"{name} has no sample of class {skipped[0]}: {hint}")
    return names


def check_class_range(
    labels: Indices, num_classes: int, name: str, rows: Indices | None = None
) -> None:
    """Require labels in ``0..num_classes-1``, else a ``ValueError``; ``rows`` are their numbers."""
    bad = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(bad):
        raise ValueError(
            f"labels of {name} must be in 0..{num_classes - 1}, got {labels[bad[0]]} at sample "
            f"{bad[0] if rows is None else rows[bad[0]]}"
            + (f": {_UNLABELED}" if labels[bad[0]] == -1 else "")
        )


def numbered_classes(
    labels: Indices,
    name: str,
    hint: str = "name all classes by classes=[...], or number them from 0 on",
) -> list[str]:
    """Names ``"0", "1", ...`` up to the largest label.

    A ``ValueError`` if it is too large, or if class 0 has no sample: ``hint`` says what to do.
    """
    largest = int(labels.max(initial=-1))
    if largest >= max(len(labels), 2):
        raise ValueError(
            f"labels must number the classes from 0 on, got {largest} among {len(labels)} "
            "labels: np.unique(y, return_inverse=True) numbers them, or name the classes"
        )
    if largest > 0 and not (labels == 0).any():  # mostly, numbers that start at 1
        raise ValueError(f"{name} has no sample of class 0: {hint}")
    return [str(k) for k in range(largest + 1)]


def known_names(names: Sequence[object]) -> tuple[str, ...]:
    """Class names as strings; none if they are only the numbers ``0..K-1``."""
    told = tuple(map(str, names))
    return () if told == tuple(map(str, range(len(told)))) else told


def check_same_classes(trained: Sequence[str], given: Sequence[str]) -> None:
    """Require the names of the model's classes and those of the data, if known, to be the same."""
    if trained and given and len(trained) == len(given):
        k = next((k for k, name in enumerate(trained) if name != given[k]), None)
        if k is not None:
            raise ValueError(
                f"class {k} of the data is {given[k]!r}, but the model was trained with "
                f"{trained[k]!r} as class {k}, of {first_of(trained)}: give the data these classes "
                "in this order, as by classes=[...]"
            )


def checked_classes(names: Sequence[str]) -> tuple[str, ...]:
    """Class names as a tuple of strings in Unicode's form NFC, two or more and all different."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise TypeError(f"classes must be a sequence of names, got {names!r}")
    classes = tuple(unicodedata.normalize("NFC", str(name)) for name in names)
    if len(classes) < 2:
        raise ValueError(f"at least two classes are needed, got {list(classes)}")
    if len({name.strip() for name in classes}) < len(classes):
        raise ValueError(f"classes must have different names, got {list(classes)}")
    return classes


def _item_label(dataset: Dataset[Any], index: int, name: str) -> int:
    item = dataset[index]
    has_label = isinstance(item, tuple | list) and len(item) > 1
    label = item[1] if has_label else None
    value = np.asarray(label)
    if value.size != 1 or value.dtype.kind not in "iub":
        raise TypeError(
            f"an item of {name} must be (input, label) with an integer label, but sample {index} "
            + (f"is labeled {label!r}" if has_label else f"is {type(item).__name__}")
            + (f": {_UNLABELED}" if has_label and label is None else "")
        )
    return int(value.item())
