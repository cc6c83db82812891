"""Scores of clusterings and of their explanations: arrays in, numbers out.

External scores compare labels with a reference; internal scores look at the data; interpretability
scores look at explanations. No estimator is known here and nothing here is ever called in `fit`.

Where the paper of Svirsky and Lindenbaum (2024), "Interpretable Deep Clustering", and the code
released with it differ, the docstring says which is which; the library follows the paper's text
unless it says otherwise.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata
from sklearn.metrics import (
    adjusted_rand_score,
    calinski_harabasz_score,
    davies_bouldin_score,
    normalized_mutual_info_score,
    pairwise_distances,
    pairwise_distances_chunked,
    precision_recall_fscore_support,
    silhouette_score,
)

__all__ = [
    "NeighbourRatios",
    "Removal",
    "SelectedCounts",
    "SelectionScore",
    "adjusted_rand_score",
    "clustering_accuracy",
    "diversity",
    "dunn",
    "explanation_stability",
    "external_scores",
    "faithfulness",
    "inertia",
    "match_clusters",
    "n_selected",
    "neighbour_ratios",
    "normalized_mutual_info_score",
    "over_subsets",
    "remove_features",
    "select_top",
    "selection_f1",
    "silhouette",
    "silhouette_of_distances",
    "stability",
    "uniqueness",
    "validity_indices",
]

REMOVALS = ("cumulative", "individual")


class NeighbourRatios(NamedTuple):
    """How much explanations change between neighbours, and how many rows were left out.

    Attributes
    ----------
    ratios : ndarray of shape (n_distinct_rows, n_neighbors)
        Distance of explanations over distance of rows, nearest neighbour first; NaN where the
        neighbour lies beyond the radius.
    n_duplicates : int
        Rows left out because they repeat an earlier row.
    """

    ratios: np.ndarray
    n_duplicates: int


class Removal(NamedTuple):
    """Scores as features are removed, most important first.

    Attributes
    ----------
    order : ndarray of int of shape (n_removed,)
        Features in the order of removal.
    importance : ndarray of shape (n_removed,)
        Importance of each removed feature, descending.
    score : ndarray of shape (n_removed,)
        Score after each removal.
    baseline : float
        Score with every feature present.
    """

    order: np.ndarray
    importance: np.ndarray
    score: np.ndarray
    baseline: float


class SelectedCounts(NamedTuple):
    """Number of selected features, counted three ways (see `n_selected`)."""

    count: float
    total: float
    published: float


class SelectionScore(NamedTuple):
    """Precision, recall and F1 of selected features, each in [0, 1]."""

    precision: float
    recall: float
    f1: float


# ------------------------------------------------------------------------- external scores


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
    _check_same_length(*pair, "reference", "labels")
    table = np.zeros((n_clusters, n_clusters), dtype=int)
    np.add.at(table, (pair[1], pair[0]), 1)
    return linear_sum_assignment(table, maximize=True)[1]


# ------------------------------------------------------------------------- internal scores


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
    X, labels = _table(X, "X"), _factorize(labels, "labels")
    _check_same_length(X, labels, "X", "labels")
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
    X, labels = _table(X, "X"), _factorize(labels, "labels")
    _check_same_length(X, labels, "X", "labels")
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
    X, labels = _table(X, "X"), _factorize(labels, "labels")
    _check_same_length(X, labels, "X", "labels")
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
    distances, labels = np.asarray(distances), _factorize(labels, "labels")
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


# ------------------------------------------------------------- interpretability: clusters


def diversity(cluster_sets) -> float:
    """One minus the mean Jaccard similarity of the feature sets of two different clusters.

    Section 5 of Svirsky and Lindenbaum (2024).

    Parameters
    ----------
    cluster_sets : array-like of bool of shape (n_clusters, n_features)
        True where a cluster selects a feature, such as `gates > 0` or `select_top(values, 15)`.

    Returns
    -------
    float
        In [0, 1]; 1 when no two clusters share a feature, 0 when all select the same. Two empty
        sets count as equal. Papers print it times 100.

    Raises
    ------
    ValueError
        Fewer than two clusters, or values that are not bool.

    Notes
    -----
    The released code sums over all pairs including a cluster with itself, so K clusters cannot
    score above 1 - 1/(K - 1): 0 for two clusters, 0.889 for ten. The published Table 1 holds
    values up to 100 for ten clusters, so it follows the text, as this function does.

    Examples
    --------
    >>> diversity([[True, True, False], [False, True, True]])  # they share 1 of 3 features
    0.6666666666666667
    """
    sets = _sets(cluster_sets, "cluster_sets").astype(float)
    n_clusters = len(sets)
    if n_clusters < 2:
        raise ValueError("diversity of 1 cluster is undefined; it compares pairs of clusters")
    shared = sets @ sets.T
    sizes = sets.sum(axis=1)
    union = sizes[:, None] + sizes[None, :] - shared
    jaccard = np.divide(shared, union, out=np.ones_like(shared), where=union > 0)
    return float(1 - jaccard[np.triu_indices(n_clusters, k=1)].mean())


def select_top(importance, k: int) -> np.ndarray:
    """Mark the k features of largest absolute value in each row.

    The published baselines select the 15 features of largest attribution, as many as IDC opens
    gates (Section 6 of Svirsky and Lindenbaum, 2024).

    Parameters
    ----------
    importance : array-like of shape (..., n_features)
        Explanations of rows, of clusters, or one overall.
    k : int, 1 to n_features
        Features to mark; ties go to the earlier feature.

    Returns
    -------
    ndarray of bool of the same shape

    Raises
    ------
    ValueError
        k outside its range.
    """
    importance = np.asarray(importance, dtype=float)
    n_features = importance.shape[-1]
    if not 1 <= k <= n_features:
        raise ValueError(f"k is {k}; choose between 1 and the {n_features} features")
    strongest = np.argsort(-np.abs(importance), axis=-1, kind="stable")[..., :k]
    selected = np.zeros(importance.shape, dtype=bool)
    np.put_along_axis(selected, strongest, True, axis=-1)
    return selected


# --------------------------------------------------------- interpretability: faithfulness


def faithfulness(importance, score_without, *, removal: str = "cumulative") -> float:
    """Correlation of feature importance with what removing the features does to a score.

    Section 5 of Svirsky and Lindenbaum (2024); after Alvarez Melis and Jaakkola (2018).

    Parameters
    ----------
    importance : array-like of shape (n_removed,)
        Importance of the removed features, in any order.
    score_without : array-like of shape (n_removed,)
        Score of the model, such as its accuracy, once the feature was removed; for
        "cumulative", once it and every more important one were removed. See `remove_features`.
    removal : {"cumulative", "individual"}, default="cumulative"
        How the scores were taken, which fixes the sign: where features matter in the order of
        their importance, a cumulative score falls along with importance (positive correlation),
        whereas an individual score is lowest for the most important feature (negated here).

    Returns
    -------
    float
        Pearson correlation in [-1, 1], higher is more faithful; NaN, with a warning, where the
        importance or the score is constant and no correlation exists.

    Raises
    ------
    ValueError
        Fewer than two features, unequal lengths or an unknown removal.

    Notes
    -----
    The text says that features are removed "individually (from most to least important)"; the
    released code masks them cumulatively, and the published Table 1 and Fig. 3 presumably hold
    what it printed. Cumulative is the default for this reason and because with many redundant
    features, such as pixels, removing a single one changes no label, so that the individual score
    is all noise.

    A cumulative score falls in whatever order features go, so it flatters: on a linear model with
    weights 5, 4, 3, 2, 1, 0, 0, 0 even the reversed ranking scores 0.96. Where single features do
    matter "individual" exposes it (-1.00): report both.

    The released code ranks features by the number of rows whose gate is open, and assumes ten
    clusters; the text by the mean gate, which is `Explanation.overall`.

    Examples
    --------
    >>> round(faithfulness([3, 2, 1], [0.5, 0.6, 0.7], removal="individual"), 2)
    1.0
    """
    _check_removal(removal)
    importance = _vector(importance, "importance")
    score = _vector(score_without, "score_without")
    _check_same_length(importance, score, "importance", "score_without")
    if len(score) < 2:
        raise ValueError("faithfulness of 1 feature is undefined; remove at least 2")
    if np.ptp(importance) == 0 or np.ptp(score) == 0:
        constant = "importance" if np.ptp(importance) == 0 else "score_without"
        warnings.warn(f"{constant} is constant: faithfulness is undefined (NaN)", stacklevel=2)
        return float("nan")
    sign = 1 if removal == "cumulative" else -1
    return float(sign * np.corrcoef(importance, score)[0, 1])


def remove_features(
    X,
    importance,
    score: Callable,
    *,
    removal: str = "cumulative",
    fill=0.0,
    max_features: int | None = None,
) -> Removal:
    """Score a model again and again as features are removed, most important first.

    Parameters
    ----------
    X : array or DataFrame of shape (n_samples, n_features)
        Rows to score; not changed. A DataFrame reaches `score` as one, names included.
    importance : array-like of shape (n_features,)
        Higher is more important; ties go in the order of the features.
    score : callable
        Takes a table like X and returns a number, higher is better. With true labels
        `lambda X: clustering_accuracy(y, model.predict(X))`; without, `labels = model.predict(X)`
        in place of `y` measures how many rows stay in their cluster.
    removal : {"cumulative", "individual"}, default="cumulative"
        Keep earlier features removed (released code), or put each back before removing the next
        (the text); see `faithfulness`.
    fill : float or array-like of shape (n_features,), default=0.0
        What replaces a removed feature: 0, as published, is the mean of standardised data.
    max_features : int or None
        Stop after this many features; None removes all.

    Returns
    -------
    Removal
        `faithfulness(result.importance, result.score, removal=removal)` sums it up.

    Raises
    ------
    ValueError
        Importance that is not one number per feature, or an unknown removal.
    """
    _check_removal(removal)
    importance = _vector(importance, "importance")
    if importance.shape != (X.shape[1],):
        raise ValueError(f"importance has {len(importance)} values for {X.shape[1]} features")
    order = np.argsort(-importance, kind="stable")[:max_features]
    fill = np.broadcast_to(np.asarray(fill, dtype=float), importance.shape)
    reduced = X.astype(float)  # a copy, lazily so in pandas
    scores = []
    for j in order:
        _set_column(reduced, j, fill[j])
        scores.append(float(score(reduced)))
        if removal == "individual":
            _set_column(reduced, j, _column(X, j))
    return Removal(order, importance[order], np.array(scores), float(score(X)))


# ------------------------------------------------------------- interpretability: neighbours


def uniqueness(explanations, X, *, n_neighbors: int = 1, radius: float = np.inf) -> float:
    """How much explanations of neighbouring rows differ at least: higher is more sample-specific.

    Mean over rows of `min_k ||w_i - w_k|| / ||x_i - x_k||` over the neighbours k of row i;
    Section 5 of Svirsky and Lindenbaum (2024).

    Parameters
    ----------
    explanations : array-like of shape (n_samples, n_features)
        One explanation w per row.
    X : array-like of shape (n_samples, n_columns)
        The rows x, in the scale the model sees.
    n_neighbors : int, at least 1, default=1
        Nearest distinct rows that count as neighbours.
    radius : float, above 0, default=inf
        Neighbours further away than this are ignored, in the unit of X.

    Returns
    -------
    float
        At least 0.

    Raises
    ------
    ValueError
        Tables that do not fit, fewer distinct rows than neighbours plus one, or no row with a
        neighbour within the radius.

    Warns
    -----
    UserWarning
        Rows that repeat an earlier row are left out, since the ratio of a row to its copy
        divides by zero; the warning counts them.

    Notes
    -----
    The formula printed in the paper takes one minimum over all pairs closer than an epsilon that
    it does not state. The released code averages over rows the minimum over their two nearest
    neighbours, the first of which is the row itself, hence over one neighbour: the default here.
    (Its "stability" takes the maximum over that same one neighbour, and so the same value; and
    it divides by zero on duplicates.) Published values are means over ten subsets of 1000 rows:
    see `over_subsets`. They depend on the number of rows, since neighbours of a denser sample
    are closer.
    """
    return float(
        np.nanmin(_ratios_with_warning(explanations, X, n_neighbors, radius), axis=1).mean()
    )


def stability(explanations, X, *, n_neighbors: int = 1, radius: float = np.inf) -> float:
    """How much explanations of neighbouring rows differ at most: lower is more stable.

    Mean over rows of `max_k ||w_i - w_k|| / ||x_i - x_k||`: the local Lipschitz estimate of
    Alvarez Melis and Jaakkola (2018). Parameters, errors and warnings are those of `uniqueness`,
    to which it is equal for one neighbour.

    Returns
    -------
    float
        At least 0.
    """
    return float(
        np.nanmax(_ratios_with_warning(explanations, X, n_neighbors, radius), axis=1).mean()
    )


def neighbour_ratios(
    explanations, X, *, n_neighbors: int = 1, radius: float = np.inf
) -> NeighbourRatios:
    """Distance of explanations over distance of rows, for each row and its neighbours.

    Distances are taken in blocks of bounded memory. Parameters and errors are those of
    `uniqueness`.

    Returns
    -------
    NeighbourRatios
        One line of ratios per distinct row, and the number of rows left out as duplicates.
    """
    W, X = _table(explanations, "explanations"), _table(X, "X")
    _check_same_length(W, X, "explanations", "X")
    first = np.sort(np.unique(X, axis=0, return_index=True)[1])
    W, distinct = W[first], X[first]
    if not 1 <= n_neighbors < len(distinct):
        raise ValueError(
            f"{n_neighbors} neighbours asked for among {len(distinct)} distinct rows; "
            "choose at least 1 and fewer than there are rows"
        )
    nearest = _nearest(distinct, n_neighbors)
    far = _row_distances(distinct, nearest)
    near = (far > 0) & (far <= radius)
    ratios = np.divide(_row_distances(W, nearest), far, out=np.full(far.shape, np.nan), where=near)
    return NeighbourRatios(ratios, len(X) - len(distinct))


def over_subsets(
    metric: Callable, *arrays, subset_size: int = 1000, n_repeats: int = 10, random_state=0
) -> np.ndarray:
    """Values of a metric on random subsets of rows.

    Table 1 of Svirsky and Lindenbaum (2024) reports means over ten subsets of 1000 rows.

    Parameters
    ----------
    metric : callable
        Takes the arrays, each cut to the same rows.
    *arrays : arrays of shape (n_samples, ...)
        Equally long.
    subset_size : int, default=1000
        Rows of a subset, drawn without replacement; all rows where there are fewer.
    n_repeats : int, default=10
        Number of subsets.
    random_state : int, default=0
        Seed of the subsets.

    Returns
    -------
    ndarray of shape (n_repeats,)
    """
    rng = np.random.default_rng(random_state)
    n_samples = len(arrays[0])
    draws = [rng.permutation(n_samples)[:subset_size] for _ in range(n_repeats)]
    return np.array([metric(*(np.asarray(array)[rows] for array in arrays)) for rows in draws])


# -------------------------------------------------------------- interpretability: selection


def selection_f1(selected, informative, *, average: str = "samples") -> SelectionScore:
    """Precision, recall and F1 of the features selected against those known to matter.

    The "F1" of Table 2 of Svirsky and Lindenbaum (2024), on data with planted features.

    Parameters
    ----------
    selected : array-like of bool of shape (n_samples, n_features)
        Features selected in each row, such as `gates > 0`.
    informative : array-like of bool of shape (n_samples, n_features) or (n_features,)
        Features that matter in each row, or in all; at least one per row.
    average : {"samples", "micro"}, default="samples"
        "samples": score each row, then average, so that each row weighs the same; "micro": pool
        the decisions of all rows first.

    Returns
    -------
    SelectionScore
        Each in [0, 1]. A row that selects nothing scores 0.

    Raises
    ------
    ValueError
        Values that are not bool, shapes that do not fit, a row without informative features, or
        an unknown average.

    Notes
    -----
    The paper does not say how rows are averaged and the released code holds no such function;
    the choice is ours.
    """
    if average not in ("samples", "micro"):
        raise ValueError(f"average is {average!r}; choose samples or micro")
    selected = _sets(selected, "selected")
    informative = np.asarray(informative)
    if informative.shape not in (selected.shape, selected.shape[1:]):
        raise ValueError(
            f"informative has shape {informative.shape} and selected {selected.shape}; "
            "give one row of features, or one for each row selected"
        )
    informative = _sets(np.broadcast_to(informative, selected.shape), "informative")
    if not informative.any(axis=1).all():
        row = int(np.flatnonzero(~informative.any(axis=1))[0])
        raise ValueError(f"row {row} has no informative feature; leave such rows out")
    scores = precision_recall_fscore_support(
        informative, selected, average=average, zero_division=0.0
    )
    return SelectionScore(*map(float, scores[:3]))


def n_selected(gates, *, batch_size: int | None = None) -> SelectedCounts:
    """Number of features a row selects, counted three ways.

    Parameters
    ----------
    gates : array-like of shape (n_samples, n_features), in [0, 1]
        Gate values; those of clusters work too.
    batch_size : int or None
        Consecutive rows per batch for the published count, a shorter last batch included; None
        takes all rows as one batch.

    Returns
    -------
    SelectedCounts
        `count`: mean over rows of the number of gates above 0. `total`: mean over rows of the sum
        of gate values. `published`: lower median within each batch, mean over batches, of the
        sum of gate values.

    Raises
    ------
    ValueError
        Gates outside [0, 1].

    Notes
    -----
    The paper calls |S| the number of selected features; what the released code prints, and the
    tables hold, is the third, a sum of gate values, which is smaller than the count wherever
    gates are partly open. For global gates it prints `total`.

    Examples
    --------
    >>> n_selected([[1, 0.5, 0], [1, 0.25, 0.25]])
    SelectedCounts(count=2.5, total=1.5, published=1.5)
    """
    gates = _table(gates, "gates")
    if gates.min() < 0 or gates.max() > 1:
        offender = gates.min() if gates.min() < 0 else gates.max()
        raise ValueError(f"gates hold {offender:.4g}; they lie in [0, 1]")
    total = gates.sum(axis=1, dtype=float)
    size = len(total) if batch_size is None else batch_size
    batches = [np.sort(total[start : start + size]) for start in range(0, len(total), size)]
    published = np.mean([batch[(len(batch) - 1) // 2] for batch in batches])
    return SelectedCounts(
        float((gates > 0).sum(axis=1).mean()), float(total.mean()), float(published)
    )


def explanation_stability(
    explanations: Sequence, *, labels: Sequence | None = None, method: str = "spearman", k: int = 15
) -> float:
    """Agreement of explanations between runs: do other seeds name the same features?

    Parameters
    ----------
    explanations : sequence of arrays of shape (n_clusters, n_features) or (n_features,)
        One per run, all of one shape; the absolute values are compared.
    labels : sequence of int arrays of shape (n_samples,), optional
        Clusters of the same rows in each run, 0 to n_clusters - 1. With them clusters of two runs
        are matched by the rows they share; without, by the similarity of their explanations,
        which flatters the result.
    method : {"spearman", "jaccard"}, default="spearman"
        Rank correlation over all features, in [-1, 1]; or the overlap of the k strongest
        features, in [0, 1].
    k : int, 1 to n_features, default=15
        Features compared by "jaccard".

    Returns
    -------
    float
        Mean over pairs of runs of the mean over matched clusters; 1 is perfect agreement. An
        explanation that ranks all features alike agrees with none: its rank correlation is 0.

    Raises
    ------
    ValueError
        Fewer than two runs, unequal shapes, or an unknown method.
    """
    if method not in ("spearman", "jaccard"):
        raise ValueError(f"method is {method!r}; choose spearman or jaccard")
    runs = [np.atleast_2d(np.abs(np.asarray(run, dtype=float))) for run in explanations]
    if len(runs) < 2 or len({run.shape for run in runs}) > 1:
        raise ValueError(
            f"explanations have shapes {[run.shape for run in runs]}; "
            "give at least two runs of one shape"
        )
    agreement = _rank_correlation if method == "spearman" else partial(_overlap, k=k)
    return float(
        np.mean(
            [
                _agreement_of_matched(agreement(runs[a], runs[b]), labels, a, b)
                for a, b in combinations(range(len(runs)), 2)
            ]
        )
    )


# ---------------------------------------------------------------------------------- helpers


def _table(values, name: str) -> np.ndarray:
    array = np.asarray(values)
    array = array if np.issubdtype(array.dtype, np.floating) else array.astype(float)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} has shape {array.shape}; expected a table (rows, features)")
    if not np.isfinite(array).all():
        row, column = map(int, np.argwhere(~np.isfinite(array))[0])
        raise ValueError(
            f"{name} is not finite in row {row}, column {column}; fill or drop it first"
        )
    return array


def _vector(values, name: str) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError(f"{name} has shape {array.shape}; expected one finite number per feature")
    return array


def _sets(values, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype != bool or array.ndim != 2:
        raise ValueError(
            f"{name} has type {array.dtype} and shape {array.shape}; expected a bool table, "
            "such as gates > 0"
        )
    return array


def _factorize(labels, name: str) -> np.ndarray:
    """Labels of any type as integers from 0."""
    labels = pd.Series(np.asarray(labels, dtype=object) if np.ndim(labels) == 1 else [None])
    if len(labels) == 0 or labels.isna().any():
        raise ValueError(f"{name} must be one-dimensional, not empty and without missing labels")
    return pd.factorize(labels)[0]


def _codes(labels, name: str, n_clusters: int) -> np.ndarray:
    labels = np.asarray(labels)
    is_integer = np.issubdtype(labels.dtype, np.integer)
    if labels.ndim != 1 or not is_integer or labels.min() < 0 or labels.max() >= n_clusters:
        raise ValueError(f"{name} must be integers from 0 to {n_clusters - 1}, one per row")
    return labels


def _check_same_length(a, b, name_a: str, name_b: str) -> None:
    if len(a) != len(b):
        raise ValueError(f"{name_a} has {len(a)} entries and {name_b} {len(b)}; they must be equal")


def _check_removal(removal: str) -> None:
    if removal not in REMOVALS:
        raise ValueError(f"removal is {removal!r}; choose {' or '.join(REMOVALS)}")


def _contingency(y_true, y_pred) -> np.ndarray:
    """Rows by class and cluster, of shape (n_classes, n_clusters)."""
    classes, clusters = _factorize(y_true, "y_true"), _factorize(y_pred, "y_pred")
    _check_same_length(classes, clusters, "y_true", "y_pred")
    table = np.zeros((classes.max() + 1, clusters.max() + 1), dtype=int)
    np.add.at(table, (classes, clusters), 1)
    return table


def _column(X, j: int):
    return X.iloc[:, j] if isinstance(X, pd.DataFrame) else X[:, j]


def _set_column(X, j: int, values) -> None:
    if isinstance(X, pd.DataFrame):
        X.iloc[:, j] = values
    else:
        X[:, j] = values


def _nearest(X, n_neighbors: int) -> np.ndarray:
    """Nearest other rows, nearest first, of shape (n_samples, n_neighbors)."""

    def closest(distances, start):
        here = np.arange(len(distances))
        distances[here, start + here] = np.inf
        found = np.argpartition(distances, n_neighbors - 1, axis=1)[:, :n_neighbors]
        order = np.argsort(np.take_along_axis(distances, found, axis=1), axis=1, kind="stable")
        return np.take_along_axis(found, order, axis=1)

    return np.vstack(list(pairwise_distances_chunked(X, reduce_func=closest, working_memory=256)))


def _row_distances(X, others) -> np.ndarray:
    """Distance of each row to the listed others, by differences: exact for close rows."""
    return np.column_stack([np.linalg.norm(X - X[column], axis=1) for column in others.T])


def _ratios_with_warning(explanations, X, n_neighbors: int, radius: float) -> np.ndarray:
    """Ratios of the rows that have a neighbour; rows left out are counted in a warning."""
    ratios, n_duplicates = neighbour_ratios(explanations, X, n_neighbors=n_neighbors, radius=radius)
    has_neighbour = ~np.isnan(ratios).all(axis=1)
    if not has_neighbour.any():
        raise ValueError(f"no row has a neighbour within {radius:g}; choose a larger radius")
    if n_duplicates or not has_neighbour.all():
        warnings.warn(
            f"{n_duplicates} rows repeat an earlier row and {(~has_neighbour).sum()} have no "
            "neighbour within the radius; they are left out",
            stacklevel=3,
        )
    return ratios[has_neighbour]


def _rank_correlation(a, b) -> np.ndarray:
    """Spearman correlation of each row of a with each of b; 0 where a row is constant."""
    a, b = (_standardised(rankdata(values, axis=1)) for values in (a, b))
    return a @ b.T


def _standardised(ranks) -> np.ndarray:
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0)


def _overlap(a, b, k: int) -> np.ndarray:
    """Jaccard similarity of the k strongest features of each row of a and each of b."""
    shared = select_top(a, k).astype(float) @ select_top(b, k).T
    return shared / (2 * k - shared)


def _agreement_of_matched(agreement, labels, a: int, b: int) -> float:
    """Mean agreement of runs a and b over matched clusters."""
    if labels is None:
        return agreement[linear_sum_assignment(agreement, maximize=True)].mean()
    match = match_clusters(labels[a], labels[b], len(agreement))
    return agreement[match, np.arange(len(agreement))].mean()
