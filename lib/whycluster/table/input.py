"""A user's own table, from a file to a DataFrame, or one line that says why not."""

from collections import Counter
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sklearn.datasets import load_wine

from whycluster.contract.files import aside
from whycluster.contract.wording import short
from whycluster.table import footer, output, workbook
from whycluster.table.decoding import find_encoding, open_text
from whycluster.table.dialect import SEPARATORS, find_dialect, ragged, whole_records
from whycluster.table.forms import TableError
from whycluster.table.layout import lay_out, name_columns

_HEAD = 400  # lines, or rows of a sheet, that the layout is decided from
_CELLS = 10_000  # cells that are held as Python objects at a time
_EXACT = {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}


def read(
    path: str | Path,
    *,
    header: str = "auto",
    encoding: str | None = None,
    sheet: str | None = None,
) -> pd.DataFrame:
    r"""Read a table from a text file, a workbook or a Parquet file.

    Parameters
    ----------
    path : str or Path
        A Parquet file (`.parquet`, `.pq`), a workbook (`.xlsx`, `.xls`, `.ods`, ...), or text,
        plain or gzipped, with commas, semicolons, tabs, bars or blanks between the fields. The
        separator is the one that splits the first records most evenly.
    header : {"auto", "yes", "no"}, default="auto"
        Whether the first line gives the names of the columns. "auto" takes it for a row if it looks
        like the lines below it.
    encoding : str, optional
        Of a text file, if what is found is wrong.
    sheet : str, optional
        Of a workbook, if not the first that holds anything.

    Returns
    -------
    DataFrame of shape (n_rows, n_columns)
        Both at least 2. Cells of text files and workbooks are text as it is written, which
        `TableEncoder` reads; only empty ones are missing. `attrs["reading"]` says how it was read:
        file, format, encoding and how sure it is, separator, header ("line 3", or "made"), rows,
        columns, and what else there was: row names, units, lines above and below the table, and
        notes, sentences for the report.

    Raises
    ------
    TableError
        If there is no such file, it is a folder, empty, binary or damaged, a record among others
        has another number of fields, or there are fewer than two rows or columns.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "wines.csv"
    >>> _ = path.write_text("colour;alcohol\nred;13,5\nwhite;12,1\n")
    >>> read(path)
      colour alcohol
    0    red    13,5
    1  white    12,1
    >>> read(path).attrs["reading"]["separator"]
    'semicolon'
    """
    path = Path(path)
    if header not in ("auto", "yes", "no"):
        raise TableError(f"header={header!r} is none of 'auto', 'yes' and 'no'")
    if path.is_dir():
        raise TableError(f"{path} is a folder: give the file inside it")
    if not path.exists():
        raise TableError(f"{path}: no such file; check the name and the folder")
    table, reading = _read(path, header, encoding, sheet)
    table = check_table(table, f"{path.name}: ")
    rows, columns = table.shape
    table.attrs["reading"] = {"file": path.name, "rows": rows, "columns": columns, **reading}
    return table


def _read(path, header, encoding, sheet):
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".pq"):
        return _read_parquet(path)
    if suffix in workbook.SUFFIXES:
        return _read_workbook(path, header, sheet)
    return _read_text(path, header, encoding)


# --- text and workbooks ----------------------------------------------------------------------


def _read_text(path, header, encoding):
    encoding = find_encoding(path, encoding)
    with open_text(path, encoding) as lines:
        head = list(islice(lines, _HEAD))
        dialect = find_dialect(head)
        first = whole_records(dialect, head)
        if not first:
            raise TableError(f"{path.name}, line 1: is a quotation mark left open there?")
        records = dialect.records(chain(head, lines), path.name)
        table, found = _assemble(records, first, path.name, header)
    how = {"format": "text", "encoding": encoding.name, "encoding is": encoding.sure}
    how["separator"] = SEPARATORS[dialect.separator]
    notes = [encoding.note] * bool(encoding.note) + dialect.notes
    return table, how | found | {"notes": notes + found["notes"]}


def _read_workbook(path, header, sheet):
    records, name, notes = workbook.open_sheet(path, sheet)
    first = list(islice(records, _HEAD))
    table, found = _assemble(chain(first, records), first, path.name, header)
    how = {"format": "workbook", "sheet": name}
    return table, how | found | {"notes": notes + found["notes"]}


def _assemble(records, first, name, header):
    """Return the rows among records as a table of text, and what else there was."""
    layout = lay_out(first, name, header)
    columns, strays = _fill(islice(records, layout.n_before, None), layout.width, name)
    table = pa.table(columns, [str(i) for i in range(layout.width)]).to_pandas()
    table = table.set_axis(layout.names, axis=1)
    below = footer.texts_below(strays, layout.width, name)
    table, more, notes = footer.cut_below(table)
    below = more + below
    table, told = _without_empty_end(table)
    if below:
        told.append(f"lines below the rows are no rows: {short('; '.join(below), 200)}")
    if output.is_ours(table):
        table, told = output.restore(table), [*told, "apostrophes before formulas were taken off"]
    found = {
        "header": layout.header,
        "row names": layout.row_names,
        "units": layout.units,
        "lines above": layout.above,
        "lines below": below,
        "notes": layout.notes + notes + told,
    }
    return table, found


