"""How much explanations change from a row to its neighbours, and metrics on subsets of rows."""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from sklearn.metrics import pairwise_distances_chunked

from whycluster.metrics.checks import as_table, check_same_length


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
    W, X = as_table(explanations, "explanations"), as_table(X, "X")
    check_same_length(W, X, "explanations", "X")
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
