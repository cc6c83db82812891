"""One column of a user's table: what its values are, and the numbers they become.

`study` looks at the values of a column once and returns a `Column`: what it is, what was done with
it and why, how new values are encoded the same way, and how any group of rows reads in the column's
own units. `whycluster.table.TableEncoder` puts the columns of a table together.
"""

import re
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api import types

from whycluster.contract.wording import short

MISSING = "(missing)"
OTHER = "(other)"
LEFT_OUT = ("dropped", "identifier", "free text", "constant", "all missing")
MANY_LEVELS = 20  # more different texts are no levels if they are long, or differ in most rows
LONG_TEXT = 60  # characters, of the median text
HUGE = 1e150  # a larger number squared is no number
FAR_OUT = 8  # standard deviations: a value further out is worth a word in the report

PLAIN_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_NUMBER_STYLES = {
    "plain": PLAIN_NUMBER,
    "thousands": re.compile(r"[-+]?(\d{1,3}(,\d{3})+|\d+)(\.\d*)?"),
    "decimal comma": re.compile(r"[-+]?(\d{1,3}(\.\d{3})+|\d+)(,\d*)?"),
}
_DATE_FORMATS = {
    "ISO8601": re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:.*)?"),
    "%Y/%m/%d": re.compile(r"\d{4}/\d{1,2}/\d{1,2}"),
    "%d.%m.%Y": re.compile(r"\d{1,2}\.\d{1,2}\.\d{4}"),
    "%d/%m/%Y": re.compile(r"\d{1,2}/\d{1,2}/\d{4}"),
    "%m/%d/%Y": re.compile(r"\d{1,2}/\d{1,2}/\d{4}"),
}
_NO_YES = {"no": 0, "n": 0, "false": 0, "f": 0, "yes": 1, "y": 1, "true": 1, "t": 1}
_IDENTIFIER_NAME = re.compile(r"(^|[\W_])(id|ids|uuid|guid|key|index|idx|row|nr|no|number)$", re.I)
_IDENTIFIER_CAMEL = re.compile(r"[a-z](ID|Id)$")


class TableError(ValueError):
    """A table that cannot be used as it is: one line with what is wrong, where, and what to do."""


@dataclass(frozen=True)
class Rules:
    """How columns are typed and encoded, as far as the user decides; see `TableEncoder`."""

    scale: str = "standard"
    missing_indicator: float = 0.05
    max_levels: int = 20
    min_level_share: float = 0.01


# --- values: text, numbers, dates ------------------------------------------------------------


def clean(values: pd.Series) -> pd.Series:
    """Trim text and make blank text missing; leave numbers, dates and yes/no as they are.

    Raises
    ------
    TableError
        For values that are neither numbers, text nor dates.
    """
    dtype = values.dtype
    if types.is_complex_dtype(dtype) or types.is_timedelta64_dtype(dtype):
        raise TableError(f"column {short(values.name)!r} holds {dtype} values; make them numbers")
    if types.is_numeric_dtype(dtype) or types.is_datetime64_any_dtype(dtype):
        return values
    if isinstance(dtype, pd.CategoricalDtype) and dtype.ordered:
        return values
    for row, value in enumerate(values):
        if not isinstance(value, Hashable):
            kind = type(value).__name__
            raise TableError(f"{place(values, row)} is a {kind}; one number or text per cell")
    text = values.astype(object).map(as_text, na_action="ignore").astype(object)
    return text.where(text.notna() & (text != ""), np.nan)


def as_text(value) -> str:
    """Return a value as trimmed text, a whole number without its decimals."""
    if isinstance(value, float | np.floating) and value.is_integer():
        value = int(value)
    return str(value).strip()


