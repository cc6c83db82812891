"""The methods that a table is clustered with, and how they are put side by side.

A later system joins by adding one line to `METHODS`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.metrics.pairwise import euclidean_distances

from whycluster.contract.attribution import attribute
from whycluster.contract.explanation import Explanation
from whycluster.contract.validation import check_n_clusters
from whycluster.idc import IDC
from whycluster.metrics import match_clusters, silhouette
from whycluster.metrics.external import by_size
from whycluster.neurcam import NeurCAM
from whycluster.trees import TAOClusteringTree

MANY_ROWS = 5000  # above, the number of clusters is chosen on a random sample of this size
STEPS = 600  # of gradient descent in each stage of IDC, whatever the number of rows
BATCH = 256  # rows per step


@dataclass(frozen=True)
class Method:
    """A clustering method and how it says why.

    Parameters
    ----------
    name : str
    description : str
        One line for a reader who does not know it, with the unit of its explanation.
    build : callable
        `build(n_clusters, random_state, n_samples, n_features)` returns an unfitted estimator of a
        size that suits the table.
    explain : callable
        `explain(estimator, X)` returns an Explanation.
    confidence : callable
        `confidence(estimator, X)` says how clearly each row belongs where it is, in [0, 1].
    """

    name: str
    description: str
    build: Callable[[int, int, int, int], Any]
    explain: Callable[[Any, pd.DataFrame], Explanation]
    confidence: Callable[[Any, pd.DataFrame], np.ndarray]


@dataclass(frozen=True)
class Clustering:
    """What one method found in a table.

    Parameters
    ----------
    method : Method
    estimators : list of fitted estimators, one per seed
        Everything but `labels` comes from the first.
    labels : ndarray of int, shape (n_seeds, n_samples)
        Numbered alike over the seeds, and over the methods that are compared.
    order : ndarray of int, shape (n_clusters,)
        The number here of each cluster of the first estimator.
    explanation : Explanation
        Of every row; clusters numbered as in `labels`.
    """

    method: Method
    estimators: list
    labels: np.ndarray
    order: np.ndarray
    explanation: Explanation

    def assign(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return the columns cluster and confidence for rows seen or new."""
        clusters = self.order[self.estimators[0].predict(X)]
        return pd.DataFrame({"cluster": clusters, "confidence": self.confidence(X)}, index=X.index)

    def confidence(self, X: pd.DataFrame) -> np.ndarray:
        """Say how clearly rows belong where they are, in [0, 1]; see the method."""
        return self.method.confidence(self.estimators[0], X)


def cluster(
    X: pd.DataFrame,
    n_clusters: int,
    seeds: Sequence[int] = (0,),
    methods: Sequence[Method] | None = None,
) -> dict[str, Clustering]:
    """Cluster a table with every method, once per seed.

    Parameters
    ----------
    X : DataFrame of shape (n_samples, n_features)
        Numbers of comparable scale, as `TableEncoder` makes them.
    n_clusters : int, from 2 to the number of distinct rows
    seeds : sequence of int
        Random states; the first gives the result, all of them say how stable it is.
    methods : sequence of Method, optional
        `METHODS` if not given.

    Returns
    -------
    dict of str to Clustering
        By name. Clusters of the first method are numbered by size, the largest 0; those of every
        other seed and method so that they agree with it in as many rows as possible.

    Raises
    ------
    ValueError
        If `n_clusters` is out of range, there is no seed, or a value is missing or infinite.

    Examples
    --------
    >>> X = pd.DataFrame({"age": [1.0, 1.1, 1.2, 5.0, 5.1], "noise": [0.2, 0.1, 0.3, 0.1, 0.2]})
    >>> found = cluster(X, 2, methods=METHODS[:1])["k-means"]
    >>> found.labels[0].tolist()
    [0, 0, 0, 1, 1]
    >>> found.explanation.top(1)["feature"].tolist()
    ['age', 'age']
    """
    if len(seeds) == 0:
        raise ValueError("seeds is empty; give at least one whole number")
    check_n_clusters(n_clusters, X.to_numpy())
    found = {}
    reference = None
    for method in METHODS if methods is None else methods:
        estimators = fit_seeds(method.build(n_clusters, seeds[0], *X.shape), X, seeds)
        if reference is None:
            reference = by_size(estimators[0].labels_)
        found[method.name] = _describe(method, estimators, X, reference, n_clusters)
    return found


def fit_seeds(estimator, X, seeds: Sequence[int]) -> list:
    """Fit one copy of an estimator per seed, as one stack where the estimator can do that."""
    if hasattr(estimator, "fit_seeds"):
        return estimator.fit_seeds(X, list(seeds))
    return [clone(estimator).set_params(random_state=seed).fit(X) for seed in seeds]


def membership(estimator, X) -> np.ndarray:
    """Return the largest membership of each row, (n_samples,); 1 / n_clusters would be a draw."""
    return estimator.predict_proba(X).max(axis=1)


