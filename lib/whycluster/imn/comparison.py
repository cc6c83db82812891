"""Comparing two explanations, or two methods, with an interval: arrays in, numbers out."""

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata, spearmanr, t

from whycluster.metrics.agreement import unit_ranks

LEVEL = 0.95  # of all intervals


class Interval(NamedTuple):
    """A value with a 95 % interval.

    Attributes
    ----------
    value, low, high : float or ndarray
    """

    value: float | np.ndarray
    low: float | np.ndarray
    high: float | np.ndarray


class Difference(NamedTuple):
    """A mean paired difference with its 95 % interval and p-value.

    Attributes
    ----------
    value, low, high : float
    p : float
        Two-sided; 1 where all differences are 0.
    """

    value: float
    low: float
    high: float
    p: float


def rank_agreement(a, b, *, n_bootstrap: int = 1000, random_state: int = 0) -> Interval:
    """Rank correlation of two explanations of the same rows, by their mean absolute values.

    Parameters
    ----------
    a, b : array-like of shape (n_samples, n_features)
        Attributions or contributions, of any scale.
    n_bootstrap : int, default=1000
        Resamples of the rows, from which the interval is taken (percentiles).
    random_state : int, default=0

    Returns
    -------
    Interval
        Spearman's correlation of the importances, in [-1, 1].

    Raises
    ------
    ValueError
        Unequal shapes, or importances that are all equal.
    """
    a, b = (np.abs(np.asarray(values, dtype=float)) for values in (a, b))
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"explanations have shapes {a.shape} and {b.shape}; give equal tables")
    importances = [values.mean(axis=0) for values in (a, b)]
    if any(np.ptp(importance) == 0 for importance in importances):
        raise ValueError("all features are equally important in one explanation; nothing to rank")
    draws = np.random.default_rng(random_state).multinomial(
        len(a), np.full(len(a), 1 / len(a)), size=n_bootstrap
    )
    resampled = [unit_ranks(draws @ values) for values in (a, b)]
    correlations = (resampled[0] * resampled[1]).sum(axis=1)
    return Interval(float(spearmanr(*importances).statistic), *map(float, _ends(correlations)))


def rank_shifts(
    importance, reference, *, n_bootstrap: int = 1000, random_state: int = 0
) -> Interval:
    """Places that each feature gains on a reference ranking, over paired seeds.

    Parameters
    ----------
    importance, reference : array-like of shape (n_seeds, n_features)
        Importances of the same features, at least 0; one line per seed, in the same order.
    n_bootstrap : int, default=1000
        Resamples of the seeds.
    random_state : int, default=0

    Returns
    -------
    Interval of ndarrays of shape (n_features,)
        Mean places gained, from -(n_features - 1) to n_features - 1; positive: more important than
        in the reference. A feature whose interval leaves 0 out has changed its role.
    """
    own, other = (np.atleast_2d(np.asarray(v, dtype=float)) for v in (importance, reference))
    if own.shape != other.shape:
        raise ValueError(f"importances have shapes {own.shape} and {other.shape}; pair the seeds")
    gained = rankdata(own, axis=1) - rankdata(other, axis=1)
    picks = np.random.default_rng(random_state).integers(len(own), size=(n_bootstrap, len(own)))
    return Interval(gained.mean(axis=0), *_ends(gained[picks].mean(axis=1)))


def paired_difference(a, b, *, test_share: float) -> Difference:
    """Mean difference of two methods over the same random splits, and whether it is chance.

    The corrected resampled t-test of Nadeau and Bengio (2003), Inference for the Generalization
    Error: splits of one data set share rows, so that the plain t-test is far too sure of itself.

    Parameters
    ----------
    a, b : array-like of shape (n_splits,)
        Scores of the two methods, split by split; at least two.
    test_share : float in (0, 1)
        Share of the rows that each split tests on.

    Returns
    -------
    Difference
        Of a minus b.
    """
    gap = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    if gap.ndim != 1 or len(gap) < 2:
        raise ValueError(f"scores have shape {gap.shape}; give at least two splits of each method")
    if not 0 < test_share < 1:
        raise ValueError(f"test_share={test_share} is not between 0 and 1")
    mean, n = float(gap.mean()), len(gap)
    error = float(np.sqrt((1 / n + test_share / (1 - test_share)) * gap.var(ddof=1)))
    if error == 0:
        return Difference(mean, mean, mean, 1.0 if mean == 0 else 0.0)
    reach = float(t.ppf((1 + LEVEL) / 2, n - 1)) * error
    p = float(2 * t.sf(abs(mean) / error, n - 1))
    return Difference(mean, mean - reach, mean + reach, p)


def _ends(draws) -> np.ndarray:
    return np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