def as_number(value: float) -> str:
    """Return a number for the eye: three digits, or whole from a thousand on."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"


def place(values: pd.Series, row: int) -> str:
    """Say where a value stands; rows count from 1 below the column names."""
    value = short(values.iloc[row], 30)
    return f"column {short(values.name)!r}, row {row + 1}: {value!r}"


# --- forms: one column's values as numbers, and numbers as its values ------------------------


@dataclass(frozen=True)
class NumberForm:
    """Numbers, and numbers stored as text in one of the styles of this module.

    Every form is called with the values of a column (n_rows,) and returns floats (n_rows,), NaN
    where missing, or raises a TableError at a value that is not of its form; `show` goes back to
    text, and `words` say in the report what the numbers mean.
    """

    words = ""

    style: str = "plain"

    def __call__(self, values: pd.Series) -> np.ndarray:
        """Return numbers; infinity is an error."""
        if not types.is_numeric_dtype(values.dtype):
            values = self._parse(values)
        numbers = values.to_numpy(dtype=float, na_value=np.nan)
        if np.isinf(numbers).any():
            row = int(np.argmax(np.isinf(numbers)))
            raise TableError(f"{place(values, row)} is infinite; correct it or leave it empty")
        return numbers

    def show(self, value: float) -> str:
        """Return the number for the eye."""
        return as_number(value)

    def say(self, name: str, low: float, high: float) -> str:
        """Put low < name ≤ high into words; an infinite bound is none."""
        if np.isinf(low):
            return f"{name} ≤ {self.show(high)}"
        if np.isinf(high):
            return f"{name} > {self.show(low)}"
        return f"{self.show(low)} < {name} ≤ {self.show(high)}"

    def _parse(self, values):
        pattern = _NUMBER_STYLES[self.style]
        fits = [pd.isna(value) or bool(pattern.fullmatch(as_text(value))) for value in values]
        if not all(fits):
            raise TableError(f"{place(values, fits.index(False))} is not a number; correct it")
        drop, point = (".", ",") if self.style == "decimal comma" else (",", ".")
        plain = values.map(lambda v: as_text(v).replace(drop, "").replace(point, "."), "ignore")
        return plain.astype(float)


@dataclass(frozen=True)
class DateForm:
    """Dates as days since the first of them; text in one format."""

    format: str
    origin: pd.Timestamp | None = None

    def __call__(self, values: pd.Series) -> np.ndarray:
        """Return days since `origin`."""
        dates = self.parse(values)
        wrong = (dates.isna() & values.notna()).to_numpy()
        if wrong.any():
            row = int(np.argmax(wrong))
            raise TableError(f"{place(values, row)} is not a date like the others; correct it")
        return ((dates - self.origin) / pd.Timedelta(days=1)).to_numpy(dtype=float)

    def show(self, value: float) -> str:
        """Return the day."""
        return f"{self.origin + pd.Timedelta(days=value):%Y-%m-%d}"

    def say(self, name: str, low: float, high: float) -> str:
        """Put low < name ≤ high into words; an infinite bound is none."""
        after = "" if np.isinf(low) else f" after {self.show(low)}"
        until = "" if np.isinf(high) else f" until {self.show(high)}"
        return name + after + until

    @property
    def words(self) -> str:
        """What the numbers count."""
        return f"days since {self.show(0)}"

    def parse(self, values: pd.Series) -> pd.Series:
        """Return timestamps, NaT for what is no date."""
        if types.is_datetime64_any_dtype(values.dtype):
            return pd.to_datetime(values, utc=True)
        if types.is_numeric_dtype(values.dtype):
            raise TableError(f"column {short(values.name)!r} holds numbers where dates were fitted")
        return pd.to_datetime(values, format=self.format, errors="coerce", utc=True)


@dataclass(frozen=True)
class RankForm:
    """Levels in their order as 0, 1, 2, ...: an ordered category, or no and yes."""

    levels: tuple[str, ...]

    def __call__(self, values: pd.Series) -> np.ndarray:
        """Return ranks."""
        ranks = {level: float(rank) for rank, level in enumerate(self.levels)}
        texts = values.astype(object).map(as_text, "ignore")
        unknown = (~texts.isin(ranks) & texts.notna()).to_numpy()
        if unknown.any():
            row = int(np.argmax(unknown))
            raise TableError(f"{place(values, row)} is none of {', '.join(self.levels[:20])}")
        return texts.map(ranks).to_numpy(dtype=float)

    def show(self, value: float) -> str:
        """Return the level."""
        return self.levels[int(value)]

    def say(self, name: str, low: float, high: float) -> str:
        """Put low < name ≤ high into words: the level, or the first and the last of several."""
        ranks = [rank for rank in range(len(self.levels)) if low < rank <= high]
        first, last = self.levels[ranks[0]], self.levels[ranks[-1]]
        return f"{name} = {first}" if first == last else f"{name} from {first} to {last}"

    @property
    def words(self) -> str:
        """Which level is which number."""
        steps = (f"{rank} = {level}" for rank, level in enumerate(self.levels))
        return "taken as it is" if self.levels == ("0", "1") else short(", ".join(steps), 120)


# --- columns ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column that was looked at; on its own, one that is left out.

    Parameters
    ----------
    name, type : str
        `type` is number, ordered, date, yes/no, category, or one of `LEFT_OUT`.
    missing : float in [0, 1]
        Share of the rows without a value.
    distinct : int
        Number of different values.
    done : str
        What was done with it, and why.
    features : tuple of str
        Names of the features made from it; none if it is left out.
    """

    name: str
    type: str
    missing: float
    distinct: int
    done: str
    features: tuple[str, ...] = ()

    def as_row(self) -> dict:
        """Return the column's row of the report."""
        return {
            "column": self.name,
            "type": self.type,
            "missing %": round(100 * self.missing, 1),
            "distinct": self.distinct,
            "features": len(self.features),
            "what was done": self.done,
        }


