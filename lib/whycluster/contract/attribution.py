"""Post-hoc answers to "why is this row in its cluster?" for methods without one of their own.

SHAP (Lundberg and Lee, 2017) needs no more than `predict`; Integrated Gradients (Sundararajan et
al., 2017) and Gradient SHAP need a differentiable decision; k-means has an exact answer. All come
back as an `Explanation`, the row's own cluster being what is explained.

The baselines of Table 1 of Svirsky and Lindenbaum (2024) are SHAP on k-means with a background of
100 rows, and the two gradient methods on deep clustering; each then counts the 15 features of
largest attribution as selected (`metrics.select_top`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.utils.validation import check_is_fitted

from whycluster.contract.explanation import Explanation

METHODS = ("shap", "integrated_gradients", "gradient_shap", "exact")


def attribute(
    estimator,
    X,
    method: str = "shap",
    *,
    background=100,
    n_permutations: int = 10,
    n_steps: int = 50,
    batch_size: int = 256,
    random_state: int = 0,
) -> Explanation:
    """Explain the cluster of each row by its features, after the fact.

    Parameters
    ----------
    estimator : fitted clustering
        "shap" needs `predict`, and takes `predict_proba` where there is one. The gradient methods
        need `decision_module()`, a torch Module from a float tensor of shape (n, n_features) to
        logits of shape (n, n_clusters). "exact" needs `cluster_centers_` in the space of X, and a
        row in the cluster of its nearest centre, as in k-means.
    X : DataFrame or array of shape (n_samples, n_features)
        Rows to explain, as the estimator takes them. Time grows with n_samples for all methods:
        pass a sample of rows where there are many.
    method : {"shap", "integrated_gradients", "gradient_shap", "exact"}, default="shap"
        See Notes.
    background : int or array-like of shape (n_background, n_features), default=100
        What a row is compared with: rows that stand in for a missing feature; or how many to draw
        from X. Integrated Gradients starts from their mean. Unused by "exact".
    n_permutations : int, at least 1, default=10
        SHAP: feature orders tried per row, each forwards and backwards, which costs
        `2 * n_features + 1` evaluations of the whole background. 1 will do for wide tables.
    n_steps : int, at least 1, default=50
        Gradient methods: points on the path, or random points, per row.
    batch_size : int, at least 1, default=256
        Rows at a time for the gradient methods and evaluations at a time for SHAP; bounds memory,
        at `batch_size * n_background` rows for SHAP and `batch_size * n_steps` for the others.
    random_state : int, default=0
        Seed of the drawn background, the feature orders and the random points. The global random
        states of NumPy and torch are left as they were.

    Returns
    -------
    Explanation
        Of kind "contribution" for "exact" and "attribution" otherwise.

    Raises
    ------
    ValueError
        Unknown method, a background of the wrong width, or a row outside every cluster.
    TypeError
        An estimator that lacks what the method needs.
    sklearn.exceptions.NotFittedError
        An estimator that is not fitted.

    Notes
    -----
    - "shap" attributes the membership of the row in its own cluster: `predict_proba`, or 1 and 0
      where there are hard labels only. (The number of a cluster, which is what SHAP sees when it
      is handed `predict` itself, has no order, and its attributions mean nothing.) The values of
      a row add up to its membership minus the mean membership of the background.
      For scikit-learn's KMeans the same estimate is made from the centres, without the shap
      library and many times faster.
    - "integrated_gradients" and "gradient_shap" attribute the logit of the row's cluster.
    - Where the estimator was asked for one cluster, nothing tells rows apart: all is zero.
    - "exact" splits the margin of k-means, the mean squared distance to the other centres minus
      that to the row's own, which is a sum over features and needs no approximation:
      `mean_{k != a} (x_j - c_kj)^2 - (x_j - c_aj)^2`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.cluster import KMeans
    >>> X = np.array([[0.0, 5.0], [0.0, 6.0], [9.0, 5.0], [9.0, 6.0]])
    >>> why = attribute(KMeans(2, n_init=1, random_state=0).fit(X), X, method="exact")
    >>> why.overall  # only the first feature tells the clusters apart
    array([81.,  0.])
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; choose one of {', '.join(METHODS)}")
    table, labels = np.asarray(X, dtype=float), _labels(estimator, X)
    rng = np.random.default_rng(random_state)
    rows = None if method == "exact" else _background(background, table, rng)
    if getattr(estimator, "n_clusters", None) == 1:  # nothing tells rows apart
        values, n_clusters = np.zeros_like(table), 1
    elif method == "exact":
        values, n_clusters = _exact(estimator, table, labels)
    elif method == "shap" and type(estimator) in (KMeans, MiniBatchKMeans):
        centers = estimator.cluster_centers_
        values, n_clusters = _shap_of_centers(centers, table, labels, rows, n_permutations, rng)
    elif method == "shap":
        membership = _membership(estimator, X)
        values = _shap(membership, table, labels, rows, n_permutations, batch_size, rng)
        n_clusters = membership(table[:1]).shape[1]
    else:
        module, settings = _module(estimator), (method, n_steps, batch_size)
        values, n_clusters = _gradients(module, table, labels, rows, *settings, rng)
    kind = "contribution" if method == "exact" else "attribution"
    return Explanation.from_samples(values, labels, n_clusters, _feature_names(estimator, X), kind)


