"""Faithfulness: whether the model does worse without the features that an explanation names."""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from whycluster.metrics.checks import as_vector, check_same_length

REMOVALS = ("cumulative", "individual")


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
    importance = as_vector(importance, "importance")
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
    importance = as_vector(importance, "importance")
    score = as_vector(score_without, "score_without")
    check_same_length(importance, score, "importance", "score_without")
    if len(score) < 2:
        raise ValueError("faithfulness of 1 feature is undefined; remove at least 2")
    if np.ptp(importance) == 0 or np.ptp(score) == 0:
        constant = "importance" if np.ptp(importance) == 0 else "score_without"
        warnings.warn(f"{constant} is constant: faithfulness is undefined (NaN)", stacklevel=2)
        return float("nan")
    sign = 1 if removal == "cumulative" else -1
    return float(sign * np.corrcoef(importance, score)[0, 1])


def _check_removal(removal: str) -> None:
    if removal not in REMOVALS:
        raise ValueError(f"removal is {removal!r}; choose {' or '.join(REMOVALS)}")


def _column(X, j: int):
    return X.iloc[:, j] if isinstance(X, pd.DataFrame) else X[:, j]


def _set_column(X, j: int, values) -> None:
    if isinstance(X, pd.DataFrame):
        X.iloc[:, j] = values
    else:
        X[:, j] = values
