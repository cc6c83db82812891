"""Relatives of the kinds in test_typing.py, by the thousand: right values, and nothing lost."""

import datetime
import string

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whycluster.table import TableEncoder

QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}
GROUPS = {".": [",", " ", "\u00a0", "'", ""], ",": [".", " ", "\u202f", ""]}
UNITS = ["", "$ before", "€ after", "%", "kg after"]
MISSING = ["", " ? ", "NA", "#DIV/0!", "-", " null"]


def written(value, places, decimal, group, unit):
    """Write a number as people do."""
    text = f"{abs(value):,.{places}f}".replace(",", "g").replace(".", decimal).replace("g", group)
    sign = "-" if value < 0 else ""
    before, after = unit.split()[0] if "before" in unit else "", unit.replace(" after", "")
    return f"{sign}{before}{text}{f' {after}' if after and not before else ''}"


@st.composite
def amounts(draw):
    """A convention, and a table of whole amounts beside amounts with cents that decide it."""
    decimal = draw(st.sampled_from(".,"))
    group = draw(st.sampled_from(GROUPS[decimal]))
    n_rows = draw(st.integers(8, 14))
    whole = draw(st.lists(st.integers(-99_999_999, 99_999_999), min_size=n_rows, max_size=n_rows))
    unit = draw(st.sampled_from(UNITS))
    cents = [value / 100 + 1000.25 for value in whole]
    table = pd.DataFrame(
        {
            "whole": [written(value, 0, decimal, group, unit) for value in whole],
            "cents": [written(value, 2, decimal, group, unit) for value in cents],
        }
    )
    gaps = draw(st.dictionaries(st.integers(0, n_rows - 1), st.sampled_from(MISSING), max_size=3))
    for row, word in gaps.items():
        table.loc[row, "whole"] = word
        whole[row] = np.nan
    return table, {"whole": whole, "cents": cents}


@settings(max_examples=30, **QUIET)
@given(amounts())
def test_amounts_come_out_as_they_went_in_whatever_the_convention(case):
    table, values = case
    encoder = TableEncoder(
        numbers=["whole", "cents"], codes={"whole": [], "cents": []}, keep=[]
    ).fit(table.assign(other=np.arange(len(table)) % 3))
    for name, expected in values.items():
        column = encoder.columns_[name]
        if column.type == "number":
            numbers = column.form(encoder._rules().clean(table[name]))
            np.testing.assert_allclose(numbers, np.round(expected, 2), rtol=1e-12)
        else:
            assert column.type in ("constant", "all missing", "yes/no")


@settings(max_examples=60, **QUIET)
@given(
    st.lists(
        st.dates(datetime.date(1970, 1, 1), datetime.date(2060, 1, 1)), min_size=8, max_size=8
    ),
    st.sampled_from(["%d.%m.%Y", "%d-%m-%Y", "%m/%d/%Y", "%Y-%m-%d", "%d %b %Y", "%B %d, %Y"]),
    st.sampled_from(["", " %H:%M", " %H:%M:%S", ", %I:%M %p"]),
)
def test_dates_come_out_as_they_went_in_whatever_the_order(days, order, hour):
    days = [*days, datetime.date(2000, 12, 31)]  # a day above twelve
    texts = [day.strftime(order + hour) for day in days]
    encoder = TableEncoder().fit(pd.DataFrame({"x": texts, "other": range(0, 18, 2)}))
    column = encoder.columns_["x"]
    if len(set(days)) == 1:
        return
    assert column.type == "date", column
    shown = [column.form.show(day) for day in column.form(pd.Series(texts))]
    assert shown == [day.isoformat() for day in days]


WORDS = st.text(string.printable + "äß€漢字٣²½\u00a0\u200b", max_size=12)
CELLS = {
    "words": WORDS,
    "few words": st.sampled_from(["red", "blue", "x", "", None, "?"]),
    "numbers": st.floats(allow_nan=True, allow_infinity=False, width=32),
    "whole": st.integers(-(2**62), 2**62),
    "small": st.integers(-2, 12),
    "written": st.from_regex(
        r"[-(<$]?[0-9]{1,3}([.,' ][0-9]{1,3}){0,2}( ?[%€)kg]{1,2})?", fullmatch=True
    ),
    "dates": st.from_regex(
        r"[0-3]?[0-9][-./][01]?[0-9][-./](19|20)?[0-9]{2}( 1[0-9]:[0-5][0-9])?", fullmatch=True
    ),
    "codes": st.sampled_from([-999, 999, -1, 0, 1, 2, 3.5, 40, 41, None]),
    "yes": st.sampled_from(["yes", "no", "X", None, "-"]),
    "bool": st.booleans(),
    "times": st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2100, 1, 1)),
    "spans": st.timedeltas(datetime.timedelta(0), datetime.timedelta(900)),
    "bytes": st.binary(max_size=3),
    "lists": st.lists(st.integers(0, 3), max_size=2),
    "anything": st.one_of(WORDS, st.integers(-9, 9), st.none(), st.floats(-5, 5), st.booleans()),
}


@st.composite
def tables(draw):
    """A table of columns of all kinds beside one that is always used."""
    n_rows = draw(st.integers(2, 12))
    kinds = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=3))
    columns = {
        f"{kind} {i}": draw(st.lists(CELLS[kind], min_size=n_rows, max_size=n_rows))
        for i, kind in enumerate(kinds)
    }
    as_text = draw(st.booleans())
    table = pd.DataFrame({name: pd.Series(cells) for name, cells in columns.items()})
    if as_text:
        table = table.map(lambda v: None if v is None else str(v)).astype("str")
    return table.assign(other=[0.5, *range(1, n_rows)])


def check_nothing_is_lost(table, scale):
    encoder = TableEncoder(scale=scale).fit(table)
    X = encoder.transform(table)
    report = encoder.report_.set_index("column")
    assert report.index.tolist() == list(table)
    assert len(X) == len(table)
    assert np.isfinite(X.to_numpy()).all()
    is_gone = report["features"] == 0
    assert report.loc[is_gone, "what was done"].str.startswith("left out: ").all()
    assert (report.loc[~is_gone, "what was done"] != "").all()
    assert all("\n" not in note for note in encoder.notes_)
    assert set(encoder.profile(table, np.zeros(len(table)))["all rows"].map(type)) == {str}


@settings(max_examples=60, **QUIET)
@given(tables(), st.sampled_from(["standard", "robust"]))
def test_no_column_and_no_row_is_lost_without_a_line(table, scale):
    check_nothing_is_lost(table, scale)


@pytest.mark.slow
@settings(max_examples=600, **{**QUIET, "derandomize": False})
@given(tables(), st.sampled_from(["standard", "robust"]))
def test_no_column_and_no_row_is_lost_in_two_thousand_tables(table, scale):
    check_nothing_is_lost(table, scale)
