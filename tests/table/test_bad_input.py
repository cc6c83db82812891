"""Bad input, from the table to the method: one line that names the offender and what to do."""

import numpy as np
import pandas as pd
import pytest

from whycluster import IDC
from whycluster.contract.explanation import Explanation
from whycluster.table import TableEncoder, TableError, methods, summary

RNG = np.random.default_rng(0)
TABLE = pd.DataFrame(
    {
        "age": RNG.normal(50, 10, 30),
        "income": RNG.normal(3000, 500, 30),
        "colour": RNG.choice(["red", "blue"], 30),
    }
)
NUMBERS = TABLE[["age", "income"]]


def assert_one_line(error, *words):
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 300
    for word in words:
        assert word in message


# Columns


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (TABLE.head(0), ["no rows"]),
        (TABLE.head(1), ["one row"]),
        (TABLE[["age"]], ["one column ('age')"]),
        (TABLE.set_axis(["a", "b", "a"], axis=1), ["'a' appears more than once"]),
        (TABLE.assign(age=1, income=2, colour="red"), ["no column is left", "'age' constant"]),
        (TABLE.assign(age=np.nan, income=np.nan, colour="red"), ["'age' all missing"]),
        (TABLE.assign(age=[np.inf, *TABLE["age"][1:]]), ["column 'age', row 1", "infinite"]),
        (TABLE.assign(age=[*TABLE["age"][1:], -np.inf]), ["column 'age', row 30", "infinite"]),
        (TABLE.assign(age=[1e308, -1e308] * 15), ["column 'age' spans too much"]),
        (TABLE.to_numpy(), ["expected a DataFrame"]),
    ],
)
def test_bad_table(table, words):
    with pytest.raises(TableError) as error:
        TableEncoder().fit(table)
    assert_one_line(error, *words)


def test_all_missing_column_is_reported_not_refused():
    encoder = TableEncoder().fit(TABLE.assign(nothing=np.nan))
    assert encoder.used_ == list(TABLE)
    assert encoder.report_["type"].tolist()[-1] == "all missing"


@pytest.mark.parametrize("setting", ["drop", "keep", "categories"])
def test_setting_names_a_column_that_is_not_there(setting):
    with pytest.raises(TableError) as error:
        TableEncoder(**{setting: ("colours",)}).fit(TABLE)
    assert_one_line(error, "no column 'colours'", "did you mean 'colour'?")


def test_unknown_scale():
    with pytest.raises(TableError) as error:
        TableEncoder(scale="log").fit(TABLE)
    assert_one_line(error, "'scale' parameter of TableEncoder must be a str among", "Got 'log'")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (TABLE.drop(columns="age"), ["no column 'age'"]),
        (TABLE.rename(columns={"age": "Age"}), ["no column 'age'", "did you mean 'Age'?"]),
        (TABLE.assign(extra=1), ["column 'extra' was not in the table that was fitted"]),
        (TABLE.assign(age="old"), ["column 'age', row 1: 'old' is not a number"]),
        (TABLE.assign(age=np.inf), ["column 'age', row 1: 'inf' is infinite"]),
        (pd.concat([TABLE, TABLE["age"]], axis=1), ["'age' appears more than once"]),
    ],
)
def test_bad_new_rows(rows, words):
    encoder = TableEncoder().fit(TABLE)
    with pytest.raises(TableError) as error:
        encoder.transform(rows)
    assert_one_line(error, *words)


def test_new_rows_with_wrong_dates_and_ranks():
    table = pd.DataFrame(
        {
            "day": pd.date_range("2020-01-01", periods=30).strftime("%Y-%m-%d"),
            "size": pd.Categorical(["S", "L"] * 15, ["S", "L"], ordered=True),
        }
    )
    encoder = TableEncoder(keep=("day",)).fit(table)
    with pytest.raises(TableError) as error:
        encoder.transform(table.assign(day="yesterday"))
    assert_one_line(error, "column 'day', row 1: 'yesterday' is not a date")
    with pytest.raises(TableError) as error:
        encoder.transform(table.assign(size="XL"))
    assert_one_line(error, "column 'size', row 1: 'XL' is none of S, L")


