"""What follows the rows of a table: totals, notes, empty lines."""

import re
from functools import partial

import numpy as np
import pandas as pd

from whycluster.contract.wording import short
from whycluster.table.dialect import Record, is_number, ragged

_TOTAL = re.compile(
    r"(grand |sub)?(totals?|totale|totaal|sum|summe|gesamt\w*|insgesamt|zwischensumme|suma|somme"
    r"|итого|всего|合计|合計|总计|総計|합계)\b.*",
    re.I,
)
_MEAN = re.compile(r"(means?|averages?|mittelwert|durchschnitt|moyenne|promedio|media)\b.*", re.I)
_ROUNDING = 1e-3  # a total of rounded numbers is about their sum


def texts_below(strays: list[Record], width: int, name: str) -> list[str]:
    """Return the text of the records at the end that are not as wide as the table.

    Raises
    ------
    TableError
        Unless the first of them is a line of text or a total, after which anything may follow.
    """
    if strays and not _is_remark(strays[0][1]):
        line, fields = strays[0]
        raise ragged(name, line, len(fields), width)
    return [_text(fields) for _, fields in strays]


def _is_remark(fields):
    filled = [cell.strip() for cell in fields if cell.strip()]
    return bool(_TOTAL.fullmatch(filled[0])) or (len(filled) == 1 and not is_number(filled[0]))


def _text(cells):
    return short(" ".join(cell for cell in cells if isinstance(cell, str) and cell), 80)


def cut_below(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Take off the end of a table what is no row.

    Parameters
    ----------
    table : DataFrame of shape (n_rows, n_columns), of text

    Returns
    -------
    table : DataFrame
        Without empty rows and remarks at the end, and without a last row that adds up the others.
    texts : list of str
        What was taken off.
    notes : list of str
        What was left although it is called a total, and how many empty rows were taken off.
    """
    table, n_empty = _without_empty(table)
    table, texts = _without_remarks(table)
    table, more = _without_empty(table)
    kept, total, notes = _without_total(table)
    if n_empty + more:
        notes.append(f"empty lines at the end are no rows: {n_empty + more}")
    return kept, total + texts, notes


def _without_empty(table):
    n_rows = len(table)
    while n_rows and table.iloc[n_rows - 1].isna().all():
        n_rows -= 1
    return table.head(n_rows), len(table) - n_rows


def _without_remarks(table):
    """Take off last rows of which only the first cell is filled, with a sentence or `word: ...`."""
    n_rows = len(table)
    while n_rows > 1 and _is_padded_remark(table.iloc[n_rows - 1]):
        n_rows -= 1
    return table.head(n_rows), [_text(row) for row in table.iloc[n_rows:].to_numpy()]


def _is_padded_remark(row):
    is_alone = len(row) > 2 and row.iloc[1:].isna().all() and isinstance(row.iloc[0], str)
    return is_alone and (":" in row.iloc[0] or len(row.iloc[0].split()) > 2)


def _without_total(table):
    if len(table) < 3:
        return table, [], []
    rows, last = table.iloc[:-1], table.iloc[-1]
    filled = last.dropna()
    is_mean = bool(_MEAN.fullmatch(filled.iloc[0].strip()))
    is_called = is_mean or bool(_TOTAL.fullmatch(filled.iloc[0].strip()))
    if not is_called and pd.notna(last.iloc[0]):
        return table, [], []
    sums_up = partial(_sums_up, reduce=np.mean if is_mean else np.sum)
    agree = [sums_up(rows[name], cell) for name, cell in filled.items() if is_number(cell)]
    if agree and (all(agree) or (is_called and np.mean(agree) >= 0.5)):
        return rows, [_text(last)], []
    if not is_called:
        return table, [], []
    called = short(filled.iloc[0], 30)
    note = f"the last row is called {called!r} but does not sum up the others, and was left in"
    return table, [], [note]


def _sums_up(values, total, reduce):
    """Say whether a text is the sum or mean of others, under decimal points or commas."""
    for drop, point in ((",", "."), (".", ",")):
        numbers = _numbers(values, drop, point)
        wanted = _numbers(pd.Series([total], dtype=str), drop, point)
        if len(numbers) and np.allclose(wanted, reduce(numbers), rtol=_ROUNDING, atol=0):
            return True
    return False


def _numbers(texts, drop, point):
    plain = texts.dropna().str.replace(r"[\s'%$€£¥]", "", regex=True)
    plain = plain.str.replace(drop, "", regex=False).str.replace(point, ".", regex=False)
    return pd.to_numeric(plain, errors="coerce").dropna().to_numpy()
