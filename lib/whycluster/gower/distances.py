r"""Gower's distance: how far apart two rows of a mixed table are, on average over its columns.

    d(x, y) = Σ_j w_j δ_j d_j(x_j, y_j) / Σ_j w_j δ_j

Gower (1971). A General Coefficient of Similarity and Some of Its Properties. Biometrics 27,
857-871; there as the similarity 1 - d.

======  ==============  ==========================================================================
paper   code            meaning
======  ==============  ==========================================================================
w_j     ``weight``      of the column; scaled to a sum of 1
δ_j     ``is_present``  1 where both rows have a value: a missing one neither parts nor unites rows
d_j                     number: \|x_j - y_j\| / R_j; ordered category: the same of its ranks (as
                        Kaufman and Rousseeuw, 1990); category, yes/no: 0 if equal, else 1
R_j     ``spread``      largest minus smallest value of the rows that were learned from
======  ==============  ==========================================================================

A column with one value has d_j = 0 and keeps its weight. Rows learned from lie 0 to 1 apart; a new
row whose number lies outside the range may lie further. A level never seen lies at 1 from all
others.

All pairs are computed as one L1 distance between scaled numbers, minus a product of one-hot
matrices that counts equal levels, plus products that take back what a missing value must not count.
Double precision throughout, in chunks of rows, by torch on any device.
"""

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from whycluster.contract.wording import short
from whycluster.gower.columns import GowerColumn
from whycluster.training.device import resolve_device

MANY_LEVELS = 64  # of more levels, codes are compared: cheaper than a product that wide
CHUNK = 2**22  # distances computed at once: 32 MiB in double precision
ROWS_AT_ONCE = 4096


def gower_distances(
    X,
    Y=None,
    weights=None,
    *,
    categories: Collection[str] = (),
    device: str = "cpu",
    max_gib: float = 8.0,
    dtype=np.float32,
) -> np.ndarray:
    """Gower distances between the rows of mixed tables.

    Ranges and levels are those of X and Y together; learn them once with `GowerSpace` to reuse
    them for new rows.

    Parameters
    ----------
    X : DataFrame or array of shape (n_rows, n_columns)
        Numbers; text, booleans and categoricals as categories; ordered categoricals by rank.
        Missing values may be NaN, None, NA or NaT.
    Y : DataFrame or array of shape (n_others, n_columns), optional
        X if not given.
    weights : mapping of column to float, or array-like of shape (n_columns,), optional
        At least 0; 1 where a mapping has none.
    categories : collection of str
        Columns whose numbers are codes; those of an array are called x0, x1, ...
    device : str, default="cpu"
        "cuda", "cpu" or "auto".
    max_gib : float, default=8
        Larger results are refused.
    dtype : float32 or float64
        Of the result.

    Returns
    -------
    ndarray of shape (n_rows, n_others), in [0, 1]
        Without Y symmetric, zero on the diagonal.

    Raises
    ------
    ValueError
        Naming the column without values, with infinite ones, of mixed or unusable type, repeated or
        absent in Y; the two rows that share no value; weights below 0; the number of columns.
    MemoryError
        If the result would exceed `max_gib`, with the GiB that it needs.

    Examples
    --------
    >>> X = pd.DataFrame({"age": [20, 30, 40], "colour": ["red", "red", "blue"]})
    >>> gower_distances(X).round(2).tolist()
    [[0.0, 0.25, 1.0], [0.25, 0.0, 0.75], [1.0, 0.75, 0.0]]
    """
    tables = [X] if Y is None else [X, Y]
    space = GowerSpace.learn(*tables, weights=weights, categories=categories)
    return space.pairwise(*space.encode(*tables), device=device, max_gib=max_gib, dtype=dtype)


