"""How single values of a column become numbers: numbers written as text, dates, ranks."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api import types

from whycluster.contract.wording import as_number, as_text, short
from whycluster.table.dates import read_dates
from whycluster.table.numerals import PLAIN_NUMBER, Numerals

__all__ = ["PLAIN_NUMBER", "DateForm", "NumberForm", "RankForm", "TableError", "place"]

_EARLIER_FORMATS = {  # in encoders that were saved before orders had names
    "ISO8601": "year first",
    "%Y/%m/%d": "year first",
    "%d.%m.%Y": "day first",
    "%d/%m/%Y": "day first",
    "%m/%d/%Y": "month first",
}
_SPANS = {"days": "D", "hours": "h", "minutes": "min", "seconds": "s"}
_BEFORE = ("$", "€", "£", "¥", "₹")  # units that stand before the number


@dataclass(frozen=True)
class NumberForm:
    """Numbers, numbers written as text, and durations.

    Every form is called with the values of a column (n_rows,) and returns floats (n_rows,), NaN
    where missing, or raises a TableError at a value that is not of its form; `show` goes back to
    text, and `words` say in the report what the numbers mean.

    Parameters
    ----------
    style : {"plain", "thousands", "decimal comma"}
        What text is read with; the first two have a decimal point.
    unit : str
        What may stand beside the digits, as `%` and `kg`; durations are counted in it.
    codes : tuple of float
        Numbers that mean "no value".
    is_lenient : bool
        Whether text that is no number is missing rather than an error.
    """

    style: str = "plain"
    unit: str = ""
    codes: tuple[float, ...] = ()
    is_lenient: bool = False

    def __call__(self, values: pd.Series) -> np.ndarray:
        """Return numbers; infinity is an error."""
        numbers = self.read(values)
        if np.isinf(numbers).any():
            row = int(np.argmax(np.isinf(numbers)))
            raise TableError(f"{place(values, row)} is infinite; correct it or leave it empty")
        odd = np.isnan(numbers) & values.notna().to_numpy()
        if odd.any() and not self.is_lenient:
            row = int(np.argmax(odd))
            raise TableError(f"{place(values, row)} is not a number; correct it")
        return np.where(np.isin(numbers, self.codes), np.nan, numbers)

    def read(self, values: pd.Series) -> np.ndarray:
        """Return numbers as they stand, NaN for what is none."""
        if types.is_timedelta64_dtype(values.dtype):
            return (values / pd.Timedelta(1, _SPANS[self.unit or "days"])).to_numpy(dtype=float)
        if types.is_numeric_dtype(values.dtype):
            return values.to_numpy(dtype=float, na_value=np.nan)
        places, texts = _factorize(values)
        numbers = Numerals.of(texts).numbers(self.decimal, self.unit)
        return np.append(numbers, np.nan)[places]

    def is_code(self, values: pd.Series) -> np.ndarray:
        """Return which values are codes, (n_rows,)."""
        return np.isin(self.read(values), self.codes)

    @property
    def decimal(self) -> str:
        """The decimal sign."""
        return "," if self.style == "decimal comma" else "."

    def show(self, value: float) -> str:
        """Return the number for the eye, with its unit."""
        number = as_number(value)
        if self.unit in _BEFORE:
            return f"{self.unit}{number}"
        return f"{number}{'' if self.unit in ('', '%', '‰') else ' '}{self.unit}"

    def say(self, name: str, low: float, high: float) -> str:
        """Put low < name ≤ high into words; an infinite bound is none."""
        if np.isinf(low):
            return f"{name} ≤ {self.show(high)}"
        if np.isinf(high):
            return f"{name} > {self.show(low)}"
        return f"{self.show(low)} < {name} ≤ {self.show(high)}"

    @property
    def words(self) -> str:
        """What the numbers count."""
        return f"in {self.unit}" if self.unit else ""


def duration_form(values: pd.Series) -> NumberForm:
    """Return the form of durations: in the largest unit that half of them fill."""
    middle = values.abs().median()
    fits = [unit for unit, span in _SPANS.items() if middle >= pd.Timedelta(1, span)]
    return NumberForm(unit=fits[0] if fits else "seconds")


@dataclass(frozen=True)
class DateForm:
    """Dates as days since the first of them.

    Parameters
    ----------
    format : str
        The order in which text writes them: one of `whycluster.table.dates.ORDERS`.
    origin : Timestamp
        The first, without a time zone: a date is the day that it shows.
    is_lenient : bool
        Whether text that is no date is missing rather than an error.
    """

    format: str
    origin: pd.Timestamp | None = None
    is_lenient: bool = False

    def __call__(self, values: pd.Series) -> np.ndarray:
        """Return days since `origin`."""
        dates = self.parse(values)
        wrong = (dates.isna() & values.notna()).to_numpy()
        if wrong.any() and not self.is_lenient:
            row = int(np.argmax(wrong))
            raise TableError(f"{place(values, row)} is not a date like the others; correct it")
        return ((dates - self.origin) / pd.Timedelta(days=1)).to_numpy(dtype=float)

    def is_code(self, values: pd.Series) -> np.ndarray:
        """Return which values are codes, (n_rows,): none."""
        return np.full(len(values), False)

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
        """Return timestamps without a time zone, NaT for what is no date."""
        if types.is_datetime64_any_dtype(values.dtype):
            return pd.to_datetime(values).dt.tz_localize(None)
        if types.is_numeric_dtype(values.dtype):
            raise TableError(f"column {short(values.name)!r} holds numbers where dates were fitted")
        places, texts = _factorize(values)
        dates = read_dates(texts, _EARLIER_FORMATS.get(self.format, self.format))
        found = dates.reindex(places).set_axis(values.index)
        return found.rename(values.name)


@dataclass(frozen=True)
class RankForm:
    """Levels in their order as 0, 1, 2, ...: an ordered category, or no and yes.

    Parameters
    ----------
    levels : tuple of str
    is_tick : bool
        Whether no value means the first level, as where a box is ticked or left empty.
    """

    levels: tuple[str, ...]
    is_tick: bool = False

    def __call__(self, values: pd.Series) -> np.ndarray:
        """Return ranks."""
        ranks = {level: float(rank) for rank, level in enumerate(self.levels)}
        texts = values.astype(object).map(self._as_level, "ignore")
        unknown = (~texts.isin(ranks) & texts.notna()).to_numpy()
        if unknown.any():
            row = int(np.argmax(unknown))
            raise TableError(f"{place(values, row)} is none of {', '.join(self.levels[:20])}")
        numbers = texts.map(ranks).to_numpy(dtype=float)
        return np.where(np.isnan(numbers), 0.0, numbers) if self.is_tick else numbers

    def _as_level(self, value):
        text = as_text(value)
        is_number = self.levels == ("0", "1") and PLAIN_NUMBER.fullmatch(text)
        return as_text(float(text)) if is_number else text

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


def _factorize(values):
    """Return the place of each value among the different texts, -1 if missing, and these texts."""
    places, different = pd.factorize(values)
    again, texts = pd.factorize(np.array([as_text(each) for each in different], dtype=object))
    return np.append(again, -1)[places], texts


def place(values: pd.Series, row: int) -> str:
    """Say where a value stands; rows count from 1 below the column names."""
    value = short(values.iloc[row], 30)
    return f"column {short(values.name)!r}, row {row + 1}: {value!r}"
