"""Comparisons: values worked by hand, limits, and intervals that cover what they should."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from whycluster.imn.comparison import paired_difference, rank_agreement, rank_shifts

RNG = np.random.default_rng(0)
IMPORTANCE = np.array([5.0, 4, 3, 2, 1, 0.5])


def noisy(importance, n_samples=80, scale=0.3, seed=0):
    return importance * (1 + scale * np.random.default_rng(seed).normal(size=(n_samples, 6)))


class TestRankAgreement:
    def test_scale_and_sign_do_not_matter(self):
        a = noisy(IMPORTANCE)
        assert rank_agreement(a, -3 * a) == pytest.approx((1, 1, 1))

    def test_opposite_rankings_disagree(self):
        found = rank_agreement(noisy(IMPORTANCE), noisy(IMPORTANCE[::-1]))
        assert found.value == pytest.approx(-1)

    def test_by_hand(self):
        a, b = np.array([[1.0, 2, 3]]), np.array([[1.0, 3, 2]])
        assert rank_agreement(a, b).value == pytest.approx(0.5)

    def test_fewer_rows_make_the_interval_wider(self):
        flat = np.linspace(1, 1.5, 6)
        few, many = (
            rank_agreement(noisy(flat, n, 1.0, 1), noisy(flat, n, 1.0, 2)) for n in (10, 2000)
        )
        assert few.high - few.low > 2 * (many.high - many.low)

    @pytest.mark.parametrize(
        ("a", "b", "message"),
        [
            (np.ones((3, 2)), np.ones((3, 3)), "give equal tables"),
            (np.ones((3, 2)), RNG.normal(size=(3, 2)), "all features are equally important"),
        ],
    )
    def test_bad_input(self, a, b, message):
        with pytest.raises(ValueError, match=message):
            rank_agreement(a, b)


class TestRankShifts:
    def test_the_one_that_moved_is_named(self):
        reference = np.tile(IMPORTANCE, (10, 1)) + RNG.normal(scale=0.05, size=(10, 6))
        own = reference.copy()
        own[:, 5] = 10
        shift = rank_shifts(own, reference)
        np.testing.assert_allclose(shift.value, [-1, -1, -1, -1, -1, 5])
        assert shift.low[5] == 5

    def test_unpaired_seeds_are_refused(self):
        with pytest.raises(ValueError, match="pair the seeds"):
            rank_shifts(np.ones((3, 2)), np.ones((2, 2)))


class TestPairedDifference:
    a, b = RNG.normal(0.80, 0.02, 10), RNG.normal(0.79, 0.02, 10)

    def test_without_overlap_it_is_the_plain_t_test(self):
        found = paired_difference(self.a, self.b, test_share=1e-9)
        assert found.p == pytest.approx(ttest_rel(self.a, self.b).pvalue, rel=1e-4)
        low, high = ttest_rel(self.a, self.b).confidence_interval()
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-4)

    def test_overlap_makes_it_less_sure(self):
        plain, corrected = (
            paired_difference(self.a, self.b, test_share=share) for share in (1e-9, 0.125)
        )
        assert corrected.value == plain.value
        ratio = (corrected.high - corrected.low) / (plain.high - plain.low)
        assert ratio == pytest.approx(np.sqrt((0.1 + 1 / 7) / 0.1), rel=1e-6)

    def test_equal_scores_do_not_differ(self):
        assert paired_difference(self.a, self.a, test_share=0.2) == (0, 0, 0, 1)

    @pytest.mark.parametrize(("n", "share"), [(1, 0.2), (3, 0.0), (3, 1.0)])
    def test_bad_input(self, n, share):
        with pytest.raises(ValueError, match=r"give at least two|not between 0 and 1"):
            paired_difference(np.ones(n), np.zeros(n), test_share=share)
