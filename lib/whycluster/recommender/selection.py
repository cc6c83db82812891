"""Running one of the ten algorithms on a table: how many clusters, and which rows where."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import calinski_harabasz_score, silhouette_score
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from whycluster.recommender.algorithms import ALGORITHMS, Algorithm, reach

CANDIDATES = tuple(range(2, 16))  # as published
INDICES = {"silhouette": silhouette_score, "Calinski-Harabasz": calinski_harabasz_score}
MANY_ROWS = 10_000  # above, a sample is clustered and the other rows join it
MAX_TRIED = 500  # rows that numbers of clusters are tried on


@threadpool_limits.wrap(limits=1)  # over so few rows threads would wait for each other
def score_candidates(
    Z: np.ndarray,
    algorithm: Algorithm,
    index: str = "silhouette",
    *,
    candidates: Sequence[int] = CANDIDATES,
    max_rows: int | None = MAX_TRIED,
    random_state: int = 0,
) -> pd.Series:
    """Score the clusters that an algorithm finds, for each number of clusters.

    Parameters
    ----------
    Z : ndarray of shape (n_samples, n_features)
        Standardised.
    algorithm : Algorithm
        One that takes a number of clusters.
    index : {"silhouette", "Calinski-Harabasz"}, default="silhouette"
    candidates : sequence of int, default=2 to 15
        Those above a third of the rows are passed over.
    max_rows : int or None, default=500
        Above, a sample of this size stands for all rows.
    random_state : int, default=0

    Returns
    -------
    Series of shape (n_candidates,)
        The index by number of clusters, larger is better; NaN where one cluster was found.

    Raises
    ------
    ValueError
        If the index is unknown.
    """
    if index not in INDICES:
        raise ValueError(f"index {index!r} is unknown; choose {' or '.join(INDICES)}")
    if max_rows is not None and len(Z) > max_rows:
        drawn = np.random.default_rng(random_state).choice(len(Z), max_rows, replace=False)
        Z = Z[np.sort(drawn)]
    reaches = reach(Z)
    scores = {}
    for k in (k for k in candidates if k <= max(2, len(Z) // 3)):
        labels = algorithm.cluster(Z, reaches, k, random_state)
        some = 2 <= len(np.unique(labels)) < len(Z)
        scores[k] = float(INDICES[index](Z, labels)) if some else np.nan
    return pd.Series(scores, name=index).rename_axis("n_clusters")


def cluster(
    Z: np.ndarray, algorithm: Algorithm, n_clusters: int | None, random_state: int = 0
) -> np.ndarray:
    """Cluster standardised rows; of more than 10,000, a sample that the others then join.

    Parameters
    ----------
    Z : ndarray of shape (n_samples, n_features)
    algorithm : Algorithm
    n_clusters : int or None
        None for algorithms that find it themselves.
    random_state : int, default=0

    Returns
    -------
    ndarray of int of shape (n_samples,)
        Clusters from 0; -1 is noise.
    """
    if len(Z) <= MANY_ROWS:
        return algorithm.cluster(Z, reach(Z), n_clusters, random_state)
    drawn = np.random.default_rng(random_state).choice(len(Z), MANY_ROWS, replace=False)
    labels = algorithm.cluster(Z[drawn], reach(Z[drawn]), n_clusters, random_state)
    _, nearest = NearestNeighbors(n_neighbors=1).fit(Z[drawn]).kneighbors(Z)
    return labels[nearest[:, 0]]


def cluster_by_all(Z: np.ndarray, index: str = "silhouette", **options) -> dict[str, np.ndarray]:
    """Cluster a table by each of the ten algorithms, without labels.

    Parameters
    ----------
    Z : ndarray of shape (n_samples, n_features)
        Standardised.
    index : {"silhouette", "Calinski-Harabasz"}, default="silhouette"
        What each number of clusters is chosen by.
    **options
        As for `score_candidates`.

    Returns
    -------
    dict of str to ndarray of int of shape (n_samples,)
        Clusters by algorithm.
    """
    found = {}
    for name, algorithm in ALGORITHMS.items():
        k = None
        if algorithm.takes_n_clusters:
            scores = score_candidates(Z, algorithm, index, **options)
            k = int(scores.idxmax())
        found[name] = cluster(Z, algorithm, k)
    return found
