"""Metrics on tables small enough to work by hand, and at their limits."""

import importlib
import inspect
import itertools
import pkgutil
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score, silhouette_score

from whycluster import metrics
from whycluster.metrics import neighbours


def test_every_metric_is_handed_out_and_tested():
    scores = set()
    for module in pkgutil.iter_modules(metrics.__path__, "whycluster.metrics."):
        found = vars(importlib.import_module(module.name))
        scores |= {
            name
            for name, value in found.items()
            if inspect.isfunction(value) and value.__module__ == module.name and name[0] != "_"
        }
    helpers = {"as_sets", "as_table", "as_vector", "by_size", "check_same_length", "factorize"}
    helpers |= {"unit_ranks"}
    assert scores - helpers <= set(metrics.__all__)
    text = "".join(path.read_text() for path in Path(__file__).parents[1].rglob("test_*.py"))
    assert [name for name in scores - helpers if not re.search(rf"\b{name}\(", text)] == []


class TestClusteringAccuracy:
    def test_renamed_clusters_score_one(self):
        assert metrics.clustering_accuracy([0, 0, 1, 1, 2], [2, 2, 0, 0, 1]) == 1

    def test_matching_is_optimal_where_greedy_is_not(self):
        # Counts: class a: 3 in cluster 0, 2 in cluster 1; class b: 2 in cluster 0, none in 1.
        # Greedy takes a-0 (3 of 7) and is left with b-1 (0); optimal is a-1 plus b-0 = 4 of 7.
        y_true = ["a"] * 5 + ["b"] * 2
        assert metrics.clustering_accuracy(y_true, [0, 0, 0, 1, 1, 0, 0]) == 4 / 7

    def test_equals_the_best_of_all_permutations(self):
        rng = np.random.default_rng(0)
        y_true, y_pred = rng.integers(0, 4, (2, 60))
        best = max((np.array(p)[y_pred] == y_true).mean() for p in itertools.permutations(range(4)))
        assert metrics.clustering_accuracy(y_true, y_pred) == pytest.approx(best)

    def test_surplus_clusters_count_as_wrong(self):
        assert metrics.clustering_accuracy([0, 0, 0, 0], [0, 0, 1, 2]) == 0.5
        assert metrics.clustering_accuracy([0, 0, 1, 2], [0, 0, 0, 0]) == 0.5

    def test_labels_of_any_type(self):
        y_pred = pd.Series(["x", "y", "y"], dtype="category")
        assert metrics.clustering_accuracy([True, False, False], y_pred) == 1
        assert metrics.clustering_accuracy(["a", 1, 1.5], [0, 1, 2]) == 1

    @pytest.mark.parametrize(
        ("y_true", "y_pred", "message"),
        [
            ([0, 1], [0], "y_true has 2 entries and y_pred 1"),
            ([], [], "y_true must be one-dimensional, not empty"),
            ([0, None], [0, 1], "y_true must be .* without missing labels"),
            ([0, 1], [[0, 1], [1, 0]], "y_pred must be one-dimensional"),
        ],
    )
    def test_bad_labels_are_named(self, y_true, y_pred, message):
        with pytest.raises(ValueError, match=message):
            metrics.clustering_accuracy(y_true, y_pred)


class TestWithinGroups:
    def test_knowing_the_group_alone_is_worth_nothing_within(self):
        y, groups = [0, 0, 1, 0, 1, 1], ["a", "a", "a", "b", "b", "b"]
        rate = [1 / 3] * 3 + [2 / 3] * 3
        assert roc_auc_score(y, rate) == pytest.approx(2 / 3)
        assert metrics.within_groups(roc_auc_score, y, rate, groups) == 0.5

    def test_groups_weigh_by_their_rows(self):
        # Group 0 is in order (1, two rows); in group 1 one pair of two is (0.5, three rows).
        y, chance, groups = [0, 1, 0, 1, 1], [0.1, 0.2, 0.8, 0.9, 0.7], [0, 0, 1, 1, 1]
        found = metrics.within_groups(roc_auc_score, y, chance, groups)
        assert found == pytest.approx((2 * 1 + 3 * 0.5) / 5)

    def test_a_group_of_one_class_has_no_weight(self):
        y, chance, groups = [0, 1, 1, 1, 1], [0.1, 0.2, 0.3, 0.1, 0], [0, 0, 1, 1, 1]
        assert metrics.within_groups(roc_auc_score, y, chance, groups) == 1

    def test_bad_input_is_named(self):
        with pytest.raises(ValueError, match="every group has one class"):
            metrics.within_groups(roc_auc_score, [0, 1], [0, 1], [0, 1])
        with pytest.raises(ValueError, match="y_score has 1 entries and groups 2"):
            metrics.within_groups(roc_auc_score, [0, 1], [0], [0, 0])


