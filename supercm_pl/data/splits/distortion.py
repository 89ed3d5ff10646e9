"""Distorted training data for experiments: label noise, imbalance, unknown classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from supercm_pl.checks import check_interval
from supercm_pl.data.datasets import Indices
from supercm_pl.seeding import derive_seed, permutation


@dataclass(frozen=True)
class Distortion:
    r"""Label noise, imbalance and unknown classes of the training data, reproducible by seed.

    A long tail leaves class :math:`k` of :math:`K` with
    :math:`\lfloor n\,\gamma^{-k/(K-1)} \rfloor` samples and at least one, where :math:`n` is the
    number of the first class, as in the literature on imbalanced semi-supervised learning (Kim et
    al., *Distribution Aligning Refinery of Pseudo-label*, NeurIPS 2020; Wei et al., *CReST*,
    CVPR 2021). Validation and test data keep their proportions and their labels. Hidden labels are
    read to select samples, but never used in training.

    Args:
        label_noise: Share of the labeled samples in ``[0, 1]`` whose label is replaced by one of
            the other classes, uniformly (symmetric noise).
        labeled_imbalance: ``γ >= 1`` of the labeled samples; those that it removes are unlabeled.
        unlabeled_imbalance: ``γ >= 1`` of the samples that are only unlabeled; those that it
            removes are not used at all.
        unknown_classes: Names or numbers of classes without labels. Their samples are unlabeled
            ones, but not in the validation and test data, and the other classes are renumbered
            (Oliver et al., *Realistic Evaluation of Deep Semi-Supervised Learning Algorithms*,
            NeurIPS 2018, section 4.4).

    Raises:
        TypeError: If ``unknown_classes`` is a single name.
    """

    label_noise: float = 0.0
    labeled_imbalance: float = 1.0
    unlabeled_imbalance: float = 1.0
    unknown_classes: Sequence[int | str] = ()

    def __post_init__(self) -> None:
        for name, interval in (
            ("label_noise", "[0, 1]"),
            ("labeled_imbalance", "[1, inf)"),
            ("unlabeled_imbalance", "[1, inf)"),
        ):
            number = check_interval(name, float(getattr(self, name)), interval)
            object.__setattr__(self, name, number)
        if isinstance(self.unknown_classes, str):
            raise TypeError(
                f"unknown_classes must be a list of classes, got {self.unknown_classes!r}"
            )
        # A list, as read from files, would make equal distortions differ.
        object.__setattr__(self, "unknown_classes", tuple(self.unknown_classes))
        if len(set(self.unknown_classes)) < len(self.unknown_classes):
            raise ValueError(f"unknown_classes must be different, got {list(self.unknown_classes)}")

    def numbered(self, classes: Sequence[str]) -> Distortion:
        """Return a copy with ``unknown_classes`` by number, for data with these ``K`` classes.

        Raises:
            ValueError: If a class does not exist, fewer than two are left, or there is label noise
                with a single class.

        Example:
            >>> named = Distortion(unknown_classes=["owl", 0])
            >>> named.numbered(["ant", "cat", "dog", "owl"]).unknown_classes
            (0, 3)
        """
        numbers = set()
        for named in self.unknown_classes:
            by_name = isinstance(named, str) and named in classes
            number = list(classes).index(str(named)) if by_name else named
            if not isinstance(number, int) or not 0 <= number < len(classes):
                raise ValueError(
                    f"unknown_classes: there is no class {named!r} in {', '.join(classes)}"
                )
            if number in numbers:
                raise ValueError(f"unknown_classes names {classes[number]!r} twice")
            numbers.add(number)
        if numbers and len(classes) - len(numbers) < 2:
            raise ValueError(
                f"unknown_classes must leave two classes or more, got {len(numbers)} of "
                f"{len(classes)} classes"
            )
        if self.label_noise > 0 and len(classes) < 2:
            raise ValueError("label_noise needs two classes or more, got 1")
        return replace(self, unknown_classes=sorted(numbers))

    def known_classes(self, classes: Sequence[str]) -> Indices:
        """Numbers ``(K',)`` of the classes that have labels, in order."""
        unknown = np.asarray(self.numbered(classes).unknown_classes, dtype=np.int64)
        return np.setdiff1d(np.arange(len(classes)), unknown).astype(np.int64)


def new_numbers(known: Indices, num_classes: int) -> Indices:
    """New number of each class, ``(K,)``; -1 for those not in ``known``.

    Example:
        >>> new_numbers(np.array([0, 2]), 4).tolist()
        [0, -1, 1, -1]
    """
    numbers = np.full(num_classes, -1, dtype=np.int64)
    numbers[known] = np.arange(len(known))
    return numbers


def long_tail(largest: int, num_classes: int, ratio: float) -> NDArray[np.int64]:
    r"""Samples of each class, :math:`\lfloor n\,\gamma^{-k/(K-1)} \rfloor` or 1; ``(K,)``.

    ``largest`` is ``n``, the number of the first class; ``K >= 2`` and ``ratio``, ``γ >= 1``.

    Example:
        >>> long_tail(1000, 3, 100).tolist()
        [1000, 100, 10]
    """
    exact, last = Fraction(str(ratio)), num_classes - 1
    whole = largest**last
    counts = []
    for k in range(num_classes):
        # A power of floats may miss an integer, and differ between platforms. In integers,
        # c <= n γ^(-k/(K-1)) is c^(K-1) γ^k <= n^(K-1).
        up, down = exact.numerator**k, exact.denominator**k
        count = int(largest * float(ratio) ** (-k / last))
        while (count + 1) ** last * up <= whole * down:
            count += 1
        while count**last * up > whole * down:
            count -= 1
        counts.append(max(count, min(1, largest)))
    return np.asarray(counts, dtype=np.int64)


def wrong_labels(labels: Indices, share: float, num_classes: int, seed: int) -> Indices:
    """Replace ``round(share * n)`` labels of ``(n,)`` by another of ``K`` classes, uniformly."""
    chosen = permutation(len(labels), seed, "noise")[: round(share * len(labels))]
    raw = np.random.PCG64(derive_seed(seed, "noise", "class")).random_raw(len(labels))
    steps = 1 + (raw % np.uint64(num_classes - 1)).astype(np.int64)  # 0 would keep the class
    noisy: Indices = labels.copy()
    noisy[chosen] = (labels[chosen] + steps[chosen]) % num_classes
    return noisy
