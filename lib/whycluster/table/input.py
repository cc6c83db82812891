"""A user's own table, from a file to a DataFrame, or one line that says why not."""

import csv
import gzip
import io
import re
import sys
import warnings
import zlib
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_wine

from whycluster.contract.files import aside
from whycluster.contract.wording import short
from whycluster.table.forms import PLAIN_NUMBER, TableError

_MAGIC = {
    b"PAR1": "a Parquet file: rename it to .parquet",
    b"PK\x03\x04": "a zip archive or an Excel workbook: export the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: export the sheet as CSV",
    b"\x89HDF": "an HDF5 file: export the table as CSV or Parquet",
    b"%PDF": "a PDF: export the table as CSV",
}
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
# What pandas takes for "no value"; it publishes no list.
_MISSING_WORDS = (
    "#N/A #NA -1.#IND -1.#QNAN -NaN -nan 1.#IND 1.#QNAN <NA> N/A NA NULL NaN None n/a nan null"
)
_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*")
_DECIMAL_POINT = re.compile(r"\s*[-+]?\d*\.\d+\s*")


def read(
    path: str | Path, *, missing: tuple[str, ...] = ("?",), as_text: bool = False
) -> pd.DataFrame:
    r"""Read a table with column names in its first line.

    Parameters
    ----------
    path : str or Path
        A Parquet file (`.parquet`, `.pq`) or a text file, plain or gzipped, with commas,
        semicolons, tabs or bars between the fields. The delimiter is the one that splits the first
        50 records most evenly. Text is taken as UTF-8, UTF-16 with a byte-order mark, else
        Windows-1252, else Latin-1. Where commas do not separate fields, they may be decimal.
    missing : tuple of str
        What else means "no value", besides an empty field and pandas' own list (`NA`, `null`, ...).
    as_text : bool, default=False
        Leave every cell of a text file as it is written; only an empty field is missing. Otherwise
        `numbers_where_plain` follows.

    Returns
    -------
    DataFrame of shape (n_rows, n_columns)
        Both at least 2. `attrs["reading"]` says how it was read: format, encoding, delimiter,
        decimal sign, rows, columns.

    Raises
    ------
    TableError
        If there is no such file, it is a folder, empty, binary or damaged, a record has another
        number of fields than the header, two columns share a name, or there are fewer than two
        rows or columns.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "wines.csv"
    >>> _ = path.write_text("colour;alcohol\nred;13,5\nwhite;12,1\n")
    >>> read(path)
      colour  alcohol
    0    red     13.5
    1  white     12.1
    >>> read(path).attrs["reading"]["delimiter"]
    'semicolon'
    """
    path = Path(path)
    if path.is_dir():
        raise TableError(f"{path} is a folder: give the file inside it")
    if not path.exists():
        raise TableError(f"{path}: no such file; check the name and the folder")
    is_parquet = path.suffix.lower() in (".parquet", ".pq")
    table, reading = _read_parquet(path) if is_parquet else _read_text(path)
    if not is_parquet and not as_text:
        table = numbers_where_plain(table, missing, reading["decimal sign"])
    table = check_table(table, f"{path.name}: ")
    rows, columns = table.shape
    table.attrs["reading"] = {"file": path.name, **reading, "rows": rows, "columns": columns}
    return table


def _read_parquet(path):
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise TableError(f"{path.name}: not a readable Parquet file ({reason})") from None
    if not isinstance(table.index, pd.RangeIndex):
        table = table.reset_index()
    return table, {"format": "Parquet"}


def numbers_where_plain(
    table: pd.DataFrame, missing: tuple[str, ...] = (), decimal: str = "."
) -> pd.DataFrame:
    """Return a table of text with numbers in the columns that hold nothing else.

    Parameters
    ----------
    table : DataFrame of shape (n_rows, n_columns), of text
    missing : tuple of str
        What else means "no value", besides pandas' own list; such cells become missing.
    decimal : {".", ","}
        The decimal sign.

    Examples
    --------
    >>> numbers_where_plain(pd.DataFrame({"a": ["1", "NA"], "b": ["1", "x"]})).dtypes.tolist()
    [dtype('float64'), <StringDtype(na_value=nan)>]
    """
    words = {*_MISSING_WORDS.split(), *missing}
    return table.apply(lambda values: _numbers_if_plain(values.mask(values.isin(words)), decimal))


