"""A user's table: typing and encoding columns, and names that survive all of it."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.cluster import KMeans

from whycluster.contract.explanation import Explanation
from whycluster.table import TableEncoder, TableError, read, write_example

N_ROWS = 60


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def write(folder, content, name="table.csv"):
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def numbers(n_rows=N_ROWS):
    """A column of numbers that are neither whole nor sorted."""
    return np.random.default_rng(1).permutation(n_rows) + 0.5


def study(values, **settings):
    """Encode one column beside a column of numbers."""
    table = pd.DataFrame({"x": values, "other": numbers(len(values))})
    encoder = TableEncoder(**settings).fit(table)
    return encoder, encoder.report_.set_index("column").loc["x"]


# What a column is


def test_numbers_are_standardised():
    encoder, report = study(numbers())
    encoded = encoder.transform(pd.DataFrame({"x": numbers(), "other": numbers()}))["x"]
    assert report["type"] == "number"
    assert encoded.mean() == pytest.approx(0, abs=1e-12)
    assert encoded.std(ddof=0) == pytest.approx(1)


def test_robust_scale_is_not_moved_by_an_outlier():
    values = numbers()
    values[0] = 1e6
    encoder, report = study(values, scale="robust")
    encoded = encoder.transform(pd.DataFrame({"x": values, "other": values}))["x"]
    assert 0.5 < encoded[1:].std() < 2
    assert "median and quartiles" in report["what was done"]


@pytest.mark.parametrize("n_outliers", [1, 5, 20])
def test_outliers_are_reported_however_many_they_are(n_outliers):
    values = np.r_[np.random.default_rng(0).normal(size=200), 1e6 + np.arange(n_outliers)]
    said = study(values)[1]["what was done"]
    assert f"{n_outliers} more than 8 robust deviations out" in said


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["+5 €", "7.5 €", "-1e2 €"], [5, 7.5, -100]),
        (["1,234", "12,345.5", "7"], [1234, 12345.5, 7]),
        (["1.234,5", "0,25", "12"], [1234.5, 0.25, 12]),
    ],
)
def test_numbers_stored_as_text_are_read_and_reported(texts, expected):
    encoder, report = study(texts)
    assert report["type"] == "number"
    assert repr(texts[0]) in report["what was done"]
    column = encoder.columns_["x"]
    assert column.form(pd.Series(texts, name="x")).tolist() == expected


def test_missing_numbers_become_the_median_with_an_indicator():
    values = numbers()
    values[:10] = np.nan
    encoder, report = study(values)
    encoded = encoder.transform(pd.DataFrame({"x": values, "other": numbers()}))
    assert encoder.feature_names_out_ == ["x", "x (missing)", "other"]
    assert encoded["x (missing)"].tolist() == [1.0] * 10 + [0.0] * (N_ROWS - 10)
    median = (np.nanmedian(values) - np.nanmean(values)) / np.nanstd(values)
    assert encoded["x"][:10].to_numpy() == pytest.approx(median)
    assert "10 missing set to" in report["what was done"]
    assert report["missing %"] == pytest.approx(16.7)


def test_few_missing_numbers_add_no_indicator():
    values = numbers()
    values[0] = np.nan
    assert study(values)[0].feature_names_out_ == ["x", "other"]


def test_categories_become_levels_with_names(rng):
    colours = rng.choice(["red", "blue", None], N_ROWS).astype(object)
    encoder, report = study(colours)
    names = ["x = blue", "x = red", "x = (missing)"]
    assert report["type"] == "category"
    assert encoder.feature_names_out_[:3] == names
    encoded = encoder.transform(pd.DataFrame({"x": colours, "other": numbers()}))[names]
    assert (encoded.sum(axis=1) == 1).all()
    assert (encoded["x = (missing)"] == pd.isna(colours)).all()


def test_rare_levels_are_pooled_and_counted():
    levels = ["a"] * 30 + ["b"] * 28 + ["c", "d"]
    encoder, report = study(levels)
    assert encoder.feature_names_out_[:3] == ["x = a", "x = b", "x = (other)"]
    assert "2 rare levels ('c' and 1 more; 2 rows) pooled" in report["what was done"]


def test_a_single_rare_level_keeps_its_name():
    assert "x = c" in study(["a"] * 30 + ["b"] * 29 + ["c"])[0].feature_names_out_


def test_no_more_than_max_levels(rng):
    encoder, _ = study(rng.choice(list("abcdefgh"), N_ROWS), max_levels=3)
    assert len(encoder.feature_names_out_) == 3 + 1 + 1


@pytest.mark.parametrize(
    ("low", "high"), [("no", "yes"), (False, True), (0, 1), ("F", "T"), (0.0, 1.0)]
)
def test_yes_and_no_become_one_and_zero(rng, low, high):
    is_yes = rng.random(N_ROWS) < 0.5
    values = pd.Series([high if yes else low for yes in is_yes])
    encoder, report = study(values)
    assert report["type"] == "yes/no"
    encoded = encoder.transform(pd.DataFrame({"x": values, "other": numbers()}))
    assert (encoded["x"] == is_yes).all()


def test_ordered_categories_keep_their_order():
    values = pd.Categorical(["low", "high", "mid"] * 20, ["low", "mid", "high"], ordered=True)
    encoder, report = study(values)
    encoded = encoder.transform(pd.DataFrame({"x": values, "other": numbers()}))["x"]
    assert report["type"] == "ordered"
    assert encoded[0] < encoded[2] < encoded[1]


@pytest.mark.parametrize("style", ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", None])
def test_dates_become_days(style):
    days = pd.Series(pd.date_range("2021-03-01", periods=N_ROWS, freq="3D"))
    encoder, report = study(days.dt.strftime(style) if style else days)
    assert report["type"] == "date"
    assert "days since 2021-03-01" in report["what was done"]
    spread = encoder.columns_["x"].spread
    assert spread == pytest.approx(np.std(3 * np.arange(N_ROWS)))


def test_ambiguous_dates_are_reported():
    report = study(["01/02/2020", "03/04/2020", "05/06/2020", "01/02/2020"])[1]
    assert "day and month could be swapped" in report["what was done"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([f"customer {i}" for i in range(N_ROWS)], "identifier"),
        (np.arange(N_ROWS) + 1, "identifier"),
        (["word " * 30 + str(i % 25) for i in range(N_ROWS)], "free text"),
        ([f"text {i % 40}" for i in range(N_ROWS)], "free text"),
        (["Italy"] * N_ROWS, "constant"),
        (["1", "1.0"] * (N_ROWS // 2), "constant"),
        ([None] * N_ROWS, "all missing"),
        ([" "] * N_ROWS, "all missing"),
    ],
)
def test_what_says_nothing_is_left_out_and_reported(values, kind):
    encoder, report = study(values)
    assert report["type"] == kind
    assert report["what was done"].startswith("left out: ")
    assert report["features"] == 0
    assert encoder.used_ == ["other"]


def test_whole_numbers_named_id_are_left_out_and_kept_on_request(rng):
    table = pd.DataFrame({"userID": rng.permutation(500)[:N_ROWS], "other": numbers()})
    assert TableEncoder().fit(table).used_ == ["other"]
    assert TableEncoder(keep=("userID",)).fit(table).used_ == ["userID", "other"]


def test_columns_can_be_dropped_and_codes_be_categories(rng):
    table = pd.DataFrame({"code": rng.integers(1, 4, N_ROWS), "a": numbers(), "b": numbers()})
    encoder = TableEncoder(categories=("code",), drop=("b",)).fit(table)
    assert encoder.feature_names_out_ == ["code = 1", "code = 2", "code = 3", "a"]
    assert encoder.report_["type"].tolist() == ["category", "number", "dropped"]


def test_report_has_a_row_for_every_column(tmp_path):
    table = read(write_example(tmp_path / "wines.csv"))
    report = TableEncoder().fit(table).report_
    assert report["column"].tolist() == list(table)
    assert (report["what was done"] != "").all()


# New rows


@pytest.fixture
def fitted(rng):
    table = pd.DataFrame(
        {
            "age": numbers(),
            "colour": rng.choice(["red", "blue"], N_ROWS),
            "name": [f"n{i}" for i in range(N_ROWS)],
        }
    )
    return TableEncoder().fit(table), table


def test_new_rows_are_encoded_as_the_old_ones(fitted):
    encoder, table = fitted
    shuffled = table.iloc[[5, 2]][["colour", "name", "age"]]
    assert encoder.transform(shuffled).equals(encoder.transform(table).iloc[[5, 2]])


def test_columns_left_out_may_be_absent(fitted):
    encoder, table = fitted
    assert encoder.transform(table.drop(columns="name")).equals(encoder.transform(table))


def test_unseen_levels_are_counted_in_a_warning(fitted):
    encoder, table = fitted
    table = table.assign(colour=["green", *table["colour"][1:]])
    with pytest.warns(UserWarning, match="'colour': 1 never seen when fitted .'green'."):
        encoded = encoder.transform(table)
    assert encoded.loc[0, ["colour = blue", "colour = red"]].tolist() == [0, 0]


def test_new_missing_values_are_counted_in_a_warning(fitted):
    encoder, table = fitted
    with pytest.warns(UserWarning, match="'age': 2 missing where none was"):
        encoder.transform(table.assign(age=[None, None, *table["age"][2:]]))


def test_rows_without_any_value_are_counted_in_a_warning(fitted):
    encoder, table = fitted
    table.loc[3, ["age", "colour"]] = None
    with pytest.warns(UserWarning, match="1 rows without any value"):
        encoder.transform(table)


# Names


def test_planted_feature_keeps_its_name_to_the_explanation(rng):
    group = rng.integers(0, 2, 200)
    table = pd.DataFrame(
        {
            "noise": rng.normal(size=200),
            "colour": rng.choice(["red", "blue"], 200),
            "shape": rng.choice(["round", "square"], 200),
            "weight, kg": rng.normal(size=200) + 8 * group,
        }
    )
    encoder = TableEncoder().fit(table)
    X = encoder.transform(table)
    centres = KMeans(2, n_init=10, random_state=0).fit(X).cluster_centers_
    values = np.abs(centres - centres.mean(axis=0))
    why = Explanation(None, values, values.mean(axis=0), list(X), "attribution")
    grouped = encoder.group_by_source(why)
    assert set(why.top(1, "cluster")["feature"]) == {"weight, kg"}
    assert set(grouped.top(1, "cluster")["feature"]) == {"weight, kg"}
    assert grouped.feature_names == ("noise", "colour", "shape", "weight, kg")
    assert encoder.source_.tolist() == ["noise", "colour", "colour", "shape", "shape", "weight, kg"]


def test_group_by_source_adds_contributions_and_takes_the_largest_gate(fitted):
    encoder, _ = fitted
    values = np.array([[0.1, 0.5, 0.25], [1.0, 0.0, 0.75]])
    by_gate = Explanation(values, values, values[0], encoder.feature_names_out_, "gate")
    assert encoder.group_by_source(values).tolist() == [[0.1, 0.75], [1.0, 0.75]]
    assert encoder.group_by_source(by_gate).sample.tolist() == [[0.1, 0.5], [1.0, 0.75]]


def test_long_levels_are_cut_in_names_and_stay_apart():
    levels = ["a" * 50 + "b" * 40, "a" * 50 + "b" * 39 + "c"] * 30
    names = study(levels)[0].feature_names_out_[:2]
    assert len(set(names)) == 2
    assert max(map(len, names)) < 80


def test_profile_is_in_original_units():
    table = pd.DataFrame(
        {
            "age": [20.5, 30.5, 70.5, 81.5],
            "colour": ["red", "red", "blue", "blue"],
            "smoker": ["yes", "no", "no", "no"],
            "since": pd.to_datetime(["2020-01-01", "2020-01-02", "2021-05-05", "2021-05-06"]),
        }
    )
    profile = TableEncoder().fit(table).profile(table, [0, 0, 1, 1])
    assert profile.columns.tolist() == ["all rows", "cluster 0", "cluster 1"]
    assert profile["cluster 0"].tolist() == ["25.5", "red 100%", "yes 50%", "2020-01-01"]
    assert profile.loc["age", "all rows"] == "50.5"


def test_conditions_are_in_the_words_of_the_table():
    table = pd.DataFrame(
        {
            "age": [20.0, 40, 60, None, 80, 100] * 10,
            "joined": pd.date_range("2026-01-01", periods=60),
            "size": pd.Categorical(["S", "M", "L"] * 20, ["S", "M", "L"], ordered=True),
            "hair": ["red", "dark"] * 30,
            "member": ["no", "yes", "yes"] * 20,
        }
    )
    encoder = TableEncoder().fit(table)
    X = encoder.transform(table)

    def say(feature, low=None, high=None):
        column = X.columns.get_loc(feature)
        ends = [X.iloc[row, column] + 1e-9 for row in (low, high) if row is not None]
        low, high = (*([] if low is not None else [-np.inf]), *ends, np.inf)[:2]
        return encoder.say([(column, low, high)])

    assert say("age", high=1) == "age ≤ 40"
    assert say("age", low=0) == "age > 20"
    assert say("age", low=0, high=1) == "20 < age ≤ 40"
    assert say("age (missing)", low=0) == "age is missing"
    assert say("age (missing)", high=0) == "age is given"
    assert say("joined", high=6) == "joined until 2026-01-07"
    assert say("joined", low=2, high=6) == "joined after 2026-01-03 until 2026-01-07"
    assert [say("size", high=row) for row in (0, 1)] == ["size = S", "size from S to M"]
    assert [say("size", low=row) for row in (0, 1)] == ["size from M to L", "size = L"]
    assert say("hair = red", low=1) == "hair = red"
    assert say("hair = red", high=1) == "hair ≠ red"
    assert say("member", high=0) == "member = no"
    hair = [X.columns.get_loc(f"hair = {colour}") for colour in ("dark", "red")]
    assert encoder.say([(hair[0], -np.inf, 0.5), (hair[1], -np.inf, 0.5)]) == "hair ≠ dark, red"
    assert encoder.say([(hair[0], -np.inf, 0.5), (hair[1], 0.5, np.inf)]) == "hair = red"


def test_encoder_is_cloned_and_pickled(fitted):
    encoder, table = fitted
    again = pickle.loads(pickle.dumps(encoder))
    assert again.transform(table).equals(encoder.transform(table))
    assert not hasattr(clone(encoder), "columns_")


def test_features_of_one_name_are_refused():
    table = pd.DataFrame({"a": ["x", "y"] * 5, "a = x": numbers(10)})
    with pytest.raises(TableError, match="two features would be called 'a = x'"):
        TableEncoder().fit(table)


def test_an_encoder_comes_back_from_its_file(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "amount": rng.normal(size=60) * np.pi,
            "text number": [f"{n:,}" for n in rng.integers(1000, 9999, 60)],
            "day": pd.Timestamp("2024-02-28 13:37:00.123456") + pd.to_timedelta(range(60), "D"),
            "seen on": [f"{1 + n % 28}.{1 + n % 12}.2023" for n in range(60)],
            "size": pd.Categorical(["S", "L"] * 30, ["S", "M", "L"], ordered=True),
            "member": ["yes", "no", "no"] * 20,
            "colour | \u00fc": [None, *["red", "blue", "green"] * 19, "odd", "rare"],
            "all one": 1,
        }
    )
    table.loc[:9, "amount"] = np.nan
    encoder = TableEncoder(drop=("member",), scale="robust").fit(table)
    assert set(encoder.report_["type"]) >= {"number", "date", "ordered", "category", "dropped"}
    encoder.save(tmp_path)
    loaded = TableEncoder.load(tmp_path)
    new = table.sample(frac=1, random_state=0).iloc[:20]
    pd.testing.assert_frame_equal(loaded.transform(new), encoder.transform(new), check_exact=True)
    pd.testing.assert_frame_equal(loaded.report_, encoder.report_)
    pd.testing.assert_frame_equal(
        loaded.profile(table, np.zeros(60)), encoder.profile(table, np.zeros(60))
    )
    assert loaded.source_.tolist() == encoder.source_.tolist()