def margin(estimator, X) -> np.ndarray:
    """Say how much nearer each row is to the centre of its cluster than to the others.

    Parameters
    ----------
    estimator : fitted clustering with `cluster_centers_`
    X : DataFrame of shape (n_samples, n_features)

    Returns
    -------
    ndarray of shape (n_samples,), in [0, 1]
        One minus the ratio of the distances to the own and the nearest other centre; 0 is a draw,
        and where another centre is nearer.
    """
    distances = euclidean_distances(X, estimator.cluster_centers_)
    is_own = estimator.predict(X)[:, None] == np.arange(distances.shape[1])
    own = distances[is_own]
    other = np.where(is_own, np.inf, distances).min(axis=1)
    return np.maximum(0, 1 - own / np.maximum(other, np.finfo(float).tiny))


def score_n_clusters(X, candidates: Sequence[int] = range(2, 11), random_state: int = 0):
    """Score numbers of clusters by the silhouette of k-means, without labels.

    Parameters
    ----------
    X : DataFrame or array of shape (n_samples, n_features)
        Above 5,000 rows a random sample of that size stands for them.
    candidates : sequence of int
        Those of at least the number of distinct rows are passed over.
    random_state : int
        Of the sample and of k-means.

    Returns
    -------
    Series of shape (n_candidates,)
        Mean silhouette in [-1, 1] by number of clusters; `idxmax()` is the choice.

    Raises
    ------
    ValueError
        If the rows are too few or too equal for any candidate.
    """
    X = np.asarray(X)
    if len(X) > MANY_ROWS:
        X = X[np.random.default_rng(random_state).choice(len(X), MANY_ROWS, replace=False)]
    n_distinct = len(np.unique(X, axis=0))
    scores = {
        k: silhouette(X, KMeans(k, n_init=10, random_state=random_state).fit_predict(X))
        for k in candidates
        if k < n_distinct
    }
    if not scores:
        raise ValueError(
            f"{n_distinct} distinct rows are too few for clusters; at least 3 are needed"
        )
    return pd.Series(scores, name="silhouette").rename_axis("clusters")


def _build_kmeans(n_clusters, random_state, n_samples, n_features):
    return KMeans(n_clusters, n_init=10, random_state=random_state)


def _build_idc(n_clusters, random_state, n_samples, n_features):
    """Return an IDC for tables: fewer, narrower layers; steps rather than epochs are fixed.

    Input denoising hides half of the features, since a tenth of a dozen would tell nothing.
    """
    width = 64 if n_features <= 64 else 256
    n_epochs = int(np.clip(STEPS * BATCH / n_samples, 10, 300))
    return IDC(
        n_clusters,
        hidden_layers=(width, width),
        gate_units=width,
        head_units=width,
        warmup_epochs=max(1, n_epochs // 20),
        pretrain_epochs=n_epochs,
        max_epochs=n_epochs,
        global_epochs=n_epochs // 3,
        batch_size=BATCH,
        mask_fraction=0.5,
        n_projections=1024 if n_features > 1024 else None,
        n_init=3,
        random_state=random_state,
    )


def _build_neurcam(n_clusters, random_state, n_samples, n_features):
    """Return a NeurCAM for tables: a narrow network, half the steps of IDC, two restarts."""
    n_epochs = int(np.clip(STEPS / 2 * BATCH / n_samples, 20, 300))
    return NeurCAM(
        n_clusters,
        n_shapes=min(n_features, 64),
        hidden_units=32,
        n_bases=16,
        warmup_epochs=n_epochs // 2,
        anneal_epochs=n_epochs // 4,
        max_epochs=n_epochs,
        batch_size=BATCH,
        learning_rate=1e-2,
        n_init=2,
        random_state=random_state,
    )


def _build_tree(n_clusters, random_state, n_samples, n_features):
    """Return a tree with room for two leaves per cluster."""
    depth = int(np.ceil(np.log2(n_clusters))) + 1
    return TAOClusteringTree(n_clusters, depth=depth, n_init=3, random_state=random_state)


METHODS = [
    Method(
        "k-means",
        "Each row goes to the nearest of K centres. A contribution says how much nearer, in that "
        "feature, a row is to its own centre than to the others (squared standard deviations).",
        _build_kmeans,
        partial(attribute, method="exact"),
        margin,
    ),
    Method(
        "IDC",
        "A neural network reads each row through gates, one per feature, and closes those that it "
        "can do without. A gate says how far a feature was let through: 0 not at all, 1 in full.",
        _build_idc,
        IDC.explain,
        membership,
    ),
    Method(
        "NeurCAM",
        "Each cluster's score is a sum of curves, one per column, that a neural network has "
        "learnt. A contribution says how much the column's curve adds to the score of a row's own "
        "cluster (logits).",
        _build_neurcam,
        NeurCAM.explain,
        membership,
    ),
    Method(
        "tree",
        "A few questions about one feature each lead a row to its cluster. An attribution says how "
        "much the answers about that feature changed the row's membership in its cluster, from "
        "the share of the rows that are in it to 1.",
        _build_tree,
        TAOClusteringTree.explain,
        margin,
    ),
]


def _describe(method, estimators, X, reference, n_clusters) -> Clustering:
    orders = [match_clusters(reference, each.labels_, n_clusters) for each in estimators]
    labels = np.array([order[e.labels_] for order, e in zip(orders, estimators, strict=True)])
    why = method.explain(estimators[0], X)
    why = replace(why, cluster=why.cluster[np.argsort(orders[0])])
    return Clustering(method, estimators, labels, orders[0], why)
