"""What a column is taken for, one test a kind of writing: the value, and what the report says."""

import datetime
import decimal
import json
import re

import numpy as np
import pandas as pd
import pytest

from whycluster.table import TableEncoder, TableError, methods, options

RNG = np.random.default_rng(0)
N_ROWS = 60
OTHER = RNG.permutation(N_ROWS) + 0.5


def fit(columns, **settings):
    """Encode columns, shorter ones repeated, beside one of plain numbers."""
    table = pd.DataFrame({name: repeat(values) for name, values in columns.items()})
    return TableEncoder(**settings).fit(table.assign(other=OTHER)), table


def repeat(values):
    if isinstance(values, list):
        return [values[i % len(values)] for i in range(N_ROWS)]
    return values


def study(values, **settings):
    """Return type, what was done, and the numbers of one column as far as `values` goes."""
    encoder, table = fit({"x": values}, **settings)
    column = encoder.columns_["x"]
    cleaned = encoder._rules().clean(table["x"])
    numbers = column.form(cleaned)[: len(values)].tolist() if hasattr(column, "form") else None
    return column.type, column.done, numbers


def numbers_in(encoder, table, name):
    return encoder.columns_[name].form(table[name]).tolist()


def amounts(n_rows=N_ROWS):
    return [f"{value:.2f}" for value in np.random.default_rng(1).normal(50, 10, n_rows)]


# One convention of numbers for the whole table


def test_whole_euros_are_read_as_the_cents_beside_them():
    encoder, table = fit({"sales": ["5.784", "826", "50.680"], "margin": ["1.508,65", "248,38"]})
    assert numbers_in(encoder, table, "sales")[:3] == [5784, 826, 50680]
    assert numbers_in(encoder, table, "margin")[:2] == [1508.65, 248.38]
    assert "decimal comma, as in '1.508,65' of column 'margin'" in encoder.columns_["sales"].done
    assert encoder.notes_ == []


def test_whole_dollars_are_read_as_the_cents_beside_them():
    encoder, table = fit({"sales": ["5,784", "826"], "margin": ["1,508.65", "248.38"]})
    assert numbers_in(encoder, table, "sales")[:2] == [5784, 826]
    assert encoder.notes_ == []


def test_three_decimals_beside_a_column_with_points_stay_small_and_are_doubted():
    columns = {
        "firmware": ["2.3", "1.12", "1.10"],
        "kg": ["7,588", "8,032", "2,871"],
        "cm": [f"{20 + i / 10:.1f}".replace(".", ",") for i in range(30)],
    }
    encoder, table = fit(columns)
    assert numbers_in(encoder, table, "kg")[:3] == [7.588, 8.032, 2.871]
    assert encoder.columns_["firmware"].type == "category"
    assert "7,588 is read as 7.588, as in '20,0' of column 'cm'" in encoder.notes_[1]
    assert "decimal='.' reads it otherwise" in encoder.notes_[1]
    overruled, _ = fit(columns, decimal=".")
    assert numbers_in(overruled, table, "kg")[:3] == [7588, 8032, 2871]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["1,234", "5,678"], 1234),  # nothing decides: English thousands
        (["5.784", "7.588"], 5.784),  # nothing decides: decimal point
        (["5.784", "826"], 5784),  # three decimals, or none at all? a mark of thousands
        (["5.784", "1826"], 5.784),  # a whole number of four digits without a mark
        (["1.234.567", "1.234"], 1234567),
        (["0,125", "1,250"], 0.125),
    ],
)
def test_ambiguous_marks_are_read_by_their_own_column(texts, expected):
    assert study(texts)[2][0] == expected


def test_what_stays_ambiguous_is_a_note_with_its_option():
    encoder, _ = fit({"x": ["1,234", "5,678"]})
    assert encoder.notes_ == [
        "'x': 1,234 is read as 1,234, since nothing in the table decides it; decimal=',' reads it "
        "otherwise"
    ]


# Money, per cent, units, signs