def test_match_clusters_gives_the_numbers_of_the_reference():
    reference, labels = np.array([0, 0, 1, 1, 2]), np.array([2, 2, 0, 0, 1])
    match = metrics.match_clusters(reference, labels, 3)
    assert match.tolist() == [1, 2, 0]
    assert (match[labels] == reference).all()


def test_match_clusters_keeps_a_place_for_empty_clusters():
    assert sorted(metrics.match_clusters([0, 0], [1, 1], 3).tolist()) == [0, 1, 2]
    with pytest.raises(ValueError, match="labels must be integers from 0 to 1"):
        metrics.match_clusters([0, 1], [0, 2], 2)


def test_inertia_by_hand():
    X = [[0, 0], [2, 0], [5, 5]]
    assert metrics.inertia(X, ["a", "a", "b"]) == 2  # two rows, each 1 from their mean
    assert metrics.inertia(X, [0, 1, 2]) == 0
    with pytest.raises(ValueError, match="X is not finite in row 1, column 0"):
        metrics.inertia([[0.0], [np.nan]], [0, 1])


class TestSilhouette:
    def test_by_hand(self):
        # Row 0: a = 1, b = (9 + 10) / 2; row 1: a = 1, b = (8 + 9) / 2; then by symmetry.
        expected = (2 * (1 - 1 / 9.5) + 2 * (1 - 1 / 8.5)) / 4
        assert metrics.silhouette([[0], [1], [9], [10]], [0, 0, 1, 1]) == pytest.approx(expected)

    def test_sample_is_seeded_and_close_to_the_whole(self):
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 3, 600)
        X = rng.normal(size=(600, 2)) + 3 * labels[:, None]
        sampled = metrics.silhouette(X, labels, max_samples=300)
        assert sampled == metrics.silhouette(X, labels, max_samples=300)
        assert sampled != metrics.silhouette(X, labels, max_samples=300, random_state=1)
        assert sampled == pytest.approx(silhouette_score(X, labels), abs=0.05)
        assert metrics.silhouette(X, labels, max_samples=None) == silhouette_score(X, labels)

    @pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
    def test_one_cluster_and_single_rows_are_undefined(self, labels):
        with pytest.raises(ValueError, match=r"silhouette of . cluster.* in 3 rows is undefined"):
            metrics.silhouette([[0], [1], [2]], labels)


class TestDiversity:
    def test_by_hand(self):
        sets = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]], dtype=bool)
        # Pairs: {0,1} and {1,2} share 1 of 3; the other two pairs share nothing.
        assert metrics.diversity(sets) == pytest.approx(1 - (1 / 3) / 3)

    def test_disjoint_sets_score_one_for_any_number_of_clusters(self):
        # The released code includes each cluster with itself and stops at 1 - 1 / (K - 1).
        assert metrics.diversity(np.eye(2, dtype=bool)) == 1
        assert metrics.diversity(np.eye(10, dtype=bool)) == 1

    def test_equal_and_empty_sets_score_zero(self):
        assert metrics.diversity(np.ones((3, 4), dtype=bool)) == 0
        assert metrics.diversity(np.zeros((3, 4), dtype=bool)) == 0

    def test_one_cluster_and_gate_values_are_refused(self):
        with pytest.raises(ValueError, match="diversity of 1 cluster is undefined"):
            metrics.diversity([[True, False]])
        with pytest.raises(ValueError, match=r"cluster_sets has type float64.* such as gates > 0"):
            metrics.diversity([[0.5, 0.0], [0.0, 0.5]])


