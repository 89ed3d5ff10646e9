"""Data checks by scikit-learn's conventions, for all supported versions of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import LabelEncoder
from sklearn.utils.multiclass import check_classification_targets

__all__ = ["encode_labels", "is_labeled", "validate_data"]

try:
    from sklearn.utils.validation import validate_data
except ImportError:  # scikit-learn before 1.6

    def validate_data(estimator: Any, *arrays: Any, **options: Any) -> Any:
        """Check ``X``, and ``y`` if given, as later versions do."""
        return estimator._validate_data(*arrays, **options)


def is_labeled(y: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which of the N samples have a label, that is other than the number -1.

    Raises:
        ValueError: If -1 is a string.
    """
    if y.dtype.kind not in "US":
        return np.asarray(y != -1, dtype=bool)
    if (y == np.asarray("-1").astype(y.dtype.kind)).any():
        raise ValueError(
            "y must not contain the string '-1', got a string dtype; for string classes with "
            "unlabeled samples, use dtype object and the number -1"
        )
    return np.ones(len(y), dtype=bool)


def encode_labels(y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Find the classes and number the labels; -1 means no label.

    String classes need an array of dtype ``object``, which can also contain the number -1.

    Args:
        y: Shape (N,).

    Returns:
        Classes in ascending order, shape (K,), and labels in 0..K-1 or -1, shape (N,).

    Raises:
        TypeError: If classes have several types.
        ValueError: If there is no label, if labels are continuous, or if -1 is a string.

    Example:
        >>> classes, labels = encode_labels(np.array(["rose", -1, "aster", "rose"], dtype=object))
        >>> classes.tolist(), labels.tolist()
        (['aster', 'rose'], [1, -1, 0, 1])
    """
    labeled = is_labeled(y)
    if not labeled.any():
        raise ValueError("y must have at least one labeled sample, got -1 (unlabeled) throughout")
    known = y[labeled]
    if known.dtype == object and not isinstance(known[0], str):
        known = np.asarray(known.tolist())
    check_classification_targets(known)
    encoder = LabelEncoder()
    labels = np.full(len(y), -1, dtype=np.int64)
    labels[labeled] = encoder.fit_transform(known)
    return encoder.classes_, labels
