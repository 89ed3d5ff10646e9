"""Confusion between classes, and calibration of the assignments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from supercm_pl.checks import check_labels, check_size
from supercm_pl.viz.axes import (
    Values,
    as_tensor,
    checked_assignments,
    checked_labels,
    class_names,
    new_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Above this many classes, numbers in the cells are unreadable.
_MOST_NUMBERS = 20


def confusion_counts(predicted: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Count how often class ``i`` (row) was predicted as class ``j`` (column).

    Args:
        predicted: ``(N,)`` integers in ``0..K-1``.
        labels: ``(N,)`` integers in ``0..K-1``.
        num_classes: ``K``, the number of rows and columns of the returned int64 tensor.

    Example:
        >>> confusion_counts(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), 2)
        tensor([[1, 1],
                [0, 1]])
    """
    pairs = labels.long() * num_classes + predicted.long()
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)


def plot_confusion_matrix(
    predicted: Values,
    labels: Values,
    *,
    num_classes: int | None = None,
    names: Sequence[str] | None = None,
    normalize: bool = True,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot the confusion matrix; rows are the true classes.

    Args:
        predicted: ``(N,)`` integers in ``0..K-1``, or assignments ``(N, K)``.
        labels: ``(N,)`` integers in ``0..K-1``.
        num_classes: ``K``; ``None`` infers it from the assignments, names or largest number.
        names: Class names; ``None`` shows class numbers.
        normalize: Show percentages of the true class instead of counts.
        title: Title of the axes.
        ax: Axes to draw on; ``None`` creates a new figure.
    """
    predicted, labels = as_tensor(predicted), as_tensor(labels)
    if predicted.ndim == 2:
        num_classes = predicted.shape[1] if num_classes is None else num_classes
        predicted = predicted.argmax(dim=1)
    if predicted.ndim != 1 or predicted.shape != labels.shape or not len(labels):
        raise ValueError(
            "predicted and labels must have one shape (N,) with N ≥ 1, "
            f"got {tuple(predicted.shape)} and {tuple(labels.shape)}"
        )
    if num_classes is None:
        largest = int(torch.maximum(predicted.max(), labels.max())) + 1
        num_classes = largest if names is None else len(names)
    check_labels(predicted, len(predicted), num_classes, name="predicted")
    check_labels(labels, len(labels), num_classes)
    counts = confusion_counts(predicted, labels, num_classes)
    return draw_confusion(counts, names=names, normalize=normalize, title=title, ax=ax)


def draw_confusion(
    counts: Tensor,
    *,
    names: Sequence[str] | None = None,
    normalize: bool = True,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot counts ``(K, K)`` of :func:`confusion_counts`, as :func:`plot_confusion_matrix` does."""
    count = len(counts)
    known = class_names(names, count)
    shares = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    ax = new_axes() if ax is None else ax
    ax.imshow(shares.numpy(), cmap="Blues", vmin=0.0, vmax=1.0)
    if count <= _MOST_NUMBERS:
        for row in range(count):
            for column in range(count):
                number, share = int(counts[row, column]), float(shares[row, column])
                if number:
                    text = f"{100 * share:.0f}" if normalize else str(number)
                    ink = "white" if share > 0.5 else "black"
                    ax.text(column, row, text, ha="center", va="center", color=ink, fontsize=7)
        ax.set_xticks(range(count), known, rotation=90 if max(map(len, known)) > 2 else 0)
        ax.set_yticks(range(count), known)
    unit = "% of class" if normalize else "samples"
    ax.set(xlabel="assigned", ylabel="class", title=title or f"confusion ({unit})")
    return ax


class Reliability(NamedTuple):
    """Confidence against accuracy, in bins of equal width over ``(0, 1]``.

    Attributes:
        confidence: ``(B,)`` mean confidence of each bin, NaN for empty bins.
        accuracy: ``(B,)`` accuracy of each bin, NaN for empty bins.
        counts: ``(B,)`` samples per bin, int64.
        error: Scalar expected calibration error ``Σ_b counts_b / N · |accuracy_b − confidence_b|``.
    """

    confidence: Tensor
    accuracy: Tensor
    counts: Tensor
    error: Tensor


def reliability(assignments: Values, labels: Values, bins: int = 15) -> Reliability:
    """Compare confidence with accuracy (Guo et al., ICML 2017, section 2).

    Args:
        assignments: ``(N, K)``, rows on the simplex.
        labels: ``(N,)`` integers in ``0..K-1``.
        bins: Number of bins, 1 or more; the logged ``ece`` uses 15.

    Example:
        >>> sure = torch.tensor([[0.9, 0.1], [0.9, 0.1]])
        >>> round(float(reliability(sure, torch.tensor([0, 1])).error), 4)
        0.4
    """
    assignments = checked_assignments(assignments)
    labels = checked_labels(labels, assignments)
    check_size("bins", bins)
    confidence, predicted = assignments.double().max(dim=1)
    right = (predicted == labels).double()
    # Bins are open below and closed above, as in torchmetrics.
    found = (confidence * bins).ceil().long().sub(1).clamp(0, bins - 1)
    counts = torch.bincount(found, minlength=bins)
    size = counts.double()
    mean = torch.zeros(bins, dtype=torch.double).index_add_(0, found, confidence) / size
    accuracy = torch.zeros(bins, dtype=torch.double).index_add_(0, found, right) / size
    gaps = (accuracy - mean).abs().nan_to_num()
    return Reliability(mean, accuracy, counts, (gaps * size).sum() / len(labels))


def plot_reliability(
    assignments: Values,
    labels: Values,
    *,
    bins: int = 15,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot accuracy against confidence; the diagonal is perfect calibration.

    Args:
        assignments: As in :func:`reliability`.
        labels: As in :func:`reliability`.
        bins: As in :func:`reliability`.
        title: Title of the axes; ``None`` shows the expected calibration error.
        ax: Axes to draw on; ``None`` creates a new figure.
    """
    found = reliability(assignments, labels, bins)
    ax = new_axes() if ax is None else ax
    edges = torch.arange(bins).double() / bins
    filled = found.counts > 0
    confidence, accuracy = found.confidence[filled].numpy(), found.accuracy[filled].numpy()
    ax.bar(edges[filled].numpy(), accuracy, width=1 / bins, align="edge", edgecolor="white")
    ax.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1)
    ax.plot(confidence, accuracy, color="C1", marker="o", markersize=3)
    ax.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy")
    ax.set_title(title or f"reliability: calibration error {float(found.error):.3f}")
    return ax


def plot_confidence(
    assignments: Values,
    labels: Values | None = None,
    *,
    bins: int = 20,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot the distribution of the confidence, the largest entry of the assignments.

    Args:
        assignments: ``(N, K)``, rows on the simplex.
        labels: ``(N,)`` integers in ``0..K-1``, to separate correct from wrong ones, or ``None``.
        bins: Number of bins between ``1/K``, the smallest confidence, and 1; 1 or more.
        title: Title of the axes.
        ax: Axes to draw on; ``None`` creates a new figure.
    """
    assignments = checked_assignments(assignments)
    check_size("bins", bins)
    confidence, predicted = assignments.double().max(dim=1)
    names, colors, parts = ["samples"], ["C7"], [confidence]
    if labels is not None:
        right = predicted == checked_labels(labels, assignments)
        names, colors = ["right", "wrong"], ["C0", "C3"]
        parts = [confidence[right], confidence[~right]]
    ax = new_axes() if ax is None else ax
    values, limits = [part.numpy() for part in parts], (1 / assignments.shape[1], 1.0)
    ax.hist(values, bins=bins, range=limits, stacked=True, label=names, color=colors)
    ax.legend(frameon=False)
    ax.set(xlabel="confidence", ylabel="samples", title=title or "assignment confidence")
    return ax