def _numbers_if_plain(values, decimal):
    texts = values.dropna().str.strip().str.replace(decimal, ".", regex=False)
    if not all(map(PLAIN_NUMBER.fullmatch, texts)):
        return values
    return pd.to_numeric(texts).reindex(values.index)


def _read_text(path):
    text, encoding = _decode(_read_bytes(path), path.name)
    delimiter = _sniff_delimiter(text)
    header, decimal = _scan_records(text, delimiter, path.name)
    try:
        table = pd.read_csv(
            io.StringIO(text),
            sep=delimiter,
            dtype=str,
            keep_default_na=False,
            na_values=[""],
            index_col=False,
        )
    except pd.errors.ParserError as error:
        raise TableError(f"{path.name}: {error}; is a quotation mark left open?") from None
    table.columns = header
    named = {"encoding": encoding, "delimiter": _DELIMITERS[delimiter], "decimal sign": decimal}
    return table, {"format": "text", **named}


def _read_bytes(path):
    """Return the content of a file, unzipped, or say what kind of binary file it is."""
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise TableError(f"{path.name}: cannot be read ({error})") from None
    for magic, kind in _MAGIC.items():
        if content.startswith(magic):
            raise TableError(f"{path.name} is not a text table but {kind}")
    if not content.strip():
        raise TableError(f"{path.name} is empty: a table needs a line of column names and rows")
    return content


def _decode(content, name):
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16"), "utf-16"
    if b"\0" in content:
        place = content.index(b"\0")
        raise TableError(f"{name} is not a text table: NUL byte at position {place}")
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        had_mark = content.startswith(b"\xef\xbb\xbf")
        return text, "utf-8" if encoding == "utf-8-sig" and not had_mark else encoding
    return content.decode("latin-1"), "latin-1"


def _sniff_delimiter(text):
    """Return the delimiter under which most of the first 50 records are as wide as the header."""
    return max(_DELIMITERS, key=lambda delimiter: _evenness(text, delimiter))


def _evenness(text, delimiter):
    try:
        records = list(islice(_numbered_records(text[:1_000_000], delimiter, ""), 50))
    except TableError:
        return (False, 0.0, 0)
    widths = np.array([len(fields) for _, fields in records])
    return (widths[0] > 1, np.mean(widths == widths[0]), widths[0])


def _scan_records(text, delimiter, name):
    """Return the column names and the decimal sign; raise at the first record of another width."""
    commas = points = 0
    records = _numbered_records(text, delimiter, name)
    _, header = next(records)
    for line, record in records:
        if len(record) != len(header):
            raise TableError(
                f"{name}, line {line}: {len(record)} fields where the header has {len(header)}; "
                f"the delimiter was taken to be a {_DELIMITERS[delimiter]}"
            )
        if delimiter != ",":
            commas += any(map(_DECIMAL_COMMA.fullmatch, record))
            points += any(map(_DECIMAL_POINT.fullmatch, record))
    return _name_columns(header, name), "," if commas and not points else "."


def _numbered_records(text, delimiter, name):
    """Yield (line on which it starts, fields) of each record that is not blank."""
    records = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    limit = csv.field_size_limit(sys.maxsize)
    try:
        start = 1
        for record in records:
            if record:
                yield start, record
            start = records.line_num + 1
    except csv.Error as error:
        raise TableError(f"{name}, line {start}: {error}") from None
    finally:
        csv.field_size_limit(limit)


def _name_columns(header, name):
    names = [cell.strip() or f"column {i}" for i, cell in enumerate(header, start=1)]
    if all(map(PLAIN_NUMBER.fullmatch, names)):
        warnings.warn(
            f"{name}: the first line holds only numbers ({short(', '.join(names))}) and was taken "
            "as the column names; add a line of names above it if it is a row",
            stacklevel=5,
        )
    return names


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
