"""Cross-validation on partly labeled samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import StratifiedKFold
from sklearn.utils import column_or_1d

from supercm_pl.estimator._validation import is_labeled


class LabeledKFold(StratifiedKFold):  # type: ignore[misc]  # scikit-learn has no types
    """Folds of the labeled samples, stratified by class; all unlabeled samples train in each.

    scikit-learn's splitters also test on unlabeled samples, which every ``scoring`` such as
    ``"accuracy"`` counts as mistakes.

    Args:
        n_splits: Folds, 2 or more.
        shuffle: Whether samples are shuffled within their class.
        random_state: Seed of the shuffling.

    Example:
        >>> y = np.array([0, 0, 1, 1, -1, -1])
        >>> for train, test in LabeledKFold(2).split(np.zeros((6, 1)), y):
        ...     print(train, test)
        [1 3 4 5] [0 2]
        [0 2 4 5] [1 3]
    """

    def __init__(
        self, n_splits: int = 5, *, shuffle: bool = False, random_state: Any = None
    ) -> None:
        super().__init__(n_splits, shuffle=shuffle, random_state=random_state)

    def split(
        self,
        X: ArrayLike,  # noqa: N803
        y: ArrayLike,
        groups: Any = None,
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yield the rows that train and the rows that test, for each fold.

        Raises:
            ValueError: If there are fewer labeled samples than folds.
        """
        targets = column_or_1d(y)
        labeled = is_labeled(targets)
        rows, others = np.flatnonzero(labeled), np.flatnonzero(~labeled)
        for train, test in super().split(rows, targets[rows]):
            yield np.concatenate([rows[train], others]), rows[test]
