"""What the networks of ClustRecNet are shown of tables: descriptions, or images."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator
from torch import Tensor
from tqdm.auto import tqdm

from whycluster.contract import validation
from whycluster.recommender import descriptors
from whycluster.recommender.descriptors import MAX_COLUMNS, MAX_ROWS

MIN_ROWS = 10  # of a table
TABLES_AT_ONCE = 16  # that one process is sent


class Descriptions:
    """Tables as the set network sees them: descriptors, made once.

    Parameters
    ----------
    parts : sequence of Tensor of shape (n_tables, ...)
        What `descriptors.describe` returns, stacked.
    """

    def __init__(self, parts: Sequence[Tensor]):
        self.parts = list(parts)

    @classmethod
    def of(
        cls, tables: Sequence, *, ordered: bool = True, n_jobs: int = 1, verbose: int = 0
    ) -> "Descriptions":
        """Describe tables, in `n_jobs` processes."""
        starts = range(0, len(tables), TABLES_AT_ONCE)
        jobs = (delayed(_describe)(tables[i : i + TABLES_AT_ONCE], i, ordered) for i in starts)
        described = []
        with tqdm(total=len(tables), unit="table", disable=not verbose) as bar:
            for found in Parallel(n_jobs=n_jobs, return_as="generator")(jobs):
                described += found
                bar.update(len(found))
        return cls([torch.from_numpy(np.stack(part)) for part in zip(*described, strict=True)])

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, places: slice) -> "Descriptions":
        return Descriptions([part[places] for part in self.parts])

    def batch(self, rows: Tensor, device) -> list[Tensor]:
        """Return inputs of shape (n_models, batch, ...)."""
        self.parts = [part.to(device) for part in self.parts]
        return [part[rows] for part in self.parts]


class Images:
    """Tables as the published network sees them, made for each batch anew.

    Parameters
    ----------
    tables : sequence of array-like of shape (n_samples, n_features), or of `descriptors.Sample`
    ordered : bool, default=True
        Whether rows and columns are put in `descriptors.canonical` order.
    """

    def __init__(self, tables: Sequence, *, ordered: bool = True):
        self.tables = tables
        self.ordered = ordered

    def __len__(self) -> int:
        return len(self.tables)

    def __getitem__(self, places: slice) -> "Images":
        return Images(self.tables[places], ordered=self.ordered)

    def batch(self, rows: Tensor, device) -> list[Tensor]:
        """Return images of shape (n_models, batch, 2000, 50)."""
        rows = rows.cpu()
        seen = {i: self._table(i) for i in rows.unique().tolist()}
        stacked = [images([seen[i] for i in model]) for model in rows.tolist()]
        return [torch.stack(stacked).to(device)]

    def _table(self, i: int) -> np.ndarray:
        return _sample(self.tables[i], i, self.ordered).Z


def images(tables: Sequence[np.ndarray]) -> Tensor:
    """Put tables in the middle of images of zeros.

    Parameters
    ----------
    tables : sequence of ndarray of shape (n_rows, n_columns)
        At most 2,000 by 50.

    Returns
    -------
    Tensor of shape (n_tables, 2000, 50), float32
    """
    out = torch.zeros(len(tables), MAX_ROWS, MAX_COLUMNS)
    for image, table in zip(out, tables, strict=True):
        top, left = (MAX_ROWS - len(table)) // 2, (MAX_COLUMNS - table.shape[1]) // 2
        rows, columns = slice(top, top + len(table)), slice(left, left + table.shape[1])
        image[rows, columns] = torch.from_numpy(table)
    return out


def check_table(X) -> np.ndarray:
    """Return a table as numbers, float64 of shape (n_samples, n_features).

    Raises
    ------
    ValueError
        If `X` has text, missing values, fewer than 10 rows or only constant columns.
    """
    shape = np.shape(X)
    if len(shape) != 2 or shape[0] < MIN_ROWS:
        raise ValueError(
            f"X has shape {shape}; a table of {MIN_ROWS} rows or more is needed to recommend"
        )
    if not isinstance(X, pd.DataFrame) and np.asarray(X).dtype.kind in "OSU":
        raise ValueError("X holds text; encode it first, as whycluster.table.TableEncoder does")
    X_ = validation.check_rows(BaseEstimator(), X).astype(np.float64)
    if np.ptp(X_, axis=0).max() == 0:
        raise ValueError(f"all {X_.shape[1]} columns are constant; there is nothing to cluster")
    return X_


def _describe(tables: Sequence, start: int, ordered: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """Describe the tables of which the first is data set number `start`."""
    samples = (_sample(table, i, ordered) for i, table in enumerate(tables, start))
    return [descriptors.describe(sample) for sample in samples]


def _sample(table, number: int, ordered: bool) -> descriptors.Sample:
    if isinstance(table, descriptors.Sample):
        return table
    try:
        return descriptors.sample(check_table(table), ordered=ordered)
    except ValueError as error:
        raise ValueError(f"data set {number}: {error}") from None
