"""Data checks by scikit-learn's conventions, for all supported versions of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import LabelEncoder
from sklearn.utils.multiclass import check_classification_targets

from supercm_pl.checks import MISSING_AS_TEXT, is_missing

__all__ = ["check_not_missing", "check_vectors", "encode_labels", "is_labeled", "validate_data"]

try:
    from sklearn.utils.validation import validate_data
except ImportError:  # scikit-learn before 1.6

    def validate_data(estimator: Any, *arrays: Any, **options: Any) -> Any:
        """Check ``X``, and ``y`` if given, as later versions do."""
        return estimator._validate_data(*arrays, **options)


def check_vectors(X: Any) -> None:  # noqa: N803
    """Require vectors, not images, else a ``ValueError``."""
    first = X[0] if isinstance(X, list | tuple) and len(X) else X
    if hasattr(first, "getexif") or len(getattr(X, "shape", ())) > 2:
        raise ValueError(
            "X must be vectors (N, n_features), got images: write np.stack(images).reshape("
            "len(images), -1), or train a network on them by SSLDataModule.from_arrays"
        )


def check_not_missing(y: Any) -> None:
    """Require labels without None and NaN, of pandas and as text too, else a ``ValueError``."""
    listed = np.asarray(y, dtype=object).ravel().tolist()
    missing = [each for each in listed if is_missing(each) or each in MISSING_AS_TEXT]
    if missing:
        told = repr(missing[0]) if isinstance(missing[0], str) else missing[0]
        raise ValueError(f"y must be -1 where a sample has no label, got {told}; in strings, '-1'")


def is_labeled(y: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which of the N samples have a label: not -1, and in strings not ``"-1"``."""
    text = y.dtype.kind in "US" or (y.dtype == object and len(y) > 0 and isinstance(y[0], str))
    if y.dtype.kind == "S":
        return np.asarray(y != b"-1", dtype=bool)
    return np.asarray(y != ("-1" if text else -1), dtype=bool)


def encode_labels(y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Find the classes and number the labels; -1, in strings ``"-1"``, means no label.

    Args:
        y: Shape (N,).

    Returns:
        Classes in ascending order, shape (K,), and labels in 0..K-1 or -1, shape (N,).

    Raises:
        TypeError: If classes have several types.
        ValueError: If there are labels of fewer than two classes, labels are continuous, or
            strings are mixed with numbers.

    Example:
        >>> classes, labels = encode_labels(np.array(["rose", -1, "aster", "rose"]))
        >>> classes.tolist(), labels.tolist()
        (['aster', 'rose'], [1, -1, 0, 1])
    """
    if y.dtype == object and len({isinstance(value, str) for value in y}) == 2:
        raise ValueError(
            "y must not mix strings and numbers, which scikit-learn does not stratify: pass "
            "y.astype(str), where '-1' means no label"
        )
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
    if len(encoder.classes_) < 2:
        (only,) = encoder.classes_.tolist()
        raise ValueError(
            f"y must have labels of at least two classes, got only class {only!r}"
            + ("" if labeled.all() else "; -1 means no label, so it cannot be a class")
        )
    return encoder.classes_, labels