def _fill(records, width, name):
    """Return text by column, and the records at the end that are not as wide as the table."""
    columns, strays = [[] for _ in range(width)], []
    while chunk := list(islice(records, max(16, _CELLS // width))):
        rows = _as_wide_as(chunk, width, strays, name)
        for column, values in zip(columns, zip(*rows, strict=True), strict=bool(rows)):
            column.append(_text_or_missing(values))
    return [pa.chunked_array(parts, pa.large_string()) for parts in columns], strays


def _as_wide_as(records, width, strays, name):
    """Return the fields of those records that are as wide; put others into `strays`.

    A record of separators only is as good as a blank line.
    """
    rows = [fields for _, fields in records]
    if not strays and set(map(len, rows)) == {width}:
        return rows
    rows = []
    for line, fields in records:
        if len(fields) != width:
            strays += [(line, fields)] if any(map(str.strip, fields)) else []
        elif strays:
            raise ragged(name, strays[0][0], len(strays[0][1]), width)
        else:
            rows.append(fields)
    return rows


def _text_or_missing(values):
    text = pa.array(values, pa.large_string())
    return pc.if_else(pc.equal(text, ""), None, text) if "" in values else text


def _without_empty_end(table):
    """Take off last columns with neither name nor value, which a separator at the end makes."""
    n_columns = table.shape[1]
    while n_columns > 1 and _is_nothing(table, n_columns - 1):
        n_columns -= 1
    n_empty = table.shape[1] - n_columns
    note = f"columns at the end with neither name nor value are none: {n_empty}"
    return table.iloc[:, :n_columns], [note] if n_empty else []


def _is_nothing(table, place):
    return table.columns[place] == f"column {place + 1}" and table.iloc[:, place].isna().all()


# --- Parquet ---------------------------------------------------------------------------------


def _read_parquet(path):
    try:
        stored = pq.ParquetFile(path).read()
        table = stored.to_pandas()
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise TableError(f"{path.name}: not a readable Parquet file ({reason})") from None
    table, notes = _with_index(_with_exact_integers(table, stored))
    given = [_as_name(name) for name in table.columns]
    names, told = name_columns(given)
    if any(not isinstance(name, str) for name in table.columns):
        notes.append("column names that were no text are now: " + short(", ".join(given), 100))
    return table.set_axis(names, axis=1), {"format": "Parquet", "notes": notes + told}


def _as_name(name):
    return " / ".join(map(str, name)) if isinstance(name, tuple) else str(name)


def _with_exact_integers(table, stored):
    """Keep 64-bit integers with gaps as they are, where pandas rounds them to floats."""
    for i, field in enumerate(stored.schema):
        is_whole = field.type in _EXACT and stored.column(i).null_count
        if is_whole and (table.columns == field.name).sum() == 1:
            exact = stored.select([i]).replace_schema_metadata(None)
            table[field.name] = exact.to_pandas(types_mapper=_EXACT.get)[field.name].array
    return table


def _with_index(table):
    """Make columns of an index that is not just the number of the row."""
    if isinstance(table.index, pd.RangeIndex):
        return table, []
    levels = table.index.to_frame(index=False)
    unnamed = {i: f"index {i + 1}" for i, name in enumerate(table.index.names) if name is None}
    levels.columns = [unnamed.get(i, name) for i, name in enumerate(table.index.names)]
    told = f"columns made of the index: {short(', '.join(map(str, levels.columns)), 100)}"
    return pd.concat([levels, table.reset_index(drop=True)], axis=1), [told]


def check_table(table, where=""):
    """Return the table with names as text, or say why no clustering can start from it."""
    if not isinstance(table, pd.DataFrame):
        raise TableError(f"{where}expected a DataFrame with named columns, got {type(table)!r}")
    names = [str(name) for name in table.columns]
    twice = [short(name) for name, count in Counter(names).items() if count > 1]
    if twice:
        raise TableError(f"{where}column name {twice[0]!r} appears more than once; rename one")
    rows, columns = table.shape
    if rows == 0:
        raise TableError(f"{where}the table has column names and no rows")
    if rows == 1:
        raise TableError(f"{where}the table has one row; clustering needs at least two")
    if columns == 1:
        raise TableError(f"{where}the table has one column ({short(names[0])!r}); two are needed")
    return table.set_axis(names, axis=1)


def write_example(path: str | Path, random_state: int = 0) -> Path:
    """Write a small table of the kind that people have: 178 Italian wines.

    The measurements are those of scikit-learn's wine data (Aeberhard and Forina, UCI, CC BY 4.0).
    Around them: a number for each bottle, a constant country, colour in three words instead of a
    number, proline with thousands separators, and 3 % of the measurements missing at random. The
    cultivar is the last column.

    Parameters
    ----------
    path : str or Path
        CSV file to write.
    random_state : int
        Of the missing values.

    Returns
    -------
    Path
        The same path.
    """
    wines = load_wine(as_frame=True)
    table = wines.data.rename(columns=lambda name: name.replace("_", " "))
    table = table.rename(columns={"od280/od315 of diluted wines": "protein (OD280/OD315)"})
    table = table.mask(np.random.default_rng(random_state).random(table.shape) < 0.03)
    shades = ["pale", "ruby", "deep"]
    shade = pd.cut(table.pop("color intensity"), [0, 3.5, 6, 20], labels=shades)
    table["proline"] = table["proline"].map("{:,.0f}".format, na_action="ignore")
    table.insert(0, "bottle", np.arange(1, len(table) + 1))
    table.insert(1, "country", "Italy")
    table.insert(2, "colour", shade)
    table["cultivar"] = wines.target.map(dict(enumerate(["Barolo", "Grignolino", "Barbera"])))
    with aside(Path(path)) as provisional:
        table.to_csv(provisional, index=False)
    return Path(path)
