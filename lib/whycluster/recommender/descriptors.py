"""What ClustRecNet sees of a table: its rows in canonical order, and how they lie to each other.

A table says the same whatever the order of its rows and columns. Here it is first put into an order
that depends on its values alone, so that all that follows, sampling, scaling, sums in floating
point, is the same to the last bit for every shuffled copy.

The descriptors are logarithms of ratios of distances, and eigenvalues. They do not change under
rotation either, and have the same length for every number of rows and columns.
"""

from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import cdist, squareform
from scipy.special import logit
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

MAX_ROWS = 2000  # that the network looks at
MAX_COLUMNS = 50
N_ANCHORS = 512  # rows whose distances are described
N_SHOWN = 64  # of these, rows that are given to the network one by one
RANKS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)  # neighbours, counted
SHARES = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # neighbours, as a share of rows
N_HEIGHTS = 16  # last merges of a dendrogram
N_EIGENVALUES = 16
LINKAGES = ("single", "complete", "average", "ward")
N_ROW = len(RANKS) + len(SHARES)  # numbers that describe a row, and the whole
N_WHOLE = 3 + N_EIGENVALUES + 1 + N_EIGENVALUES + len(LINKAGES) * N_HEIGHTS
_TINY = 1e-6


@dataclass(frozen=True)
class Sample:
    """A table as the network sees it.

    Parameters
    ----------
    Z : ndarray of shape (n_rows_used, n_columns_used), float64
        Standardised; principal components where the table is wide.
    n_rows, n_columns : int
        Of the table.
    n_constant : int
        Columns that are constant in the rows used, which are left out.
    """

    Z: np.ndarray
    n_rows: int
    n_columns: int
    n_constant: int

    def __str__(self) -> str:
        rows, columns = self.Z.shape
        parts = [f"{rows} of {self.n_rows} rows" if rows < self.n_rows else f"all {rows} rows"]
        if self.n_constant:
            parts.append(f"{self.n_constant} constant columns left out")
        if columns < self.n_columns - self.n_constant:
            kept = self.n_columns - self.n_constant
            parts.append(f"{columns} principal components of {kept} columns")
        return ", ".join(parts)


def canonical(X: np.ndarray) -> np.ndarray:
    """Return the same table with its columns, then its rows, in an order set by the values.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Finite.

    Returns
    -------
    ndarray of the same shape
        Columns in lexicographic order of their sorted values, then rows in lexicographic order.

    Examples
    --------
    >>> canonical(np.array([[3.0, 0.0], [1.0, 2.0]]))
    array([[0., 3.],
           [2., 1.]])
    """
    X = X + 0.0  # -0.0 becomes 0.0, which it equals
    columns = np.lexsort(np.sort(X, axis=0)[::-1])
    X = X[:, columns]
    return X[np.lexsort(X.T[::-1])]


def sample(X: np.ndarray, *, ordered: bool = True, random_state: int = 0) -> Sample:
    """Standardise a table and reduce it to at most 2,000 rows and 50 columns.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Finite, not all columns constant.
    ordered : bool, default=True
        Whether rows and columns are put in `canonical` order; else they stay as they are.
    random_state : int, default=0
        Of the rows that are drawn, and of the principal components of very wide tables.

    Returns
    -------
    Sample
    """
    rows = canonical(X) if ordered else X
    if len(rows) > MAX_ROWS:
        drawn = np.random.default_rng(random_state).choice(len(rows), MAX_ROWS, replace=False)
        rows = rows[np.sort(drawn)]
    Z = standardise(rows)
    n_constant = X.shape[1] - Z.shape[1]
    if Z.shape[1] > MAX_COLUMNS:
        Z = PCA(min(MAX_COLUMNS, len(Z)), random_state=random_state).fit_transform(Z)
    return Sample(Z, len(X), X.shape[1], n_constant)


def standardise(X: np.ndarray) -> np.ndarray:
    """Return columns with mean 0 and variance 1; constant columns are left out."""
    spread = X.std(axis=0)
    varies = spread > 1e-9 * np.abs(X).max(axis=0)
    return (X[:, varies] - X[:, varies].mean(axis=0)) / spread[varies]


@threadpool_limits.wrap(limits=1)  # over so few rows threads would wait for each other
def describe(table: Sample, random_state: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Describe a table by how its rows lie to each other.

    Parameters
    ----------
    table : Sample
    random_state : int, default=0
        Of the rows that stand for all where there are more than `N_ANCHORS`.

    Returns
    -------
    rows : ndarray of shape (N_SHOWN, N_ROW), float32
        For single rows: the distance to near and far neighbours.
    whole : ndarray of shape (N_WHOLE,), float32
        For the table: size, spectrum, heights of four dendrograms, eigenvalues of the neighbour
        graph.
    """
    random = np.random.default_rng(random_state)
    Z = table.Z
    if len(Z) > N_ANCHORS:
        Z = Z[np.sort(random.choice(len(Z), N_ANCHORS, replace=False))]
    distances = cdist(Z, Z)
    distances /= distances.mean()
    sorted_ = np.sort(distances, axis=1)
    shown = random.choice(len(Z), N_SHOWN, replace=len(Z) < N_SHOWN)
    whole = [
        _size(table),
        _spectrum(table.Z),
        _graph(distances, sorted_),
        *(_heights(distances, method) for method in LINKAGES),
    ]
    return _profile(sorted_)[shown].astype(np.float32), np.concatenate(whole).astype(np.float32)


def _profile(sorted_: np.ndarray) -> np.ndarray:
    """Logarithms of the distances of each row to neighbours at fixed ranks and shares."""
    last = sorted_.shape[1] - 1
    ranks = [min(r, last) for r in RANKS] + [max(1, round(s * last)) for s in SHARES]
    return np.log(sorted_[:, ranks] + _TINY)


def _size(table: Sample) -> np.ndarray:
    return np.log([table.n_rows, table.Z.shape[1], table.n_rows / table.Z.shape[1]])


def _spectrum(Z: np.ndarray) -> np.ndarray:
    """Shares of variance along the first principal axes, and how many axes there are in effect."""
    values = np.linalg.svd(Z, compute_uv=False)[:N_EIGENVALUES] ** 2
    shares = _padded(values / (Z**2).sum(), N_EIGENVALUES)
    return np.append(np.sqrt(shares), -np.log((shares**2).sum()))


def _heights(distances: np.ndarray, method: str) -> np.ndarray:
    """Logarithms of the last merging heights of a dendrogram, over the median height."""
    heights = linkage(squareform(distances, checks=False), method)[:, 2]
    last = _padded(heights[::-1][:N_HEIGHTS], N_HEIGHTS, fill=heights[0])
    return np.log((last + _TINY) / (np.median(heights) + _TINY))


def _graph(distances: np.ndarray, sorted_: np.ndarray) -> np.ndarray:
    """Smallest eigenvalues of the normalised Laplacian of the 10-neighbour graph."""
    near = distances <= sorted_[:, [min(10, len(distances) - 1)]]
    weights = (near.astype(float) + near.T) / 2
    np.fill_diagonal(weights, 0)
    root = np.sqrt(np.maximum(weights.sum(axis=1), _TINY))
    values = 1 - np.linalg.eigvalsh(weights / root / root[:, None])[::-1]
    smallest = _padded(values[:N_EIGENVALUES], N_EIGENVALUES, fill=1.0)
    return logit(np.clip(smallest, 1e-4, 1 - 1e-4))


def _padded(values: np.ndarray, length: int, fill: float = 0.0) -> np.ndarray:
    return np.pad(values, (0, length - len(values)), constant_values=fill)
