"""Simple classifiers on the same labels, to compare a trained network with."""

from __future__ import annotations

import warnings

import numpy as np
from torch import Tensor

from supercm_pl.data.datasets import as_float
from supercm_pl.report.snapshot import Array
from supercm_pl.report.thumbnails import reduced

_LONGEST = 32  # pixels, of an image's longer side
_MOST_SAMPLES = 5_000
_MOST_NUMBERS = 20_000_000  # of samples, inputs and classes together


def baseline_accuracies(
    labeled: Tensor, labels: Tensor, unlabeled: Tensor, test: Tensor, test_labels: Tensor
) -> dict[str, float]:
    """Test accuracy of logistic regression, and of label spreading over nearest neighbors.

    Both see the same labeled samples as the network; label spreading (Zhou et al., NeurIPS 2003)
    also sees the unlabeled ones. Neither has a parameter that is chosen. Images are reduced to 32
    pixels.

    Args:
        labeled: ``(n, ...)`` inputs, or features of a network, of at least two classes.
        labels: ``(n,)`` integers.
        unlabeled: ``(m, ...)``; may be empty.
        test: ``(t, ...)``.
        test_labels: ``(t,)`` integers.

    Returns:
        Accuracy in ``[0, 1]`` by name; empty for less than two classes, without test samples, or
        for so many samples that it would take minutes.

    Example:
        >>> import torch
        >>> x, y = torch.eye(2).repeat(5, 1), torch.arange(2).repeat(5)
        >>> baseline_accuracies(x, y, x[:0], x, y)
        {'logistic regression': 1.0, 'label spreading': 1.0}
    """
    x, rest, x_test = (as_vectors(part) for part in (labeled, unlabeled, test))
    y, y_test = labels.cpu().numpy(), test_labels.cpu().numpy()
    num_classes = len(np.unique(y))
    if len(x) + len(rest) > _MOST_SAMPLES or x.size * num_classes > _MOST_NUMBERS:
        return {}
    if num_classes < 2 or not len(x_test):
        return {}
    # Regularization and distances assume numbers of about one.
    middle, scale = x.mean(), max(float(x.std()), 1e-12)
    x, rest, x_test = ((part - middle) / scale for part in (x, rest, x_test))
    found = {
        "logistic regression": logistic_regression(x, y, x_test),
        "label spreading": _label_spreading(x, y, rest, x_test),
    }
    return {name: float((classes == y_test).mean()) for name, classes in found.items()}


def logistic_regression(x: Array, y: Array, x_test: Array) -> Array:
    """Classes of test samples by multinomial regression; inputs are numbers of about one."""
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged changes little
        found: Array = LogisticRegression(max_iter=200).fit(x, y).predict(x_test)
    return found


def _label_spreading(x: Array, y: Array, rest: Array, x_test: Array) -> Array:
    from sklearn.semi_supervised import LabelSpreading

    marked = np.concatenate([y, np.full(len(rest), -1)])
    both = np.concatenate([x, rest])
    neighbors = min(7, len(both) - 1)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # about samples that no label reaches
        spread = LabelSpreading(kernel="knn", n_neighbors=neighbors, max_iter=100)
        found: Array = spread.fit(both, marked).predict(x_test)
    return found


def as_vectors(inputs: Tensor) -> Array:
    """Inputs ``(N, ...)`` as vectors ``(N, d)``; images are reduced to 32 pixels."""
    small = reduced(as_float(inputs).float(), _LONGEST)
    return small.flatten(1).numpy().astype(np.float64)