def test_select_top_marks_largest_absolute_values_ties_to_the_earlier():
    selected = metrics.select_top([[0.1, -3, 2], [1, 1, 1]], 2)
    assert selected.tolist() == [[False, True, True], [True, True, False]]
    assert metrics.select_top([0.1, -3, 2], 1).tolist() == [False, True, False]
    with pytest.raises(ValueError, match="k is 4; choose between 1 and the 3 features"):
        metrics.select_top([[0.1, -3, 2]], 4)


class TestFaithfulness:
    def test_by_hand(self):
        # Deviations (1, 0, -1) and (1, 1, -2) / 3: correlation 3 / sqrt(2 * 6) = 0.866.
        assert metrics.faithfulness([3, 2, 1], [3, 3, 2]) == pytest.approx(3 / np.sqrt(12))

    def test_individual_removal_turns_the_sign(self):
        assert metrics.faithfulness([3, 2, 1], [1, 2, 3]) == pytest.approx(-1)
        assert metrics.faithfulness([3, 2, 1], [1, 2, 3], removal="individual") == pytest.approx(1)

    @pytest.mark.parametrize("values", [([1, 1], [1, 2]), ([1, 2], [1, 1])])
    def test_constant_values_have_no_correlation(self, values):
        with pytest.warns(UserWarning, match="is constant: faithfulness is undefined"):
            assert np.isnan(metrics.faithfulness(*values))

    def test_bad_input_is_named(self):
        with pytest.raises(ValueError, match="faithfulness of 1 feature is undefined"):
            metrics.faithfulness([1], [1])
        with pytest.raises(ValueError, match="importance has 2 entries and score_without 3"):
            metrics.faithfulness([1, 2], [1, 2, 3])
        with pytest.raises(ValueError, match="removal is 'all'; choose cumulative or individual"):
            metrics.faithfulness([1, 2], [1, 2], removal="all")


class TestRemoveFeatures:
    X = np.array([[1, 2, 4], [1, 2, 4]])

    def test_cumulative_removal_by_hand(self):
        result = metrics.remove_features(self.X, [0.1, 0.9, 0.5], lambda X: X.sum())
        assert result.order.tolist() == [1, 2, 0]
        assert result.importance.tolist() == [0.9, 0.5, 0.1]
        assert result.score.tolist() == [10, 2, 0]
        assert result.baseline == 14

    def test_individual_removal_puts_each_back(self):
        result = metrics.remove_features(
            self.X, [0.1, 0.9, 0.5], lambda X: X.sum(), removal="individual"
        )
        assert result.score.tolist() == [10, 6, 12]

    def test_fill_and_max_features(self):
        result = metrics.remove_features(
            self.X, [3, 2, 1], lambda X: X.sum(), fill=[10, 20, 30], max_features=2
        )
        assert result.score.tolist() == [32, 68]

    @pytest.mark.parametrize("removal", ["cumulative", "individual"])
    def test_frame_reaches_the_score_with_its_names_and_is_not_changed(self, removal):
        X = pd.DataFrame(self.X, columns=["a", "b", "c"])
        before = X.copy()

        def score(frame):
            assert list(frame.columns) == ["a", "b", "c"]
            return frame.to_numpy().sum()

        result = metrics.remove_features(X, [3, 1, 2], score, removal=removal)
        plain = metrics.remove_features(self.X, [3, 1, 2], np.sum, removal=removal)
        assert result.score.tolist() == plain.score.tolist()
        pd.testing.assert_frame_equal(X, before)

    def test_individual_removal_exposes_a_reversed_ranking_cumulative_does_not(self):
        rng = np.random.default_rng(0)
        weight = np.array([5.0, 4, 3, 2, 1, 0, 0, 0])
        X = rng.normal(size=(500, 8))
        y = X @ weight > 0

        def faithfulness(importance, removal):
            result = metrics.remove_features(
                X, importance, lambda X: np.mean((X @ weight > 0) == y), removal=removal
            )
            return metrics.faithfulness(result.importance, result.score, removal=removal)

        assert faithfulness(weight, "individual") > 0.9
        assert faithfulness(-weight, "individual") < -0.9
        assert faithfulness(weight, "cumulative") > 0.8
        assert faithfulness(-weight, "cumulative") > 0.9  # the weakness its docstring states

    def test_importance_must_fit(self):
        with pytest.raises(ValueError, match="importance has 2 values for 3 features"):
            metrics.remove_features(self.X, [1, 2], np.sum)


