"""What a column can be: the rules of the user, the cells, and what numbers are."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from whycluster.contract.wording import as_number, short
from whycluster.table.cells import clean
from whycluster.table.forms import DateForm, NumberForm, RankForm, TableError
from whycluster.table.numerals import Numerals, Reading

HUGE = 1e150  # a larger number squared is no number
EXACT = 2.0**53  # a larger whole number may have lost its last digits
_IDENTIFIER_NAME = re.compile(r"(^|[\W_])(id|ids|uuid|guid|key|index|idx|row|nr|no|number)$", re.I)
_PLAIN = Reading(".")
_IDENTIFIER_CAMEL = re.compile(r"[a-z](ID|Id)$")


@dataclass(frozen=True)
class Rules:
    """How columns are typed and encoded, as far as the user decides; see `TableEncoder`.

    Parameters
    ----------
    roles : mapping of str to str
        By column: "category" (its numbers are codes), "number" (it is amounts), "keep" (it is no
        identifier, whatever it looks like), "drop".
    words : tuple
        What means "no value" in every column.
    codes : mapping of str to list
        What means "no value" in one column. In a column that is named here no codes are looked for.
    keep_rest : bool
        Whether a category may have no level but `MISSING` and `OTHER`.
    """

    scale: str = "standard"
    missing_indicator: float = 0.05
    max_levels: int = 20
    min_level_share: float = 0.01
    decimal: str | None = None
    day_first: bool | None = None
    roles: Mapping[str, str] = field(default_factory=dict)
    words: tuple = ()
    codes: Mapping[str, list] = field(default_factory=dict)
    keep_rest: bool = False

    def clean(self, values: pd.Series) -> pd.Series:
        """Return the cells of a column as `clean` does under these rules."""
        words = (*self.words, *self.codes.get(values.name, ()))
        return clean(values, words, as_written=self.roles.get(values.name) == "category")


class Verdict(NamedTuple):
    """What a column is taken for: type, form of its numbers, what to report, what is doubted."""

    kind: str
    form: NumberForm | DateForm | RankForm | None = None
    remarks: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The cells of one column, ready to be typed.

    Parameters
    ----------
    values : Series of shape (n_rows,)
        Cleaned.
    gone : str
        Which words were made missing.
    role : str
    numerals : Numerals or None
        The different texts, of a column of text.
    reading : Reading
        How numbers are written.
    """

    values: pd.Series
    gone: str = ""
    role: str = ""
    numerals: Numerals | None = None
    reading: Reading = _PLAIN

    @property
    def name(self) -> str:
        """The name of the column."""
        return self.values.name

    @property
    def present(self) -> pd.Series:
        """The cells that are not missing."""
        return self.values.dropna()

    def rows_of(self, texts) -> int:
        """Count the rows that hold one of these texts."""
        return int(self.values.isin(texts).sum())


def judge_numbers(cells, form, is_exact, remarks=(), doubts=()):
    """Type numbers; `is_exact` says that whole ones have all their digits."""
    numbers = form(cells.values)
    if np.nanmax(np.abs(numbers)) > HUGE:
        raise TableError(f"column {short(cells.name)!r} spans too much to be scaled; drop it")
    different = np.unique(numbers[~np.isnan(numbers)])
    if np.abs(different).max() >= EXACT and (different % 1 == 0).all():
        if is_exact and cells.role != "number":
            return Verdict("identifier", None, ("whole numbers too long to be amounts",))
        doubts += (
            "whole numbers beyond 2^53: if they are identifiers, their last digits are lost",
        )
    if len(different) == 1:
        return Verdict("constant", None, (f"every value is {as_number(different[0])}",))
    if different.tolist() == [0, 1] and not form.unit and not form.is_lenient:
        return Verdict("yes/no", RankForm(("0", "1")), remarks, doubts)
    reason = "" if cells.role == "number" else _why_identifier(cells.name, numbers)
    if reason:
        return Verdict("identifier", form, (reason,), doubts)
    return Verdict("number", form, remarks, doubts + _doubt_of_order(cells, numbers))


def _why_identifier(name, numbers):
    """Return why whole numbers identify rows, or an empty string."""
    if not _is_one_per_row(numbers):
        return ""
    if _IDENTIFIER_NAME.search(name) or _IDENTIFIER_CAMEL.search(name):
        return "another whole number in every row, and its name says so"
    if np.ptp(numbers) == len(numbers) - 1:
        return "whole numbers that count the rows"
    return ""


def _is_one_per_row(numbers):
    is_complete = not np.isnan(numbers).any()
    return is_complete and (numbers % 1 == 0).all() and len(np.unique(numbers)) == len(numbers)


def _doubt_of_order(cells, numbers):
    is_rising = len(numbers) > 2 and _is_one_per_row(numbers) and (np.diff(numbers) > 0).all()
    if not is_rising or cells.role in ("number", "keep"):
        return ()
    return (f"rises from row to row: if it numbers the rows, drop={[cells.name]}",)
