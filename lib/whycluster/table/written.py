"""What a column of text is: numbers written in some way, yes and no, dates, or words."""

import re
from dataclasses import replace

import numpy as np

from whycluster.contract.wording import short
from whycluster.table.dates import ORDERS, read_dates
from whycluster.table.forms import DateForm, NumberForm, RankForm, TableError
from whycluster.table.kinds import Cells, Rules, Verdict, judge_numbers

MANY_LEVELS = 20  # more different texts are no levels if they are long, or differ in most rows
LONG_TEXT = 60  # characters, of the median text
NEARLY_EMPTY = 0.1  # share of the rows with a text below which it is no category
MOSTLY = 0.8  # share of the cells that are numbers (dates) from which all others are odd
HALF = 0.5  # share from which they are, if the others are few different texts
FEW_WORDS = 3  # how many that is
_NO_YES = {"no": 0, "n": 0, "false": 0, "f": 0, "yes": 1, "y": 1, "true": 1, "t": 1}
LOOKS = 0.3  # share of the texts that look like amounts or dates from which it is said
_LIKE_AMOUNT = r"(?:[A-Z]{3}\s)?[^\w]{0,4}\d[\d.,'\s]*[^\d/-]{0,6}"
_LIKE_DATE = r".{0,4}\d{1,4}[-/. :]+(\d{1,2}|[A-Za-z]{3,9})[-/. :]+\d{1,4}.*|\d{1,2}:\d{2}.{0,6}"


def judge_text(cells: Cells, distinct: int, rules: Rules) -> Verdict:
    """Decide what a column of text is; `distinct` counts its different texts."""
    verdict = _judge_written_numbers(cells, rules)
    if verdict:
        return verdict
    levels = _no_and_yes(cells.present)
    if levels:
        return Verdict("yes/no", RankForm(levels))
    return _judge_dates(cells, rules) or _judge_words(cells, distinct)


def _judge_written_numbers(cells, rules):
    """Return what a column of numbers written as text is, None if it is not one."""
    decimal, numerals = cells.reading.decimal, cells.numerals
    unit = _unit(numerals.units(decimal), cells.role)
    if unit is None and cells.role != "number":
        return None
    numbers = numerals.numbers(decimal, unit)
    texts = numerals.texts
    odd, limited = texts[np.isnan(numbers)].tolist(), numerals.limited(decimal)
    if not _is_amount(cells, odd, limited, len(texts)):
        return None
    form = NumberForm("decimal comma" if decimal == "," else "thousands", unit, (), bool(odd))
    doubts = (cells.reading.doubt, _doubt_of_odd(cells, odd, rules))
    return judge_numbers(
        cells,
        form,
        is_exact=texts.str.fullmatch(r"[-+]?\d+").all(),
        remarks=_remarks_of_writing(cells, unit, limited),
        doubts=tuple(filter(None, doubts)),
    )


def _unit(units, role):
    """Return the one unit of a column, "" for none, None if there are several."""
    named = [unit for unit, _ in units.most_common() if unit]
    if (not units or len(named) > 1) and role != "number":
        return None
    return named[0] if named else ""


def _is_amount(cells, odd, limited, n_texts):
    """Decide whether a column is numbers, given its texts that are none or only a limit."""
    n_present = len(cells.present)
    n_odd = cells.rows_of(odd)
    if cells.role == "number":
        if n_odd == n_present:
            name = short(cells.name)
            raise TableError(f"column {name!r} has no cell that is a number; take it off numbers")
        return True
    if cells.rows_of(limited) > n_present / 2 or cells.numerals.has_leading_zeros():
        return False
    if cells.reading.is_odd and n_texts <= MANY_LEVELS:
        return False
    share = 1 - n_odd / n_present
    is_most = share >= MOSTLY or (share >= HALF and len(odd) <= FEW_WORDS)
    return not odd or (is_most and n_texts - len(odd) > MANY_LEVELS)


def _doubt_of_odd(cells, odd, rules):
    if not odd:
        return ""
    count, share = cells.rows_of(odd), 1 - cells.rows_of(odd) / len(cells.present)
    row = int(cells.values.isin(odd).to_numpy().argmax()) + 1
    others = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
    return (
        f"{share:.0%} of its cells are numbers; the other {count} ({short(odd[0], 20)!r} in row "
        f"{row}{others}) count as missing; {_keeping(cells, rules)}"
    )


def _keeping(cells, rules):
    """Return the option under which words beside numbers are not lost, or the column is dropped."""
    common = max(2, rules.min_level_share * len(cells.values))
    if cells.present.value_counts().iloc[0] >= common:
        return f"categories={[cells.name]} keeps them as they are"
    return f"drop={[cells.name]} leaves the column out"