@dataclass(frozen=True, kw_only=True)
class NumberColumn(Column):
    """A column whose values are amounts or ranks, with what turns them into features.

    Parameters
    ----------
    form : NumberForm, DateForm or RankForm
    fill, centre, spread : float
        What a missing value becomes, what is subtracted, by what is divided.
    """

    form: NumberForm | DateForm | RankForm
    fill: float
    centre: float
    spread: float

    def encode(self, values: pd.Series) -> tuple[np.ndarray, str]:
        """Return features (n_rows, n_features), and a note on what `fit` did not see."""
        numbers = self.form(values)
        is_missing = np.isnan(numbers)
        block = [(np.where(is_missing, self.fill, numbers) - self.centre) / self.spread]
        if len(self.features) == 2:
            block.append(is_missing.astype(float))
        is_new = is_missing.any() and self.missing == 0
        note = f"{is_missing.sum()} missing where none was when fitted, filled in" if is_new else ""
        return np.column_stack(block), note

    def say(self, bounds: list[tuple[int, float, float]]) -> str:
        """Put (place, low, high) of features into words: low < feature ≤ high."""
        here = {place: (low, high) for place, low, high in bounds}
        words = []
        if 0 in here:
            ends = (end * self.spread + self.centre for end in here[0])
            words.append(self.form.say(self.name, *ends))
        if 1 in here:
            words.append(f"{self.name} is {'given' if np.isinf(here[1][0]) else 'missing'}")
        return " and ".join(words)

    def summarise(self, values: pd.Series) -> str:
        """Return the median of the values, of a yes/no the share of yes."""
        numbers = self.form(values)
        if np.isnan(numbers).all():
            return MISSING
        if self.type == "yes/no":
            return f"{self.form.levels[1]} {np.nanmean(numbers):.0%}"
        method = "linear" if self.type == "number" else "inverted_cdf"
        return self.form.show(np.nanquantile(numbers, 0.5, method=method))


