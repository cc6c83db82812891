"""How single values of a column become numbers: numbers written as text, dates, ranks."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api import types

from whycluster.contract.wording import as_number, as_text, short

PLAIN_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_NUMBER_STYLES = {
    "plain": PLAIN_NUMBER,
    "thousands": re.compile(r"[-+]?(\d{1,3}(,\d{3})+|\d+)(\.\d*)?"),
    "decimal comma": re.compile(r"[-+]?(\d{1,3}(\.\d{3})+|\d+)(,\d*)?"),
}
_DATE_FORMATS = {
    "ISO8601": re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:.*)?"),
    "%Y/%m/%d": re.compile(r"\d{4}/\d{1,2}/\d{1,2}"),
    "%d.%m.%Y": re.compile(r"\d{1,2}\.\d{1,2}\.\d{4}"),
    "%d/%m/%Y": re.compile(r"\d{1,2}/\d{1,2}/\d{4}"),
    "%m/%d/%Y": re.compile(r"\d{1,2}/\d{1,2}/\d{4}"),
}


@dataclass(frozen=True)
class NumberForm:
    """Numbers, and numbers stored as text in one of the styles of this module.

    Every form is called with the values of a column (n_rows,) and returns floats (n_rows,), NaN
    where missing, or raises a TableError at a value that is not of its form; `show` goes back to
    text, and `words` say in the report what the numbers mean.
    """

    words = ""

    style: str = "plain"

    def __call__(self, values: pd.Series) -> np.ndarray:
        """Return numbers; infinity is an error."""
        if not types.is_numeric_dtype(values.dtype):
            values = self._parse(values)
        numbers = values.to_numpy(dtype=float, na_value=np.nan)
        if np.isinf(numbers).any():
            row = int(np.argmax(np.isinf(numbers)))
            raise TableError(f"{place(values, row)} is infinite; correct it or leave it empty")
        return numbers

    def show(self, value: float) -> str:
        """Return the number for the eye."""
        return as_number(value)

    def say(self, name: str, low: float, high: float) -> str:
        """Put low < name ≤ high into words; an infinite bound is none."""
        if np.isinf(low):
            return f"{name} ≤ {self.show(high)}"
        if np.isinf(high):
            return f"{name} > {self.show(low)}"
        return f"{self.show(low)} < {name} ≤ {self.show(high)}"

    def _parse(self, values):
        pattern = _NUMBER_STYLES[self.style]
        fits = [pd.isna(value) or bool(pattern.fullmatch(as_text(value))) for value in values]
        if not all(fits):
            raise TableError(f"{place(values, fits.index(False))} is not a number; correct it")
        drop, point = (".", ",") if self.style == "decimal comma" else (",", ".")
        plain = values.map(lambda v: as_text(v).replace(drop, "").replace(point, "."), "ignore")
        return plain.astype(float)


@dataclass(frozen=True)
class DateForm:
    """Dates as days since the first of them; text in one format."""

    format: str
    origin: pd.Timestamp | None = None

    def __call__(self, values: pd.Series) -> np.ndarray:
        """Return days since `origin`."""
        dates = self.parse(values)
        wrong = (dates.isna() & values.notna()).to_numpy()
        if wrong.any():
            row = int(np.argmax(wrong))
            raise TableError(f"{place(values, row)} is not a date like the others; correct it")
        return ((dates - self.origin) / pd.Timedelta(days=1)).to_numpy(dtype=float)

    def show(self, value: float) -> str:
        """Return the day."""
        return f"{self.origin + pd.Timedelta(days=value):%Y-%m-%d}"

    def say(self, name: str, low: float, high: float) -> str:
        """Put low < name ≤ high into words; an infinite bound is none."""
        after = "" if np.isinf(low) else f" after {self.show(low)}"
        until = "" if np.isinf(high) else f" until {self.show(high)}"
        return name + after + until

    @property
    def words(self) -> str:
        """What the numbers count."""
        return f"days since {self.show(0)}"

    def parse(self, values: pd.Series) -> pd.Series:
        """Return timestamps, NaT for what is no date."""
        if types.is_datetime64_any_dtype(values.dtype):
            return pd.to_datetime(values, utc=True)
        if types.is_numeric_dtype(values.dtype):
            raise TableError(f"column {short(values.name)!r} holds numbers where dates were fitted")
        return pd.to_datetime(values, format=self.format, errors="coerce", utc=True)


@dataclass(frozen=True)
class RankForm:
    """Levels in their order as 0, 1, 2, ...: an ordered category, or no and yes."""

    levels: tuple[str, ...]

    def __call__(self, values: pd.Series) -> np.ndarray:
        """Return ranks."""
        ranks = {level: float(rank) for rank, level in enumerate(self.levels)}
        texts = values.astype(object).map(as_text, "ignore")
        unknown = (~texts.isin(ranks) & texts.notna()).to_numpy()
        if unknown.any():
            row = int(np.argmax(unknown))
            raise TableError(f"{place(values, row)} is none of {', '.join(self.levels[:20])}")
        return texts.map(ranks).to_numpy(dtype=float)

    def show(self, value: float) -> str:
        """Return the level."""
        return self.levels[int(value)]

    def say(self, name: str, low: float, high: float) -> str:
        """Put low < name ≤ high into words: the level, or the first and the last of several."""
        ranks = [rank for rank in range(len(self.levels)) if low < rank <= high]
        first, last = self.levels[ranks[0]], self.levels[ranks[-1]]
        return f"{name} = {first}" if first == last else f"{name} from {first} to {last}"

    @property
    def words(self) -> str:
        """Which level is which number."""
        steps = (f"{rank} = {level}" for rank, level in enumerate(self.levels))
        return "taken as it is" if self.levels == ("0", "1") else short(", ".join(steps), 120)


class TableError(ValueError):
    """A table that cannot be used as it is: one line with what is wrong, where, and what to do."""


def place(values: pd.Series, row: int) -> str:
    """Say where a value stands; rows count from 1 below the column names."""
    value = short(values.iloc[row], 30)
    return f"column {short(values.name)!r}, row {row + 1}: {value!r}"
