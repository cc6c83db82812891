"""Factor analysis of mixed data: its two limits, and what a missing value does."""

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from whycluster.gower.famd import famd


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    numbers = pd.DataFrame(rng.normal(size=(50, 3)), columns=list("abc"))
    levels = rng.choice(["x", "y", "z"], 50, p=[0.6, 0.3, 0.1])
    return numbers.assign(level=levels, same="s")


def test_of_numbers_it_is_principal_components(table):
    numbers = table[list("abc")]
    expected = PCA(3).fit_transform(StandardScaler().fit_transform(numbers))
    np.testing.assert_allclose(famd(numbers, 3), expected, atol=1e-12)


def test_a_category_has_one_dimension_less_than_levels_each_of_variance_one(table):
    coordinates = famd(table[["level"]], 3)
    np.testing.assert_allclose(coordinates.var(ddof=0), [1, 1, 0], atol=1e-12)
    assert coordinates.columns[0] == "component 1 (50%)"


def test_variances_of_a_mixed_table_add_up(table):
    whole = famd(table, 7)
    np.testing.assert_allclose(whole.var(ddof=0).sum(), 3 + 2)
    assert whole.index.equals(table.index)


def test_a_missing_value_adds_nothing(table):
    gaps = table.assign(
        a=table["a"].where(table.index != 4), level=table["level"].where(table.index != 5)
    )
    only_a = famd(gaps[["a"]], 1).to_numpy().ravel()
    assert only_a[4] == pytest.approx(0, abs=1e-12)
    assert np.isfinite(famd(gaps, 3)).all(axis=None)


def test_too_many_components_are_refused(table):
    with pytest.raises(ValueError, match="n_components=9; choose 1 to 7 for 50 rows and 7 feat"):
        famd(table, 9)
    with pytest.raises(ValueError, match="n_components=0"):
        famd(table, 0)


def test_an_array_of_codes():
    codes = np.array([[1.0, 2.0], [2.0, 4.0], [1.0, 6.0]])
    assert famd(codes, 3, categories=["x0"]).shape == (3, 3)
