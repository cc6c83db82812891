"""Scores within groups of rows, so that what sets the groups apart counts for nothing."""

from collections.abc import Callable

import numpy as np

from whycluster.metrics.checks import check_same_length, factorize


def within_groups(score: Callable, y_true, y_score, groups) -> float:
    """Mean of a score over groups, each weighted by its number of rows.

    A ranking score such as AUROC, taken over all rows, also rewards a model that only knows which
    group a row is in, where classes are more frequent in one group than in another.

    Parameters
    ----------
    score : callable
        ``score(y_true, y_score)`` returns a number.
    y_true : array-like of shape (n_samples,)
        Classes.
    y_score : array-like of shape (n_samples, ...)
        What `score` takes beside them, such as probabilities.
    groups : array-like of shape (n_samples,)
        Group of each row, such as its cluster.

    Returns
    -------
    float
        Over the groups in which two classes or more occur; others have nothing to tell apart, and
        their rows no weight.

    Raises
    ------
    ValueError
        If no group has two classes, or lengths differ.

    Examples
    --------
    >>> from sklearn.metrics import roc_auc_score
    >>> within_groups(roc_auc_score, [0, 1, 0, 1, 1], [0.1, 0.2, 0.8, 0.9, 0.7], [0, 0, 1, 1, 1])
    0.7
    """
    y_true, y_score, groups = np.asarray(y_true), np.asarray(y_score), factorize(groups, "groups")
    check_same_length(y_true, groups, "y_true", "groups")
    check_same_length(y_score, groups, "y_score", "groups")
    members = [np.flatnonzero(groups == g) for g in range(groups.max() + 1)]
    told = [own for own in members if len(np.unique(y_true[own])) > 1]
    if not told:
        raise ValueError("every group has one class; there is nothing to tell apart within groups")
    values = [score(y_true[own], y_score[own]) for own in told]
    return float(np.average(values, weights=[len(own) for own in told]))