class TestNeighbours:
    X = np.array([[0.0], [1.0], [3.0]])
    W = np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 0.0]])
    # Distances of W: 0-1: 5, 1-2: 4, 0-2: 3; of X: 1, 2, 3. Ratios: 5, 2, 1.

    def test_one_neighbour_by_hand(self):
        # Nearest of 0 is 1, of 1 is 0, of 2 is 1.
        assert metrics.uniqueness(self.W, self.X) == pytest.approx((5 + 5 + 2) / 3)
        assert metrics.stability(self.W, self.X) == metrics.uniqueness(self.W, self.X)

    def test_two_neighbours_by_hand(self):
        assert metrics.uniqueness(self.W, self.X, n_neighbors=2) == pytest.approx((1 + 2 + 1) / 3)
        assert metrics.stability(self.W, self.X, n_neighbors=2) == pytest.approx((5 + 5 + 2) / 3)

    def test_rows_without_a_neighbour_in_the_radius_are_left_out(self):
        with pytest.warns(UserWarning, match="0 rows repeat .* and 1 have no neighbour"):
            assert metrics.uniqueness(self.W, self.X, radius=1.5) == pytest.approx(5)
        with pytest.raises(ValueError, match=r"no row has a neighbour within 0\.5"):
            metrics.uniqueness(self.W, self.X, radius=0.5)

    def test_duplicates_are_left_out_and_counted(self):
        X, W = np.vstack([self.X, self.X[:2]]), np.vstack([self.W, self.W[:2]])
        with pytest.warns(UserWarning, match="2 rows repeat an earlier row"):
            assert metrics.uniqueness(W, X) == pytest.approx((5 + 5 + 2) / 3)
        assert metrics.neighbour_ratios(W, X).n_duplicates == 2

    def test_negative_zero_is_a_duplicate_of_zero(self):
        X = np.array([[0.0], [-0.0], [1.0]])
        assert metrics.neighbour_ratios(self.W, X).n_duplicates == 1

    def test_equal_explanations_are_not_unique(self):
        assert metrics.uniqueness(np.ones((3, 2)), self.X) == 0

    def test_identical_rows_and_too_many_neighbours_are_refused(self):
        with pytest.raises(ValueError, match="1 neighbours asked for among 1 distinct rows"):
            metrics.uniqueness(self.W, np.zeros((3, 1)))
        with pytest.raises(ValueError, match="3 neighbours asked for among 3 distinct rows"):
            metrics.uniqueness(self.W, self.X, n_neighbors=3)

    def test_close_rows_are_told_apart_far_from_the_origin(self):
        # Expanded squares would lose this distance to cancellation.
        X = np.array([[1e6, 1e6], [1e6 + 1e-3, 1e6], [0.0, 0.0]])
        ratios = metrics.neighbour_ratios(np.array([[0.0], [1.0], [0.0]]), X).ratios
        assert ratios[0, 0] == pytest.approx(1e3, rel=1e-4)

    def test_blocks_agree_with_a_plain_loop(self, monkeypatch):
        rng = np.random.default_rng(0)
        X, W = rng.normal(size=(300, 4)), rng.normal(size=(300, 5))
        far = np.linalg.norm(X[:, None] - X[None], axis=2) + np.diag(np.full(300, np.inf))
        nearest = np.argsort(far, axis=1)[:, :3]
        moved = np.linalg.norm(W[:, None] - W[None], axis=2)
        expected = np.take_along_axis(moved / far, nearest, axis=1)
        chunked = neighbours.pairwise_distances_chunked
        small = dict(working_memory=0.05)  # MiB: some twenty blocks
        monkeypatch.setattr(
            neighbours, "pairwise_distances_chunked", lambda X, **kw: chunked(X, **{**kw, **small})
        )
        found = metrics.neighbour_ratios(W, X, n_neighbors=3).ratios
        np.testing.assert_allclose(found, expected)


