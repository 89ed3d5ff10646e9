"""Target risk estimated from weighted source samples."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from supercm_pl.checks import check_at_least, check_choice, check_positive
from supercm_pl.uda.validators.validator import OptionalHead, Validator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SourceLoss = Literal["zero_one", "cross_entropy"]


class IWCV(Validator):
    """Negative importance-weighted risk of source samples: an estimate of the risk on the target.

    With ℓ_i the loss and x_i the features of source sample i, held out of training::

        −1/N_s Σ_i w(x_i) ℓ_i,      w(x) = (N_s / N_t) · P(target | x) / P(source | x)

    from Sugiyama, Krauledat, Müller: Covariate shift adaptation by importance weighted cross
    validation. JMLR 8 (2007), with the densities of features as in `DEV`. The domain classifier
    behind w is `density_weights`.

    It keeps the features of all samples, 4·N·d bytes, and fits a classifier for each fold. With
    fewer than two samples of a domain it is nan, with a warning.

    Args:
        loss: ``zero_one``, as in the code of DEV's authors, or ``cross_entropy``, which also
            compares models that make no error on the source.
        regularization: Of the domain classifier, greater than 0; see `density_weights`.
        folds: Of the domain classifier, 2 or more.
    """

    domains = ("source", "target")
    _row_names = ("source_features", "target_features")

    def __init__(
        self,
        loss: SourceLoss = "zero_one",
        regularization: float = 1.0,
        folds: int = 5,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.loss = check_choice("loss", loss, get_args(SourceLoss))
        self.regularization = check_positive("regularization", regularization)
        self.folds = check_at_least("folds", folds, 2)
        self._add_rows(f"source_{loss}")

    def _update_source(self, features: Tensor, assignments: Tensor, labels: Tensor) -> None:
        if self.loss == "zero_one":
            losses = (assignments.argmax(dim=1) != labels).float()
        else:
            tiny = torch.finfo(assignments.dtype).tiny
            losses = -assignments.clamp(min=tiny).log().gather(1, labels[:, None]).squeeze(1)
        self._append("source_features", features)
        self._append(f"source_{self.loss}", losses[:, None])

    def _update_target(self, features: Tensor, assignments: Tensor, head: OptionalHead) -> None:
        self._append("target_features", features)

    def _value(self) -> Tensor:
        source, target, losses = (
            self._rows(name).cpu().double().numpy()
            for name in ("source_features", "target_features", f"source_{self.loss}")
        )
        if min(len(source), len(target)) < 2:
            warnings.warn(f"{self.name} is nan: it needs 2 samples of each domain", stacklevel=2)
            return self._nan()
        weights = density_weights(
            source, target, regularization=self.regularization, folds=self.folds
        )
        return torch.full_like(self._nan(), -self._risk(weights, losses[:, 0]))

    def _risk(self, weights: Array, losses: Array) -> float:
        return float((weights * losses).mean())


class DEV(IWCV):
    """Negative risk of deep embedded validation: `IWCV` with less variance.

    With L_i = w(x_i) ℓ_i of source sample i, held out of training::

        −(mean(L) + η·mean(w) − η),      η = −Cov(L, w) / Var(w)

    from You, Wang, Long, Jordan: Towards accurate model selection in deep unsupervised domain
    adaptation. ICML 2019. The mean of w is 1 in expectation, which makes w a control variate. The
    authors' domain classifier is a multilayer perceptron where `density_weights` is linear. An
    estimate may be greater than 0, and has a large variance where domains hardly overlap.
    """

    def _risk(self, weights: Array, losses: Array) -> float:
        weighted = weights * losses
        centered = weights - weights.mean()
        variance = float((centered**2).sum())
        # Equal weights carry no information.
        eta = -float((weighted * centered).sum()) / variance if variance > 0 else 0.0
        return float(weighted.mean() + eta * (weights.mean() - 1))


def density_weights(
    source: Array, target: Array, *, regularization: float = 1.0, folds: int = 5
) -> Array:
    """Estimate how much denser the target is than the source, at each source sample.

    A logistic regression on standardized features separates the domains, and by the rule of Bayes
    w(x) = (N_s / N_t) · P(target | x) / P(source | x) (Bickel, Brückner, Scheffer: Discriminative
    learning for differing training and test distributions. ICML 2007). The odds of each sample are
    from a classifier that has not seen it, by cross-validation. Folds depend on the samples, not on
    their order.

    Args:
        source: Features, shape (N_s, d), finite.
        target: Features, shape (N_t, d), finite.
        regularization: Weight of the squared norm of the coefficients, greater than 0: the inverse
            of scikit-learn's ``C``.
        folds: 2 or more; fewer where a domain has fewer samples.

    Returns:
        w, shape (N_s,), greater than 0.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    num_source, num_target = len(source), len(target)
    rows = np.concatenate([source, target])
    domains = np.repeat([0, 1], [num_source, num_target])
    # Sorted by a projection on a fixed direction, so that folds do not depend on the order.
    direction = np.random.default_rng(0).standard_normal(rows.shape[1])
    order = np.lexsort((rows @ direction, domains))
    log_odds = np.empty(len(rows))
    log_odds[order] = cross_val_predict(
        make_pipeline(StandardScaler(), LogisticRegression(C=1 / regularization, max_iter=1000)),
        rows[order],
        domains[order],
        cv=StratifiedKFold(min(folds, num_source, num_target), shuffle=True, random_state=0),
        method="decision_function",
    )
    weights: Array = num_source / num_target * np.exp(log_odds[:num_source])
    return weights