@pytest.mark.parametrize(
    ("texts", "expected", "unit"),
    [
        (["$7,990.50", "$12"], [7990.5, 12], "$"),
        (["-$5.25", "$-1", "($3.50)"], [-5.25, -1, -3.5], "$"),
        (["1.300,12 €", "0,5 €"], [1300.12, 0.5], "€"),
        (["EUR 5", "EUR 7.5"], [5, 7.5], "EUR"),
        (["5.3%", "-1.2 %"], [5.3, -1.2], "%"),
        (["(120.50)", "7"], [-120.5, 7], ""),
        (["1 234", "12\u00a0345,6", "1\u202f000"], [1234, 12345.6, 1000], ""),
        (["1'234.50", "7.25"], [1234.5, 7.25], ""),
        (["12,34,567.5", "1.5"], [1234567.5, 1.5], ""),
        (["120-", "7+", "5"], [-120, 7, 5], ""),
        (["\u22125", "+3"], [-5, 3], ""),
        (["36.5 °C", "37.25°C"], [36.5, 37.25], "°C"),
        (["12 km/h", "80 km/h"], [12, 80], "km/h"),
        (["5 kg", "7.5"], [5, 7.5], "kg"),
    ],
)
def test_money_per_cent_and_units_are_numbers_with_their_unit(texts, expected, unit):
    kind, done, numbers = study(texts)
    assert (kind, numbers) == ("number", expected)
    assert f"in {unit}" in done or not unit


def test_units_stand_in_profile_and_conditions():
    encoder, table = fit({"price": ["$1,000.50", "$2,000.50"], "share": ["5.3%", "7.3%"]})
    profile = encoder.profile(table.assign(other=OTHER), np.zeros(N_ROWS))["all rows"]
    assert profile["price"] == "$1,500"
    assert profile["share"] == "6.3%"
    assert encoder.say([(0, -np.inf, 0.0)]) == "price ≤ $1,500"


def test_several_units_in_one_column_are_no_numbers_and_said():
    encoder, _ = fit({"x": [f"{'$€'[i % 2]}{i}" for i in range(N_ROWS)]})
    assert "look like amounts" in encoder.notes_[-1]
    assert "in several units (€, $)" in encoder.notes_[-1] or "($, €)" in encoder.notes_[-1]


def test_values_beyond_a_limit_are_numbers_at_it_counted_and_said():
    kind, _, numbers = study(["<0.5", ">200", "≥ 65", "80+", "12", "7.5", "8", "9", "10", "11"])
    assert (kind, numbers) == ("number", [0.5, 200, 65, 80, 12, 7.5, 8, 9, 10, 11])
    assert "20 known only to a limit (<0.5), taken at it" in study(["<0.5", "7.5", "8"])[1]


def test_bands_are_levels_not_numbers():
    assert study(["<30", "30-50", ">50"])[0] == "category"
    assert study(["<30", ">50"])[0] == "category"


# No value


def test_a_missing_word_after_a_blank_is_missing():
    plain = study(["33", "?", "NA", "41"])
    assert str(study(["33", " ?", " NA", "41 "])) == str(plain)
    assert "no value: 15 '?', 15 'NA'" in plain[1]


@pytest.mark.parametrize("word", ["#DIV/0!", "#N/A", "-", "NA", "null", "."])
def test_errors_of_spreadsheets_and_dashes_are_missing_counted_and_said(word):
    kind, done, numbers = study([word, "7.5", "8"])
    assert kind == "number"
    assert np.isnan(numbers[0])
    assert f"no value: 20 {word!r}" in done


def test_a_dash_beside_a_plus_is_a_level():
    assert fit({"x": ["+", "-"]})[0].columns_["x"].levels == ("+", "-")


def test_words_of_the_user_are_missing_in_text_and_in_numbers():
    words = {"missing_words": ["-99", "none yet"]}
    numbers = study(["none yet", "7", "-99", "8"], **words)[2]
    assert np.isnan(numbers).tolist() == [True, False, True, False]
    assert np.isnan(study([-99.0, 7.0, 8.0], **words)[2]).tolist() == [True, False, False]


def test_a_column_with_few_notes_is_left_out_and_said_and_kept_on_request():
    notes = [None] * (N_ROWS - 2) + ["moved", "call back"]
    encoder, _ = fit({"note": notes})
    assert encoder.columns_["note"].type == "nearly empty"
    assert encoder.notes_ == [
        "'note': left out, since only 2 of 60 rows have a value; keep=['note'] uses it"
    ]
    kept, _ = fit({"note": notes}, keep=["note"])
    assert kept.feature_names_out_[:2] == ["note = (missing)", "note = (other)"]


@pytest.mark.parametrize("tick", ["X", "x", "✓", "1", 1.0, "yes"])
def test_a_box_that_is_ticked_or_empty_is_a_yes_or_no(tick):
    kind, done, numbers = study([tick, None, tick])
    assert (kind, numbers) == ("yes/no", [1, 0, 1])
    assert "or nothing: nothing is taken as no" in done


