"""Where the table stands in a file: titles above, names, units, and the first row.

What is decided here is decided from the first records of a file, and said in notes: sentences for
the report.
"""

import re
from dataclasses import dataclass, field, replace

import numpy as np

from whycluster.contract.wording import short
from whycluster.table.dialect import Record, common_width, is_number, ragged

_NO_VALUE = re.compile(r"(\?|-+|\.+|n\.?/?a\.?|nan|null|none|unknown|missing|#\S*|)", re.I)
_UNIT = re.compile(r"[\[(]?(?!\d)[\w%‰°$€£¥/^*·.²³⁻¹ -]{1,12}[\])]?")
_SURE_UNIT = re.compile(r"[\[(].+[\])]|%|°[CF]|[kmµcn]?[gml]|cm|mm|km|kg|mg|s|h|min|years?|EUR|USD")
_MOST = 0.9  # of the values: so many numbers make a column one of numbers
_PADDED = 20  # records looked at for a header below titles that are as wide as the table


@dataclass(frozen=True)
class Layout:
    """Where rows begin, how wide they are, and what stands around them.

    Parameters
    ----------
    names : list of str
        Of the columns, all different.
    width : int
        Fields of a record.
    n_before : int
        Records before the first row.
    header : str
        "line 3", or "made" where the file gives no names.
    above : list of str
        The lines above the header.
    units : dict of str to str
        Unit by column name, if a line below the header gives them.
    row_names : str
        The column that holds row names, or "".
    notes : list of str
        Sentences for the report.
    """

    names: list[str]
    width: int
    n_before: int
    header: str
    above: list[str] = field(default_factory=list)
    units: dict[str, str] = field(default_factory=dict)
    row_names: str = ""
    notes: list[str] = field(default_factory=list)


def lay_out(records: list[Record], name: str, header: str = "auto") -> Layout:
    """Find the header and the first row in the first records of a file.

    Parameters
    ----------
    records : list of (line, fields), not empty
    name : str
        The file, for messages.
    header : {"auto", "yes", "no"}
        Whether the file gives column names; "auto" looks whether the first line looks like those
        below it.

    Raises
    ------
    TableError
        If the lines above the rows have more fields than the rows.
    """
    width = common_width([fields for _, fields in records])
    top = _first_of_table(records, width)
    _check_above(records[:top], width, name)
    below = [fields for _, fields in records[top + 1 :] if len(fields) == width]
    if top and header != "no" and _names_are_one_short(records, top, width, below):
        return _short_header(records, top - 1, width)
    if header == "no" or (header == "auto" and _looks_like(records[top][1], below)):
        _check_no_names(records[:top], width, name)
        return _no_header(records, top, width)
    return _plain_header(records, top, width, below)


def _first_of_table(records, width):
    """Return the place of the first record of the table: as wide as most, and no padded title."""
    first = next(i for i, (_, fields) in enumerate(records) if len(fields) == width)
    if _is_padded(records[first][1]):
        for i, (_, fields) in enumerate(records[first : first + _PADDED], start=first):
            below = [fields for _, fields in records[i + 1 :] if len(fields) == width]
            if len(fields) == width and all(fields) and _stands_out(fields, below):
                return i
    return first


def _is_padded(fields):
    return len(fields) > 1 and not fields[-1].strip() and any(map(str.strip, fields))


def _check_above(records, width, name):
    for line, fields in records:
        if len(fields) > width and any(map(str.strip, fields)):
            raise ragged(name, line, len(fields), width)


def _names_are_one_short(records, top, width, below):
    """Say whether the line above is a header without a name for the first or the last column."""
    fields = records[top - 1][1]
    is_header = len(fields) == width - 1 and all(map(str.strip, fields))
    return is_header and _looks_like(records[top][1], below, or_unsure=True)


def _check_no_names(above, width, name):
    """Refuse what may be names for some of the columns above rows that need other names."""
    if above and len(above[-1][1]) > 1:
        raise ragged(name, above[-1][0], len(above[-1][1]), width)


def _short_header(records, place, width):
    line, fields = records[place]
    rows = [row for _, row in records[place + 1 :] if len(row) == width]
    ends_empty = not any(row[-1].strip() for row in rows)
    names, notes = name_columns([*fields, ""] if ends_empty else ["row names", *fields])
    if not ends_empty:
        notes.insert(0, f"line {line} names all columns but the first, which holds row names")
    row_names = "" if ends_empty else names[0]
    layout = Layout(names, width, place + 1, f"line {line}", row_names=row_names, notes=notes)
    return _with_above(layout, records[:place])


def _no_header(records, place, width):
    names = [f"column {i}" for i in range(1, width + 1)]
    note = (
        f"line {records[place][0]} looks like the lines below it: it is taken as a row, and names "
        'were made; `header="yes"` overrules'
    )
    return _with_above(Layout(names, width, place, "made", notes=[note]), records[:place])


