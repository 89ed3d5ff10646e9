"""SuperCM with scikit-learn's interface: `fit`, `predict`, `transform`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.metrics import accuracy_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_consistent_length, check_random_state, check_scalar, column_or_1d
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from supercm_pl.checks import check_not_negative, check_positive
from supercm_pl.clustering import CentroidMode
from supercm_pl.estimator._validation import (
    check_not_missing,
    check_vectors,
    encode_labels,
    is_labeled,
    validate_data,
)
from supercm_pl.estimator.fitting import Network, Walk, build_network, train
from supercm_pl.graphs.label_graph import LabelGraph

__all__ = ["SuperCMClassifier"]

# Nearly constant columns, such as pixels at the edge, may have values of 30 standard deviations and
# more, which would dominate all other columns.
_LARGEST_STANDARDIZED = 3.0
_FLOATS = (np.float64, np.float32)


class SuperCMClassifier(
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]  # scikit-learn has no types
    ClassifierMixin,  # type: ignore[misc]
    TransformerMixin,  # type: ignore[misc]
    BaseEstimator,  # type: ignore[misc]
):
    """Classifier for partly labeled vectors: tabular data or frozen embeddings.

    It trains a small network with L = CE(labeled) + β·CM(labeled ∪ unlabeled) (Singh et al. 2025).
    CM is the clustering loss, whose centroids are the class means of the labeled features. It
    starts from labels that spread over a graph of the samples, and β is smaller where held-out
    labels are not found again, as in :class:`~supercm_pl.ssl.methods.LabelPropagation`. As in
    scikit-learn's semi-supervised estimators, ``y`` is -1 for unlabeled samples, and ``"-1"`` among
    strings. In cross-validation, use :class:`~supercm_pl.estimator.LabeledKFold`, which tests on
    labeled samples only.

    A fit takes about a second on one core, and longer beyond about 20,000 samples, because the
    neighbor search is brute force. Results depend only on ``random_state`` and the data.

    Args:
        hidden_features: Layer widths of an `MLP`; the last is the number of features d. If empty,
            the classifier is linear in the (standardized) inputs.
        cm_weight: β ≥ 0, weight of the clustering loss.
        alpha: Dirichlet concentration > 0, one number or one per class. Values above 1 favor
            classes of equal size, and so does ``"balanced"``.
        centroids: Centroid mode: ``cumulative``, ``ema``, ``batch`` or ``learnable``.
        temperature: T > 0, the divisor of the logits in the softmax.
        standardize: Scale every column to mean 0 and standard deviation 1, and clip it to ±3.
        n_neighbors: Neighbors of a sample, including itself, for the random walks by which training
            augments it (see `Walk`); 0 disables walks.
        walk_length: Steps of a walk, 1 or more. Longer walks spread labels further.
        noise: Standard deviation ≥ 0 of Gaussian noise added to the (standardized) inputs.
        learning_rate: Maximum learning rate of Adam, > 0; it decays to zero by half a cosine.
        max_steps: Number of steps, 1 or more.
        labeled_batch_size: Labeled samples per step, 1 or more.
        unlabeled_batch_size: Unlabeled samples per step, 1 or more.
        random_state: An integer for reproducible results, a ``RandomState``, or None for NumPy's
            global one.

    Attributes:
        classes_: Shape (K,), in ascending order.
        cluster_centers_: Shape (K, d): the centroids, in the space of `transform`.
        n_features_in_: Number of columns.
        feature_names_in_: Column names, if those of ``X`` are strings.
        loss_curve_: Shape (max_steps,): the loss of each step.
        network_: The network in float64, for standardized vectors.
        scaler_: The fitted scaler, or None.

    Example:
        >>> from sklearn.datasets import make_blobs
        >>> X, truth = make_blobs(300, centers=3, cluster_std=0.5, random_state=0)
        >>> y = np.full(300, -1)
        >>> for k in range(3):
        ...     y[np.flatnonzero(truth == k)[0]] = k  # one label per class
        >>> model = SuperCMClassifier(random_state=0).fit(X, y)
        >>> model.score(X, truth) > 0.9
        True
        >>> model.predict_proba(X).shape, model.transform(X).shape, model.cluster_centers_.shape
        ((300, 3), (300, 32), (3, 32))
    """

    def __init__(
        self,
        hidden_features: Sequence[int] = (64, 32),
        *,
        cm_weight: float = 2.0,
        alpha: float | Sequence[float] | Literal["balanced"] = 1.0,
        centroids: CentroidMode = "cumulative",
        temperature: float = 1.0,
        standardize: bool = True,
        n_neighbors: int = 7,
        walk_length: int = 3,
        noise: float = 0.2,
        learning_rate: float = 4e-3,
        max_steps: int = 300,
        labeled_batch_size: int = 32,
        unlabeled_batch_size: int = 128,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.hidden_features = hidden_features
        self.cm_weight = cm_weight
        self.alpha = alpha
        self.centroids = centroids
        self.temperature = temperature
        self.standardize = standardize
        self.n_neighbors = n_neighbors
        self.walk_length = walk_length
        self.noise = noise
        self.learning_rate = learning_rate
        self.max_steps = max_steps
        self.labeled_batch_size = labeled_batch_size
        self.unlabeled_batch_size = unlabeled_batch_size
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> SuperCMClassifier:  # noqa: N803
        """Train on labeled and unlabeled samples.

        Args:
            X: Shape (N, n_features), N ≥ 2, finite.
            y: Shape (N,): numbers or strings, at least two classes; -1 or ``"-1"`` is no label.

        Returns:
            This estimator.

        Raises:
            TypeError: If a parameter has the wrong type, or classes have several types.
            ValueError: If a parameter is out of range, data are invalid, or fewer than two classes
                have labels.
        """
        self._check_parameters()
        if y is not None:
            check_not_missing(y)
        check_vectors(X)
        rows, targets = validate_data(self, X, y, dtype=_FLOATS, ensure_min_samples=2)
        self.classes_, labels = encode_labels(targets)
        seeds = check_random_state(self.random_state).randint(np.iinfo(np.int32).max, size=2)
        self.scaler_ = StandardScaler().fit(rows) if self.standardize else None
        # The caller may have disabled gradients.
        with torch.inference_mode(False), torch.enable_grad():
            network, losses = self._trained(self._inputs(rows), labels, *map(int, seeds))
        # In float64, a prediction does not depend on the other samples of the batch.
        self.network_ = network.double()
        self.loss_curve_ = losses.double().numpy()
        broken = np.flatnonzero(~np.isfinite(self.loss_curve_))
        if len(broken):
            raise ValueError(
                f"the loss is {self.loss_curve_[broken[0]]} at step {broken[0]}: learning_rate "
                f"{self.learning_rate} is too high, or X has values too large for standardize="
                f"{self.standardize}"
            )
        self.cluster_centers_ = network.head.centroids.detach().numpy().copy()
        self._n_features_out = self.cluster_centers_.shape[1]
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """Predict the classes, shape (N,), of samples ``X``, shape (N, n_features)."""
        best = self.predict_proba(X).argmax(axis=1)  # first, as it checks that this is fitted
        classes: NDArray[Any] = self.classes_[best]
        return classes

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """Predict the assignments, shape (N, K), of samples ``X``, shape (N, n_features).

        Columns are in the order of `classes_`; rows sum to 1.
        """
        network, inputs, _ = self._checked(X)
        with torch.no_grad():
            return np.asarray(network(inputs).assignments.numpy(), dtype=np.float64)

    def transform(self, X: ArrayLike) -> NDArray[np.floating[Any]]:  # noqa: N803
        """Return the features, shape (N, d), of samples ``X``, shape (N, n_features).

        They are float32 if ``X`` is float32, otherwise float64.
        """
        network, inputs, dtype = self._checked(X)
        with torch.no_grad():
            return np.asarray(network.backbone(inputs).numpy(), dtype=dtype)

    def score(
        self,
        X: ArrayLike,  # noqa: N803
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return the accuracy on labeled samples, so that `GridSearchCV` can use partial labels."""
        check_not_missing(y)
        targets = column_or_1d(y)
        check_consistent_length(X, targets, sample_weight)
        labeled = is_labeled(targets)
        if not labeled.any():
            raise ValueError("y must have at least one labeled sample to score, got -1 throughout")
        weights = None if sample_weight is None else np.asarray(sample_weight)[labeled]
        found = self.predict(X)[labeled]
        return float(accuracy_score(targets[labeled], found, sample_weight=weights))

    def _trained(
        self, inputs: NDArray[Any], labels: NDArray[Any], network_seed: int, batch_seed: int
    ) -> tuple[Network, Tensor]:
        """Train a network, and return it with the loss of each step."""
        network = build_network(
            inputs.shape[1],
            len(self.classes_),
            hidden_features=tuple(self.hidden_features),
            centroids=self.centroids,
            temperature=self.temperature,
            alpha=np.asarray(self.alpha).tolist(),
            seed=network_seed,
        )
        walk = Walk(
            torch.from_numpy(inputs.astype(np.float32)),
            self._neighbors(inputs),
            length=self.walk_length,
            noise=self.noise,
            generator=torch.Generator("cpu").manual_seed(batch_seed),
        )
        start, trust = _propagated(inputs, labels, len(self.classes_))
        losses = train(
            network,
            walk,
            torch.from_numpy(labels),
            start=torch.from_numpy(start),
            cm_weight=self.cm_weight * trust**2,
            learning_rate=self.learning_rate,
            max_steps=self.max_steps,
            labeled_batch_size=self.labeled_batch_size,
            unlabeled_batch_size=self.unlabeled_batch_size,
        )
        return network, losses

    def _check_parameters(self) -> None:
        if not isinstance(self.hidden_features, Iterable):
            raise TypeError(
                f"hidden_features must be a sequence of widths, got {self.hidden_features!r}"
            )
        for width in self.hidden_features:
            check_scalar(width, "each of hidden_features", Integral, min_val=1)
        for name in ("walk_length", "max_steps", "labeled_batch_size", "unlabeled_batch_size"):
            check_scalar(getattr(self, name), name, Integral, min_val=1)
        check_scalar(self.n_neighbors, "n_neighbors", Integral, min_val=0)
        check_scalar(self.standardize, "standardize", (bool, np.bool_))
        check_not_negative("cm_weight", self.cm_weight)
        check_not_negative("noise", self.noise)
        check_positive("learning_rate", self.learning_rate)

    def _inputs(self, X: NDArray[Any]) -> NDArray[Any]:  # noqa: N803
        if self.scaler_ is None:
            return X
        limit = _LARGEST_STANDARDIZED
        standardized: NDArray[Any] = self.scaler_.transform(X).clip(-limit, limit)
        return standardized

    def _neighbors(self, inputs: NDArray[Any]) -> Tensor | None:
        if not self.n_neighbors:
            return None
        search = NearestNeighbors(n_neighbors=min(self.n_neighbors, len(inputs))).fit(inputs)
        return torch.from_numpy(search.kneighbors(inputs, return_distance=False))

    def _checked(self, X: ArrayLike) -> tuple[Network, Tensor, np.dtype[Any]]:  # noqa: N803
        check_is_fitted(self)
        check_vectors(X)
        checked = validate_data(self, X, dtype=_FLOATS, reset=False)
        inputs = torch.from_numpy(self._inputs(checked).astype(np.float64))
        return self.network_, inputs, checked.dtype

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _more_tags(self) -> dict[str, Any]:  # scikit-learn before 1.6
        return {
            "preserves_dtype": list(_FLOATS),
            "_xfail_checks": {
                "check_classifiers_classes": "uses -1 as a class, which means unlabeled here"
            },
        }


def _propagated(
    inputs: NDArray[Any], labels: NDArray[Any], num_classes: int
) -> tuple[NDArray[Any], float]:
    # Labels of all samples, and the trust in them.
    rows = np.flatnonzero(labels >= 0)
    if len(rows) == len(labels):
        return labels, 1.0
    graph = LabelGraph(inputs)
    trust = graph.trust(rows, labels[rows], num_classes)
    trust = 1.0 if trust is None else trust
    return graph.classes(rows, labels[rows], num_classes, trust), trust