def _labels(estimator, X) -> np.ndarray:
    """Cluster of each row."""
    check_is_fitted(estimator)
    labels = np.asarray(estimator.predict(X))
    if labels.min() < 0:
        raise ValueError(f"row {labels.argmin()} is in no cluster; leave such rows out")
    return labels


def _background(background, table, rng) -> np.ndarray:
    if isinstance(background, int | np.integer):
        if background < 1:
            raise ValueError(f"background is {background}; draw at least 1 row")
        return table[rng.permutation(len(table))[:background]]
    rows = np.asarray(background, dtype=float)
    if rows.ndim != 2 or rows.shape[1] != table.shape[1] or len(rows) == 0:
        raise ValueError(
            f"background has shape {rows.shape}; give rows of {table.shape[1]} features like X"
        )
    return rows


def _exact(estimator, table, labels) -> tuple[np.ndarray, int]:
    """Contributions of each feature to the k-means margin of each row."""
    centers: Any = getattr(estimator, "cluster_centers_", None)
    if np.shape(centers)[1:] != table.shape[1:]:
        raise TypeError(
            f"{type(estimator).__name__} has no cluster_centers_ in the space of X; "
            "use method='shap'"
        )
    n_clusters = len(centers)
    is_elsewhere = cdist(table, centers, "sqeuclidean").argmin(axis=1) != labels
    if is_elsewhere.any():
        raise TypeError(
            f"row {is_elsewhere.argmax()} is not in the cluster of its nearest centre; "
            "use method='shap'"
        )
    own = (table - centers[labels]) ** 2
    # Mean over all centres without an array of (n_samples, n_clusters, n_features).
    mean, spread = centers.mean(axis=0), centers.var(axis=0)
    over_all = (table - mean) ** 2 + spread
    return (n_clusters * over_all - own) / (n_clusters - 1) - own, n_clusters


def _membership(estimator, X) -> Callable:
    """Function from an array of rows to memberships of shape (n, n_clusters)."""
    columns = X.columns if isinstance(X, pd.DataFrame) else None

    def named(rows):
        return rows if columns is None else pd.DataFrame(rows, columns=columns)

    if hasattr(estimator, "predict_proba"):
        return lambda rows: np.asarray(estimator.predict_proba(named(rows)))
    n_clusters = _n_clusters(estimator)
    return lambda rows: np.eye(n_clusters)[np.asarray(estimator.predict(named(rows)))]


def _n_clusters(estimator) -> int:
    if hasattr(estimator, "cluster_centers_"):
        return len(estimator.cluster_centers_)
    if hasattr(estimator, "labels_"):
        return int(np.max(estimator.labels_)) + 1
    name = type(estimator).__name__
    raise TypeError(f"{name} has neither cluster_centers_ nor labels_: the clusters are not known")