def _plain_header(records, place, width, below):
    line, fields = records[place]
    names, notes = name_columns(fields)
    if all(map(is_number, fields)):
        notes.append(f'line {line} holds only numbers, taken as names; `header="no"` overrules')
    is_next = bool(below) and records[place + 1][1] is below[0]
    units = _units(names, below[0], below[1:]) if is_next else {}
    if units:
        told = short(", ".join(units.values()), 60)
        notes.append(f"line {records[place + 1][0]} holds units ({told}) and is no row")
    n_before = place + 1 + bool(units)
    layout = Layout(names, width, n_before, f"line {line}", units=units, notes=notes)
    return _with_above(layout, records[:place])


def _with_above(layout, records):
    texts = [short(" ".join(filter(None, fields)), 80) for _, fields in records]
    texts = [text for text in texts if text]
    if not texts:
        return layout
    note = f"lines above the table are no rows: {short('; '.join(texts), 200)}"
    return replace(layout, above=texts, notes=[note, *layout.notes])


def name_columns(cells: list[str]) -> tuple[list[str], list[str]]:
    """Return different names for the cells of a header, and what was done to get them."""
    given = [" ".join(cell.split()) for cell in cells]
    names, notes = [], []
    for i, name in enumerate(given, start=1):
        own = name or f"column {i}"
        while own in names or (own != name and own in given):
            own = f"{own} (column {i})"
        if name and own != name:
            notes.append(f"the name {short(name)!r} is given twice: column {i} is {short(own)!r}")
        names.append(own)
    unnamed = [str(i) for i, name in enumerate(given, start=1) if not name]
    if unnamed:
        notes.append(f"columns without a name are numbered: {short(', '.join(unnamed))}")
    return names, notes


# --- is the first line a row? ----------------------------------------------------------------


def _looks_like(first, below, or_unsure=False):
    """Say whether a record looks like the records below it rather than like their header."""
    votes = _votes(first, below)
    if _stands_out(first, below):
        return False
    if not votes:
        return or_unsure
    for_row = votes.count("integer") + votes.count("value")
    is_row = "amount" in votes or for_row > votes.count("name")
    return is_row and ("value" in votes or not _is_scale(first, below))


def _stands_out(first, below):
    """Say whether a text stands above numbers."""
    return "title" in _votes(first, below)


def _votes(first, below):
    """Return by column what the first cell seems to be: integer, amount, value, name or title."""
    columns = zip(first, zip(*below, strict=True), strict=True) if below else ()
    return [vote for cell, column in columns if (vote := _vote(cell, column))]


def _vote(cell, column):
    values = [value for value in column if _has_value(value)]
    if not values or not _has_value(cell):
        return ""
    if np.mean([is_number(value) for value in values]) >= _MOST:
        return _kind_of_number(cell) if is_number(cell) else "" if cell in values else "title"
    if len(set(values)) <= len(values) / 2:
        return "value" if cell in values else "name"
    shapes = {_shape(value) for value in values}
    if len(shapes) > 1 or "9" not in next(iter(shapes)):
        return ""
    return "value" if _shape(cell) in shapes else "name"


def _kind_of_number(cell):
    """Tell 2019, which may be a name, from 0.57, which hardly is one."""
    return "integer" if cell.strip().isdecimal() else "amount"


def _shape(cell):
    """Return the text with each run of digits as 9 and of letters as A."""
    return re.sub(r"[^\W\d_]+", "A", re.sub(r"\d+", "9", cell.strip()))


def _is_scale(first, below):
    """Say whether the numbers of a record are equal steps (years, wavelengths), unlike a row's."""
    return _has_equal_steps(first) and not (below and _has_equal_steps(below[0]))


def _has_equal_steps(fields):
    numbers = [float(cell) for cell in fields if re.fullmatch(r"[-+]?\d+(\.\d+)?", cell.strip())]
    steps = np.diff(numbers)
    return len(steps) > 1 and steps[0] != 0 and np.allclose(steps, steps[0])


# --- a row of units --------------------------------------------------------------------------


def _units(names, fields, below):
    """Return unit by name if a record holds units of all the columns of numbers."""
    columns = list(zip(*below, strict=True))
    if len(below) < 2:
        return {}
    units = {}
    for name, cell, column in zip(names, fields, columns, strict=True):
        cell, is_numeric = cell.strip(), _are_numbers(column)
        if is_numeric and _has_value(cell) and (is_number(cell) or not _UNIT.fullmatch(cell)):
            return {}
        if not is_numeric and _has_value(cell) and (cell in column or len(cell) > 12):
            return {}
        if is_numeric and _has_value(cell):
            units[name] = cell
    n_sure = sum(map(bool, map(_SURE_UNIT.fullmatch, units.values())))
    return units if n_sure or len(set(units.values())) > 1 else {}


def _are_numbers(column):
    values = [value for value in column if _has_value(value)]
    return bool(values) and np.mean([is_number(value) for value in values]) >= _MOST


def _has_value(cell):
    return not _NO_VALUE.fullmatch(cell.strip())
