"""A user's own table: from a file to numbers whose names still mean something.

`read` turns a file into a DataFrame or says in one line why it cannot. `TableEncoder` decides what
each column is, turns it into numbers, and reports what it did and why; every number it makes knows
the column it came from, so that an explanation can be read, and added up, in the user's own words.

Nothing is dropped, filled in or pooled without a line in `TableEncoder.report_`.
"""

import csv
import difflib
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
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.datasets import load_wine
from sklearn.utils.validation import check_is_fitted

from whycluster.columns import (
    PLAIN_NUMBER,
    Column,
    Rules,
    TableError,
    clean,
    from_plain,
    study,
    to_plain,
)
from whycluster.explanation import Explanation
from whycluster.wording import short

# --- reading ---------------------------------------------------------------------------------

_MAGIC = {
    b"PAR1": "a Parquet file: rename it to .parquet",
    b"PK\x03\x04": "a zip archive or an Excel workbook: export the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: export the sheet as CSV",
    b"\x89HDF": "an HDF5 file: export the table as CSV or Parquet",
    b"%PDF": "a PDF: export the table as CSV",
}
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*")
_DECIMAL_POINT = re.compile(r"\s*[-+]?\d*\.\d+\s*")


def read(path: str | Path, *, missing: tuple[str, ...] = ("?",)) -> pd.DataFrame:
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
    table, reading = _read_parquet(path) if is_parquet else _read_text(path, missing)
    table = _check_table(table, f"{path.name}: ")
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