# The number of clusters


@pytest.mark.parametrize(
    ("n_clusters", "words"),
    [
        (0, ["n_clusters=0 is below 1"]),
        (-3, ["n_clusters=-3 is below 1"]),
        (31, ["n_clusters=31", "30 distinct rows"]),
        (2.5, ["n_clusters=2.5 is not a whole number"]),
        ("3", ["n_clusters='3' is not a whole number"]),
        (True, ["n_clusters=True is not a whole number"]),
    ],
)
@pytest.mark.parametrize("by", ["cluster", "IDC"])
def test_bad_number_of_clusters(by, n_clusters, words):
    with pytest.raises(ValueError) as error:  # noqa: PT011, the words are checked below
        methods.cluster(NUMBERS, n_clusters) if by == "cluster" else IDC(n_clusters).fit(NUMBERS)
    assert_one_line(error, *words)


def test_too_few_distinct_rows_to_choose_the_number_of_clusters():
    with pytest.raises(ValueError, match="1 distinct rows are too few") as error:
        methods.score_n_clusters(NUMBERS.iloc[[0] * 20])
    assert_one_line(error)


# IDC

TINY = {"hidden_layers": (8,), "gate_units": 8, "head_units": 8}
SHORT = {"warmup_epochs": 1, "pretrain_epochs": 2, "max_epochs": 2, "global_epochs": 2}


@pytest.fixture(scope="module")
def idc():
    return IDC(2, **TINY, **SHORT, random_state=0).fit(NUMBERS)


def bad_numbers(value):
    return NUMBERS.assign(income=[*NUMBERS["income"][:4], value, *NUMBERS["income"][5:]])


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (bad_numbers(np.nan), ["NaN", "'income'", "row 4"]),
        (bad_numbers(np.inf), ["inf", "'income'", "row 4"]),
        (NUMBERS.assign(age=1.0, income=2.0), ["all 2 columns are constant"]),
        (NUMBERS.head(1), ["1 sample"]),
        (NUMBERS.iloc[[3] * 10], ["constant"]),
        (NUMBERS.set_axis(["a", "a"], axis=1), ["'a'"]),
        (TABLE, ["'colour'"]),
    ],
)
def test_bad_input_to_idc(X, words):
    with pytest.raises(ValueError) as error:  # noqa: PT011, the words are checked below
        IDC(2, **TINY, **SHORT).fit(X)
    assert_one_line(error, *words)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "transform", "explain"])
@pytest.mark.parametrize(
    ("X", "words"),
    [
        (bad_numbers(np.nan), ["NaN", "'income'", "row 4"]),
        (NUMBERS.assign(third=1.0), ["third"]),
        (NUMBERS[["age"]], ["income"]),
        (NUMBERS.rename(columns={"income": "wage"}), ["income", "wage"]),
        (np.ones((3, 5)), ["5 features"]),
    ],
)
@pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")
def test_bad_rows_for_a_fitted_idc(idc, method, X, words):
    with pytest.raises(ValueError) as error:  # noqa: PT011, the words are checked below
        getattr(idc, method)(X)
    message = " ".join(str(error.value).split())
    assert all(word in message for word in words)


# Markup in names and levels

SCRIPT = "<script>alert('x')</script>"


def test_markup_in_names_and_levels_is_escaped_in_every_display():
    table = TABLE.rename(columns={"age": SCRIPT}).assign(
        colour=np.where(TABLE["colour"] == "red", SCRIPT, "blue")
    )
    encoder = TableEncoder().fit(table)
    X = encoder.transform(table)
    found = methods.cluster(X, 2, methods=methods.METHODS[:1])["k-means"]
    why = encoder.group_by_source(found.explanation)
    profile = encoder.profile(table, found.labels[0])
    displays = [found.explanation, why, table, X, encoder.report_, profile, why.top()]
    displays.append(summary.reasons(why, table, profile, 0))
    for display in displays:
        page = display._repr_html_()
        assert "<script" not in page
        assert "&lt;script" in page


def test_explanation_of_scripts_names_them_in_text():
    why = Explanation(None, [[1.0]], [1.0], [SCRIPT], "gate")
    assert SCRIPT in str(why)