def test_over_subsets_draws_the_same_rows_of_every_array():
    values = np.arange(50)
    pairs = metrics.over_subsets(
        lambda a, b: (a == b).all() and len(set(a)), values, values, subset_size=20, n_repeats=3
    )
    assert pairs.tolist() == [20, 20, 20]
    assert (
        metrics.over_subsets(np.mean, values, subset_size=100, n_repeats=2).tolist() == [24.5] * 2
    )


class TestSelectionF1:
    selected = np.array([[1, 1, 0, 0], [0, 0, 0, 1]], dtype=bool)
    informative = np.array([1, 1, 1, 0], dtype=bool)

    def test_samples_by_hand(self):
        # Row 0: precision 1, recall 2/3, F1 4/5; row 1: all 0.
        score = metrics.selection_f1(self.selected, self.informative)
        assert score == pytest.approx((1 / 2, 1 / 3, 2 / 5))

    def test_micro_by_hand(self):
        # 2 of 3 selected are informative; 2 of 6 informative are selected.
        score = metrics.selection_f1(self.selected, self.informative, average="micro")
        assert score == pytest.approx((2 / 3, 1 / 3, 4 / 9))

    def test_informative_features_may_differ_by_row(self):
        assert metrics.selection_f1(self.selected, self.selected).f1 == 1

    def test_nothing_selected_scores_zero(self):
        assert metrics.selection_f1(np.zeros((2, 4), dtype=bool), self.informative).f1 == 0

    def test_bad_input_is_named(self):
        with pytest.raises(ValueError, match="row 1 has no informative feature"):
            metrics.selection_f1(self.selected, [[True] * 4, [False] * 4])
        with pytest.raises(ValueError, match=r"informative has shape \(3,\)"):
            metrics.selection_f1(self.selected, self.informative[:3])
        with pytest.raises(ValueError, match="average is 'macro'"):
            metrics.selection_f1(self.selected, self.informative, average="macro")


class TestNumberSelected:
    def test_three_counts_by_hand(self):
        gates = np.array([[1, 1, 1], [0.5, 0, 0], [1, 0.25, 0], [0, 0, 0]])
        # Sums 3, 0.5, 1.25, 0: lower median of all 0.5; of the pairs (0.5, 0) -> mean 0.25.
        assert metrics.n_selected(gates) == pytest.approx((1.5, 4.75 / 4, 0.5))
        assert metrics.n_selected(gates, batch_size=2).published == pytest.approx(0.25)
        assert metrics.n_selected(gates, batch_size=3).published == pytest.approx((1.25 + 0) / 2)

    def test_gates_outside_the_unit_interval_are_refused(self):
        with pytest.raises(ValueError, match=r"gates hold -0\.5"):
            metrics.n_selected([[-0.5, 1]])