@dataclass(frozen=True, kw_only=True)
class CategoryColumn(Column):
    """A column of levels, one 0/1 feature each.

    Parameters
    ----------
    levels : tuple of str
        Levels with a feature of their own, in the order of `features`; `MISSING` and `OTHER` too.
    known : frozenset of str
        All levels seen.
    """

    levels: tuple[str, ...]
    known: frozenset[str]

    def encode(self, values: pd.Series) -> tuple[np.ndarray, str]:
        """Return features (n_rows, n_features), and a note on levels that `fit` did not see."""
        texts = level_texts(values)
        pooled = texts.where(texts.isin(self.levels), OTHER)
        block = np.column_stack([pooled == level for level in self.levels]).astype(float)
        unseen = texts[~texts.isin(self.known)]
        if unseen.empty:
            return block, ""
        fate = f"counted as {OTHER}" if OTHER in self.levels else "in none of its levels"
        return (
            block,
            f"{len(unseen)} never seen when fitted ({short(unseen.iloc[0], 30)!r}), {fate}",
        )

    def say(self, bounds: list[tuple[int, float, float]]) -> str:
        """Put (place, low, high) of features into words: low < feature ≤ high."""
        named = [self.levels[place] for place, low, _ in bounds if np.isfinite(low)]
        if named:
            return f"{self.name} = {named[0]}"
        return f"{self.name} ≠ {', '.join(self.levels[place] for place, _, _ in bounds)}"

    def summarise(self, values: pd.Series) -> str:
        """Return the most frequent level and its share."""
        shares = level_texts(values).value_counts(normalize=True)
        return f"{short(shares.index[0], 40)} {shares.iloc[0]:.0%}"


def to_plain(column: Column) -> dict:
    """Return a column as JSON can hold it."""
    plain = {"class": type(column).__name__} | vars(column)
    if isinstance(column, NumberColumn):
        plain["form"] = {"class": type(column.form).__name__} | vars(column.form)
    if isinstance(column, NumberColumn) and isinstance(column.form, DateForm):
        plain["form"]["origin"] = column.form.origin.isoformat()
    if isinstance(column, CategoryColumn):
        plain["known"] = sorted(column.known)
    return plain


def from_plain(plain: dict) -> Column:
    """Return the column that `to_plain` described."""
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
    known = (Column, NumberColumn, CategoryColumn, NumberForm, DateForm, RankForm)
    cls = {c.__name__: c for c in known}[fields.pop("class")]
    if "form" in fields:
        fields["form"] = from_plain(fields["form"])
    if "origin" in fields:
        fields["origin"] = pd.Timestamp(fields["origin"])
    if "known" in fields:
        fields["known"] = frozenset(fields["known"])
    return cls(**fields)


def level_texts(values: pd.Series) -> pd.Series:
    """Return the level of each row as text, a missing value as `MISSING`."""
    return values.astype(object).map(as_text, "ignore").astype(object).fillna(MISSING)


# --- studying --------------------------------------------------------------------------------


def study(values: pd.Series, rules: Rules, role: str = "") -> Column:
    """Decide what a column is and how it is encoded.

    Parameters
    ----------
    values : Series of shape (n_rows,)
    rules : Rules
    role : {"", "category", "keep", "drop"}
        Its numbers are codes; it is no identifier, whatever it looks like; it is to be left out.

    Raises
    ------
    TableError
        If a value is infinite or neither number, text nor date, or all but a few are numbers.
    """
    values = clean(values).reset_index(drop=True)
    facts = {
        "name": values.name,
        "missing": float(values.isna().mean()),
        "distinct": int(values.nunique()),
    }
    kind, form, why = _kind(values, facts["distinct"], role)
    if role == "keep" and kind in ("identifier", "free text"):
        kind, why = ("number" if form else "category"), f"kept, although it looks like {kind}"
    if kind in LEFT_OUT:
        return Column(**facts, type=kind, done=f"left out: {why}")
    if kind == "category":
        return _study_category(values, rules, facts, why)
    return _study_number(values, rules, facts, kind, form, why)


