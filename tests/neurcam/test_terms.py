"""Terms add up, pairs are pure by the data's density, tables interpolate within tolerance."""

import numpy as np
import pytest

from whycluster.neurcam import terms
from whycluster.neurcam.terms import Terms

RNG = np.random.default_rng(0)


def moved_by_hand(values, counts, n_rounds=2000):
    """Purify a table as Lengerich et al. do: move weighted means of rows and columns, in turn."""
    pure, rows, columns = values.copy(), np.zeros(len(values)), np.zeros(values.shape[1])
    for _ in range(n_rounds):
        mean = (pure * counts).sum(axis=1) / counts.sum(axis=1)
        pure, rows = pure - mean[:, None], rows + mean
        mean = (pure * counts).sum(axis=0) / counts.sum(axis=0)
        pure, columns = pure - mean, columns + mean
    return pure, rows, columns


@pytest.fixture
def table():
    """Two correlated features of few values, and a function of both."""
    X = RNG.integers(0, 4, size=(500, 2)).astype(np.float32)
    X[:, 1] = np.where(RNG.random(500) < 0.5, X[:, 0], X[:, 1])
    values = RNG.normal(size=(4, 4))
    counts = np.zeros((4, 4))
    np.add.at(counts, tuple(X.astype(int).T), 1)
    return X, values, counts


def test_purification_equals_mass_moved_by_hand(table):
    X, values, counts = table
    f = values[tuple(X.astype(int).T)][:, None]
    fitted = Terms([(0, 1)], 1).fit(f[:, None], X)
    read = fitted.read(f[:, None], X)[..., 0]
    pure, rows, columns = moved_by_hand(values, counts)
    i, j = X.astype(int).T
    assert fitted.terms == [(0,), (1,), (0, 1)]
    np.testing.assert_allclose(read[:, 2], pure[i, j], atol=1e-6)
    np.testing.assert_allclose(read[:, 0], rows[i] - rows[i].mean(), atol=1e-6)
    np.testing.assert_allclose(read[:, 1], columns[j] - columns[j].mean(), atol=1e-6)


def test_a_sum_of_main_effects_leaves_nothing_to_the_pair():
    X = RNG.normal(size=(400, 2)).astype(np.float32)
    knots = terms.knots(X[:, 0], 400 // 30)
    f = (np.abs(X[:, :1] - knots[4]) - 2 * X[:, 1:])[:, None]  # bends at a knot
    fitted = Terms([(1, 0)], 1).fit(f, X)
    read = fitted.read(f, X)[..., 0]
    assert np.abs(read[:, 2]).max() < 1e-5
    np.testing.assert_allclose(read[:, 1], -2 * (X[:, 1] - X[:, 1].mean()), atol=1e-4)


def test_few_rows_are_not_fitted_to_the_last_one():
    """A pair of pure noise has next to no main effects, however few the rows."""
    X = RNG.normal(size=(120, 2)).astype(np.float32)
    f = RNG.normal(size=(120, 1, 1))
    read = Terms([(0, 1)], 1).fit(f, X).read(f, X)
    assert np.square(read[:, :2]).sum(axis=1).mean() < 0.2 * np.square(read[:, 2]).mean()


def test_terms_add_up_also_for_rows_never_seen():
    channels = [(2,), (0, 1), (2, 2), (1, 0), (1, 2)]
    f = RNG.normal(size=(300, 5, 3))
    X = RNG.normal(size=(300, 3)).astype(np.float32)
    fitted = Terms(channels, 3).fit(f, X)
    assert fitted.terms == [(0,), (1,), (2,), (0, 1), (1, 2)]
    new = RNG.normal(size=(40, 5, 3))
    read = fitted.read(new, 9 * X[:40])
    np.testing.assert_allclose(read.sum(axis=1) + fitted.intercept, new.sum(axis=1), atol=1e-10)
    np.testing.assert_allclose(fitted.read(f, X).mean(axis=0), 0, atol=1e-12)


def test_channels_of_one_feature_are_merged():
    f = RNG.normal(size=(20, 3, 2))
    X = RNG.normal(size=(20, 4)).astype(np.float32)
    read = Terms([(3,), (1,), (3,)], 2).fit(f, X).read(f, X)
    expected = f[:, 0] + f[:, 2]
    np.testing.assert_allclose(read[:, 1], expected - expected.mean(axis=0))


class TestGrids:
    def test_few_distinct_values_are_all_knots_many_are_quantiles(self):
        assert terms.knots(np.array([3.0, 1, 1, 3, 7]), 3).tolist() == [1, 3, 7]
        values = RNG.normal(size=999)
        knots = terms.knots(values, 5)
        np.testing.assert_allclose(knots, np.quantile(values, [0, 0.25, 0.5, 0.75, 1]))

    def test_hats_interpolate_and_hold_at_the_ends(self):
        weights = terms.hats(np.array([-5, 0, 0.5, 2, 9.0]), np.array([0.0, 1, 3])).toarray()
        expected = [[1, 0, 0], [1, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.5], [0, 0, 1]]
        np.testing.assert_allclose(weights, expected)

    def test_one_knot_takes_everything(self):
        assert terms.hats(np.array([1.0, 2]), np.array([1.0])).toarray().tolist() == [[1], [1]]

    def test_shares_count_rows_at_the_nearest_point(self):
        values = [np.array([0.1, 0.9, 1.2, 5.0])]
        assert terms.shares(values, [np.array([0.0, 1, 4])]).tolist() == [0.25, 0.5, 0.25]
        both = terms.shares([np.array([0, 1.0]), np.array([2, 2.0])], [np.array([0, 1])] * 2)
        assert both.tolist() == [[0, 0.5], [0, 0.5]]


class TestTables:
    @staticmethod
    def curves(x):
        return np.column_stack([np.sin(3 * x), np.abs(x), np.zeros_like(x)])

    @pytest.mark.parametrize("tolerance", [0.1, 1e-3])
    def test_straight_lines_stay_within_tolerance(self, tolerance):
        x, y = terms.tabulate(self.curves, np.array([-1.0, 0.3, 2]), tolerance)
        assert (x[0], x[-1]) == (-4, 5)
        fine = np.linspace(-4, 5, 4321)
        for k, curve in enumerate(self.curves(fine).T):
            assert np.abs(np.interp(fine, x, y[:, k]) - curve).max() <= 1.01 * tolerance

    def test_looser_tables_are_shorter(self):
        loose, tight = (terms.tabulate(self.curves, np.arange(3.0), t)[0] for t in (0.1, 1e-3))
        assert len(loose) < len(tight) / 3 < 100

    def test_a_straight_line_needs_two_points(self):
        x, _ = terms.tabulate(lambda x: np.column_stack([x, -x]), np.arange(5.0), 1e-6)
        assert len(x) == 2
