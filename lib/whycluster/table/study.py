"""One column at a time from cells to numbers: what it is, how it is encoded, what is doubted."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas.api import types

from whycluster.contract.wording import as_number, as_text, short
from whycluster.table.cells import UnusableError, is_text, missing_words
from whycluster.table.codes import find_codes
from whycluster.table.columns import (
    LEFT_OUT,
    MISSING,
    OTHER,
    CategoryColumn,
    Column,
    NumberColumn,
    level_texts,
)
from whycluster.table.forms import DateForm, NumberForm, RankForm, TableError, duration_form
from whycluster.table.kinds import Cells, Rules, Verdict, judge_numbers
from whycluster.table.numerals import Convention, Numerals
from whycluster.table.written import HALF, day_first, first_day, judge_text

FAR_OUT = 8  # robust deviations: a value further out is worth a word in the report
LIMIT = 3.0  # robust deviations that scale="robust" lets through
TICKS = frozenset(
    [*"x✓✔☑✗✘*•1ytj", "yes", "true", "ja", "oui", "si", "sí", "on", "checked", "selected"]
)


# --- a table ---------------------------------------------------------------------------------


def study_table(table: pd.DataFrame, rules: Rules) -> list[Column]:
    """Decide what every column is and how it is encoded.

    Parameters
    ----------
    table : DataFrame of shape (n_rows, n_columns)
    rules : Rules

    Raises
    ------
    TableError
        If a value is infinite, a column cannot be scaled, or one that the user calls numbers holds
        none.
    """
    looked_at = {name: _look(table[name], rules) for name in table}
    texts = {
        name: cells.numerals
        for name, cells in looked_at.items()
        if isinstance(cells, Cells) and cells.numerals is not None
    }
    amounts = {name: each for name, each in texts.items() if each.share >= HALF}
    convention = Convention(amounts, rules.decimal)
    if rules.day_first is None:
        others = (each.texts for name, each in texts.items() if name not in amounts)
        rules = replace(rules, day_first=day_first(others))
    return [
        study(replace(cells, reading=convention.of(name)), rules)
        if isinstance(cells, Cells)
        else cells
        for name, cells in looked_at.items()
    ]


def _look(values, rules):
    """Return the cells of a column, or the column if nothing about it needs to be decided."""
    role = rules.roles.get(values.name, "")
    if role == "drop":
        return _left_out(values, "dropped", "you asked for it")
    try:
        cleaned = rules.clean(values)
    except UnusableError as error:
        return _left_out(values, "no single values", str(error))
    gone = missing_words(values, cleaned)
    cleaned = cleaned.reset_index(drop=True)
    is_level = isinstance(values.dtype, pd.CategoricalDtype) and not values.dtype.ordered
    if is_text(cleaned) and not is_level and role != "category":
        return Cells(values=cleaned, gone=gone, role=role, numerals=Numerals.of(cleaned))
    return Cells(values=cleaned, gone=gone, role="category" if is_level else role)


def _left_out(values, kind, why):
    """Return a column that was not looked into."""
    missing = float(values.isna().mean())
    texts = values.map(lambda value: short(value, 200), na_action="ignore")
    distinct = int(texts.nunique())
    doubts = () if kind == "dropped" else (f"left out: {why}",)
    return Column(
        name=values.name,
        type=kind,
        missing=missing,
        distinct=distinct,
        done=f"left out: {why}",
        doubts=doubts,
    )


# --- a column --------------------------------------------------------------------------------


def study(cells: Cells, rules: Rules) -> Column:
    """Decide what a column is and how it is encoded.

    Parameters
    ----------
    cells : Cells
    rules : Rules

    Raises
    ------
    TableError
        As `study_table` does.
    """
    facts = {
        "name": cells.name,
        "missing": float(cells.values.isna().mean()),
        "distinct": int(cells.values.nunique()),
    }
    verdict = _judge(cells, facts["distinct"], rules)
    if cells.role == "keep" and verdict.kind in ("identifier", "free text", "nearly empty"):
        remark = f"kept, although it looks like {verdict.kind}"
        kind = "number" if verdict.form else "category"
        verdict = verdict._replace(kind=kind, remarks=(remark,), doubts=())
        rules = replace(rules, keep_rest=True)
    if cells.gone:
        verdict = verdict._replace(remarks=(*verdict.remarks, f"no value: {cells.gone}"))
    if verdict.kind in LEFT_OUT:
        return _finish(Column, facts, verdict, ["left out: " + "; ".join(verdict.remarks)])
    if verdict.kind == "category":
        return _study_category(cells.values, rules, facts, verdict)
    return _study_number(cells, rules, facts, verdict)


def _finish(cls, facts, verdict, notes, **more):
    """Return a column whose report says all that was decided and doubted."""
    done = "; ".join(filter(None, [*notes, *verdict.doubts]))
    facts = {"type": verdict.kind, **facts, "done": done, "doubts": verdict.doubts}
    return cls(**facts, **more)


def _judge(cells, distinct, rules):
    values = cells.values
    if distinct == 0:
        return Verdict("all missing", None, ("no row has a value",))
    if distinct == 1:
        return _judge_constant(cells)
    if cells.role == "category":
        return Verdict("category")
    if types.is_bool_dtype(values.dtype):
        return Verdict("yes/no", RankForm(("False", "True")))
    if types.is_datetime64_any_dtype(values.dtype):
        return Verdict("date", first_day(DateForm("year first"), values))
    if types.is_timedelta64_dtype(values.dtype):
        return Verdict("number", duration_form(values), ("durations",))
    if isinstance(values.dtype, pd.CategoricalDtype):
        return Verdict("ordered", RankForm(tuple(map(as_text, values.cat.categories))))
    if types.is_numeric_dtype(values.dtype):
        return judge_numbers(cells, NumberForm(), is_exact=types.is_integer_dtype(values.dtype))
    return judge_text(cells, distinct, rules)


def _judge_constant(cells):
    """Return yes/no where a box is ticked or left empty; else one value tells nothing."""
    value = cells.present.iloc[0]
    word = as_text(value)
    if cells.values.isna().any() and word.lower() in TICKS and not cells.gone:
        remark = f"{word!r} or nothing: nothing is taken as no"
        return Verdict("yes/no", RankForm(("no", word), is_tick=True), (remark,))
    return Verdict("constant", None, (f"every value is {short(value, 30)!r}",))


# --- numbers ---------------------------------------------------------------------------------


def _study_number(cells, rules, facts, verdict):
    form, code_doubts = _without_codes(cells, rules, verdict)
    verdict = verdict._replace(form=form, doubts=verdict.doubts + code_doubts)
    numbers = form(cells.values)
    present = numbers[~np.isnan(numbers)]
    if np.ptp(present) == 0:
        why = f"left out: every value is {form.show(present[0])}"
        return _finish(Column, facts, verdict._replace(kind="constant"), [why])
    scale = _scale(present, "none" if verdict.kind == "yes/no" else rules.scale)
    if not scale.spread > 0:
        raise TableError(f"column {short(cells.name)!r} spans too little to be scaled; drop it")
    fill = _median(present, verdict.kind)
    gaps, features = _gaps(facts["name"], numbers, form.show(fill), rules)
    far = _far_out_notes(present, scale) if verdict.kind in ("number", "date") else []
    notes = [*verdict.remarks, form.words, scale.words, *far, *gaps]
    facts["missing"] = float(np.isnan(numbers).mean())
    more = {"centre": scale.centre, "spread": scale.spread, "limit": scale.limit}
    more |= {"features": features, "form": form, "fill": fill}
    return _finish(NumberColumn, facts, verdict, notes, **more)


def _median(numbers, kind):
    """Return the median; of ranks and dates one that occurs."""
    method = "linear" if kind == "number" else "inverted_cdf"
    return float(np.quantile(numbers, 0.5, method=method))


def _without_codes(cells, rules, verdict):
    """Return the form with the codes that mean "no value", and what is doubted about them."""
    form = verdict.form
    if verdict.kind != "number" or cells.name in rules.codes:
        return form, ()
    numbers = form(cells.values)
    codes = find_codes(numbers)
    probable, certain = (
        ", ".join(f"{as_text(value)} ({(numbers == value).sum()} rows)" for value in found)
        for found in (codes.probable, codes.certain)
    )
    doubts = []
    if certain:
        option = f"codes={{{cells.name!r}: []}}"
        doubts.append(f"{certain} taken as codes for no value; {option} takes amounts")
    if probable:
        option = f"codes={{{cells.name!r}: {[_as_code(value) for value in codes.probable]}}}"
        doubts.append(f"{probable} could be codes for no value; {option} makes them missing")
    return replace(form, codes=codes.certain), tuple(doubts)


def _as_code(value):
    return int(value) if float(value).is_integer() else value


def _gaps(name, numbers, shown, rules):
    """Return the notes and the features of a column with missing numbers."""
    count = int(np.isnan(numbers).sum())
    notes = [f"{count} missing set to {shown}, the median"] if count else []
    if count <= rules.missing_indicator * len(numbers):
        return notes, (name,)
    return [*notes, f"{MISSING} added as a feature"], (name, f"{name} {MISSING}")


class Scale(NamedTuple):
    """What to subtract, by what to divide, how far out to let values be, and the words for it."""

    centre: float
    spread: float
    limit: float | None = None
    words: str = ""


def _scale(numbers, how):
    if how == "none":
        return Scale(0.0, 1.0)
    base = float(np.median(numbers))
    apart = numbers - base  # exact where the numbers are close: 1e9 + 0.001 keeps its thousandths
    unit = np.abs(apart).max() or 1.0
    centre, deviation = base + float(apart.mean()), float((apart / unit).std() * unit)
    if how != "robust":
        return Scale(centre, deviation, None, "standardised")
    low, high = map(float, np.quantile(apart, [0.25, 0.75]))
    if high > low:
        return Scale(base, 0.741 * (high - low), LIMIT, "scaled by median and quartiles")
    words = "standardised, since its quartiles are equal"
    return Scale(centre, deviation, LIMIT, words)


def _far_out_notes(numbers, scale):
    """Say which values were limited, or would be."""
    if scale.limit:
        count = int((np.abs(numbers - scale.centre) > scale.limit * scale.spread).sum())
        return [f"{count} beyond {scale.limit:g} deviations set to that limit"] if count else []
    middle = np.median(numbers)
    low, high = np.quantile(numbers, [0.25, 0.75])
    distance = np.abs(numbers - middle) / (0.741 * (high - low) or numbers.std())
    count = int((distance > FAR_OUT).sum())
    furthest = as_number(numbers[distance.argmax()])
    words = f"{count} more than {FAR_OUT} robust deviations out, the furthest {furthest}"
    return [words] if count else []


# --- categories ------------------------------------------------------------------------------


def _study_category(values, rules, facts, verdict):
    counts = level_texts(values).value_counts().sort_index()
    counts = counts.sort_values(ascending=False, kind="stable")
    is_common = _are_common(counts, rules, len(values))
    pooled = counts[~is_common]
    levels = sorted(set(counts.index[is_common]) - {MISSING, OTHER})
    is_named = bool(levels)
    levels += [MISSING] if is_common.get(MISSING, False) else []
    levels += [OTHER] if len(pooled) or OTHER in counts else []
    if len(levels) < 2 or not (is_named or rules.keep_rest):
        why = f"left out: none of its {len(counts)} levels is common enough"
        return _finish(Column, facts, verdict._replace(kind="free text"), [why])
    notes = [*verdict.remarks, f"one 0/1 feature for each of {len(levels)} levels"]
    if len(pooled):
        rare = f"{short(pooled.index[0], 20)!r} and {len(pooled) - 1} more"
        notes.append(f"{len(pooled)} rare levels ({rare}; {pooled.sum()} rows) pooled as {OTHER}")
    return _finish(
        CategoryColumn,
        facts,
        verdict,
        notes,
        features=_level_names(facts["name"], levels),
        levels=tuple(levels),
        known=frozenset(counts.index),
    )


def _are_common(counts, rules, n_rows):
    """Return which levels keep a feature of their own, the most frequent first."""
    is_common = counts >= max(2, rules.min_level_share * n_rows)
    is_common.iloc[rules.max_levels :] = False
    if (~is_common).sum() == 1:  # nothing to pool it with: it keeps its name
        is_common[:] = True
    return is_common


def _level_names(name, levels):
    """Return one feature name per level; long levels are cut, and numbered if that makes twins."""
    names = [short(level) for level in levels]
    twins = {shown for shown in names if names.count(shown) > 1}
    numbered = [f"{n} ({i})" if n in twins else n for i, n in enumerate(names, start=1)]
    return tuple(f"{name} = {shown}" for shown in numbered)
