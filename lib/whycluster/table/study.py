"""What a column is, decided from its values and the rules of the user."""

import re
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api import types

from whycluster.contract.wording import as_number, as_text, short
from whycluster.table.columns import (
    LEFT_OUT,
    MISSING,
    OTHER,
    CategoryColumn,
    Column,
    NumberColumn,
    level_texts,
)
from whycluster.table.forms import (
    _DATE_FORMATS,
    _NUMBER_STYLES,
    DateForm,
    NumberForm,
    RankForm,
    TableError,
    place,
)

MANY_LEVELS = 20  # more different texts are no levels if they are long, or differ in most rows
LONG_TEXT = 60  # characters, of the median text
HUGE = 1e150  # a larger number squared is no number
FAR_OUT = 8  # standard deviations: a value further out is worth a word in the report
_NO_YES = {"no": 0, "n": 0, "false": 0, "f": 0, "yes": 1, "y": 1, "true": 1, "t": 1}
_IDENTIFIER_NAME = re.compile(r"(^|[\W_])(id|ids|uuid|guid|key|index|idx|row|nr|no|number)$", re.I)
_IDENTIFIER_CAMEL = re.compile(r"[a-z](ID|Id)$")


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