def _remarks_of_writing(cells, unit, limited):
    """Return what the report says about how numbers were read."""
    remarks = [cells.reading.remark]
    formatted = [text for text in cells.numerals.parts if text not in limited]
    if formatted and not (cells.reading.remark or cells.reading.doubt):
        remarks.append(f"numbers read from text such as {short(formatted[0], 20)!r}")
    without = cells.numerals.units(cells.reading.decimal)[""] if unit else 0
    if without:
        remarks.append(f"{without} different ones without {unit}, taken as if with it")
    if limited:
        count = cells.rows_of(limited)
        remarks.append(f"{count} known only to a limit ({short(limited[0], 20)}), taken at it")
    return tuple(filter(None, remarks))


def _no_and_yes(present):
    """Return the words for no and yes if these are the only ones, else None."""
    words = {_NO_YES.get(word.lower()): word for word in present.unique()}
    is_pair = set(words) == {0, 1} and present.nunique() == 2
    return (words[0], words[1]) if is_pair else None


def _judge_dates(cells, rules):
    """Return what a column of dates is, None if it is not one."""
    texts = cells.numerals.texts
    fits = {order: _share_of_dates(texts, order) for order in ORDERS}
    best = max(fits.values())
    if best < MOSTLY or (best < 1 and len(texts) <= MANY_LEVELS):
        return None
    orders = [order for order, share in fits.items() if share == best]
    is_open = {"day first", "month first"} <= set(orders)
    order = "month first" if is_open and rules.day_first is False else orders[0]
    form = DateForm(order, is_lenient=bool(best < 1))
    odd = texts[read_dates(texts, order).isna().to_numpy()].tolist() if best < 1 else []
    doubts = [_doubt_of_odd(cells, odd, rules).replace("are numbers", "are dates")]
    if is_open and rules.day_first is None:
        doubts.append("day and month could be swapped: day_first=False reads the month first")
    example = next(text for text in texts if text not in odd)
    remark = f"dates read from text such as {example!r}, {order}"
    return Verdict("date", first_day(form, cells.values), (remark,), tuple(filter(None, doubts)))


def day_first(columns):
    """Return whether a table writes the day before the month, None if nothing decides it."""
    for texts in columns:
        head = texts.iloc[:1].str.fullmatch(ORDERS["day first"].pattern)
        fits = [
            len(head) and head.all() and read_dates(texts, order).notna().all()
            for order in ("day first", "month first")
        ]
        if fits[0] != fits[1]:
            return bool(fits[0])
    return None


def _share_of_dates(texts, order):
    """Return which share of the texts are dates; of a few of them if these are none."""
    few = texts.head(20)
    if sum(map(bool, map(ORDERS[order].fullmatch, few))) < HALF * len(few):
        return 0.0
    return read_dates(texts, order).notna().mean()


def first_day(form: DateForm, values) -> DateForm:
    """Return the form that counts from the first of the dates."""
    return replace(form, origin=form.parse(values).min())


def _judge_words(cells, distinct):
    n_rows, n_present = len(cells.values), len(cells.present)
    doubts = _doubts_of_words(cells, distinct)
    if distinct == n_rows:
        return Verdict("identifier", None, ("another text in every row",), doubts)
    if n_present < NEARLY_EMPTY * n_rows:
        why = f"only {n_present} of {n_rows} rows have a value"
        doubts += (f"left out, since {why}; keep={[cells.name]} uses it",)
        return Verdict("nearly empty", None, (why,), doubts)
    is_long = cells.present.map(len).median() > LONG_TEXT
    if distinct > MANY_LEVELS and (is_long or distinct > n_present / 2):
        why = f"{distinct} different texts in {n_present} rows"
        return Verdict("free text", None, (why,), doubts)
    return Verdict("category", None, (), doubts)


def _doubts_of_words(cells, distinct):
    """Say what text seems to be that was not understood."""
    texts, name = cells.numerals.texts, cells.name
    if cells.numerals.has_leading_zeros():
        example = next(text for text in texts if re.fullmatch(r"0\d+", text))
        return (f"codes with leading zeros such as {example!r}; numbers={[name]} takes amounts",)
    if cells.reading.is_odd and cells.reading.doubt and cells.numerals.share == 1:
        return (f"{cells.reading.doubt}; numbers={[name]} takes amounts",)
    if distinct <= MANY_LEVELS and distinct < len(cells.values):
        return ()
    looks = {
        "dates or times": texts.str.fullmatch(_LIKE_DATE),
        "amounts": texts.str.fullmatch(_LIKE_AMOUNT),
    }
    what = max(looks, key=lambda kind: looks[kind].mean())
    is_like = looks[what]
    if is_like.mean() < LOOKS:
        return ()
    example = short(texts[is_like].iloc[0], 20)
    way = _way_out(cells) if what == "amounts" else "write all dates as 2021-03-12, times as hours"
    return (f"{is_like.mean():.0%} of its texts look like {what} ({example!r}): {way}",)


def _way_out(cells):
    """Return what to do about amounts that were not taken for numbers."""
    units = [unit for unit in cells.numerals.units(cells.reading.decimal) if unit]
    if len(units) > 1:
        return f"in several units ({short(', '.join(units), 30)}); give each its own column"
    if cells.numerals.share:
        return f"numbers={[cells.name]} takes those that can be read, the others as missing"
    return "write them as plain numbers"