def _kind(values, distinct, role):
    """Return the type of a column, the form of its numbers or None, and a remark."""
    if role == "drop":
        return "dropped", None, "you asked for it"
    if distinct == 0:
        return "all missing", None, "no row has a value"
    if distinct == 1:
        return "constant", None, f"every value is {short(values.dropna().iloc[0], 30)!r}"
    if role == "category":
        return "category", None, ""
    if types.is_bool_dtype(values.dtype):
        return "yes/no", RankForm(("False", "True")), ""
    if types.is_datetime64_any_dtype(values.dtype):
        return "date", _first_day(DateForm("ISO8601"), values), ""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return "ordered", RankForm(tuple(map(as_text, values.cat.categories))), ""
    if types.is_numeric_dtype(values.dtype):
        return _kind_of_numbers(values, NumberForm(), "")
    return _kind_of_text(values, distinct)


def _kind_of_numbers(values, form, remark):
    numbers = form(values)
    different = np.unique(numbers[~np.isnan(numbers)])
    if len(different) == 1:
        return "constant", None, f"every value is {as_number(different[0])}"
    if different.tolist() == [0, 1] and types.is_numeric_dtype(values.dtype):
        return "yes/no", RankForm(("0", "1")), remark
    reason = _why_identifier(str(values.name), numbers)
    return ("identifier", form, reason) if reason else ("number", form, remark)


def _why_identifier(name, numbers):
    """Return why whole numbers identify rows, or an empty string."""
    is_one_per_row = len(np.unique(numbers)) == len(numbers) and not np.isnan(numbers).any()
    if not is_one_per_row or (numbers % 1 != 0).any():
        return ""
    if _IDENTIFIER_NAME.search(name) or _IDENTIFIER_CAMEL.search(name):
        return "another whole number in every row, and its name says so"
    if (np.diff(numbers) > 0).all() or np.ptp(numbers) == len(numbers) - 1:
        return "whole numbers that count the rows"
    return ""


def _kind_of_text(values, distinct):
    present = values.dropna()
    for style, pattern in _NUMBER_STYLES.items():
        if present.map(pattern.fullmatch).notna().all():
            remark = f"numbers read from text such as {short(present.iloc[0], 20)!r}"
            return _kind_of_numbers(values, NumberForm(style), remark)
    _refuse_stray_words(values, present, distinct)
    levels = _no_and_yes(present)
    if levels:
        return "yes/no", RankForm(levels), ""
    dates = [form for name in _DATE_FORMATS if (form := _date_form(name, present))]
    if dates:
        also = " (day and month could be swapped)" if len(dates) > 1 else ""
        return "date", dates[0], f"dates read from text such as {present.iloc[0]!r}{also}"
    return _kind_of_words(values, present, distinct)


def _refuse_stray_words(values, present, distinct):
    """Raise if nine values in ten, and too many for levels, are numbers, and the others are not."""
    is_number = present.map(_NUMBER_STYLES["plain"].fullmatch).notna()
    if distinct > MANY_LEVELS and is_number.mean() >= 0.9:
        row = is_number.index[~is_number][0]
        raise TableError(
            f"{place(values, row)} is not a number, as {is_number.mean():.0%} of the column are; "
            "correct it or leave it empty"
        )


def _no_and_yes(present):
    """Return the words for no and yes if these are the only ones, else None."""
    words = {_NO_YES.get(word.lower()): word for word in present.unique()}
    is_pair = set(words) == {0, 1} and present.nunique() == 2
    return (words[0], words[1]) if is_pair else None


def _date_form(name, present):
    if not present.map(_DATE_FORMATS[name].fullmatch).notna().all():
        return None
    dates = DateForm(name).parse(present)
    return DateForm(name, dates.min()) if dates.notna().all() else None


def _first_day(form, values):
    return DateForm(form.format, form.parse(values).min())