def test_a_word_or_nothing_is_no_box():
    assert study(["Italy", None])[0] == "constant"


# Codes among amounts


@pytest.mark.parametrize("n_rows", [12, 60])
@pytest.mark.parametrize("share", [0.1, 0.4])
@pytest.mark.parametrize("code", [-999, 999, 9999.0, 99.9])
def test_codes_far_from_all_other_values_are_missing_and_said(code, share, n_rows):
    values = np.random.default_rng(2).uniform(20, 40, n_rows).round(1)
    n_codes = max(2, int(share * n_rows))
    values[:n_codes] = code
    table = pd.DataFrame({"x": values, "other": np.arange(n_rows) % 7})
    encoder = TableEncoder().fit(table)
    assert np.isnan(encoder.columns_["x"].form(table["x"])).sum() == n_codes
    assert f"({n_codes} rows) taken as codes for no value; codes={{'x': []}}" in encoder.notes_[0]
    kept = TableEncoder(codes={"x": []}).fit(table)
    assert kept.columns_["x"].missing == 0


def test_minus_one_among_amounts_is_pointed_at_and_missing_on_request():
    values = [-1, -1, *range(1, 29)]
    encoder, _ = fit({"days": values})
    assert "-1 (4 rows) could be codes for no value; codes={'days': [-1]}" in encoder.notes_[0]
    assert encoder.columns_["days"].missing == 0
    coded, _ = fit({"days": values}, codes={"days": [-1]})
    assert coded.columns_["days"].missing == pytest.approx(4 / 60)


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).integers(0, 100, N_ROWS),  # 99 at the end of the range
        np.random.default_rng(0).integers(-9, 30, N_ROWS),  # degrees
        np.random.default_rng(0).lognormal(3, 1, N_ROWS),
        np.random.default_rng(0).normal(size=N_ROWS),
    ],
)
def test_no_code_is_seen_among_plain_amounts(values):
    assert "codes" not in study(values)[1]


def test_clusters_are_not_the_coded_rows():
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1], 100)
    table = pd.DataFrame(
        {"income": rng.normal(30 + 30 * group, 3), "age": rng.normal(27 + 29 * group, 3)}
    )
    is_coded = rng.random(200) < 0.2
    table["silicate"] = rng.normal(50, 5, 200)
    table.loc[is_coded, "income"] = -999
    X = TableEncoder().fit_transform(table)
    labels = methods.cluster(X, 2, methods=methods.METHODS[:1])["k-means"].labels[0]
    assert max((labels == group).mean(), (labels != group).mean()) > 0.9


# Dates


@pytest.mark.parametrize(
    ("texts", "first", "last"),
    [
        (["08-12-2010", "22-10-2011", "01-12-2010"], "2010-12-01", "2011-10-22"),
        (["12/8/2010 13:34", "10/22/2011 13:41"], "2010-12-08", "2011-10-22"),
        (["12 Mar 2021", "1 April 2021"], "2021-03-12", "2021-04-01"),
        (["Mar 12, 2021", "April 1, 2021"], "2021-03-12", "2021-04-01"),
        (["31.12.99", "1.1.00"], "1999-12-31", "2000-01-01"),
        (["2021/3/12", "2021/4/1"], "2021-03-12", "2021-04-01"),
        (["2021-03", "2021-04"], "2021-03-01", "2021-04-01"),
        (["2021-03-12T00:30:00+02:00", "2021-04-01T23:30:00-05:00"], "2021-03-12", "2021-04-01"),
        (["3/12/2021 1:05 PM", "3/30/2021 11:00 AM"], "2021-03-12", "2021-03-30"),
    ],
)
def test_dates_with_dashes_times_and_names_are_dates(texts, first, last):
    encoder, table = fit({"x": texts})
    column = encoder.columns_["x"]
    days = column.form(table["x"])
    assert column.type == "date"
    assert [column.form.show(day) for day in (days.min(), days.max())] == [first, last]


def test_the_hour_of_a_date_counts():
    _, _, days = study(["12/8/2010 12:00", "12/13/2010 0:00"])
    assert days == [0, 4.5]


def test_dates_with_a_time_zone_show_their_own_day():
    days = pd.date_range("2020-01-01 00:30", periods=N_ROWS, tz="Europe/Berlin")
    encoder, _ = fit({"x": days})
    assert encoder.columns_["x"].form.show(0) == "2020-01-01"


