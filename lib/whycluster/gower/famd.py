"""Factor analysis of mixed data: a picture of a table of numbers and categories.

Pagès (2004). Analyse factorielle de données mixtes. Revue de Statistique Appliquée 52(4), 93-111:
principal components of standardised numbers beside indicators of levels, each divided by the square
root of its share of the rows, so that a number and a category weigh alike, and a rare level, once
there, weighs more than a common one.
"""

from collections.abc import Collection

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from whycluster.gower import GowerSpace


def famd(X, n_components: int = 2, *, categories: Collection[str] = ()) -> pd.DataFrame:
    """Coordinates of the rows of a mixed table along its widest directions.

    Parameters
    ----------
    X : DataFrame or array of shape (n_rows, n_columns)
        Columns are taken as in `gower_distances`; ordered categories count by rank. A missing value
        is put at the mean of its column, where it adds nothing to any direction.
    n_components : int, at least 1, default=2
        At most the number of features that the columns make, and of rows.
    categories : collection of str
        Columns whose numbers are codes.

    Returns
    -------
    DataFrame of shape (n_rows, n_components)
        Columns are named with their share of the variance, "component 1 (34%)".

    Raises
    ------
    ValueError
        A column that cannot be used, or too many components.

    Examples
    --------
    >>> X = pd.DataFrame({"age": [20, 30, 40, 50], "pet": ["cat", "cat", "dog", "dog"]})
    >>> famd(X, 1).round(1)
       component 1 (95%)
    0               -1.7
    1               -1.0
    2                1.0
    3                1.7
    """
    space = GowerSpace.learn(X, categories=categories)
    [rows] = space.encode(X)
    blocks = [
        _features(column, values) for column, values in zip(space.columns, rows.T, strict=True)
    ]
    features = np.nan_to_num(np.concatenate(blocks, axis=1))
    if not 1 <= n_components <= min(features.shape):
        raise ValueError(
            f"n_components={n_components}; choose 1 to {min(features.shape)} for "
            f"{len(features)} rows and {features.shape[1]} features"
        )
    pca = PCA(n_components, svd_solver="full").fit(features)
    shares = enumerate(pca.explained_variance_ratio_, start=1)
    names = [f"component {i} ({share:.0%})" for i, share in shares]
    index = X.index if isinstance(X, pd.DataFrame) else None
    return pd.DataFrame(pca.transform(features), columns=names, index=index)


def _features(column, values) -> np.ndarray:
    """Return the centred features of an encoded column, NaN where missing."""
    if column.kind == "category":
        levels = (values[:, None] == np.arange(len(column.levels))).astype(float)
        levels[np.isnan(values)] = np.nan
        share = np.nanmean(levels, axis=0)
        return (levels - share)[:, share > 0] / np.sqrt(share[share > 0])
    centred = values[:, None] - np.nanmean(values)
    return centred / (np.nanstd(values) or 1.0)
