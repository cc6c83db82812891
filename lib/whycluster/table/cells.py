"""The cells of one column, made comparable: text trimmed, what means "no value" missing."""

from collections.abc import Hashable, Iterable

import pandas as pd
from pandas.api import types

from whycluster.contract.wording import as_text, short
from whycluster.table.forms import TableError, place
from whycluster.table.numerals import PLAIN_NUMBER

# What pandas takes for "no value"; it publishes no list. Then what spreadsheets write at errors.
MISSING_WORDS = frozenset(
    [
        *("#N/A", "#NA", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
        *("#N/A N/A", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
        *("#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#NULL!", "#SPILL!", "#CALC!"),
    ]
)
DASHES = frozenset(["-", "--", "---", "–", "—", ".", "..", "…"])  # missing, except beside a plus


class UnusableError(TableError):
    """A column whose cells are no single values; it can only be left out."""


def clean(values: pd.Series, words: Iterable = (), *, as_written: bool = False) -> pd.Series:
    """Trim text, decode bytes, and make missing what means "no value".

    Parameters
    ----------
    values : Series of shape (n_rows,)
    words : iterable of str or number
        What means "no value" here, besides blank text and `MISSING_WORDS`.
    as_written : bool
        Leave `MISSING_WORDS` as they are.

    Returns
    -------
    Series of shape (n_rows,)
        Numbers, durations, dates, yes/no and ordered categories keep their type; all else is text.

    Raises
    ------
    UnusableError
        For values that are neither numbers, text nor dates.
    """
    values = _of_plain_type(values)
    if is_text(values):
        is_level = isinstance(values.dtype, pd.CategoricalDtype)
        values = _as_texts(values)
        return values.mask(_is_missing_text(values, words, as_written or is_level))
    numbers = [float(w) for w in words if PLAIN_NUMBER.fullmatch(as_text(w))]
    if types.is_numeric_dtype(values.dtype) and numbers:
        return values.mask(values.isin(numbers))
    return values


def missing_words(values: pd.Series, cleaned: pd.Series) -> str:
    """Say which texts `clean` made missing and how often, empty if none."""
    gone = values[cleaned.isna().to_numpy() & values.notna().to_numpy()]
    gone = gone.astype(object).map(as_text)
    counts = gone[gone != ""].value_counts()
    return ", ".join(f"{count} {short(word, 20)!r}" for word, count in counts.items())


def is_text(values: pd.Series) -> bool:
    """Whether cells are read as text; categories are, if they have no order."""
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return not dtype.ordered
    checks = (types.is_numeric_dtype, types.is_datetime64_any_dtype, types.is_timedelta64_dtype)
    return not any(check(dtype) for check in checks)


def _of_plain_type(values):
    """Return values with one of the types that everything after this knows."""
    dtype = values.dtype
    if types.is_complex_dtype(dtype):
        raise UnusableError(f"column {short(values.name)!r} holds complex numbers; take a part")
    if isinstance(dtype, pd.ArrowDtype):
        return _from_arrow(values)
    if not types.is_object_dtype(dtype):
        return values
    kind = types.infer_dtype(values, skipna=True)
    if kind in ("floating", "decimal", "mixed-integer-float"):
        return values.astype(float)
    return pd.to_timedelta(values) if kind == "timedelta" else values


def _from_arrow(values):
    kind = values.dtype.kind
    if kind == "m":
        return values.astype("timedelta64[us]")
    if kind == "M" or str(values.dtype).startswith("date32"):
        return pd.to_datetime(values).astype("datetime64[us]") if kind != "M" else values
    is_dictionary = str(values.dtype).startswith("dictionary")
    return values.astype(object).astype("category") if is_dictionary else values


def _as_texts(values):
    if isinstance(values.dtype, pd.StringDtype):
        return values.str.strip().astype(object)
    cells = values.astype(object)
    if types.infer_dtype(cells, skipna=True) != "string":
        cells = pd.Series(
            [_as_cell(values, row, cell) for row, cell in enumerate(cells)],
            index=values.index,
            name=values.name,
            dtype=object,
        )
    return cells.map(as_text, na_action="ignore").astype(object)


def _as_cell(values, row, cell):
    """Return one value, bytes as text."""
    if isinstance(cell, tuple) or not isinstance(cell, Hashable):
        kind = type(cell).__name__
        raise UnusableError(f"{place(values, row)} is a {kind}; one number or text per cell")
    if not isinstance(cell, bytes):
        return cell
    try:
        return cell.decode()
    except UnicodeDecodeError:
        raise UnusableError(f"{place(values, row)} is bytes that are no UTF-8 text") from None


def _is_missing_text(texts, words, as_written):
    """Return where text means "no value", (n_rows,)."""
    listed = {as_text(word) for word in words} | {""}
    numbers = {float(word) for word in listed if PLAIN_NUMBER.fullmatch(word)}
    if not as_written:
        listed |= MISSING_WORDS
        listed |= DASHES if not texts.isin(["+"]).any() else set()
    is_missing = texts.isna() | texts.isin(listed)
    if numbers:
        equal = [t for t in texts.dropna().unique() if PLAIN_NUMBER.fullmatch(t)]
        is_missing |= texts.isin([text for text in equal if float(text) in numbers])
    return is_missing.to_numpy(dtype=bool)
