"""Distance between source and target features, and accuracy per class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from supercm_pl.checks import check_at_least
from supercm_pl.viz.axes import (
    Values,
    as_tensor,
    checked_assignments,
    checked_labels,
    class_names,
    new_axes,
    plain,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BARS = 0.8


def proxy_a_distance(source: Values, target: Values, *, folds: int = 5, seed: int = 0) -> float:
    r"""Return the proxy A-distance of two sets of features.

    .. math:: \hat d_A = 2\,(1 - 2 \epsilon)

    (Ben-David et al., *Analysis of representations for domain adaptation*, NeurIPS 2006, section
    5). :math:`\epsilon` is the cross-validated error of a logistic regression that separates the
    domains by standardized features, averaged over both domains.

    Args:
        source: ``(N_s, d)`` features.
        target: ``(N_t, d)`` features.
        folds: Folds of the cross-validation, 2 or more; each domain needs as many samples.
        seed: Seed of the folds.

    Returns:
        At most 2, where the classifier makes no error. At 0, or by chance slightly below, it
        cannot separate the domains.

    Raises:
        ValueError: If shapes are inconsistent, there are too few samples, or some are not finite.

    Example:
        >>> rows = torch.linspace(0, 1, 20).view(-1, 1)
        >>> proxy_a_distance(rows, rows + 5.0)
        2.0
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    source, target = as_tensor(source), as_tensor(target)
    if source.ndim != 2 or target.ndim != 2 or source.shape[1] != target.shape[1]:
        raise ValueError(
            f"source and target must have shapes (N_s, d) and (N_t, d), got {tuple(source.shape)} "
            f"and {tuple(target.shape)}"
        )
    check_at_least("folds", folds, 2)
    if min(len(source), len(target)) < folds:
        raise ValueError(
            f"source and target must have at least {folds} rows, one for each fold, "
            f"got {len(source)} and {len(target)}"
        )
    rows = torch.cat([source.double(), target.double()]).numpy()
    if not np.isfinite(rows).all():
        raise ValueError("source and target must be finite, got NaN or Inf")
    domains = np.repeat([0, 1], [len(source), len(target)])
    classifier = make_pipeline(
        StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000)
    )
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    wrong = cross_val_predict(classifier, rows, domains, cv=split) != domains
    error = (wrong[domains == 0].mean() + wrong[domains == 1].mean()) / 2
    return float(2 * (1 - 2 * error))


def plot_a_distance(
    distances: Mapping[str, float], *, title: str | None = None, ax: Axes | None = None
) -> Axes:
    """Plot proxy A-distances as bars.

    Args:
        distances: Distances by name, for example of the method or epoch.
        title: Title of the axes.
        ax: Axes to draw on; ``None`` creates a new figure.
    """
    if not distances:
        raise ValueError("distances must have at least one entry, got none")
    ax = new_axes() if ax is None else ax
    bars = ax.bar([plain(name) for name in distances], list(distances.values()), width=0.6)
    ax.bar_label(bars, fmt="%.2f")
    if len(distances) == 1:  # a single bar would fill the axes
        ax.set_xlim(-0.8, 0.8)
    ax.set(ylim=(min(0.0, *distances.values()), 2.15), ylabel="proxy A-distance")
    ax.set_title(title or "source against target")
    return ax


def class_accuracy(assignments: Values, labels: Values) -> Tensor:
    """Return the accuracy of each class.

    Args:
        assignments: ``(N, K)``.
        labels: ``(N,)`` integers in ``0..K-1``.

    Returns:
        ``(K,)`` in ``[0, 1]``; NaN for a class without samples.

    Example:
        >>> class_accuracy(torch.eye(2)[[0, 1, 1]], torch.tensor([0, 0, 1]))
        tensor([0.5000, 1.0000])
    """
    assignments = checked_assignments(assignments, probable=False)
    labels = checked_labels(labels, assignments)
    right = (assignments.argmax(dim=1) == labels).float()
    count = assignments.shape[1]
    found = torch.zeros(count).index_add_(0, labels, right)
    return found / torch.bincount(labels, minlength=count)


def plot_class_accuracy(
    accuracy: Values | Mapping[str, Values],
    *,
    names: Sequence[str] | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot the accuracy of each class, for one or several methods.

    Args:
        accuracy: ``(K,)`` in ``[0, 1]`` from :func:`class_accuracy`, or several of them by name.
        names: Class names; ``None`` shows class numbers.
        title: Title of the axes.
        ax: Axes to draw on; ``None`` creates a new figure.
    """
    given = accuracy if isinstance(accuracy, Mapping) else {"": accuracy}
    sizes = {tuple(values.shape) for values in given.values()}
    if len(sizes) != 1 or len(next(iter(sizes))) != 1:
        raise ValueError(f"accuracy must have shape (K,), the same for all, got {sorted(sizes)}")
    count = next(iter(sizes))[0]
    known = class_names(names, count)
    ax = new_axes() if ax is None else ax
    width = _BARS / len(given)
    for number, (name, values) in enumerate(given.items()):
        across = np.arange(count) - _BARS / 2 + (number + 0.5) * width
        ax.bar(across, as_tensor(values).numpy(), width=width, label=plain(name))
    ax.set_xticks(range(count), known, rotation=90 if max(map(len, known)) > 2 else 0)
    ax.set(ylim=(0, 1.02), ylabel="accuracy", title=title or "accuracy of each class")
    if len(given) > 1:
        # Space for the legend above bars of full height.
        ax.set(ylim=(0, 1.16), yticks=np.linspace(0.0, 1.0, 6))
        ax.legend(frameon=False, fontsize="small", loc="upper center", ncols=len(given))
    return ax
