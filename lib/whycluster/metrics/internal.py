"""Internal scores: how compact clusters are and how far apart, from the data alone."""

import numpy as np
from sklearn.metrics import (
    calinski_harabasz_score,
    davies_bouldin_score,
    pairwise_distances,
    silhouette_score,
)

from whycluster.metrics.checks import as_table, check_same_length, factorize


def inertia(X, labels) -> float:
    """Sum of squared distances of rows to the mean of their cluster.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The rows, in whatever unit distances should have.
    labels : array-like of shape (n_samples,)
        Cluster of each row; labels of any type.

    Returns
    -------
    float
        At least 0; 0 when rows of one cluster are all equal. Independent of which
        `cluster_centers_` a method keeps, so methods without centres compare too.

    Raises
    ------
    ValueError
        Not a finite table, or not one label per row.
    """
    X, labels = _rows_and_labels(X, labels)
    clusters = (X[labels == k].astype(float) for k in range(labels.max() + 1))
    return float(sum(((rows - rows.mean(axis=0)) ** 2).sum() for rows in clusters))


def silhouette(X, labels, *, max_samples: int | None = 5000, random_state=0) -> float:
    """Mean silhouette coefficient, on a sample of rows where there are many.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The rows.
    labels : array-like of shape (n_samples,)
        Cluster of each row; labels of any type.
    max_samples : int or None, default=5000
        Above this many rows a random sample of this size is scored; None scores all, in time
        quadratic in n_samples.
    random_state : int, default=0
        Seed of the sample: the same rows are drawn for the same n_samples.

    Returns
    -------
    float
        In [-1, 1].

    Raises
    ------
    ValueError
        Fewer than two clusters, or as many clusters as rows, among the rows scored.
    """
    X, labels = _rows_and_labels(X, labels)
    if max_samples is not None and len(X) > max_samples:
        rows = np.random.default_rng(random_state).choice(len(X), max_samples, replace=False)
        X, labels = X[rows], labels[rows]
    n_clusters = len(np.unique(labels))
    if not 2 <= n_clusters < len(X):
        raise ValueError(
            f"silhouette of {n_clusters} cluster(s) in {len(X)} rows is undefined; "
            "it needs at least 2 clusters and fewer clusters than rows"
        )
    return float(silhouette_score(X, labels))


def silhouette_of_distances(distances, labels) -> float:
    """Mean silhouette coefficient of rows whose distances are known.

    The sums of all distances to all clusters are one product with the one-hot labels, so that
    scoring many clusterings of one matrix costs little more than reading it.

    Parameters
    ----------
    distances : array-like of shape (n_samples, n_samples)
        Symmetric, 0 on the diagonal.
    labels : array-like of shape (n_samples,)
        Cluster of each row; labels of any type.

    Returns
    -------
    float
        In [-1, 1]; NaN for one cluster. A row alone in its cluster counts 0, as does one that lies
        at 0 from its own and the next cluster.

    Raises
    ------
    ValueError
        Distances that are not square, or not one label per row.

    Examples
    --------
    >>> silhouette_of_distances([[0, 1, 4], [1, 0, 4], [4, 4, 0]], ["a", "a", "b"])
    0.5
    """
    distances, labels = np.asarray(distances), factorize(labels, "labels")
    if distances.shape != (len(labels), len(labels)):
        raise ValueError(f"distances have shape {distances.shape} for {len(labels)} labels")
    sizes = np.bincount(labels)
    if len(sizes) < 2:
        return float("nan")
    dtype = np.result_type(distances.dtype, np.float32)
    sums = (distances @ np.eye(len(sizes), dtype=dtype)[labels]).astype(float)
    rows = np.arange(len(labels))
    own = sums[rows, labels] / np.maximum(sizes[labels] - 1, 1)
    means = sums / sizes
    means[rows, labels] = np.inf
    other = means.min(axis=1)
    largest = np.maximum(own, other)
    score = np.divide(other - own, largest, out=np.zeros_like(own), where=largest > 0)
    return float(np.where(sizes[labels] > 1, score, 0).mean())


def dunn(X, labels, *, distances=None) -> float:
    """Dunn index: the narrowest gap between two clusters over the widest cluster.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The rows.
    labels : array-like of shape (n_samples,)
        Cluster of each row; labels of any type.
    distances : ndarray of shape (n_samples, n_samples), optional
        Euclidean distances of the rows, where they are known already.

    Returns
    -------
    float
        At least 0, larger is better; infinite where every cluster is a single point.

    Raises
    ------
    ValueError
        Fewer than two clusters.

    Notes
    -----
    Dunn (1974), Well-separated clusters and optimal fuzzy partitions. Memory is quadratic in the
    number of rows.

    Examples
    --------
    >>> dunn([[0.0], [1.0], [5.0], [7.0]], [0, 0, 1, 1])
    2.0
    """
    X, labels = _rows_and_labels(X, labels)
    if labels.max() < 1:
        raise ValueError("the Dunn index of one cluster is undefined; it needs at least 2")
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(labels.max() + 1))
    sorted_ = (pairwise_distances(X) if distances is None else distances)[np.ix_(order, order)]
    nearest = np.minimum.reduceat(np.minimum.reduceat(sorted_, starts, axis=0), starts, axis=1)
    farthest = np.maximum.reduceat(np.maximum.reduceat(sorted_, starts, axis=0), starts, axis=1)
    gap = nearest[~np.eye(len(starts), dtype=bool)].min()
    widest = farthest.diagonal().max()
    return float(gap / widest) if widest > 0 else np.inf


def validity_indices(X, labels, *, distances=None) -> dict[str, float]:
    """Score a clustering without a reference, by the four usual indices.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The rows.
    labels : array-like of shape (n_samples,)
        Cluster of each row; labels of any type. Noise counts as one more cluster.
    distances : ndarray of shape (n_samples, n_samples), optional
        Euclidean distances of the rows, where they are known already.

    Returns
    -------
    dict of str to float
        silhouette, Calinski-Harabasz, Davies-Bouldin (its negative) and Dunn: the larger the better
        in all of them. NaN where there is one cluster, or as many as rows.
    """
    names = ("silhouette", "Calinski-Harabasz", "Davies-Bouldin", "Dunn")
    if not 2 <= len(np.unique(labels)) < len(labels):
        return dict.fromkeys(names, np.nan)
    distances = pairwise_distances(X) if distances is None else distances
    scores = (
        silhouette_score(distances, labels, metric="precomputed"),
        calinski_harabasz_score(X, labels),
        -davies_bouldin_score(X, labels),
        dunn(X, labels, distances=distances),
    )
    return dict(zip(names, map(float, scores), strict=True))


def _rows_and_labels(X, labels) -> tuple[np.ndarray, np.ndarray]:
    X, labels = as_table(X, "X"), factorize(labels, "labels")
    check_same_length(X, labels, "X", "labels")
    return X, labels