@dataclass(frozen=True)
class GowerSpace:
    """Ranges, levels and weights of a table, learned once and used for any of its rows.

    Rows are handled in *encoded* form, an ndarray of shape (n_rows, n_columns): numbers as they
    are, levels as their position, missing values as NaN.

    Parameters
    ----------
    columns : sequence of GowerColumn

    Examples
    --------
    >>> X = pd.DataFrame({"age": [20, 30, 40], "colour": ["red", "red", "blue"]})
    >>> space = GowerSpace.learn(X)
    >>> rows, new = space.encode(X, pd.DataFrame({"age": [50], "colour": ["red"]}))
    >>> space.pairwise(new, rows).tolist()  # 50 lies outside the range of 20
    [[0.75, 0.5, 0.75]]
    """

    columns: tuple[GowerColumn, ...]

    @classmethod
    def learn(cls, *tables, weights=None, categories: Collection[str] = ()) -> "GowerSpace":
        """Learn from the rows of one or more tables; parameters as in `gower_distances`."""
        frames = [as_frame(table) for table in tables]
        names = list(frames[0].columns)
        for frame in frames[1:]:
            _check_names(frame, names)
        _check_known(categories, names, "categories")
        shares = _shares(weights, names)
        return cls(
            tuple(
                GowerColumn.learn([frame[name] for frame in frames], share, name in categories)
                for name, share in zip(names, shares, strict=True)
            )
        )

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return [column.name for column in self.columns]

    def encode(self, *tables) -> list[np.ndarray]:
        """Turn rows into numbers.

        Parameters
        ----------
        *tables : DataFrame or array of shape (n_rows, n_columns)
            Levels never seen are numbered alike in all of them.

        Returns
        -------
        list of ndarray of shape (n_rows, n_columns), float64
            One per table.

        Raises
        ------
        ValueError
            Naming the column that is absent, changed its kind, holds infinity or an unknown level
            of an ordered category.

        Warns
        -----
        UserWarning
            Counting levels never seen, and other values in columns that had only one.
        """
        frames = [as_frame(table) for table in tables]
        for frame in frames:
            _check_names(frame, self.names)
        encoded = [np.empty(frame.shape) for frame in frames]
        notes = []
        for j, column in enumerate(self.columns):
            values = column.encode([frame[column.name] for frame in frames])
            for table, part in zip(encoded, values, strict=True):
                table[:, j] = part
            notes.append(column.news(np.concatenate(values)))
        if any(notes):
            warnings.warn("; ".join(filter(None, notes)), UserWarning, stacklevel=2)
        return encoded

    def decode(self, rows: np.ndarray) -> pd.DataFrame:
        """Return encoded rows as a table; levels as text, ordered ones as ordered categories."""
        pairs = zip(self.columns, rows.T, strict=True)
        return pd.DataFrame({column.name: column.decode(values) for column, values in pairs})

    def narrowed(self, rows: np.ndarray) -> "GowerSpace":
        """Return the space with the ranges of some encoded rows only."""
        pairs = zip(self.columns, rows.T, strict=True)
        return GowerSpace(tuple(column.narrowed(values) for column, values in pairs))

    def pairwise(
        self, A, B=None, *, device: str = "cpu", max_gib: float = 8.0, dtype=np.float32
    ) -> np.ndarray:
        """Distances between encoded rows; see `gower_distances`.

        Parameters
        ----------
        A : ndarray of shape (n_rows, n_columns)
        B : ndarray of shape (n_others, n_columns), optional
            A if not given.

        Returns
        -------
        ndarray of shape (n_rows, n_others)
        """
        is_self = B is None
        B = A if is_self else B
        _check_memory(len(A), len(B), dtype, max_gib)
        pairs = _Pairs(self.columns, A, B, resolve_device(device))
        distances = np.empty((len(A), len(B)), dtype)
        out = torch.from_numpy(distances)  # a view: torch transposes faster than NumPy
        step = min(ROWS_AT_ONCE, max(1, CHUNK // max(1, len(B))))
        for start in range(0, len(A), step):
            rows = slice(start, start + step)
            out[rows, start if is_self else 0 :] = pairs(rows, start if is_self else 0)
            if is_self:  # only the upper triangle was computed
                out[rows, rows] = torch.maximum(out[rows, rows], out[rows, rows].T)
                out[start + step :, rows] = out[rows, start + step :].T
        if is_self:
            out.fill_diagonal_(0)
        return distances

    def by_column(self, A, B) -> np.ndarray:
        """Share of each column in the distances between encoded rows.

        Parameters
        ----------
        A, B : ndarray of shape (n_rows, n_columns), (n_others, n_columns)

        Returns
        -------
        ndarray of shape (n_rows, n_others, n_columns)
            Over the columns they add up to `pairwise(A, B)`.
        """
        weights = np.array([c.weight for c in self.columns])
        spread = np.array([c.spread for c in self.columns])
        is_category = np.array([c.kind == "category" for c in self.columns])
        gap = np.abs(A[:, None] - B[None])
        is_present = ~np.isnan(gap)
        scaled = np.divide(gap, spread, out=np.zeros_like(gap), where=spread > 0)
        parts = np.where(is_category, gap != 0, scaled) * weights * is_present
        shared = (weights * is_present).sum(axis=-1, keepdims=True)
        _check_shared(shared[..., 0], A, B, 0, 0)
        return np.where(is_present, parts, 0) / shared


class _Pairs:
    """Distances between the rows of two encoded tables, block by block.

    With numbers scaled to x = w (v - low) / R, and 0 where missing, Σ_j w δ |x - y| is their L1
    distance less what missing values add, |x| (1 - δ_y) + (1 - δ_x) |y|. Of categories, the weight
    that both rows have, less that of equal levels.
    """

    def __init__(self, columns: Sequence[GowerColumn], A, B, device: torch.device):
        self.A, self.B, self.device = A, B, device
        self.weights = np.array([c.weight for c in columns])
        self.low = np.array([c.low for c in columns])
        self.scale = np.array([c.weight / c.spread if c.spread else 0.0 for c in columns])
        is_category = np.array([c.kind == "category" for c in columns])
        has_gaps = np.isnan(A).any(axis=0) | np.isnan(B).any(axis=0)
        self.n_levels = np.where(is_category, _count_levels(A, B), 0)
        self.is_wide = self.n_levels > MANY_LEVELS
        self.is_number = ~is_category
        self.is_narrow = is_category & ~self.is_wide
        self.gaps = np.flatnonzero(has_gaps)
        self.number_gaps = np.flatnonzero(has_gaps & self.is_number)
        self.narrow_gaps = np.flatnonzero(has_gaps & self.is_narrow)
        self.always_apart = self.weights[self.is_narrow & ~has_gaps].sum()
        self.always_shared = self.weights[~has_gaps].sum()
        self.right = self._side(B, is_left=False)

    def __call__(self, rows: slice, first: int) -> torch.Tensor:
        """Return the distances of these rows of A to those of B from `first` on."""
        left = self._side(self.A[rows], is_left=True)
        right = {name: part[first:] for name, part in self.right.items()}
        apart = torch.cdist(left["numbers"], right["numbers"], p=1)
        apart.addmm_(left["factors"], right["factors"].T).add_(self.always_apart)
        wide = (left["codes"].T, right["codes"].T, self.weights[self.is_wide])
        for x, y, weight in zip(*wide, strict=True):
            is_shared = (x >= 0)[:, None] & (y >= 0)
            apart += float(weight) * ((x[:, None] != y) & is_shared)
        if len(self.gaps):
            shared = left["present"] @ right["present"].T + self.always_shared
            _check_shared(shared.cpu().numpy(), self.A, self.B, rows.start, first)
            apart /= shared
        return apart.clamp_(min=0)

    def _side(self, table, *, is_left: bool) -> dict[str, torch.Tensor]:
        """Return what a product needs of one table; signs and weights go to the left side."""
        is_present = (~np.isnan(table)).astype(float)
        filled = np.nan_to_num((table - self.low) * self.scale, nan=0.0)
        levels = self._one_hot(table)
        size = np.abs(filled[:, self.number_gaps])
        is_absent = 1 - is_present[:, self.number_gaps]
        both = is_present[:, self.narrow_gaps]
        if is_left:
            levels *= -np.repeat(self.weights[self.is_narrow], self.n_levels[self.is_narrow])
            factors = [levels, both * self.weights[self.narrow_gaps], -size, -is_absent]
            is_present = is_present * self.weights
        else:
            factors = [levels, both, is_absent, size]
        parts = {
            "numbers": filled[:, self.is_number],
            "factors": np.concatenate(factors, axis=1),
            "codes": np.nan_to_num(table[:, self.is_wide], nan=-1.0),
            "present": is_present[:, self.gaps],
        }
        return {name: torch.from_numpy(part).to(self.device) for name, part in parts.items()}

    def _one_hot(self, table) -> np.ndarray:
        """Return the levels of the narrow categories, (n_rows, sum of n_levels), 0 if missing."""
        columns = np.flatnonzero(self.is_narrow)
        blocks = [table[:, [j]] == np.arange(self.n_levels[j]) for j in columns]
        return np.concatenate([np.empty((len(table), 0)), *blocks], axis=1)


def as_frame(table) -> pd.DataFrame:
    """Return a table with text as names; columns of an array are called x0, x1, ...

    Raises
    ------
    ValueError
        If it is not two-dimensional, has no column, or a name is repeated.
    """
    if not isinstance(table, pd.DataFrame):
        array = np.asarray(table)
        if array.ndim != 2:
            raise ValueError(f"expected a table of 2 dimensions, got an array of {array.ndim}")
        table = pd.DataFrame(array, columns=[f"x{j}" for j in range(array.shape[1])])
    frame = table.set_axis([str(name) for name in table.columns], axis=1)
    if frame.shape[1] == 0:
        raise ValueError("the table has no column; distances need at least one")
    if not frame.columns.is_unique:
        repeated = frame.columns[frame.columns.duplicated()][0]
        raise ValueError(f"column name {short(repeated)!r} is repeated; make the names unique")
    return frame


def _check_names(frame, names) -> None:
    if missing := [name for name in names if name not in frame.columns]:
        raise ValueError(
            f"column {short(missing[0])!r} is missing; give the columns {short(names)}"
        )
    if new := [name for name in frame.columns if name not in names]:
        raise ValueError(f"column {short(new[0])!r} is new; give the columns {short(names)}")


def _check_known(given, names, what: str) -> None:
    if unknown := [name for name in given if name not in names]:
        raise ValueError(f"{what} names {short(unknown[0])!r}, which is no column of X")


def _shares(weights, names) -> np.ndarray:
    """Return the share of each column in the sum of weights."""
    if isinstance(weights, Mapping):
        _check_known(weights, names, "weights")
        weights = [weights.get(name, 1.0) for name in names]
    values = np.ones(len(names)) if weights is None else np.asarray(weights, dtype=float)
    if values.shape != (len(names),):
        raise ValueError(f"weights have shape {values.shape} for {len(names)} columns")
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() > 0):
        raise ValueError(f"weights are {values.tolist()}; give finite ones, 0 or more, not all 0")
    return values / values.sum()


def _count_levels(A, B) -> np.ndarray:
    """Return 1 + the largest value of each column in both tables, 0 where all are missing."""
    largest = [np.nan_to_num(table, nan=-1).max(axis=0, initial=-1) for table in (A, B)]
    return np.minimum(np.maximum(*largest) + 1, np.iinfo(np.int32).max).astype(int)


def _check_shared(shared, A, B, first_row: int, first_other: int) -> None:
    """Raise unless every pair of rows has a column with weight where both have a value."""
    alone = np.argwhere(shared <= 0)
    if len(alone) == 0:
        return
    i, j = alone[0] + (first_row, first_other)
    for table, row in ((A, i), (B, j)):
        if np.isnan(table[row]).all():
            raise ValueError(f"row {row} has no value in any column; drop it")
    raise ValueError(
        f"rows {i} and {j} have no column in which both have a value; drop one of them, or drop "
        "or impute the columns with many missing values"
    )


def _check_memory(n_rows: int, n_others: int, dtype, max_gib: float) -> None:
    gib = n_rows * n_others * np.dtype(dtype).itemsize / 2**30
    if gib > max_gib:
        raise MemoryError(
            f"distances between {n_rows:,} and {n_others:,} rows need {gib:.1f} GiB, more than "
            f"max_gib={max_gib:g}; cluster a sample with GowerClustering(sample_size=5000), "
            "or raise max_gib"
        )
