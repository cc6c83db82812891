"""Agreement of explanations between runs: do other seeds name the same features?"""

from collections.abc import Sequence
from functools import partial
from itertools import combinations

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

from whycluster.metrics.external import match_clusters
from whycluster.metrics.selection import select_top


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


def unit_ranks(values) -> np.ndarray:
    """Rank the entries of each row, so that products of two rows are rank correlations.

    Parameters
    ----------
    values : array-like of shape (n_rows, n_features)

    Returns
    -------
    ndarray of shape (n_rows, n_features)
        Ranks of mean 0 and Euclidean length 1; zeros where a row is constant.
    """
    ranks = rankdata(values, axis=1)
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0)


def _rank_correlation(a, b) -> np.ndarray:
    """Spearman correlation of each row of a with each of b; 0 where a row is constant."""
    return unit_ranks(a) @ unit_ranks(b).T


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
