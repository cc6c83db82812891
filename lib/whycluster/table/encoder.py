"""A user's own table: from columns of all kinds to numbers whose names still mean something.

`TableEncoder` decides what each column is, turns it into numbers, and reports what it did and why;
every number it makes knows the column it came from, so that an explanation can be read, and added
up, in the user's own words.

Nothing is dropped, filled in or pooled without a line in `TableEncoder.report_`; what was guessed,
and the option that overrules it, stands in `TableEncoder.notes_`.
"""

import difflib
import warnings
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from whycluster.contract.explanation import Explanation
from whycluster.contract.settings import Count, Declared, Share, fitting, setting
from whycluster.contract.wording import short
from whycluster.table.columns import LEFT_OUT, Column, from_plain, to_plain
from whycluster.table.forms import TableError
from whycluster.table.input import check_table
from whycluster.table.kinds import Rules
from whycluster.table.study import study_table

_ROLES = {  # where a column is in several, the last one counts
    "keep": "keep",
    "categories": "category",
    "numbers": "number",
    "drop": "drop",
}


Names = Annotated[Any, "collection of str"]


class TableEncoder(Declared, TransformerMixin, BaseEstimator):
    """Turn a table of mixed columns into numbers, and say what was done to every column.

    A column is taken for what its values show: a *number* (also one written as text, such as
    "1.234,50 €", "5.3%", "(120.50)" or "<0.5"), an *ordered* category, a *date*, a *yes/no* (also a
    box that is ticked or empty), or a *category*. Left out, and reported, are *identifiers*
    (another text in every row, or whole numbers that merely count the rows), *free text*,
    *constant*, *all missing* and *nearly empty* columns, and cells that hold lists.

    Text is read under one convention for the whole table: cells that allow one reading only decide
    what the others mean.

    Attributes
    ----------
    report_ : DataFrame of shape (n_columns, 6)
        column, type, missing %, distinct, features, what was done.
    notes_ : list of str
        What to read before trusting the rest: guesses that could be wrong with the option that
        overrules each, and whether most columns are left out.
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

    # What columns are
    categories: Names = setting(
        (),
        """Columns whose numbers are codes rather than amounts. Their text stays as it is
        written.""",
    )
    numbers: Names = setting(
        (), "Columns that are amounts; a cell that cannot be read as a number is missing."
    )
    keep: Names = setting((), "Columns that are no identifiers, whatever they look like.")
    drop: Names = setting((), "Columns to leave out.")
    # What cells mean
    codes: Annotated[Any, "mapping of str to list, optional"] = setting(
        None,
        """Values that mean "no value" in one column, as `{"income": [-999]}`. In a column that is
        named here no codes are looked for; an empty list takes all its numbers for amounts.""",
    )
    missing_words: Names = setting(
        ("?",),
        """What means "no value" in every column, besides an empty cell, pandas' own list (`NA`,
        `null`, ...), the errors of spreadsheets (`#DIV/0!`) and dashes.""",
    )
    decimal: Literal[".", ","] | None = setting(
        None, "The decimal sign of numbers written as text; None: decided from the table."
    )
    day_first: bool | None = setting(
        None,
        """Whether dates such as 1/2/2020 begin with the day; None: decided from the table, else
        True.""",
    )
    # How they become numbers
    scale: Literal["standard", "robust"] = setting(
        "standard",
        """Numbers, ordered categories and dates lose their mean and are divided by their standard
        deviation, or lose their median and are divided by 0.741 times the distance between the
        quartiles, which outliers do not move and which estimates the same quantity. Values beyond
        3 of these robust deviations are put there, so that no single row is far from all
        others.""",
    )
    missing_indicator: Share = setting(
        0.05,
        """A number missing in more than this share of the rows adds a 0/1 feature `age (missing)`.
        Whatever the share, the missing numbers themselves become the median.""",
    )
    max_levels: Count = setting(
        20, "Levels of a category that keep a feature of their own, the most frequent first."
    )
    min_level_share: Share = setting(
        0.01,
        "Levels in a smaller share of the rows (or in one row only) are pooled as `(other)`.",
    )

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
            If the table is too small, an option is none of those above or names a column that is
            not there, a column holds infinity, or no column is left to use.
        """
        table = check_table(table)
        self._check_settings(list(table))
        with fitting(self) as twin:
            twin._keep(study_table(table, self._rules()))
            if not twin.used_:
                why = ", ".join(f"{short(c.name)!r} {c.type}" for c in twin.columns_.values())
                raise TableError(f"no column is left to cluster on: {short(why, 200)}")
            twin._check_feature_names()
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
        table = self._check_columns(table)
        blocks, notes, is_empty = [], [], np.full(len(table), True)
        for name, values in self._cleaned(table):
            block, note = self.columns_[name].encode(values)
            blocks.append(block)
            notes += [f"{short(name)!r}: {note}"] if note else []
            is_empty &= values.isna().to_numpy()
        n_empty = is_empty.sum()
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

    def say(self, conditions) -> str:
        """Put conditions on features into the words and units of the table.

        Parameters
        ----------
        conditions : sequence of (feature, low, high)
            low < feature ≤ high, in the unit of the feature at this position; an infinite bound
            asks for nothing.

        Returns
        -------
        str
            One condition per column, such as "age ≤ 47 and hair ≠ red, dark".

        Examples
        --------
        >>> table = pd.DataFrame({"age": [31, 44, 44, 57], "hair": ["red", "red", "dark", "dark"]})
        >>> TableEncoder().fit(table).say([(0, -np.inf, 0.0), (1, 0.5, np.inf)])
        'age ≤ 44 and hair = dark'
        """
        check_is_fitted(self)
        of_column: dict[str, list] = {}
        for feature, low, high in conditions:
            name = self.source_[feature]
            place = feature - self.source_.tolist().index(name)
            of_column.setdefault(name, []).append((place, low, high))
        return " and ".join(self.columns_[name].say(bounds) for name, bounds in of_column.items())

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
        table = self._check_columns(table)
        labels = np.asarray(labels)
        groups = {"all rows": np.full(len(labels), True)}
        groups |= {f"cluster {k}": labels == k for k in np.unique(labels)}
        columns = [self.columns_[name] for name in self.used_]
        cleaned = dict(self._cleaned(table))
        summary = {
            group: [column.summarise(cleaned[column.name][rows]) for column in columns]
            for group, rows in groups.items()
        }
        return pd.DataFrame(summary, index=pd.Index(self.used_, name="column"))

    def save(self, path) -> None:
        """Write the fitted encoder to the folder `path`, as JSON."""
        from whycluster.contract import (
            persistence,  # here, since it needs torch and an encoder does not
        )

        check_is_fitted(self)
        own = clone(self)
        own.columns_ = [to_plain(column) for column in self.columns_.values()]
        persistence.save(own, path, {})

    @classmethod
    def load(cls, path) -> "TableEncoder":
        """Read an encoder that `save` wrote. Runs no code from the file."""
        from whycluster.contract import intact, persistence

        encoder, _ = persistence.load(cls, path)
        with intact.reading(path):
            encoder._keep([from_plain(column) for column in encoder.columns_])
        return encoder

    def _keep(self, columns: list[Column]) -> None:
        # Any: those that are left out cannot encode, and are never asked to.
        self.columns_: dict[str, Any] = {column.name: column for column in columns}
        self.report_ = pd.DataFrame([column.as_row() for column in columns])
        self.notes_ = _note_most_left_out(columns)
        self.notes_ += [f"{short(c.name)!r}: {doubt}" for c in columns for doubt in c.doubts]
        used = [column for column in columns if column.features]
        self.used_ = [column.name for column in used]
        self.feature_names_out_ = [feature for column in used for feature in column.features]
        self.source_ = np.array([c.name for c in used for _ in c.features], dtype=object)

    def _rules(self):
        """Return the settings as the study of columns has them."""
        settings = ("scale", "missing_indicator", "max_levels", "min_level_share")
        settings += ("decimal", "day_first")
        return Rules(
            roles={
                str(name): role for option, role in _ROLES.items() for name in getattr(self, option)
            },
            words=tuple(self.missing_words),
            codes={str(name): tuple(codes) for name, codes in (self.codes or {}).items()},
            **{name: getattr(self, name) for name in settings},
        )

    def _cleaned(self, table):
        """Yield name and cleaned values of the columns that are used."""
        rules = self._rules()
        for name in self.used_:
            yield name, rules.clean(table[name])

    def _reduce(self, values, reduce):
        if values.shape[-1] != len(self.source_):
            n_features = len(self.source_)
            raise ValueError(f"{values.shape[-1]} values per row for {n_features} features")
        starts = [self.source_.tolist().index(name) for name in self.used_]
        return reduce.reduceat(values, starts, axis=-1)

    def _check_settings(self, names):
        try:
            self._validate_params()
        except ValueError as error:
            raise TableError(str(error)) from None
        self._check_named(names)

    def _check_named(self, names):
        """Raise if an option names a column that is not there, or two options the same one."""
        options = {option: _listed(option, getattr(self, option)) for option in _ROLES}
        options["codes"] = _listed_codes(self.codes)
        _listed("missing_words", self.missing_words)
        for option, listed in options.items():
            for name in listed:
                if str(name) not in names:
                    raise TableError(_no_such_column(name, names, option))
        both = {str(name) for name in options["categories"]} & {str(n) for n in options["numbers"]}
        if both:
            raise TableError(f"column {short(min(both))!r} is in both categories and numbers")

    def _check_columns(self, table):
        """Return the table with its names as text, or say which columns are wrong."""
        names = [str(name) for name in table.columns]
        absent = [name for name in self.used_ if name not in names]
        unknown = [name for name in names if name not in self.columns_]
        if absent:
            raise TableError(_no_such_column(absent[0], unknown))
        if unknown:
            raise TableError(f"column {short(unknown[0])!r} was not in the table that was fitted")
        if len(set(names)) < len(names):
            check_table(table)
        return table.set_axis(names, axis=1)

    def _check_feature_names(self):
        counts = Counter(self.feature_names_out_)
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            raise TableError(f"two features would be called {twice[0]!r}; rename a column")


