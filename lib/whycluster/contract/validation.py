"""Checks of user input that every estimator shares; one line per fault, naming the offender."""

import numbers
import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import validate_data

from whycluster.contract.wording import short


def check_fit(estimator, X) -> np.ndarray:
    """Validate `X` for `fit` and the number of clusters against it.

    Parameters
    ----------
    estimator : estimator with an attribute n_clusters
    X : array-like or DataFrame of shape (n_samples, n_features)

    Returns
    -------
    ndarray of shape (n_samples, n_features), float32

    Raises
    ------
    ValueError
        Naming the column that is repeated, textual, or has missing or infinite values; the number
        of clusters; constant data.
    """
    X_ = _check(estimator, X, reset=True)
    check_n_clusters(estimator.n_clusters, X_)
    return X_


def check_rows(estimator, X) -> np.ndarray:
    """Validate `X` for the `fit` of an estimator that finds no clusters; returns float32 rows."""
    return _check(estimator, X, reset=True)


def check_predict(estimator, X) -> np.ndarray:
    """Validate `X` for a fitted estimator; returns float32 of shape (n_samples, n_features)."""
    return _check(estimator, X, reset=False)


def check_represented(estimator, X, representation) -> tuple[np.ndarray, np.ndarray]:
    """Validate `X` for `fit`, and the same rows in another representation, `X` itself for None.

    Returns
    -------
    two ndarrays, float32 of shape (n_samples, n_features) and (n_samples, n_dimensions)

    Raises
    ------
    ValueError
        As `check_fit`; a representation of other rows, with missing or infinite values or text.
    """
    X_ = check_fit(estimator, X)
    if representation is None:
        return X_, X_
    rows = _check(_Representation(), representation, reset=True, label="representation")
    if len(rows) != len(X_):
        raise ValueError(
            f"representation has {len(rows)} rows and X {len(X_)}; both must describe the same rows"
        )
    return X_, rows


class _Representation(BaseEstimator):
    """Stands for the estimator in checks of a table that is not X."""


def check_n_clusters(n_clusters: int, X: np.ndarray) -> None:
    """Raise a ValueError unless 1 <= n_clusters <= the number of distinct rows of `X`."""
    if not isinstance(n_clusters, numbers.Integral) or isinstance(n_clusters, bool):
        raise ValueError(
            f"n_clusters={n_clusters!r} is not a whole number; pass an int of 1 or more"
        )
    if n_clusters < 1:
        raise ValueError(f"n_clusters={n_clusters} is below 1; pass an int of 1 or more")
    if n_clusters == 1:
        return
    if (X[0] == X).all():
        raise ValueError(f"all {X.shape[1]} columns are constant; there are no clusters to find")
    n_distinct = _count_distinct(X, n_clusters)
    if n_clusters > n_distinct:
        raise ValueError(
            f"n_clusters={n_clusters} exceeds the {n_distinct} distinct rows of X; "
            "pass at most that"
        )


def warn_of_empty_clusters(estimator, stacklevel: int) -> None:
    """Warn if fewer clusters were found than asked for, as k-means of scikit-learn does."""
    n_found = len(np.unique(estimator.labels_))
    if n_found < estimator.n_clusters:
        warnings.warn(
            f"{type(estimator).__name__} with random_state={short(estimator.random_state)} found "
            f"{n_found} clusters, n_clusters={estimator.n_clusters}: the others hold no rows; "
            "lower n_clusters or try another random_state",
            ConvergenceWarning,
            stacklevel=stacklevel + 1,
        )


def check_hidden_layers(widths) -> None:
    """Raise a ValueError unless every width is an int of 1 or more."""
    for width in widths:
        if not isinstance(width, numbers.Integral) or width < 1:
            raise ValueError(f"hidden_layers holds {width!r}; widths are ints of 1 or more")


def _count_distinct(X: np.ndarray, enough: int) -> int:
    """Count distinct rows; stops once `enough` are found among the first rows."""
    n_first = len(np.unique(X[: 10 * enough], axis=0))
    return n_first if n_first >= enough else len(np.unique(X, axis=0))


def _check(estimator, X, reset: bool, label: str = "X") -> np.ndarray:
    _check_columns(X)
    X_ = validate_data(
        estimator,
        X,
        reset=reset,
        dtype=(np.float64, np.float32),
        order="C",
        ensure_all_finite=False,
        ensure_min_samples=2 if reset else 1,
    )
    with np.errstate(over="ignore"):
        rows = np.require(X_, np.float32, ["C", "W"])  # torch warns of read-only rows
    bad = ~np.isfinite(rows)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        names = getattr(estimator, "feature_names_in_", None)
        name = f"{names[column]!r}" if names is not None else str(column)
        kind, remedy = _fault(X_[row, column])
        raise ValueError(
            f"{label} contains {kind} in column {name}, row {row} "
            f"({bad.sum()} such values in all); {remedy}"
        )
    return rows


def _fault(value) -> tuple[str, str]:
    """Name a value that is no finite float32, and what to do about it."""
    if np.isfinite(value):
        return f"{value:.3g}, too large for single precision,", "rescale them first"
    return "NaN" if np.isnan(value) else "inf", "impute or drop them first"


def _check_columns(X) -> None:
    """Raise a ValueError for repeated or textual columns of a DataFrame."""
    if not isinstance(X, pd.DataFrame):
        return
    if not X.columns.is_unique:
        repeated = X.columns[X.columns.duplicated()][0]
        raise ValueError(f"column name {repeated!r} is repeated; make the names unique")
    for name, column in X.items():
        if is_numeric_dtype(column.dtype):
            continue
        try:
            pd.to_numeric(column)
        except (ValueError, TypeError):
            raise ValueError(
                f"column {name!r} is not numeric ({column.dtype}); encode it first, "
                "as whycluster.table.TableEncoder does"
            ) from None


class Represented(NamedTuple):
    """Rows as a model reads them, and the same rows where distances are taken.

    Attributes
    ----------
    X : ndarray of shape (n_samples, n_features)
    representation : ndarray of shape (n_samples, n_dimensions)
    """

    X: np.ndarray
    representation: np.ndarray

    @property
    def offset(self) -> np.ndarray:
        """Mean of each dimension of the representation, (n_dimensions,)."""
        return self.representation.mean(axis=0, dtype=float)

    @property
    def scale(self) -> float:
        """Unit of distances: the root of the mean variance of a dimension, 1 for constant ones."""
        return float(np.sqrt(self.representation.var(axis=0, dtype=float).mean())) or 1.0

    def scaled(self) -> np.ndarray:
        """Return the representation without its mean and in this unit, float32."""
        return ((self.representation - self.offset) / self.scale).astype(np.float32)