def test_the_order_of_days_and_months_is_that_of_the_other_columns():
    columns = {"a": ["01/02/2020", "03/05/2020"], "b": ["12/31/2020", "01/02/2020"]}
    encoder, table = fit(columns)
    assert encoder.notes_ == []
    assert numbers_in(encoder, table, "a")[:2] == [0, 63]  # from 2 January to 5 March


def test_an_open_order_of_days_and_months_is_doubted_and_can_be_set():
    encoder, table = fit({"a": ["01/02/2020", "03/05/2020"]})
    assert "day_first=False" in encoder.notes_[0]
    other, _ = fit({"a": ["01/02/2020", "03/05/2020"]}, day_first=False)
    assert (numbers_in(encoder, table, "a")[1], numbers_in(other, table, "a")[1]) == (92, 63)
    assert other.notes_ == []


# Identifiers, codes, categories


def test_integers_too_long_for_a_float_are_identifiers_and_stay_exact():
    texts = [str(1477429000000000000 + i % 7) if i % 3 else None for i in range(N_ROWS)]
    encoder, table = fit({"reply_to": texts})
    assert encoder.columns_["reply_to"].type == "identifier"
    assert encoder.columns_["reply_to"].distinct == 7
    assert table["reply_to"].dropna().tolist() == list(filter(None, texts))


def test_whole_numbers_that_rise_without_counting_the_rows_are_amounts():
    encoder, _ = fit({"x": np.arange(N_ROWS) ** 2, "n": np.arange(N_ROWS) + 7})
    assert encoder.columns_["x"].type == "number"
    assert encoder.columns_["n"].type == "identifier"
    assert encoder.notes_ == ["'x': rises from row to row: if it numbers the rows, drop=['x']"]


def test_leading_zeros_stay_and_are_codes_unless_called_numbers():
    codes = ["007", "012", "110"]
    encoder, _ = fit({"x": codes})
    assert encoder.columns_["x"].levels == ("007", "012", "110")
    assert "numbers=['x']" in encoder.notes_[0]
    assert fit({"x": codes}, categories=["x"])[0].columns_["x"].levels == ("007", "012", "110")
    assert study(codes, numbers=["x"])[2] == [7, 12, 110]


def test_a_categorical_of_numbers_stays_a_category():
    encoder, _ = fit({"x": pd.Categorical([1, 2, 3] * 20)})
    assert encoder.feature_names_out_[:3] == ["x = 1", "x = 2", "x = 3"]


def test_bytes_are_text():
    assert fit({"x": [b"red", b"blue"]})[0].columns_["x"].levels == ("blue", "red")


# Cells that are no single values


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([[1, 2], [3]], "row 1: '[1, 2]' is a list"),
        ([{"a": 1}], "is a dict"),
        ([(1, 2)], "is a tuple"),
        ([b"\xff"], "bytes that are no UTF-8 text"),
        (np.arange(N_ROWS) * 1j, "complex numbers"),
    ],
)
def test_cells_that_are_no_single_values_are_left_out_and_said(values, words):
    encoder, _ = fit({"x": pd.Series(repeat(values))})
    assert encoder.used_ == ["other"]
    assert any(words in note for note in encoder.notes_)


@pytest.mark.parametrize("values", [[[1]], [np.inf], ["<0.5"], [1e308]])
def test_a_dropped_column_is_not_looked_at(values):
    encoder, table = fit({"x": pd.Series(repeat(values))}, drop=["x"])
    assert encoder.columns_["x"].type == "dropped"
    assert encoder.notes_ == []
    assert len(encoder.transform(table.assign(other=OTHER))) == N_ROWS


def test_durations_are_numbers_in_their_unit():
    stays = pd.to_timedelta(np.resize([3, 47, 30], N_ROWS), "h")
    kind, done, numbers = study(stays)
    assert (kind, numbers[:3]) == ("number", [3 / 24, 47 / 24, 30 / 24])
    assert "in days" in done
    assert study([datetime.timedelta(minutes=m) for m in (3, 5)])[2] == [3, 5]


@pytest.mark.parametrize(
    "values",
    [
        pd.array([1, 5, None] * 20, dtype="Int64"),
        pd.array([1.0, 5.0, None] * 20, dtype="double[pyarrow]"),
        [decimal.Decimal("1"), decimal.Decimal("5"), None],
        [1, 5.0, None],
        pd.array(["1", "5", None] * 20, dtype="string[pyarrow]"),
    ],
)
def test_every_kind_of_number_is_the_same_number(values):
    kind, _, numbers = study(values)
    assert kind == "number"
    assert numbers[:2] == [1, 5]
    assert np.isnan(numbers[2])


