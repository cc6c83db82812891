"""Sheets of Excel and OpenDocument workbooks as records of text."""

import datetime
from collections.abc import Iterator
from pathlib import Path

from python_calamine import CalamineError, CalamineWorkbook

from whycluster.contract.wording import short
from whycluster.table.dialect import Record
from whycluster.table.forms import TableError

SUFFIXES = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")


def open_sheet(path: Path, sheet: str | None = None) -> tuple[Iterator[Record], str, list[str]]:
    """Open a sheet of a workbook.

    Parameters
    ----------
    path : Path
    sheet : str, optional
        Its name; the first sheet that holds anything if not given.

    Returns
    -------
    records : iterator of (row of the sheet, its cells as text)
    sheet : str
    notes : list of str
        Which sheets were not read.

    Raises
    ------
    TableError
        If it is no workbook, is protected, has no such sheet, or nothing stands in it.
    """
    try:
        workbook = CalamineWorkbook.from_path(path)
        sheets = [workbook.get_sheet_by_name(name) for name in _wanted(workbook, path, sheet)]
    except (CalamineError, OSError) as error:
        reason = short(error, 100)
        raise TableError(f"{path.name}: not a readable workbook ({reason})") from None
    chosen = next((one for one in sheets if one.height), None)
    if chosen is None:
        raise TableError(f"{path.name}: the sheet is empty; name another as `sheet`")
    others = [name for name in workbook.sheet_names if name != chosen.name]
    told = f"read from sheet {chosen.name!r}; not read: {short(', '.join(others), 100)} (`sheet`)"
    return _records(chosen), chosen.name, [told] if others else []


def _wanted(workbook, path, sheet):
    names = workbook.sheet_names
    if sheet is not None and sheet not in names:
        there = short(", ".join(names), 100)
        raise TableError(f"{path.name}: no sheet {short(sheet)!r}; there are {there}")
    return names if sheet is None else [sheet]


def _records(sheet):
    above = sheet.start[0]
    for row, cells in enumerate(sheet.to_python(skip_empty_area=True), start=above + 1):
        texts = [_as_text(cell) for cell in cells]
        if any(texts):
            yield row, texts


def _as_text(cell):
    """Return a cell as it would be typed: whole numbers without decimals, dates as ISO."""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return str(int(cell))
    if isinstance(cell, datetime.datetime):
        is_day = cell.time() == datetime.time()
        return cell.date().isoformat() if is_day else cell.isoformat(sep=" ")
    return str(cell)
