"""Columns of a mixed table as Gower's distance takes them: numbers, ranks or levels.

A column is a *number*, an *ordered* category (an ordered categorical), or a *category* (text,
booleans, other categoricals, and numbers that are declared codes). Levels are compared as text,
letter by letter; nothing is trimmed, so that " red" is not "red".
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from pandas.api import types

from whycluster.contract.wording import as_text, short

_NUMBERS = {"integer", "floating", "mixed-integer-float", "decimal"}
_TEXTS = {"string", "boolean"}


@dataclass(frozen=True)
class GowerColumn:
    """What a column is, and how its differences count.

    Parameters
    ----------
    name : str
    kind : {"number", "ordered", "category"}
    weight : float in [0, 1]
        Share of all weights.
    low, spread : float
        Smallest value, largest minus smallest; of ordered categories, ranks from 0.
    levels : tuple of str
        Of categories; the rank of an ordered one is its position.
    is_code : bool
        Its numbers are codes of categories.
    """

    name: str
    kind: str
    weight: float
    low: float = 0.0
    spread: float = 0.0
    levels: tuple[str, ...] = ()
    is_code: bool = False

    @classmethod
    def learn(cls, parts: list[pd.Series], weight: float, is_code: bool) -> "GowerColumn":
        """Learn a column from its values in one or more tables.

        Raises
        ------
        ValueError
            If there is no value, an infinite one, or values of several kinds.
        """
        name = parts[0].name
        read = [_read(values, is_code) for values in parts]
        kinds = {kind for kind, _, _ in read if kind}
        if not kinds:
            raise ValueError(f"column {short(name)!r} has no value in any row; drop it")
        if len(kinds) > 1:
            both = " in one table and ".join(sorted(kinds))
            raise ValueError(f"column {short(name)!r} is {both} in another; make it one kind")
        kind = kinds.pop()
        levels = tuple(dict.fromkeys(level for _, _, found in read for level in found))
        if kind == "category":
            return cls(name, kind, float(weight), levels=levels, is_code=is_code)
        if any(found and tuple(found) != levels for _, _, found in read):
            raise ValueError(f"column {short(name)!r} has its levels in two orders; make them one")
        column = cls(name, kind, float(weight), levels=levels)
        return column.narrowed(np.concatenate([values for _, values, _ in read]))

    def narrowed(self, values: np.ndarray) -> "GowerColumn":
        """Return the column with the range of some encoded values, its own if all are missing."""
        if self.kind == "category" or np.isnan(values).all():
            return self
        low = float(np.nanmin(values))
        return replace(self, low=low, spread=float(np.nanmax(values)) - low)

    def encode(self, parts: list[pd.Series]) -> list[np.ndarray]:
        """Return numbers, ranks or positions of levels, NaN where missing.

        Levels never seen get positions behind the known ones, the same in all parts.

        Raises
        ------
        ValueError
            If the values are of another kind than those learned, or have no rank.
        """
        position = {level: i for i, level in enumerate(self.levels)}
        return [self._encode(values, position) for values in parts]

    def _encode(self, values: pd.Series, position: dict[str, int]) -> np.ndarray:
        kind, read, levels = _read(values, self.is_code)
        if kind and (kind == "number") != (self.kind == "number"):
            raise ValueError(
                f"column {short(self.name)!r} was {self.kind} when learned and is {kind} now "
                f"({short(values.dropna().iloc[0], 30)!r}); give it as it was"
            )
        if not kind or kind == "number":
            return read
        is_present = ~np.isnan(read)
        new = [levels[i] for i in np.unique(read[is_present]).astype(int)]
        for level in new:
            if self.kind == "ordered" and level not in position:
                ranks = short(", ".join(self.levels))
                raise ValueError(
                    f"column {short(self.name)!r}: {short(level, 30)!r} has no rank among {ranks}"
                )
            position.setdefault(level, len(position))
        to = np.array([position.get(level, -1) for level in levels], dtype=float)
        encoded = np.full(len(read), np.nan)
        encoded[is_present] = to[read[is_present].astype(int)]
        return encoded

    def decode(self, values: np.ndarray):
        """Return encoded values as the column had them: numbers, text or ordered categories."""
        if self.kind == "number":
            return values
        codes = np.nan_to_num(values, nan=-1).astype(int)
        is_ordered = self.kind == "ordered"
        decoded = pd.Categorical.from_codes(codes, list(self.levels), ordered=is_ordered)
        return decoded if is_ordered else np.asarray(decoded, dtype=object)

    def news(self, values: np.ndarray) -> str:
        """Say in how many rows encoded values are unlike any that was learned; empty if none."""
        if self.kind == "category":
            is_new = values >= len(self.levels)
            what = "with a level never seen, which lies at 1 from all others"
        else:
            is_new = (values != self.low) & ~np.isnan(values) & (self.spread == 0)
            what = f"with another value than {self.low:g}, the only one when learned: not counted"
        return f"column {short(self.name)!r}: {is_new.sum()} rows {what}" if is_new.any() else ""


def _read(values: pd.Series, is_code: bool) -> tuple[str, np.ndarray, list[str]]:
    """Return the kind of a column, its values or positions of levels (NaN: missing), its levels.

    The kind is empty where no row has a value.
    """
    kind = _kind(values, is_code)
    if not kind:
        return kind, np.full(len(values), np.nan), []
    if kind == "number":
        return kind, _numbers(values), []
    if isinstance(values.dtype, pd.CategoricalDtype):
        codes, found = values.cat.codes.to_numpy(), values.cat.categories
    else:
        codes, found = pd.factorize(values)
    levels = [value if isinstance(value, str) else as_text(value) for value in found]
    if len(set(levels)) < len(levels):
        twice = next(level for level in levels if levels.count(level) > 1)
        raise ValueError(f"column {short(values.name)!r} has two levels {short(twice, 30)!r}")
    return kind, np.where(codes < 0, np.nan, codes), levels


def _kind(values: pd.Series, is_code: bool) -> str:
    dtype = values.dtype
    if not values.notna().any():
        return ""
    if isinstance(dtype, pd.CategoricalDtype):
        return "ordered" if dtype.ordered else "category"
    if types.is_bool_dtype(dtype):
        return "category"
    if types.is_numeric_dtype(dtype) and not types.is_complex_dtype(dtype):
        return "category" if is_code else "number"
    return _kind_of_objects(values, is_code)


def _kind_of_objects(values: pd.Series, is_code: bool) -> str:
    """Return the kind of a column of Python objects, text among them."""
    inferred = types.infer_dtype(values, skipna=True)
    if inferred in _NUMBERS and not is_code:
        return "number"
    if inferred in _TEXTS or inferred in _NUMBERS:
        return "category"
    for row, value in enumerate(values):
        if isinstance(value, dict | list | set | tuple | np.ndarray):
            raise TypeError(
                f"column {short(values.name)!r}, row {row}: argument must be a string or a number, "
                f"not a {type(value).__name__}"
            )
    raise ValueError(
        f"column {short(values.name)!r} holds {inferred} values; make them all numbers or all text"
    )


def _numbers(values: pd.Series) -> np.ndarray:
    numbers = values.to_numpy(dtype=float, na_value=np.nan)
    is_infinite = np.isinf(numbers)
    if is_infinite.any():
        raise ValueError(
            f"X contains inf in column {short(values.name)!r}, row {is_infinite.argmax()} "
            f"({is_infinite.sum()} such values in all); impute or drop them first"
        )
    return numbers