class TestExplanationStability:
    def test_spearman_of_overall_by_hand(self):
        # Rank differences (0, 1, 1): 1 - 6 * 2 / (3 * 8) = 0.5.
        assert metrics.explanation_stability([[3, 2, 1], [3, 1, 2]]) == pytest.approx(0.5)

    def test_mean_over_pairs_of_runs(self):
        runs = [[3, 2, 1], [3, 2, 1], [1, 2, 3]]
        assert metrics.explanation_stability(runs) == pytest.approx((1 - 1 - 1) / 3)

    def test_jaccard_by_hand(self):
        runs = [[9, 8, 0, 0], [9, 0, 8, 0]]
        assert metrics.explanation_stability(runs, method="jaccard", k=2) == pytest.approx(1 / 3)

    def test_renumbered_clusters_agree(self):
        run = np.array([[3.0, 2, 1], [1, 2, 3]])
        labels = np.array([0, 0, 1, 1])
        assert metrics.explanation_stability([run, run[::-1]]) == pytest.approx(1)
        by_rows = metrics.explanation_stability([run, run[::-1]], labels=[labels, 1 - labels])
        assert by_rows == pytest.approx(1)

    def test_matching_by_rows_does_not_flatter(self):
        run = np.array([[3.0, 2, 1], [1, 2, 3]])
        labels = np.array([0, 0, 1, 1])
        swapped = metrics.explanation_stability([run, run[::-1]], labels=[labels, labels])
        assert swapped == pytest.approx(-1)

    def test_matching_by_rows_follows_a_cycle_of_three(self):
        run = np.array([[3.0, 2, 1], [1, 2, 3], [2, 3, 1]])
        labels = np.array([0, 1, 2])
        # The second run calls cluster 0, 1, 2 of the first 1, 2, 0.
        cycled = metrics.explanation_stability([run, run[[2, 0, 1]]], labels=[labels, [1, 2, 0]])
        assert cycled == pytest.approx(1)

    def test_signs_do_not_matter_and_constants_agree_with_nothing(self):
        assert metrics.explanation_stability([[3, -2, 1], [-3, 2, -1]]) == pytest.approx(1)
        assert metrics.explanation_stability([[1, 1, 1], [1, 2, 3]]) == 0

    def test_bad_input_is_named(self):
        with pytest.raises(ValueError, match="give at least two runs of one shape"):
            metrics.explanation_stability([[1, 2]])
        with pytest.raises(ValueError, match="give at least two runs of one shape"):
            metrics.explanation_stability([[1, 2], [1, 2, 3]])
        with pytest.raises(ValueError, match="method is 'kendall'"):
            metrics.explanation_stability([[1, 2], [1, 2]], method="kendall")


class TestIndices:
    X = np.array([[0.0], [1.0], [5.0], [7.0], [20.0], [21.0]])
    LABELS = tuple("aabbcc")

    def test_dunn_is_the_narrowest_gap_over_the_widest_cluster(self):
        assert metrics.dunn(self.X, self.LABELS) == 2  # 5 - 1 over 7 - 5
        assert metrics.dunn([[0.0], [3.0]], [0, 1]) == np.inf
        with pytest.raises(ValueError, match="Dunn index of one cluster is undefined"):
            metrics.dunn(self.X, [0] * 6)

    def test_validity_indices_by_hand(self):
        found = metrics.validity_indices(self.X, self.LABELS)
        assert list(found) == ["silhouette", "Calinski-Harabasz", "Davies-Bouldin", "Dunn"]
        assert found["Dunn"] == 2
        # Clusters with means 0.5, 6, 20.5 and mean distances to them 0.5, 1, 0.5.
        assert found["Davies-Bouldin"] == pytest.approx(-(2 * 1.5 / 5.5 + 1.5 / 14.5) / 3)
        between = 2 * sum((m - 9) ** 2 for m in (0.5, 6, 20.5)) / 2
        assert found["Calinski-Harabasz"] == pytest.approx(between / (3 / 3))
        a = np.array([1, 1, 2, 2, 1, 1])
        b = np.array([6, 5, 4.5, 6.5, 14, 15])
        assert found["silhouette"] == pytest.approx(((b - a) / b).mean())

    @pytest.mark.parametrize("labels", [[0] * 6, range(6)])
    def test_validity_indices_of_one_cluster_or_as_many_as_rows_are_missing(self, labels):
        assert np.isnan(list(metrics.validity_indices(self.X, list(labels)).values())).all()

    def test_external_scores_by_hand(self):
        found = metrics.external_scores([0, 0, 1, 1], ["x", "x", "x", "y"])
        assert found["ACC"] == 0.75
        assert found["ARI"] == pytest.approx(0)  # pairs: 1 shared, 1 expected
        # Mutual information ln 2 - 3/4 H(1/3) over the mean of the entropies.
        h = -(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3))
        quarters = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
        mutual = np.log(2) - 0.75 * h
        assert found["NMI"] == pytest.approx(mutual / ((np.log(2) + quarters) / 2))
