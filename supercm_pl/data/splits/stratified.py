"""Stratified, seeded splits of a training set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeGuard

import numpy as np
from numpy.typing import ArrayLike

from supercm_pl.data.datasets import Indices
from supercm_pl.data.splits.distortion import Distortion, long_tail, new_numbers, wrong_labels
from supercm_pl.data.splits.split import Split, check_rows, hash_labels
from supercm_pl.seeding import permutation
from supercm_pl.text_files import read_text

Counts = Indices


def make_split(
    labels: ArrayLike,
    classes: Sequence[str],
    *,
    labels_per_class: int | None = None,
    num_labels: int | None = None,
    labeled_fraction: float | str | None = None,
    labeled_indices: Sequence[int] | str | Path | None = None,
    val_size: int | float | str = "labels",
    unlabeled_includes_labeled: bool = False,
    distortion: Distortion | None = None,
    seed: int = 0,
) -> Split:
    """Split a training set into labeled, unlabeled and validation samples, stratified by class.

    Pass at most one of the first four options; without any, all samples but the validation ones are
    labeled. A seed gives the same split on every machine, and for one seed, a larger
    ``labels_per_class`` contains the smaller one.

    Args:
        labels: ``(N,)`` integers in ``0..K-1``, of all training samples.
        classes: ``K`` names.
        labels_per_class: Labeled samples of each class.
        num_labels: Labeled samples in total, ``K`` or more, spread evenly over the classes.
        labeled_fraction: Share of labeled samples, as ``0.01`` or ``"1%"``, in proportion to the
            classes and at least one of each.
        labeled_indices: Indices of the labeled samples; or a text file of them; or a ``.json`` file
            written by :meth:`.Split.save`, which determines everything else too.
        val_size: Validation samples: a number; a share of the training samples, as ``0.1`` or
            ``"10%"``; or ``"labels"``, as many as are labeled, but at most half of the others.
        unlabeled_includes_labeled: Use the labeled samples as unlabeled ones too.
        distortion: Makes the data worse. The numbers above count samples of known classes, before
            an imbalance removes any.
        seed: 0 or more.

    Raises:
        ValueError: If a class has fewer samples than requested, or a value is out of range.

    Example:
        >>> split = make_split([0, 1] * 10, ["cat", "dog"], labels_per_class=2)
        >>> len(split.labeled), len(split.val), len(split.unlabeled)
        (4, 4, 12)
    """
    own = np.asarray(labels, dtype=np.int64)
    if is_saved_split(labeled_indices):
        if val_size != "labels" or unlabeled_includes_labeled or distortion is not None:
            raise ValueError(
                f"the saved split {labeled_indices} determines val_size, "
                "unlabeled_includes_labeled and distortion: leave them out"
            )
        return _saved_split(Path(labeled_indices), own, classes)
    plan = (distortion or Distortion()).numbered(classes)
    known = plan.known_classes(classes)
    # From here on, classes are the known ones, and -1 is the class of the other samples.
    label = new_numbers(known, len(classes))[own]
    if labeled_indices is not None:
        labeled = _given_rows(labeled_indices, label, plan)
    else:
        available = np.bincount(label[label >= 0], minlength=len(known))
        wanted = _wanted(available, labels_per_class, num_labels, labeled_fraction, seed)
        _check_available(wanted, available, [classes[k] for k in known])
        wanted = _tailed(wanted, plan.labeled_imbalance)
        labeled = _drawn(np.arange(len(own)), label, wanted, seed, "labeled")
    # If every sample is labeled, validation samples can only be taken from these.
    all_labeled = labeled_indices is None and len(labeled) == np.count_nonzero(label >= 0)
    val = _held_out(val_size, label, labeled, all_labeled, seed)
    labeled = np.setdiff1d(labeled, val)
    unlabeled = np.setdiff1d(np.arange(len(own)), np.concatenate([val, labeled])).astype(np.int64)
    unlabeled = _tailed_rows(unlabeled, label, plan.unlabeled_imbalance, seed)
    if unlabeled_includes_labeled:
        unlabeled = np.union1d(unlabeled, labeled)
    noisy = None
    if plan.label_noise > 0:
        noisy = known[wrong_labels(label[labeled], plan.label_noise, len(known), seed)]
    return Split(
        labeled,
        unlabeled,
        val,
        num_samples=len(own),
        label_hash=hash_labels(own, labeled, val),
        distortion=None if plan == Distortion() else plan,
        noisy_labels=noisy,
    )


def is_saved_split(path: object) -> TypeGuard[str | Path]:
    """Whether ``labeled_indices`` is a file written by :meth:`.Split.save`."""
    return isinstance(path, str | Path) and Path(path).suffix == ".json"


def parse_fraction(value: float | str, name: str) -> float:
    """A share in ``(0, 1]``, given as a number or as a percentage.

    Example:
        >>> parse_fraction("1 %", "labeled_fraction")
        0.01
    """
    try:
        text = str(value).strip()
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        share = float("nan")
    if not 0.0 < share <= 1.0:
        raise ValueError(f'{name} must be in (0, 1], such as 0.01 or "1%", got {value!r}')
    return share


def row_numbers(given: ArrayLike | Path, size: int, name: str) -> Indices:
    """Different row numbers ``(n,)`` in ``0..size-1``, one or more, in the given order.

    They may be in a text file, separated by whitespace or commas.
    """
    if isinstance(given, str | Path):
        try:
            given = [int(n) for n in read_text(given).replace(",", " ").split()]
        except (OSError, ValueError) as error:
            raise ValueError(f"{name}: can't read row numbers from {given}: {error}") from error
    rows = np.asarray(given).reshape(-1)
    if not len(rows):
        raise ValueError(f"{name} must name at least one row")
    if rows.dtype.kind not in "iu":
        raise TypeError(f"{name} must be row numbers, got {rows.dtype} such as {rows[0]!r}")
    rows = rows.astype(np.int64)
    check_rows(rows, size, name)
    return rows


def _saved_split(path: Path, labels: Indices, classes: Sequence[str]) -> Split:
    split = Split.load(path)
    split.check_belongs_to(labels, str(path))
    if split.distortion is not None and split.noisy_labels is not None:
        strange = np.setdiff1d(split.noisy_labels, split.distortion.known_classes(classes))
        if len(strange):
            raise ValueError(f"noisy_labels of {path} must be known classes, got {strange[0]}")
    return split


def _wanted(
    available: Counts,
    per_class: int | None,
    total: int | None,
    fraction: float | str | None,
    seed: int,
) -> Counts:
    """Labeled samples of each class ``(K,)`` by the one option that is given; else all."""
    if per_class is not None:
        return np.full_like(available, per_class)
    if total is not None:
        return _evenly(total, available, seed)
    if fraction is None:
        return available
    share = parse_fraction(fraction, "labeled_fraction") * int(available.sum())
    return np.clip(_proportionally(round(share), available), 1, available)


def _given_rows(given: ArrayLike | Path, labels: Indices, plan: Distortion) -> Indices:
    labeled = np.sort(row_numbers(given, len(labels), "labeled_indices"))
    if plan.labeled_imbalance > 1:
        raise ValueError("labeled_imbalance can't be combined with labeled_indices")
    unknown = labeled[labels[labeled] < 0]
    if len(unknown):
        raise ValueError(f"labeled_indices must not be of unknown_classes, got {unknown[0]}")
    return labeled


def _held_out(
    val_size: int | float | str, labels: Indices, labeled: Indices, all_labeled: bool, seed: int
) -> Indices:
    """Validation rows: of known classes, and labeled ones only if there are no others."""
    can_be_labeled = np.flatnonzero(labels >= 0)
    rest = np.setdiff1d(can_be_labeled, [] if all_labeled else labeled).astype(np.int64)
    if val_size == "labels":
        total = 0 if all_labeled else min(len(labeled), len(rest) // 2)
    else:
        total = _val_total(val_size, len(can_be_labeled))
    left = len(rest) - all_labeled
    if total > left:
        raise ValueError(f"val_size asks for {total} samples, but only {left} can be held out")
    wanted = _proportionally(total, np.bincount(labels[rest]))
    return _drawn(rest, labels, wanted, seed, "val")


def _tailed(counts: Counts, ratio: float) -> Counts:
    if ratio == 1:
        return counts
    return np.minimum(counts, long_tail(int(counts[0]), len(counts), ratio))


def _tailed_rows(rows: Indices, labels: Indices, ratio: float, seed: int) -> Indices:
    """A long tail of the rows ``(n,)`` of known classes, and all others."""
    known = rows[labels[rows] >= 0]
    counts = _tailed(np.bincount(labels[known], minlength=int(labels.max()) + 1), ratio)
    return np.union1d(rows[labels[rows] < 0], _drawn(known, labels, counts, seed, "unlabeled"))


def _drawn(rows: Indices, labels: Indices, wanted: Counts, seed: int, name: str) -> Indices:
    """From ``rows``, ``wanted[k]`` of each class ``k >= 0``, sorted."""
    order = permutation(len(labels), seed, name)
    order = order[np.isin(order, rows) & (labels[order] >= 0)]
    by_class = order[np.argsort(labels[order], kind="stable")]
    found = labels[by_class]
    rank = np.arange(len(found)) - np.searchsorted(found, found)
    return np.sort(by_class[rank < wanted[found]])


def _evenly(total: int, available: Counts, seed: int) -> Counts:
    """Counts that sum to ``total`` and differ by at most one, except for classes used up."""
    if not len(available) <= total <= available.sum():
        raise ValueError(
            f"num_labels must be in {len(available)}..{available.sum()}, from one per class to all "
            f"training samples, got {total}"
        )
    counts = np.zeros_like(available)
    while (missing := total - counts.sum()) > 0:
        open_classes = np.flatnonzero(counts < available)
        if missing < len(open_classes):
            lucky = permutation(len(open_classes), seed, "spread")[:missing]
            counts[open_classes[lucky]] += 1
        else:
            step = missing // len(open_classes)
            counts = np.minimum(counts + step * (counts < available), available)
    return counts


def _proportionally(total: int, available: Counts) -> Counts:
    """Counts that sum to ``total``, by largest remainders, in integer arithmetic."""
    size = max(int(available.sum()), 1)
    counts, remainders = np.divmod(total * available, size)
    largest = np.argsort(-remainders, kind="stable")[: total - counts.sum()]
    counts[largest] += 1
    return counts


def _val_total(val_size: int | float | str, size: int) -> int:
    if isinstance(val_size, int) and not isinstance(val_size, bool) and val_size >= 0:
        return val_size
    try:
        return round(parse_fraction(val_size, "val_size") * size) if val_size != 0.0 else 0
    except ValueError:
        allowed = 'a number of samples, a share in (0, 1], or "labels"'
        raise ValueError(f"val_size must be {allowed}, got {val_size!r}") from None


def _check_available(wanted: Counts, available: Counts, classes: Sequence[str]) -> None:
    short = np.flatnonzero(wanted > available)
    if len(short):
        told = ", ".join(f"{classes[k]!r} has {available[k]}" for k in short[:5])
        more = f" and {len(short) - 5} more classes have too few" if len(short) > 5 else ""
        raise ValueError(f"asked for {wanted[short[0]]} labels of a class, but class {told}{more}")