def _note_most_left_out(columns):
    """Say so if more than half of the columns that the user did not drop are left out."""
    asked = [column for column in columns if column.type != "dropped"]
    gone = [f"{short(c.name, 30)!r} ({c.type})" for c in asked if c.type in LEFT_OUT]
    if len(gone) <= len(asked) / 2:
        return []
    used = ", ".join(repr(short(column.name, 30)) for column in asked if column.features)
    return [
        f"{len(gone)} of {len(asked)} columns are left out: {short(', '.join(gone), 200)}; the "
        f"clusters rest on {short(used, 200)} alone"
    ]


def _listed(option, names):
    """Return the entries of an option, or say that it is no list."""
    if isinstance(names, str | Mapping) or not np.iterable(names):
        raise TableError(f"{option}={names!r} is no list; write [{names!r}]")
    return list(names)


def _listed_codes(codes):
    """Return the columns with codes, or say what is wrong with them."""
    if codes is not None and not isinstance(codes, Mapping):
        raise TableError(f"codes={codes!r} names no column; write {{'income': [-999]}}")
    for name, values in (codes or {}).items():
        _listed(f"codes of {short(name)!r}", values)
    return list(codes or {})


def _no_such_column(name, names, option=""):
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {short(close[0])!r}?" if close else ""
    if isinstance(name, bool):
        hint = "; YAML takes no, yes, on and off for true and false: put the name in quotes"
    where = f" ({option})" if option else ""
    return f"no column {short(name)!r} in the table{where}{hint}"