def _kind_of_words(values, present, distinct):
    if distinct == len(values):
        return "identifier", None, "another text in every row"
    is_long = present.map(len).median() > LONG_TEXT
    if distinct > MANY_LEVELS and (is_long or distinct > len(present) / 2):
        return "free text", None, f"{distinct} different texts in {len(present)} rows"
    return "category", None, ""


def _study_number(values, rules, facts, kind, form, remark):
    numbers = form(values)
    present = numbers[~np.isnan(numbers)]
    if np.abs(present).max() > HUGE or present.std() == 0:
        raise TableError(f"column {short(values.name)!r} spans too much or too little to be scaled")
    fill = float(np.quantile(present, 0.5, method="linear" if kind == "number" else "inverted_cdf"))
    centre, spread, scaling = _scale(present, "none" if kind == "yes/no" else rules.scale)
    notes = [remark, form.words, scaling]
    notes += _far_out_notes(present) if kind == "number" else []
    features = [facts["name"]]
    if facts["missing"]:
        notes.append(f"{np.isnan(numbers).sum()} missing set to {form.show(fill)}, the median")
    if facts["missing"] > rules.missing_indicator:
        features.append(f"{facts['name']} {MISSING}")
        notes.append(f"{MISSING} added as a feature")
    return NumberColumn(
        **facts,
        type=kind,
        done="; ".join(filter(None, notes)),
        features=tuple(features),
        form=form,
        fill=fill,
        centre=centre,
        spread=spread,
    )


def _scale(numbers, how):
    """Return what to subtract, by what to divide, and the words for it."""
    if how == "none":
        return 0.0, 1.0, ""
    mean, deviation = float(numbers.mean()), float(numbers.std())
    low, middle, high = map(float, np.quantile(numbers, [0.25, 0.5, 0.75]))
    if how == "robust" and high > low:
        return middle, 0.741 * (high - low), "scaled by median and quartiles"
    why = ", since its quartiles are equal" if how == "robust" else ""
    return mean, deviation, f"standardised{why}"


def _far_out_notes(numbers):
    distance = np.abs(numbers - numbers.mean()).max() / numbers.std()
    is_far = distance > FAR_OUT
    return [f"one value lies {distance:.0f} standard deviations out"] if is_far else []


def _study_category(values, rules, facts, remark):
    counts = level_texts(values).value_counts().sort_index()
    counts = counts.sort_values(ascending=False, kind="stable")
    is_common = counts >= max(2, rules.min_level_share * len(values))
    is_common.iloc[rules.max_levels :] = False
    if (~is_common).sum() == 1:  # nothing to pool it with: it keeps its name
        is_common[:] = True
    pooled = counts[~is_common]
    levels = sorted(set(counts.index[is_common]) - {MISSING, OTHER})
    levels += [MISSING] if is_common.get(MISSING, False) else []
    levels += [OTHER] if len(pooled) or OTHER in counts else []
    if len(levels) < 2:
        why = f"left out: none of its {len(counts)} levels is common enough"
        return Column(**facts, type="free text", done=why)
    notes = [remark, f"one 0/1 feature for each of {len(levels)} levels"]
    if len(pooled):
        rare = f"{short(pooled.index[0], 20)!r} and {len(pooled) - 1} more"
        notes.append(f"{len(pooled)} rare levels ({rare}; {pooled.sum()} rows) pooled as {OTHER}")
    return CategoryColumn(
        **facts,
        type="category",
        done="; ".join(filter(None, notes)),
        features=_level_names(facts["name"], levels),
        levels=tuple(levels),
        known=frozenset(counts.index),
    )


def _level_names(name, levels):
    """Return one feature name per level; long levels are cut, and numbered if that makes twins."""
    names = [short(level) for level in levels]
    twins = {shown for shown in names if names.count(shown) > 1}
    numbered = [f"{n} ({i})" if n in twins else n for i, n in enumerate(names, start=1)]
    return tuple(f"{name} = {shown}" for shown in numbered)