def _read_text(path, missing):
    text, encoding = _decode(_read_bytes(path), path.name)
    delimiter = _sniff_delimiter(text)
    header, decimal = _scan_records(text, delimiter, path.name)
    try:
        table = pd.read_csv(
            io.StringIO(text),
            sep=delimiter,
            decimal=decimal,
            na_values=list(missing),
            index_col=False,
            low_memory=False,
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


def _check_table(table, where=""):
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


# --- encoding --------------------------------------------------------------------------------


class TableEncoder(TransformerMixin, BaseEstimator):
    """Turn a table of mixed columns into numbers, and say what was done to every column.

    A column is taken for what its values show: a *number* (also one stored as text, such as
    "1,234" or " 5 "), an *ordered* category, a *date*, a *yes/no*, or a *category*. Left out, and
    reported, are *identifiers* (another text in every row, or whole numbers that merely count the
    rows), *free text*, *constant* and *all missing* columns.

    Parameters
    ----------
    categories : tuple of str
        Columns whose numbers are codes rather than amounts.
    keep : tuple of str
        Columns that are no identifiers, whatever they look like.
    drop : tuple of str
        Columns to leave out.
    scale : {"standard", "robust"}, default="standard"
        Numbers, ordered categories and dates lose their mean and are divided by their standard
        deviation, or lose their median and are divided by 0.741 times the distance between the
        quartiles, which outliers do not move and which estimates the same quantity.
    missing_indicator : float in [0, 1], default=0.05
        A number missing in more than this share of the rows adds a 0/1 feature `age (missing)`.
        Whatever the share, the missing numbers themselves become the median.
    max_levels : int, default=20
        Levels of a category that keep a feature of their own, the most frequent first.
    min_level_share : float in [0, 1], default=0.01
        Levels in a smaller share of the rows (or in one row only) are pooled as `(other)`.

    Attributes
    ----------
    report_ : DataFrame of shape (n_columns, 6)
        column, type, missing %, distinct, features, what was done.
    feature_names_out_ : list of str, length n_features
        `age`, `age (missing)`, `colour = red`, `colour = (missing)`, `colour = (other)`.
    source_ : ndarray of str, shape (n_features,)
        The column that each feature was made from.
    used_ : list of str, length n_used
        The columns that are not left out, in the order of the table.

    Notes
    -----
    Two random rows differ by a mean square of 2 in a standardised number, of at most 2 over all
    levels of a category together, and of at most 0.5 in a 0/1 feature: no category outweighs a
    number, and a yes/no counts for less.

    Examples
    --------
    >>> table = pd.DataFrame({"age": [31, 44, None, 58], "colour": ["red", "red", "blue", "blue"]})
    >>> encoder = TableEncoder().fit(table)
    >>> encoder.feature_names_out_
    ['age', 'age (missing)', 'colour = blue', 'colour = red']
    >>> encoder.source_.tolist()
    ['age', 'age', 'colour', 'colour']
    """

    def __init__(
        self,
        *,
        categories: tuple[str, ...] = (),
        keep: tuple[str, ...] = (),
        drop: tuple[str, ...] = (),
        scale: str = "standard",
        missing_indicator: float = 0.05,
        max_levels: int = 20,
        min_level_share: float = 0.01,
    ):
        self.categories = categories
        self.keep = keep
        self.drop = drop
        self.scale = scale
        self.missing_indicator = missing_indicator
        self.max_levels = max_levels
        self.min_level_share = min_level_share

    def fit(self, table: pd.DataFrame, y=None):
        """Decide what every column is.

        Parameters
        ----------
        table : DataFrame of shape (n_rows, n_columns)
            At least two rows and two columns.
        y : None
            Ignored.

        Raises
        ------
        TableError
            If the table is too small, a column holds infinity or values that are neither numbers
            nor text, all but a few values of a column are numbers, or no column is left to use.
        """
        table = _check_table(table)
        rules, roles = self._check_settings(list(table))
        self._keep([study(table[name], rules, roles.get(name, "")) for name in table])
        if not self.used_:
            why = ", ".join(f"{short(c.name)!r} {c.type}" for c in self.columns_.values())
            raise TableError(f"no column is left to cluster on: {short(why, 200)}")
        self._check_feature_names()
        return self

    def transform(self, table: pd.DataFrame) -> pd.DataFrame:
        """Turn rows into numbers.

        Parameters
        ----------
        table : DataFrame of shape (n_rows, n_columns)
            The columns of `fit`, in any order; those that were left out may be absent.

        Returns
        -------
        DataFrame of shape (n_rows, n_features)
            float64, no missing values, the index of `table`.

        Raises
        ------
        TableError
            If a used column is missing, a column was never seen, or a value is infinite or not of
            its column's type.

        Warns
        -----
        UserWarning
            Counting the levels never seen in `fit` and the values missing from columns that were
            complete in `fit`.
        """
        check_is_fitted(self)
        self._check_columns(table)
        blocks, notes = [], []
        for name in self.used_:
            block, note = self.columns_[name].encode(clean(table[name]))
            blocks.append(block)
            notes += [f"{short(name)!r}: {note}"] if note else []
        n_empty = table[self.used_].isna().all(axis=1).sum()
        if n_empty:
            notes.append(f"{n_empty} rows without any value, placed at the medians")
        if notes:
            warnings.warn("; ".join(notes), UserWarning, stacklevel=2)
        encoded = np.concatenate(blocks, axis=1)
        return pd.DataFrame(encoded, columns=self.feature_names_out_, index=table.index)

    def get_feature_names_out(self, input_features=None) -> np.ndarray:
        """Return `feature_names_out_` as an array, as scikit-learn's transformers do."""
        check_is_fitted(self)
        return np.array(self.feature_names_out_, dtype=object)

    def group_by_source(self, values):
        """Add up what belongs to the features of one column.

        Parameters
        ----------
        values : Explanation or array-like of shape (..., n_features)

        Returns
        -------
        Explanation or ndarray of shape (..., n_used)
            In the order of `used_`. Contributions, attributions and arrays are summed; of gates,
            which say whether a feature is open, the largest counts.
        """
        check_is_fitted(self)
        if not isinstance(values, Explanation):
            return self._reduce(np.asarray(values, dtype=float), np.add)
        reduce = np.maximum if values.kind == "gate" else np.add
        parts = (values.sample, values.cluster, values.overall)
        grouped = [None if part is None else self._reduce(part, reduce) for part in parts]
        return Explanation(*grouped, feature_names=self.used_, kind=values.kind)

    def profile(self, table: pd.DataFrame, labels) -> pd.DataFrame:
        """Describe each cluster in the units of the table.

        Parameters
        ----------
        table : DataFrame of shape (n_rows, n_columns)
        labels : array-like of int, shape (n_rows,)

        Returns
        -------
        DataFrame of shape (n_used, 1 + n_clusters), of text
            Numbers, dates and ordered categories: the median. Yes/no: the share of yes. Categories:
            the most frequent level and its share of the rows, missing values included.
        """
        check_is_fitted(self)
        self._check_columns(table)
        labels = np.asarray(labels)
        groups = {"all rows": np.full(len(labels), True)}
        groups |= {f"cluster {k}": labels == k for k in np.unique(labels)}
        columns = [self.columns_[name] for name in self.used_]
        cleaned = {column.name: clean(table[column.name]) for column in columns}
        summary = {
            group: [column.summarise(cleaned[column.name][rows]) for column in columns]
            for group, rows in groups.items()
        }
        return pd.DataFrame(summary, index=pd.Index(self.used_, name="column"))

    def save(self, path) -> None:
        """Write the fitted encoder to the folder `path`, as JSON."""
        from whycluster import persistence  # here, since it needs torch and an encoder does not

        check_is_fitted(self)
        own = clone(self)
        own.columns_ = [to_plain(column) for column in self.columns_.values()]
        persistence.save(own, path, {})

    @classmethod
    def load(cls, path) -> "TableEncoder":
        """Read an encoder that `save` wrote. Runs no code from the file."""
        from whycluster import persistence

        encoder, _ = persistence.load(cls, path)
        encoder._keep([from_plain(column) for column in encoder.columns_])
        return encoder

    def _keep(self, columns: list[Column]) -> None:
        self.columns_ = {column.name: column for column in columns}
        self.report_ = pd.DataFrame([column.as_row() for column in columns])
        used = [column for column in columns if column.features]
        self.used_ = [column.name for column in used]
        self.feature_names_out_ = [feature for column in used for feature in column.features]
        self.source_ = np.array([c.name for c in used for _ in c.features], dtype=object)

    def _reduce(self, values, reduce):
        if values.shape[-1] != len(self.source_):
            n_features = len(self.source_)
            raise ValueError(f"{values.shape[-1]} values per row for {n_features} features")
        starts = [self.source_.tolist().index(name) for name in self.used_]
        return reduce.reduceat(values, starts, axis=-1)

    def _check_settings(self, names):
        """Return the rules, and the role that the user gave to each column that has one."""
        if self.scale not in ("standard", "robust"):
            raise TableError(f"scale={self.scale!r} is neither 'standard' nor 'robust'")
        lists = {"category": self.categories, "keep": self.keep, "drop": self.drop}
        roles = {name: role for role, listed in lists.items() for name in listed}
        for name in roles:
            if name not in names:
                raise TableError(_no_such_column(name, names))
        settings = ("scale", "missing_indicator", "max_levels", "min_level_share")
        return Rules(**{name: getattr(self, name) for name in settings}), roles

    def _check_columns(self, table):
        names = [str(name) for name in table.columns]
        absent = [name for name in self.used_ if name not in names]
        unknown = [name for name in names if name not in self.columns_]
        if absent:
            raise TableError(_no_such_column(absent[0], unknown))
        if unknown:
            raise TableError(f"column {short(unknown[0])!r} was not in the table that was fitted")
        if len(set(names)) < len(names):
            _check_table(table)

    def _check_feature_names(self):
        counts = Counter(self.feature_names_out_)
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            raise TableError(f"two features would be called {twice[0]!r}; rename a column")


def _no_such_column(name, names):
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {short(close[0])!r}?" if close else ""
    return f"no column {short(name)!r} in the table{hint}"


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
    table.to_csv(path, index=False)
    return Path(path)
