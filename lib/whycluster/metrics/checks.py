"""Checks of what metrics are given; every error names the argument at fault."""

import numpy as np
import pandas as pd


def as_table(values, name: str) -> np.ndarray:
    """Return finite numbers of shape (n_rows, n_features)."""
    array = np.asarray(values)
    array = array if np.issubdtype(array.dtype, np.floating) else array.astype(float)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} has shape {array.shape}; expected a table (rows, features)")
    if not np.isfinite(array).all():
        row, column = map(int, np.argwhere(~np.isfinite(array))[0])
        raise ValueError(
            f"{name} is not finite in row {row}, column {column}; fill or drop it first"
        )
    return array


def as_vector(values, name: str) -> np.ndarray:
    """Return finite numbers of shape (n_features,)."""
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError(f"{name} has shape {array.shape}; expected one finite number per feature")
    return array


def as_sets(values, name: str) -> np.ndarray:
    """Return a bool table: one set of features per row."""
    array = np.asarray(values)
    if array.dtype != bool or array.ndim != 2:
        raise ValueError(
            f"{name} has type {array.dtype} and shape {array.shape}; expected a bool table, "
            "such as gates > 0"
        )
    return array


def factorize(labels, name: str) -> np.ndarray:
    """Return labels of any type as integers from 0."""
    labels = pd.Series(np.asarray(labels, dtype=object) if np.ndim(labels) == 1 else [None])
    if len(labels) == 0 or labels.isna().any():
        raise ValueError(f"{name} must be one-dimensional, not empty and without missing labels")
    return pd.factorize(labels)[0]


def check_same_length(a, b, name_a: str, name_b: str) -> None:
    """Raise a ValueError unless both have one entry per row."""
    if len(a) != len(b):
        raise ValueError(f"{name_a} has {len(a)} entries and {name_b} {len(b)}; they must be equal")