# Numbers beside words


@pytest.mark.parametrize("n_words", [2, 5, 6, 7, 12])
def test_words_among_numbers_are_missing_named_and_kept_on_request(n_words):
    values = [*["ten"] * n_words, *amounts()[n_words:]]
    encoder, _ = fit({"x": values})
    assert encoder.columns_["x"].type == "number"
    assert encoder.columns_["x"].missing == n_words / N_ROWS
    (note,) = encoder.notes_
    assert f"the other {n_words} ('ten' in row 1) count as missing; categories=['x']" in note
    assert fit({"x": values}, categories=["x"])[0].columns_["x"].type == "category"


def test_numbers_among_many_words_are_said_and_read_on_request():
    values = [f"see {i}" if i < 25 else text for i, text in enumerate(amounts())]
    encoder, _ = fit({"x": values})
    assert encoder.columns_["x"].type == "identifier"
    assert "58% of its texts look like amounts" in encoder.notes_[-1]
    assert np.isnan(study(values, numbers=["x"])[2]).sum() == 25


def test_a_new_word_among_numbers_is_missing_only_if_one_was_seen():
    seen, table = fit({"x": ["ten", *amounts()[1:]]})
    new = table.assign(other=OTHER, x="old")
    with pytest.warns(UserWarning, match="'x': 1 not understood .'old'., filled in"):
        encoded = seen.transform(new.assign(x=["old", *amounts()[1:]]))
    assert np.isfinite(encoded).all(axis=None)
    never, _ = fit({"x": amounts()})
    with pytest.raises(TableError, match="'old' is not a number"):
        never.transform(new)


def test_a_table_that_loses_most_columns_says_so_first():
    encoder, _ = fit(
        {"id": list(range(N_ROWS)), "name": [f"n{i}" for i in range(N_ROWS)], "one": [1]}
    )
    assert encoder.notes_[0] == (
        "3 of 4 columns are left out: 'id' (identifier), 'name' (identifier), 'one' (constant); "
        "the clusters rest on 'other' alone"
    )


# Scale


def test_robust_scale_lets_no_single_row_be_a_cluster():
    rng = np.random.default_rng(1)
    log = rng.normal(size=(440, 2)) @ rng.normal(size=(2, 6)) + rng.normal(size=(440, 6))
    table = pd.DataFrame(np.exp(8 + log)).add_prefix("x")
    table.loc[7] = 1e7
    X = TableEncoder(scale="robust").fit_transform(table)
    assert X.abs().max(axis=None) == 3
    found = methods.cluster(X, 2, methods=methods.METHODS[:1])["k-means"]
    assert np.bincount(found.labels[0]).min() > 40


def test_limited_values_are_counted_and_said():
    values = np.r_[np.linspace(0, 1, N_ROWS - 2), 50, 60]
    assert "2 beyond 3 deviations set to that limit" in study(values, scale="robust")[1]
    zeros = np.r_[np.zeros(N_ROWS - 1), 1e6]
    encoder, table = fit({"x": zeros}, scale="robust")
    assert encoder.transform(table.assign(other=OTHER))["x"].max() == 3


@pytest.mark.parametrize("base", [0.0, 1e9, 1e15])
def test_differences_survive_however_large_the_numbers(base):
    step = max(1e-4, np.spacing(base))
    values = base + step * (np.arange(N_ROWS) % 2)
    encoder, table = fit({"x": values})
    encoded = encoder.transform(table.assign(other=OTHER))["x"].astype(np.float32)
    assert np.diff(encoded[:2])[0] == pytest.approx(2, rel=1e-3)


def test_equal_numbers_are_constant_whatever_rounding_makes_of_them():
    assert study([0.1])[0] == "constant"
    assert study([0.1, None])[0] == "constant"
    assert study(["0.10", "0.1"])[0] == "constant"
    assert study(["2020-01-01", "2020-01-01 00:00"])[0] == "constant"


# Options


