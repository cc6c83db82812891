"""External scores: how far labels agree with a reference, whatever clusters are called."""

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from whycluster.metrics.checks import check_same_length, factorize


def clustering_accuracy(y_true, y_pred) -> float:
    """Share of rows that agree under the best one-to-one matching of clusters to classes.

    The matching is optimal (Hungarian method). With more clusters than classes the surplus
    clusters count as wrong, and the other way round.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        Reference classes and clusters; labels of any type.

    Returns
    -------
    float
        ACC in [0, 1]; papers print it times 100.

    Raises
    ------
    ValueError
        No rows, unequal lengths, or a missing label.

    Notes
    -----
    The released code of IDC matches greedily, which can only give a lower or equal value, and
    keeps the epoch of best ACC, which chooses a model with the true labels.

    Examples
    --------
    >>> clustering_accuracy(["a", "a", "b", "b"], [1, 1, 0, 1])
    0.75
    """
    table = _contingency(y_true, y_pred)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / table.sum())


def external_scores(y_true, y_pred) -> dict[str, float]:
    """Agreement with true classes by the three measures of the papers.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        Labels of any kind.

    Returns
    -------
    dict of str to float
        "ACC" in [0, 1] by `clustering_accuracy`, "ARI" in [-0.5, 1] and "NMI" in [0, 1].

    Examples
    --------
    >>> external_scores([0, 0, 1, 1], ["b", "b", "a", "a"])
    {'ACC': 1.0, 'ARI': 1.0, 'NMI': 1.0}
    """
    return {
        "ACC": clustering_accuracy(y_true, y_pred),
        "ARI": float(adjusted_rand_score(y_true, y_pred)),
        "NMI": float(normalized_mutual_info_score(y_true, y_pred)),
    }


def match_clusters(reference, labels, n_clusters: int) -> np.ndarray:
    """Renumbering of clusters that agrees best with a reference clustering.

    Parameters
    ----------
    reference, labels : array-like of int of shape (n_samples,)
        Two clusterings of the same rows, labels 0 to n_clusters - 1.
    n_clusters : int, at least 1
        Clusters of both, empty ones included.

    Returns
    -------
    ndarray of int of shape (n_clusters,)
        Entry k is the reference's number of cluster k: `match[labels]` lines up with `reference`.

    Raises
    ------
    ValueError
        Unequal lengths or labels outside the range.
    """
    pair = [_codes(reference, "reference", n_clusters), _codes(labels, "labels", n_clusters)]
    check_same_length(pair[0], pair[1], "reference", "labels")
    table = np.zeros((n_clusters, n_clusters), dtype=int)
    np.add.at(table, (pair[1], pair[0]), 1)
    return linear_sum_assignment(table, maximize=True)[1]


def _contingency(y_true, y_pred) -> np.ndarray:
    """Rows by class and cluster, of shape (n_classes, n_clusters)."""
    classes, clusters = factorize(y_true, "y_true"), factorize(y_pred, "y_pred")
    check_same_length(classes, clusters, "y_true", "y_pred")
    table = np.zeros((classes.max() + 1, clusters.max() + 1), dtype=int)
    np.add.at(table, (classes, clusters), 1)
    return table


def _codes(labels, name: str, n_clusters: int) -> np.ndarray:
    labels = np.asarray(labels)
    is_integer = np.issubdtype(labels.dtype, np.integer)
    if labels.ndim != 1 or not is_integer or labels.min() < 0 or labels.max() >= n_clusters:
        raise ValueError(f"{name} must be integers from 0 to {n_clusters - 1}, one per row")
    return labels


def by_size(labels: np.ndarray) -> np.ndarray:
    """Renumber clusters, the largest 0; equal ones keep their order.

    Examples
    --------
    >>> by_size(np.array([3, 1, 1, 0]))
    array([2, 0, 0, 1])
    """
    return np.argsort(np.argsort(-np.bincount(labels), kind="stable"))[labels]
