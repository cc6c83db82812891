"""Gower distances against a loop written from the formula, and against the gower package."""

import warnings

import gower as package
import numpy as np
import pandas as pd
import pytest
import torch

from whycluster.gower import GowerSpace, gower_distances
from whycluster.gower.columns import GowerColumn

SIZES = ["small", "medium", "large", "huge"]


def mixed(n_rows, seed=0, missing=0.0):
    """Return a table with every kind of column that a distance can use."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "age": rng.integers(18, 90, n_rows),
            "balance": -rng.gamma(2, 500, n_rows),  # its maximum is below 0
            "debt": np.where(rng.random(n_rows) < 0.5, 0, -rng.integers(1, 9, n_rows)),  # is 0
            "same": 3.0,
            "job": pd.Series(rng.choice(["clerk", "nurse", "cook"], n_rows), dtype="str"),
            "town": [f"town {i}" for i in rng.integers(0, 90, n_rows)],  # many levels
            "owner": rng.random(n_rows) < 0.4,
            "size": pd.Categorical(rng.choice(SIZES, n_rows), SIZES, ordered=True),
            "colour": pd.Categorical(rng.choice(["red", "blue"], n_rows), ["red", "blue", "pink"]),
        }
    )
    hidden = rng.random(table.shape) < missing
    return table.astype({"age": float, "owner": object}).mask(hidden) if missing else table


def is_number(column):
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def brute_force(X, Y, weights=None):
    """Compute the formula of the module pair by pair, value by value."""
    weights = dict.fromkeys(X, 1.0) | (weights or {})
    ranks = {level: i for i, level in enumerate(SIZES)}
    X, Y = ({n: t[n].map(ranks) if n == "size" else t[n] for n in t} for t in (X, Y))
    ranges = {}
    for name in X:
        if name == "size" or is_number(X[name]):
            values = np.concatenate([np.asarray(t[name], dtype=float) for t in (X, Y)])
            ranges[name] = np.nanmax(values) - np.nanmin(values)
    X, Y = (pd.DataFrame(t).astype(object).to_dict("records") for t in (X, Y))
    return np.array([[_pair(x, y, ranges, weights) for y in Y] for x in X])


def _pair(x, y, ranges, weights):
    total = shared = 0.0
    for name, weight in weights.items():
        if pd.isna(x[name]) or pd.isna(y[name]):
            continue
        if name not in ranges:
            difference = float(x[name] != y[name])
        else:
            gap = abs(float(x[name]) - float(y[name]))
            difference = gap / ranges[name] if ranges[name] else 0.0
        total += weight * difference
        shared += weight
    return total / shared


class TestAgainstBruteForce:
    @pytest.mark.parametrize("missing", [0.0, 0.2])
    @pytest.mark.parametrize("weights", [None, {"age": 2.5, "job": 0.3, "town": 4.0, "debt": 0.0}])
    @pytest.mark.parametrize("n_others", [None, 40, 23])  # 40: as many rows as X, other rows
    @pytest.mark.parametrize("many", [64, 2])  # levels from which on codes are compared
    def test_equal_to_the_loop(self, missing, weights, n_others, many, monkeypatch):
        monkeypatch.setattr("whycluster.gower.distances.MANY_LEVELS", many)
        X = mixed(40, missing=missing)
        Y = None if n_others is None else mixed(n_others, seed=1, missing=missing)
        found = gower_distances(X, Y, weights)
        expected = brute_force(X, X if Y is None else Y, weights)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)

    def test_in_double_precision_equal_to_rounding(self):
        X = mixed(30, missing=0.2)
        found = gower_distances(X, dtype=np.float64)
        np.testing.assert_allclose(found, brute_force(X, X), rtol=0, atol=1e-14)

    @pytest.mark.parametrize("chunk", [1, 7, 64])
    def test_chunks_do_not_matter(self, chunk, monkeypatch):
        X, Y = mixed(50, missing=0.2), mixed(20, seed=1, missing=0.2)
        whole, alone = gower_distances(X, Y), gower_distances(X)
        monkeypatch.setattr("whycluster.gower.distances.ROWS_AT_ONCE", chunk)
        np.testing.assert_allclose(gower_distances(X, Y), whole, rtol=0, atol=1e-7)
        np.testing.assert_allclose(gower_distances(X), alone, rtol=0, atol=1e-7)

    def test_an_array_of_numbers(self):
        X = np.random.default_rng(0).normal(size=(20, 3))
        expected = brute_force(pd.DataFrame(X), pd.DataFrame(X))
        np.testing.assert_allclose(gower_distances(X), expected, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("weights", [None, np.arange(1, 10) / 7])
    def test_symmetric_with_a_zero_diagonal_and_within_one(self, weights, monkeypatch):
        monkeypatch.setattr("whycluster.gower.distances.ROWS_AT_ONCE", 77)
        D = gower_distances(mixed(200, missing=0.1), weights=weights, dtype=np.float64)
        np.testing.assert_array_equal(D, D.T)
        np.testing.assert_array_equal(np.diag(D), 0)
        assert D.min() >= 0
        assert D.max() <= 1

    def test_columns_add_up_to_the_distance(self):
        X, Y = mixed(30, missing=0.2), mixed(9, seed=1, missing=0.2)
        space = GowerSpace.learn(X, Y, weights={"age": 3.0})
        A, B = space.encode(X, Y)
        parts = space.by_column(A, B)
        assert parts.shape == (30, 9, 9)
        np.testing.assert_allclose(
            parts.sum(axis=2), space.pairwise(A, B, dtype=np.float64), rtol=0, atol=1e-14
        )
        age = np.abs(X["age"].to_numpy()[:, None] - Y["age"].to_numpy()) / space.columns[0].spread
        shared = parts[..., 0] > 0
        ratio = parts[..., 0][shared] / age[shared]  # its share of the weights that a pair has
        assert ratio.min() > 3 / 11.0001
        assert (parts[..., 0] == 0)[np.isnan(age)].all()

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
    def test_on_a_gpu_as_on_the_cpu(self):
        X = mixed(200, missing=0.1)
        on_gpu = gower_distances(X, device="cuda")
        np.testing.assert_allclose(on_gpu, gower_distances(X), rtol=0, atol=1e-6)


class TestAgainstThePackage:
    """The gower package, 0.1.2: a peer on whole tables of positive numbers and objects."""

    def test_equal_where_the_package_is_right(self):
        X = mixed(40)[["age", "same", "job", "town", "owner", "colour"]]
        X = X.astype(dict.fromkeys(["job", "town", "owner", "colour"], object))
        np.testing.assert_allclose(gower_distances(X), package.gower_matrix(X), rtol=0, atol=1e-6)

    @pytest.mark.parametrize("case", ["as many other rows", "a maximum of 0", "missing"])
    def test_right_where_the_package_is_not(self, case):
        X = mixed(12)[["age", "debt"]].astype(float)
        Y = mixed(12, seed=1)[["age", "debt"]].astype(float) if "rows" in case else X
        if case != "a maximum of 0":
            X, Y = X + [0, 20], Y + [0, 20]
        if case == "missing":
            X = Y = X.where(X["age"] > X["age"].median(), [np.nan, 1.0])
        expected = brute_force(X, Y)
        np.testing.assert_allclose(gower_distances(X, Y), expected, rtol=0, atol=1e-6)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = package.gower_matrix(X, Y)
        assert not np.allclose(theirs, expected, atol=1e-3)

    def test_strings_of_pandas_3_are_categories(self):
        X = pd.DataFrame({"job": pd.Series(["cook", "cook", None], dtype="str"), "n": [1, 2, 3]})
        assert gower_distances(X).round(2).tolist() == [[0, 0.25, 1], [0.25, 0, 0.5], [1, 0.5, 0]]
        with pytest.raises(TypeError):
            package.gower_matrix(X)


class TestTypes:
    @pytest.mark.parametrize(
        ("values", "kind"),
        [
            ([1, 2, 3], "number"),
            (pd.array([1, None, 3], dtype="Int64"), "number"),
            (pd.array([1.5, None, 3], dtype="Float64"), "number"),
            (pd.Series([1, 2.5, None], dtype=object), "number"),
            (pd.array(["a", None, "b"], dtype="string"), "category"),
            (pd.Series(["a", None, "b"], dtype=object), "category"),
            (pd.array([True, None, False], dtype="boolean"), "category"),
            ([True, False, True], "category"),
            (pd.Categorical(["a", "b", None]), "category"),
            (pd.Categorical([3, 1, 2]), "category"),
            (pd.Categorical(["b", "a", None], ["b", "a"], ordered=True), "ordered"),
        ],
    )
    def test_kind_of_a_column(self, values, kind):
        table = pd.DataFrame({"it": values, "n": [1, 2, 3]})
        assert GowerSpace.learn(table).columns[0].kind == kind
        D = gower_distances(table)
        assert np.isfinite(D).all()
        assert D[0, 2] > 0

    def test_numbers_declared_as_codes_are_equal_or_not(self):
        table = pd.DataFrame({"code": [1, 2, 9]})
        assert gower_distances(table).tolist() == [[0, 0.125, 1], [0.125, 0, 0.875], [1, 0.875, 0]]
        assert gower_distances(table, categories=["code"]).tolist() == (1 - np.eye(3)).tolist()

    def test_levels_are_compared_letter_by_letter(self):
        assert gower_distances(pd.DataFrame({"a": ["red", " red", "Red"]})).sum() == 6

    def test_order_of_an_ordered_category_counts_not_its_spelling(self):
        sizes = pd.Categorical(["small", "large", "huge"], SIZES, ordered=True)
        D = gower_distances(pd.DataFrame({"size": sizes}))
        np.testing.assert_allclose(D[0], [0, 2 / 3, 1], atol=1e-6)

    def test_decoded_rows_are_the_table(self):
        X = mixed(20, missing=0.2)
        space = GowerSpace.learn(X)
        back = space.decode(*space.encode(X))
        for name in X:
            expected, found = X[name].astype(object), back[name].astype(object)
            if name == "owner":
                expected = expected.map(str, na_action="ignore")
            pd.testing.assert_series_equal(found, expected, check_dtype=False)


class TestNewRows:
    @pytest.fixture
    def space(self):
        table = pd.DataFrame(
            {
                "age": [20, 30, 40],
                "job": ["cook", "cook", "nurse"],
                "size": pd.Categorical(["small", "huge", "huge"], SIZES, ordered=True),
                "same": 1.0,
            }
        )
        return GowerSpace.learn(table)

    def new(self, **values):
        row = {"age": 20, "job": "cook", "size": "small", "same": 1.0} | values
        return pd.DataFrame({name: [value] for name, value in row.items()})

    def test_ranges_are_those_learned(self, space):
        near, far = space.encode(self.new(), self.new(age=60))
        assert space.pairwise(near, far, dtype=float)[0, 0] == pytest.approx(2 / 4)

    def test_a_missing_value_of_any_type_is_missing(self, space):
        old, *new = space.encode(self.new(), self.new(job=None), self.new(age=None, size=np.nan))
        assert [space.pairwise(old, row)[0, 0] for row in new] == [0, 0]

    def test_a_level_never_seen_is_unlike_all_but_itself(self, space):
        with pytest.warns(UserWarning, match="'job': 2 rows with a level never seen"):
            rows = space.encode(self.new(), self.new(job="pilot"), self.new(job="pilot"))
        old, pilot, again = rows
        assert space.pairwise(old, pilot)[0, 0] == 0.25
        assert space.pairwise(again, pilot)[0, 0] == 0

    def test_another_value_in_a_constant_column_is_said_not_counted(self, space):
        with pytest.warns(UserWarning, match="'same': 1 rows with another value than 1"):
            old, new = space.encode(self.new(), self.new(same=7.0))
        assert space.pairwise(old, new)[0, 0] == 0

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"age": "old"}, r"'age' was number when learned and is category now \('old'\)"),
            ({"job": 5}, r"'job' was category when learned and is number now \('5'\)"),
            ({"size": 2}, "'size' was ordered when learned and is number now"),
            ({"size": "giant"}, "'size': 'giant' has no rank among small, medium, large, huge"),
            ({"age": np.inf}, "inf in column 'age', row 0"),
            ({"job": ["a"]}, "'job', row 0: argument must be a string or a number, not a list"),
        ],
    )
    def test_a_value_that_does_not_fit_is_named(self, space, values, message):
        with pytest.raises((ValueError, TypeError), match=message) as error:
            space.encode(self.new(**values))
        assert "\n" not in str(error.value)

    def test_columns_may_come_in_any_order_but_all_must_come(self, space):
        [rows] = space.encode(self.new()[["same", "size", "job", "age"]])
        np.testing.assert_array_equal(rows, space.encode(self.new())[0])
        with pytest.raises(ValueError, match="column 'age' is missing"):
            space.encode(self.new().drop(columns="age"))
        with pytest.raises(ValueError, match="column 'more' is new"):
            space.encode(self.new(more=1))


class TestBadInput:
    @pytest.mark.parametrize(
        ("table", "message"),
        [
            (pd.DataFrame({"a": [1.0, np.nan], "b": [np.nan, np.nan]}), "'b' has no value in any"),
            (pd.DataFrame({"a": [1.0, np.inf]}), "inf in column 'a', row 1"),
            (pd.DataFrame({"a": [1, "b"]}), "'a' holds mixed-integer values; make them all"),
            (pd.DataFrame({"a": pd.to_datetime(["2020-01-01"])}), "'a' holds datetime64 values"),
            (pd.DataFrame({"a": [1j]}), "'a' holds complex values"),
            (pd.DataFrame({"a": pd.Categorical([1, "1"])}), "'a' has two levels '1'"),
            (pd.DataFrame([[1, 2]], columns=["a", "a"]), "column name 'a' is repeated"),
            (pd.DataFrame(index=[0, 1]), "the table has no column"),
            (np.zeros(3), "expected a table of 2 dimensions, got an array of 1"),
            (
                pd.DataFrame({"a": [1, None], "b": [None, 2]}),
                "rows 0 and 1 have no column",
            ),
            (pd.DataFrame({"a": [1, None, 2], "b": [1, None, 2]}), "row 1 has no value in any"),
        ],
    )
    def test_the_offender_is_named_in_one_line(self, table, message):
        with pytest.raises(ValueError, match=message) as error:
            gower_distances(table)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            ([1, 2], r"weights have shape \(2,\) for 9 columns"),
            ({"agee": 1}, "weights names 'agee', which is no column"),
            (-np.ones(9), "give finite ones, 0 or more, not all 0"),
            (np.zeros(9), "not all 0"),
            ([np.nan] * 9, "give finite ones"),
        ],
    )
    def test_impossible_weights(self, weights, message):
        with pytest.raises(ValueError, match=message):
            gower_distances(mixed(5), weights=weights)

    def test_tables_that_differ(self):
        X = mixed(5)
        with pytest.raises(ValueError, match="column 'age' is missing"):
            gower_distances(X, X.drop(columns="age"))
        with pytest.raises(ValueError, match="'age' is category in one table and number in an"):
            gower_distances(X, X.assign(age="old"))
        turned = pd.Categorical(X["size"].astype(object), SIZES[::-1], ordered=True)
        with pytest.raises(ValueError, match="'size' has its levels in two orders"):
            gower_distances(X, X.assign(size=turned))
        with pytest.raises(ValueError, match="categories names 'agee'"):
            gower_distances(X, categories=["agee"])


class TestMemory:
    def test_too_large_a_result_is_refused_before_anything_is_computed(self):
        X = np.arange(60_000.0)[:, None]
        with pytest.raises(MemoryError, match=r"60,000 and 60,000 rows need 13\.4 GiB.*sample_s"):
            gower_distances(X)

    def test_never_more_than_a_chunk_at_once(self, monkeypatch):
        sizes, cdist = [], torch.cdist

        def spy(*args, **options):
            block = cdist(*args, **options)
            sizes.append(block.numel())
            return block

        monkeypatch.setattr("torch.cdist", spy)
        monkeypatch.setattr("whycluster.gower.distances.CHUNK", 2**12)
        gower_distances(mixed(150))
        assert max(sizes) <= 2**12
        assert len(sizes) > 1


def test_columns_are_plain_data():
    column = GowerSpace.learn(mixed(10)).columns[4]
    assert GowerColumn(**vars(column)) == column