def test_integer_names_match_columns_of_that_text():
    table = pd.DataFrame({2019: OTHER, "2020": OTHER, "x": OTHER})
    assert TableEncoder(drop=[2019, 2020]).fit(table).used_ == ["x"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"scale": "robst"}, "'scale' parameter of TableEncoder must be a str among"),
        ({"decimal": ";"}, "'decimal' parameter of TableEncoder must be a str among"),
        (
            {"day_first": "yes"},
            "'day_first' parameter of TableEncoder must be an instance of 'bool'",
        ),
        ({"drop": "x"}, "drop='x' is no list; write ['x']"),
        ({"drop": [False]}, "YAML takes no, yes, on and off"),
        ({"drop": ["y"]}, "no column 'y' in the table (drop)"),
        ({"categories": ["x"], "numbers": ["x"]}, "column 'x' is in both categories and numbers"),
        ({"codes": {"y": [1]}}, "no column 'y' in the table (codes)"),
        ({"codes": [-999]}, "codes=[-999] names no column"),
        ({"codes": {"x": -999}}, "is no list; write [-999]"),
        ({"max_levels": 0}, "'max_levels' parameter of TableEncoder must be an int in the range"),
        (
            {"missing_indicator": 5},
            "'missing_indicator' parameter of TableEncoder must be a float in the range",
        ),
        ({"numbers": ["x"]}, "has no cell that is a number"),
    ],
)
def test_a_wrong_option_is_refused_in_one_line(settings, words):
    with pytest.raises(TableError) as error:
        fit({"x": ["red", "blue"]}, **settings)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_advice_is_taken_at_its_word():
    advice = ["codes={'a': []}", "codes={'b': [-1]}", "drop=['c']", "decimal=','"]
    assert options(advice, drop=["d"]) == {
        "drop": ["d", "c"],
        "codes": {"a": [], "b": [-1]},
        "decimal": ",",
    }
    with pytest.raises(TableError, match="did you mean 'codes'"):
        options(["code={}"])
    with pytest.raises(TableError, match="write it as drop="):
        options(["drop"])


DOUBTED = {
    "ambiguous": ["1,234", "5,678"],
    "swapped": ["01/02/2020", "03/04/2020"],
    "coded": [-999, *range(30, 50)],
    "minus one": [-1, *range(1, 30)],
    "words": ["ten", *amounts(50)],
    "many words": [f"w{i}" if i % 2 else f"{i}.5" for i in range(N_ROWS)],
    "rising": list(np.arange(N_ROWS) ** 2),
    "padded": ["007", "012"],
    "note": [None] * (N_ROWS - 1) + ["moved"] + [None],
    "notes": [None] * (N_ROWS - 2) + ["moved", "called"],
}


@pytest.mark.parametrize("name", DOUBTED)
def test_every_advice_of_a_note_does_what_it_says(name):
    """The note goes, and the column that it was about is used, or dropped where that is advised."""
    encoder, table = fit({name: DOUBTED[name]})
    option = r"\w+=(?:\[.*?\]|{.*?}|'.'|\w+)"
    advice = [each for note in encoder.notes_ for each in re.findall(option, note)]
    for each in advice:
        overruled = TableEncoder(**options([each])).fit(table.assign(other=OTHER))
        said = [note for note in overruled.notes_ if each in note]
        assert said == []
        assert (name in overruled.used_) == (not each.startswith("drop"))
    assert advice or not encoder.notes_


# Encoders that were saved before


def test_an_encoder_saved_by_an_earlier_version_is_loaded(tmp_path):
    columns = {
        "amount": ["1.234,5", "0,25"],
        "day": pd.date_range("2020-01-01", periods=N_ROWS).strftime("%d.%m.%Y"),
        "smoker": ["yes", "no"],
        "colour": ["red", "blue", "red"],
    }
    encoder, table = fit(columns)
    encoder.save(tmp_path)
    path = tmp_path / "estimator.json"
    content = json.loads(path.read_text())
    for new in ("numbers", "codes", "missing_words", "decimal", "day_first"):
        del content["settings"][new]
    for column in content["fitted"]["columns_"]:
        for new in ("doubts", "limit"):
            column.pop(new, None)
        for new in ("unit", "codes", "is_lenient", "is_tick"):
            column.get("form", {}).pop(new, None)
        if column["type"] == "date":
            column["form"] |= {"format": "%d.%m.%Y", "origin": "2020-01-01T00:00:00+00:00"}
    del content["checksum"]
    path.write_text(json.dumps(content | {"format": 1}))
    loaded = TableEncoder.load(tmp_path)
    new = table.assign(other=OTHER)
    pd.testing.assert_frame_equal(loaded.transform(new), encoder.transform(new))
    assert loaded.notes_ == encoder.notes_