def _shap(membership, table, labels, background, n_permutations, batch_size, rng) -> np.ndarray:
    """SHAP values of each row's membership in its own cluster, for any estimator."""
    import shap  # here, since it takes seconds to import and k-means does without

    values = np.zeros_like(table)
    masker = shap.maskers.Independent(background, max_samples=len(background))
    n_evaluations = n_permutations * (2 * table.shape[1] + 1)
    with _seeded(rng):
        for k in np.unique(labels):
            explainer = shap.PermutationExplainer(
                lambda rows, k=k: membership(rows)[:, k], masker, seed=int(rng.integers(2**31))
            )
            values[labels == k] = explainer(
                table[labels == k], max_evals=n_evaluations, batch_size=batch_size, silent=True
            ).values
    return values


def _shap_of_centers(
    centers, table, labels, background, n_permutations, rng
) -> tuple[np.ndarray, int]:
    """What `_shap` estimates, for nearest centres: no evaluation repeats the distance it knows.

    Squared distances are sums over features, so swapping the background's features for the row's
    one after another is a cumulative sum, where `predict` would start over for each feature.
    """
    values = np.zeros_like(table)
    start = cdist(background, centers, "sqeuclidean")[:, None]
    to_center = (background[:, :, None] - centers.T) ** 2  # (n_background, n_features, n_clusters)
    for row, own, total in zip(table, labels, values, strict=True):
        change = (row[:, None] - centers.T) ** 2 - to_center
        for order in _orders(len(row), n_permutations, rng):
            distance = np.concatenate([start, start + change[:, order].cumsum(axis=1)], axis=1)
            share = (distance.argmin(axis=2) == own).mean(axis=0)
            total[order] += np.diff(share)
    return values / (2 * n_permutations), len(centers)


def _orders(n_features: int, n_permutations: int, rng) -> Iterator[np.ndarray]:
    """Random feature orders, each forwards and backwards."""
    for _ in range(n_permutations):
        order = rng.permutation(n_features)
        yield order
        yield order[::-1]


def _module(estimator) -> torch.nn.Module:
    if not hasattr(estimator, "decision_module"):
        raise TypeError(
            f"{type(estimator).__name__} has no decision_module(), so no gradients; "
            "use method='shap'"
        )
    return estimator.decision_module().eval()


def _gradients(
    module, table, labels, background, method, n_steps, batch_size, rng
) -> tuple[np.ndarray, int]:
    """Attributions of the logit of each row's own cluster, and the number of clusters."""
    device = next((parameter.device for parameter in module.parameters()), "cpu")
    rows, background = (
        torch.tensor(array, dtype=torch.float32, device=device) for array in (table, background)
    )
    target = torch.tensor(labels, dtype=torch.int64, device=device)
    explain = _explainer(module, method, background, n_steps)
    batches = zip(rows.split(batch_size), target.split(batch_size), strict=True)
    with _seeded(rng):
        values = torch.cat([explain(x, target=own).detach().cpu() for x, own in batches])
    with torch.no_grad():
        return values.numpy(), module(rows[:1]).shape[1]


def _explainer(module, method, background, n_steps) -> Callable:
    from captum.attr import GradientShap, IntegratedGradients  # here, since few answers need it

    if method == "gradient_shap":
        explainer = GradientShap(module)
        return partial(explainer.attribute, baselines=background, n_samples=n_steps)
    start = background.mean(dim=0, keepdim=True)
    return partial(IntegratedGradients(module).attribute, baselines=start, n_steps=n_steps)


def _feature_names(estimator, X):
    if isinstance(X, pd.DataFrame):
        return list(X.columns)
    return getattr(estimator, "feature_names_in_", None)


@contextmanager
def _seeded(rng) -> Iterator[None]:
    """Seed the global generators, which shap and captum draw from, and put them back."""
    state = np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        np.random.seed(rng.integers(2**32))  # noqa: NPY002
        torch.manual_seed(int(rng.integers(2**63)))
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002
