"""Which features explanations select: how many, how different, and whether they matter."""

from typing import NamedTuple

import numpy as np
from sklearn.metrics import precision_recall_fscore_support

from whycluster.metrics.checks import as_sets, as_table


class SelectedCounts(NamedTuple):
    """Number of selected features, counted three ways (see `n_selected`)."""

    count: float  # type: ignore[assignment]  # the number that it names, not the method
    total: float
    published: float


class SelectionScore(NamedTuple):
    """Precision, recall and F1 of selected features, each in [0, 1]."""

    precision: float
    recall: float
    f1: float


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
    gates = as_table(gates, "gates")
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
    sets = as_sets(cluster_sets, "cluster_sets").astype(float)
    n_clusters = len(sets)
    if n_clusters < 2:
        raise ValueError("diversity of 1 cluster is undefined; it compares pairs of clusters")
    shared = sets @ sets.T
    sizes = sets.sum(axis=1)
    union = sizes[:, None] + sizes[None, :] - shared
    jaccard = np.divide(shared, union, out=np.ones_like(shared), where=union > 0)
    return float(1 - jaccard[np.triu_indices(n_clusters, k=1)].mean())


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
    selected = as_sets(selected, "selected")
    informative = np.asarray(informative)
    if informative.shape not in (selected.shape, selected.shape[1:]):
        raise ValueError(
            f"informative has shape {informative.shape} and selected {selected.shape}; "
            "give one row of features, or one for each row selected"
        )
    informative = as_sets(np.broadcast_to(informative, selected.shape), "informative")
    if not informative.any(axis=1).all():
        row = int(np.flatnonzero(~informative.any(axis=1))[0])
        raise ValueError(f"row {row} has no informative feature; leave such rows out")
    scores = precision_recall_fscore_support(
        informative, selected, average=average, zero_division=0.0
    )
    return SelectionScore(*map(float, scores[:3]))
