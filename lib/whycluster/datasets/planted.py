"""A mixed table in which another column decides the target in each of two clusters."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

STEEPNESS = 4.0  # logits per standard deviation of the driver


def make_planted_drivers(
    n_samples: int = 800, *, random_state: int | np.random.RandomState | None = None
) -> tuple[pd.DataFrame, pd.Series, np.ndarray]:
    """Two clusters of customers; income decides the target in one, visits in the other.

    Four categories tell the clusters apart and say nothing of the target within them. `income`,
    `visits`, `age` and `height` are normal, `region` and `newsletter` are drawn at random, all of
    them alike in both clusters.

    Parameters
    ----------
    n_samples : int, at least 10, default 800
        Rows, 55 % of them in cluster 0, in random order.
    random_state : int, RandomState or None, default None

    Returns
    -------
    X : DataFrame of shape (n_samples, 10)
    y : Series of shape (n_samples,)
        "yes" with probability 1 / (1 + exp(-4 · driver)), the driver in standard deviations.
    clusters : int ndarray of shape (n_samples,)
        0: income decides; 1: visits decide.

    Raises
    ------
    ValueError
        If there are too few rows.

    Examples
    --------
    >>> X, y, clusters = make_planted_drivers(200, random_state=0)
    >>> bool((X["income"][(clusters == 0) & (y == "yes")] > 30_000).mean() > 0.8)
    True

    """
    if n_samples < 10:
        raise ValueError(f"n_samples={n_samples} is too few for two clusters; give 10 or more")
    random = check_random_state(random_state)
    clusters = (random.permutation(n_samples) >= 0.55 * n_samples).astype(int)
    normal = random.normal(size=(4, n_samples))
    driver = np.where(clusters == 0, normal[0], normal[1])
    chance = 1 / (1 + np.exp(-STEEPNESS * driver))
    numbers = {"income": 30_000, "visits": 40, "age": 50, "height": 170}
    spreads = {"income": 8_000, "visits": 10, "age": 12, "height": 9}
    X = pd.DataFrame(_categories(clusters, random))
    for (name, mean), values in zip(numbers.items(), normal, strict=True):
        X[name] = (mean + spreads[name] * values).round(1)
    y = pd.Series(np.where(random.uniform(size=n_samples) < chance, "yes", "no"), name="buys again")
    return X, y, clusters


def _categories(clusters, random) -> dict[str, np.ndarray]:
    """Four categories that go with the cluster in 97 % of the rows, and two that do not."""
    levels = {
        "plan": ("basic", "premium"),
        "channel": ("web", "shop"),
        "contract": ("monthly", "yearly"),
        "payment": ("card", "invoice"),
    }
    found = {}
    for name, pair in levels.items():
        is_stray = random.uniform(size=len(clusters)) < 0.03
        found[name] = np.array(pair)[np.where(is_stray, 1 - clusters, clusters)]
    found["region"] = random.choice(["north", "east", "south", "west", "centre"], len(clusters))
    found["newsletter"] = random.choice(["daily", "weekly", "never"], len(clusters))
    return found
