"""Reading an additive model: which part of the logits comes from which feature or pair.

Contributions of channels that read the same features are merged (Eqs. (24), (25) of NeurCAM),
what a pair says of one of its features alone is moved to that feature (purification), and every
term is centred. What is moved and taken off goes elsewhere in the sum, so that the terms still add
up to the logits, for every row. Arrays only: nothing here knows a network.

Lengerich, Tan, Chang, Hooker, Caruana (2020). Purifying Interaction Effects with the Functional
ANOVA. AISTATS.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import sparse

N_VALUES = 256  # points of a shape graph, where a feature has more distinct values than that
N_KNOTS = 32  # points along each side of a pair, at most
_ROWS_PER_KNOT = 30  # fewer would fit noise to the rows at hand


class Terms:
    """The additive terms of a model, fitted to the density of the data.

    Parameters
    ----------
    channels : sequence of tuple of int
        The features that each channel reads: (i,) or (i, j).
    n_clusters : int

    Attributes
    ----------
    terms : list of tuple of int
        Features, in the order of the table, then pairs (i, j) with i < j. Features that occur in
        pairs only are there as well: purification gives them a term of their own.
    knots : dict of int to ndarray
        Of each feature in a pair, where its part of the pair is tabulated.
    moved : dict of (int, int, int) to ndarray of shape (n_knots, n_clusters)
        What pair (i, j) said of feature i or j alone, by (i, j, feature).
    offset : ndarray of shape (n_terms, n_clusters)
        Taken off each term so that its mean over the data is zero.
    """

    def __init__(self, channels: Sequence[tuple[int, ...]], n_clusters: int):
        self.of_channel = [tuple(sorted(set(features))) for features in channels]
        single = {(feature,) for features in self.of_channel for feature in features}
        pairs = {features for features in self.of_channel if len(features) == 2}
        self.terms = [*sorted(single), *sorted(pairs)]
        self.pairs = sorted(pairs)
        self.n_clusters = n_clusters
        merge = [self.terms.index(features) for features in self.of_channel]
        shape = (len(self.terms), len(merge))
        self.merge = sparse.csr_array((np.ones(len(merge)), (merge, range(len(merge)))), shape)
        self.knots: dict[int, np.ndarray] = {}
        self.moved: dict[tuple[int, ...], np.ndarray] = {}
        self.offset = np.zeros((len(self.terms), n_clusters))

    def fit(self, contributions: np.ndarray, X: np.ndarray) -> "Terms":
        """Purify and centre by the rows `X`, of which `contributions` are those of the channels.

        Parameters
        ----------
        contributions : ndarray of shape (n_samples, n_channels, n_clusters)
        X : ndarray of shape (n_samples, n_features)
        """
        raw = self._merged(contributions)
        n_knots = int(np.clip(len(X) // _ROWS_PER_KNOT, 4, N_KNOTS))
        for pair in self.pairs:
            for feature in pair:
                self.knots[feature] = knots(X[:, feature], n_knots)
            sides = [hats(X[:, feature], self.knots[feature]) for feature in pair]
            parts = main_effects(raw[:, self.terms.index(pair)], *sides)
            for feature, part in zip(pair, parts, strict=True):
                self.moved[*pair, feature] = part
        self.offset = self._purified(raw, X).mean(axis=0)
        return self

    def read(self, contributions: np.ndarray, X: np.ndarray) -> np.ndarray:
        """Return the terms of rows `X`, shape (n_samples, n_terms, n_clusters).

        With `intercept` they add up to the sum of `contributions` over channels.
        """
        return self._purified(self._merged(contributions), X) - self.offset

    @property
    def intercept(self) -> np.ndarray:
        """What the terms were lowered by in all, shape (n_clusters,)."""
        return self.offset.sum(axis=0)

    def _merged(self, contributions: np.ndarray) -> np.ndarray:
        n_samples, n_channels, n_clusters = contributions.shape
        by_channel = contributions.transpose(1, 0, 2).reshape(n_channels, -1).astype(float)
        merged = (self.merge @ by_channel).reshape(-1, n_samples, n_clusters)
        return merged.transpose(1, 0, 2)

    def _purified(self, raw: np.ndarray, X: np.ndarray) -> np.ndarray:
        terms = raw.copy()
        for (i, j, feature), table in self.moved.items():
            part = hats(X[:, feature], self.knots[feature]) @ table
            terms[:, self.terms.index((i, j))] -= part
            terms[:, self.terms.index((feature,))] += part
        return terms


def knots(values: np.ndarray, n_knots: int) -> np.ndarray:
    """Return the distinct values where there are at most `n_knots`, else as many quantiles."""
    distinct = np.unique(values)
    if len(distinct) <= n_knots:
        return distinct
    return np.unique(np.quantile(values, np.linspace(0, 1, n_knots)).astype(values.dtype))


def hats(values: np.ndarray, knots: np.ndarray) -> sparse.csr_array:
    """Return weights (n_values, n_knots) of linear interpolation between knots.

    Rows sum to one; outside the knots the nearest of them has all the weight.
    """
    if len(knots) == 1:
        return sparse.csr_array(np.ones((len(values), 1)))
    right = np.clip(np.searchsorted(knots, values), 1, len(knots) - 1)
    start, end = knots[right - 1].astype(float), knots[right].astype(float)
    share = np.clip((values - start) / (end - start), 0, 1)
    rows = np.repeat(np.arange(len(values)), 2)
    columns = np.column_stack([right - 1, right]).ravel()
    weights = np.column_stack([1 - share, share]).ravel()
    return sparse.csr_array((weights, (rows, columns)), shape=(len(values), len(knots)))


def main_effects(pair: np.ndarray, first, second) -> tuple[np.ndarray, np.ndarray]:
    """Return what a pair says of each of its features alone, and with it of no feature.

    The least-squares fit of the pair by a sum of two piecewise linear functions, over the rows of
    the data. What is left has no main effect: it is orthogonal to every such function. Where knots
    are all distinct values this is the functional ANOVA with the empirical density.

    Parameters
    ----------
    pair : ndarray of shape (n_samples, n_clusters)
    first, second : sparse array of shape (n_samples, n_knots)
        Interpolation weights of the two features.

    Returns
    -------
    two ndarrays of shape (n_knots, n_clusters)
    """
    both = sparse.hstack([first, second], format="csr")
    gram = (both.T @ both).toarray()
    found = np.linalg.lstsq(gram, both.T @ pair, rcond=1e-10)[0]
    return found[: first.shape[1]], found[first.shape[1] :]


def shares(values: Sequence[np.ndarray], grids: Sequence[np.ndarray]) -> np.ndarray:
    """Return the share of rows nearest to each grid point, of the shape of the grid."""
    cells = [_nearest(v, grid) for v, grid in zip(values, grids, strict=True)]
    shape = tuple(map(len, grids))
    counts = np.bincount(np.ravel_multi_index(cells, shape), minlength=np.prod(shape))
    return counts.reshape(shape) / len(values[0])


def _nearest(values: np.ndarray, grid: np.ndarray) -> np.ndarray:
    middle = (grid[1:].astype(float) + grid[:-1]) / 2
    return np.searchsorted(middle, values)


def simplify(x: np.ndarray, y: np.ndarray, tolerance: float) -> np.ndarray:
    """Pick points between which straight lines stay within `tolerance` of all others.

    Parameters
    ----------
    x : ndarray of shape (n_points,)
        Increasing.
    y : ndarray of shape (n_points, n_curves)
    tolerance : float

    Returns
    -------
    ndarray of int
        Positions of the points to keep, the first and last among them.
    """
    keep, spans = {0, len(x) - 1}, [(0, len(x) - 1)]
    while spans:
        start, end = spans.pop()
        share = (x[start : end + 1] - x[start]) / max(x[end] - x[start], np.finfo(float).tiny)
        line = y[start] + share[:, None] * (y[end] - y[start])
        error = np.abs(y[start : end + 1] - line).max(axis=1)
        worst = start + int(error.argmax())
        if error.max() > tolerance:
            keep.add(worst)
            spans += [(start, worst), (worst, end)]
    return np.array(sorted(keep))


def tabulate(
    evaluate: Callable[[np.ndarray], np.ndarray], values: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Tabulate functions of one feature so that linear interpolation gives them back.

    Parameters
    ----------
    evaluate : callable
        Maps (n,) values to (n, n_clusters) contributions.
    values : ndarray of shape (n_points,)
        Increasing: those that occur. The table reaches beyond them by their range on either side.
    tolerance : float

    Returns
    -------
    two ndarrays, of shape (n_rows,) and (n_rows, n_clusters)
    """
    low, high = float(values[0]), float(values[-1])
    span = (high - low) or 1.0
    fine = np.linspace(low - span, high + span, 6001)
    x = np.unique(np.concatenate([fine, values.astype(float)]).astype(np.float32)).astype(float)
    y = evaluate(x)
    kept = simplify(x, y, tolerance)
    return x[kept], y[kept]
