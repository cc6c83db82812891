"""Checks of user input: one line per fault, naming the offender."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator

from whycluster.contract.validation import check_fit, check_n_clusters, check_predict

X = np.array([[0.0, 1.0], [2.0, 3.0], [2.0, 3.0], [4.0, 5.0]])
FRAME = pd.DataFrame(X, columns=["age", "income"])


class Toy(BaseEstimator):
    def __init__(self, n_clusters=2):
        self.n_clusters = n_clusters


def spoiled(value, row=2, column=1):
    frame = FRAME.copy()
    frame.iloc[row, column] = value
    return frame


class TestFit:
    @pytest.mark.parametrize(
        "data",
        [
            X,
            X.astype(int),
            X.astype(np.float32),
            X.tolist(),
            FRAME,
            FRAME.astype(object),
            np.asfortranarray(X),
        ],
    )
    def test_numbers_become_float32_rows(self, data):
        out = check_fit(Toy(), data)
        assert out.dtype == np.float32
        assert out.flags.c_contiguous
        np.testing.assert_array_equal(out, X)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_read_only_rows_are_copied(self, dtype):
        data = X.astype(dtype)
        data.flags.writeable = False
        assert check_fit(Toy(), data).flags.writeable

    def test_names_and_number_of_features_are_kept(self):
        toy = Toy()
        check_fit(toy, FRAME)
        assert toy.n_features_in_ == 2
        assert toy.feature_names_in_.tolist() == ["age", "income"]

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (spoiled(np.nan), r"NaN in column 'income', row 2 \(1 such values in all\); impute"),
            (spoiled(-np.inf, 1, 0), "inf in column 'age', row 1 .*; impute or drop them first"),
            (spoiled(np.nan).to_numpy(), "NaN in column 1, row 2"),
            (spoiled([np.nan, np.nan], slice(2, 4)), r"row 2 \(2 such values in all\)"),
            (
                spoiled(-1e60),
                "-1e[+]60, too large for single precision, in column 'income'",
            ),
            (FRAME.set_axis(["age", "age"], axis=1), "column name 'age' is repeated"),
            (FRAME.assign(income="high"), "column 'income' is not numeric .*; encode it first"),
            (FRAME.assign(income=[1, "a", 2, 3]), r"column 'income' is not numeric \(object\)"),
            (X[:1], "1 sample"),
            (X[:0], "0 sample"),
            (X[:, :0], "0 feature"),
            (X[:, 0], "1D array"),
            (np.full((4, 3), 7.0), "all 3 columns are constant; there are no clusters to find"),
        ],
    )
    def test_bad_tables_are_named(self, data, message):
        with pytest.raises(ValueError, match=message) as error:
            check_fit(Toy(), data)
        assert isinstance(data, np.ndarray) or "\n" not in str(error.value)

    def test_one_constant_column_is_allowed(self):
        assert check_fit(Toy(), FRAME.assign(income=1.0)).shape == (4, 2)


class TestPredict:
    @pytest.fixture
    def toy(self):
        toy = Toy()
        check_fit(toy, FRAME)
        return toy

    def test_one_row_and_constant_rows_are_allowed(self, toy):
        assert check_predict(toy, FRAME[:1]).shape == (1, 2)
        assert check_predict(toy, FRAME.iloc[[1, 2]]).shape == (2, 2)

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (FRAME[["age"]], "Feature names seen at fit time, yet now missing:\n- income"),
            (FRAME.rename(columns={"age": "Age"}), "Feature names unseen at fit time:\n- Age"),
            (FRAME[["income", "age"]], "in the same order"),
            (np.ones((2, 3)), "X has 3 features, but Toy is expecting 2 features"),
            (spoiled(np.nan), "NaN in column 'income', row 2"),
        ],
    )
    @pytest.mark.filterwarnings("ignore:X does not have valid feature names")
    def test_bad_tables_are_named(self, toy, data, message):
        with pytest.raises(ValueError, match=message):
            check_predict(toy, data)


class TestNumberOfClusters:
    @pytest.mark.parametrize("n_clusters", [1, 2, 3, np.int64(3)])
    def test_up_to_the_number_of_distinct_rows(self, n_clusters):
        check_n_clusters(n_clusters, X)

    @pytest.mark.parametrize(
        ("n_clusters", "message"),
        [
            (4, "n_clusters=4 exceeds the 3 distinct rows of X; pass at most that"),
            (0, "n_clusters=0 is below 1; pass an int of 1 or more"),
            (-3, "n_clusters=-3 is below 1"),
            (2.0, "n_clusters=2.0 is not a whole number; pass an int of 1 or more"),
            ("3", "n_clusters='3' is not a whole number"),
            (True, "n_clusters=True is not a whole number"),
            (None, "n_clusters=None is not a whole number"),
        ],
    )
    def test_others_are_refused_in_one_line(self, n_clusters, message):
        with pytest.raises(ValueError, match=message) as error:
            check_n_clusters(n_clusters, X)
        assert "\n" not in str(error.value)

    def test_distinct_rows_far_down_are_counted(self):
        rows = np.zeros((1000, 2))
        rows[-2:] = [[1, 0], [0, 1]]
        check_n_clusters(3, rows)
        with pytest.raises(ValueError, match="exceeds the 3 distinct rows"):
            check_n_clusters(4, rows)
