"""The files that go back to the user: their rows with our clusters, safe to open in a spreadsheet.

A spreadsheet runs a cell that begins with `=`, `+`, `-`, `@`, a tab or a line break. In what we
write, such a cell gets an apostrophe in front, unless it is a number; so does one that begins with
apostrophes before such a sign, which makes `restore` an exact inverse.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api import types

from whycluster.contract import files

_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_GUARDED = re.compile(r"'+[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[-+](\d[\d.,]*|[.,]\d+)([eE][-+]?\d+)?%?")
_OURS = re.compile(r"(.+) cluster( \(\d+\))?")


def assignments(theirs: pd.DataFrame, ours: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Put the clusters of every method beside what tells rows apart.

    Parameters
    ----------
    theirs : DataFrame of shape (n_rows, n_identifiers)
        Columns of the user's table, which keep their names.
    ours : mapping of str to DataFrame of shape (n_rows, 2)
        By method, `cluster` and `confidence`.

    Returns
    -------
    DataFrame
        `row`, counted from 1; the columns of the user; `METHOD cluster` and `METHOD confidence`.
        A name of ours that the user has already is followed by (2), or by the next number that is
        free.

    Examples
    --------
    >>> theirs = pd.DataFrame({"row": ["a", "b"]})
    >>> found = pd.DataFrame({"cluster": [1, 0], "confidence": [0.9, 0.8]})
    >>> assignments(theirs, {"k-means": found})
       row (2) row  k-means cluster  k-means confidence
    0        1   a                1                 0.9
    1        2   b                0                 0.8
    """
    taken = set(theirs)
    rows = pd.DataFrame({"row": np.arange(1, len(theirs) + 1)}, index=theirs.index)
    found = [part.add_prefix(f"{name} ") for name, part in ours.items()]
    rows, *found = (part.rename(columns=lambda name: _free(name, taken)) for part in (rows, *found))
    return pd.concat([rows, theirs, *found], axis=1)


def _free(name: str, taken: Iterable[str]) -> str:
    number, own = 1, name
    while own in taken:
        number += 1
        own = f"{name} ({number})"
    return own


def is_ours(names: Iterable[str]) -> bool:
    """Say whether the columns are those of `assignments`: a row, and a confidence per cluster."""
    names = list(names)
    clusters = [match for match in map(_OURS.fullmatch, names) if match]
    rest = (f"{match[1]} confidence{match[2] or ''}" for match in clusters)
    return bool(clusters) and names[0].startswith("row") and all(name in names for name in rest)


def guard(cell: str) -> str:
    """Return a cell as a spreadsheet shows it instead of running it.

    Examples
    --------
    >>> guard("=1+1"), guard("-1.5"), guard("red")
    ("'=1+1", '-1.5', 'red')
    """
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


def unguard(cell: str) -> str:
    """Return the cell that `guard` was given."""
    return cell[1:] if _GUARDED.match(cell) else cell


def write_csv(table: pd.DataFrame, path: str | Path) -> int:
    """Write a table as CSV in UTF-8: all of it or nothing, and no formula in it.

    Parameters
    ----------
    table : DataFrame of shape (n_rows, n_columns)
        Its index is not written.
    path : str or Path

    Returns
    -------
    int
        Cells and names that were guarded by an apostrophe; see `guard`.
    """
    guarded, n_changed = _each_text(table, guard)
    with files.aside(Path(path)) as provisional:
        # Lines end in \r\n so that a lone \r inside a cell is quoted and splits no record.
        guarded.to_csv(provisional, index=False, encoding="utf-8", lineterminator="\r\n")
    return n_changed


def restore(table: pd.DataFrame) -> pd.DataFrame:
    """Return what `write_csv` was given, from the text that was read from its file."""
    return _each_text(table, unguard)[0]


def _each_text(table, change):
    """Return the table with `change` done to every name and text, and how many it changed."""
    given = list(table)
    names = [_change(name, change) for name in given]
    columns = [table.iloc[:, place] for place in range(table.shape[1])]
    n_changed = sum(new is not old for new, old in zip(names, given, strict=True))
    for place, values in enumerate(columns):
        if _holds_text(values):
            old = list(values)
            new = [_change(value, change) for value in old]
            columns[place] = pd.Series(new, values.index, dtype=object)
            n_changed += sum(a is not b for a, b in zip(new, old, strict=True))
    changed = pd.DataFrame(dict(enumerate(columns)), index=table.index)
    return changed.set_axis(names, axis=1), n_changed


def _change(value, change):
    return change(value) if isinstance(value, str) else value


def _holds_text(values):
    return not (types.is_numeric_dtype(values.dtype) or types.is_datetime64_any_dtype(values.dtype))
