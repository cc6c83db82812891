"""Clusters by Gower's distance: planted ones are found, and the rules of the study hold."""

import numpy as np
import pandas as pd
import pytest
from kmedoids import fasterpam
from planted import mixed
from scipy.cluster.hierarchy import fcluster
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.preprocessing import StandardScaler

from whycluster import GowerClustering
from whycluster.gower import gower_distances, partition
from whycluster.metrics import silhouette_of_distances


def points(*groups):
    """Return a table of one number, in groups of (centre, size)."""
    rng = np.random.default_rng(0)
    values = [centre + rng.normal(0, 0.1, size) for centre, size in groups]
    return pd.DataFrame({"x": np.concatenate(values)})


def sizes(model):
    return np.bincount(model.labels_).tolist()


class TestPartition:
    @pytest.fixture
    def distances(self):
        return gower_distances(mixed()[0])

    @pytest.mark.parametrize("k", [1, 2, 5, 60, 120])
    def test_a_cut_is_that_of_scipy(self, distances, k):
        tree = partition.average_linkage(distances)
        found, expected = partition.cut_tree(tree, k), fcluster(tree, k, "maxclust")
        assert adjusted_rand_score(found, expected) == 1
        assert sorted(set(found)) == list(range(k))

    def test_a_cut_through_ties_has_as_many_clusters_as_asked(self):
        tree = partition.average_linkage(1 - np.eye(6))  # SciPy's own cut has 1 or 6
        assert [len(set(partition.cut_tree(tree, k))) for k in range(1, 7)] == [1, 2, 3, 4, 5, 6]

    def test_medoids_have_the_least_sum(self, distances):
        labels = np.arange(120) % 3
        for k, medoid in enumerate(partition.medoids(distances, labels)):
            rows = np.flatnonzero(labels == k)
            sums = distances[np.ix_(rows, rows)].sum(axis=1)
            assert sums[rows == medoid] == sums.min()

    def test_small_clusters_join_the_nearest_large_one(self):
        X = points((0, 10), (1, 2), (5, 10), (3.5, 1))
        labels = np.repeat([0, 1, 2, 3], [10, 2, 10, 1])
        merged = partition.merge_small(gower_distances(X), labels, least=3)
        assert merged.tolist() == [0] * 12 + [1] * 11

    def test_nearest_is_by_the_mean_whatever_the_size(self):
        labels = np.repeat([0, 1, 2], [30, 2, 3])
        D = gower_distances(points((0, 30), (1, 2), (5, 3)))
        assert partition.merge_small(D, labels, 3).tolist() == [0] * 32 + [1] * 3

    def test_what_was_merged_counts_for_the_next(self):
        X = points((0, 10), (10, 10), (25, 1), (4.8, 2))  # 25 goes to 10, far from 4.8 then
        labels = np.repeat([0, 1, 2, 3], [10, 10, 1, 2])
        merged = partition.merge_small(gower_distances(X), labels, 3)
        assert merged.tolist() == [0] * 10 + [1] * 11 + [0] * 2

    def test_where_all_are_small_the_smallest_joins_first(self):
        X = points((0, 4), (1, 3), (9, 2))
        labels = np.repeat([0, 1, 2], [4, 3, 2])
        assert partition.merge_small(gower_distances(X), labels, 5).tolist() == [0] * 9
        assert partition.merge_small(gower_distances(X), labels, 3).tolist() == [0] * 4 + [1] * 5

    def test_nothing_is_merged_without_need(self):
        labels = np.array([0, 1, 2])
        assert partition.merge_small(np.ones((3, 3)), labels, 1).tolist() == [0, 1, 2]

    def test_of_equal_scores_the_fewest_parts_win(self):
        D = gower_distances(points((0, 5), (9, 5)))
        halves = np.repeat([0, 1], 5)
        assert partition.best_split(D, {2: halves, 3: halves}).silhouettes[3] > 0.9
        chosen = partition.best_split(D, {2: halves, 3: 1 - halves}).labels
        np.testing.assert_array_equal(chosen, halves)


class TestTruth:
    @pytest.mark.parametrize("method", ["average", "k-medoids", "k-means"])
    def test_planted_clusters_and_their_columns_are_found(self, method):
        X, cluster = mixed()
        model = GowerClustering(method=method, random_state=0).fit(X)
        assert adjusted_rand_score(cluster, model.labels_) == 1
        assert sizes(model) == sorted(sizes(model), reverse=True)
        why = model.explain(X)
        frame = why.to_frame()
        assert set(why.top(3, "overall")["feature"]) == {"income", "job", "owner"}
        weak, strong = frame[["age", "height", "colour"]].abs(), frame[["income", "job"]]
        assert weak.max(axis=None) < 0.2 * strong.min(axis=None)

    def test_missing_values_are_no_obstacle(self):
        X, cluster = mixed(missing=0.08)
        model = GowerClustering().fit(X)
        assert adjusted_rand_score(cluster, model.labels_) > 0.8
        np.testing.assert_array_equal(model.predict(X), model.labels_)
        assert np.isfinite(model.explain(X).sample).all()

    def test_new_rows_are_placed(self):
        X, _ = mixed()
        new, cluster = mixed(80, seed=1)
        for assign in ("medoid", "neighbour"):
            labels = GowerClustering(assign=assign).fit(X).predict(new)
            assert adjusted_rand_score(cluster, labels) == 1

    def test_noise_has_no_clusters(self):
        noise = np.random.default_rng(0).normal(size=(200, 4))
        model = GowerClustering(min_silhouette=0.4).fit(noise)
        assert model.n_clusters_ == 1
        assert model.verdict_ == (
            f"no clusters found: the best mean silhouette, {model.silhouettes_[0]:.2f} for "
            "2 clusters, is below min_silhouette=0.4"
        )
        assert sizes(model) == [200]
        assert np.isnan(model.silhouette_)
        assert not model.explain(noise).sample.any()
        assert model.transform(noise).shape == (200, 1)


class TestRules:
    X = points((0, 20), (10, 15), (10.6, 15))  # two groups, one of them of two

    def test_the_silhouette_chooses(self):
        model = GowerClustering(max_share=1).fit(self.X)
        D = gower_distances(self.X, dtype=float)
        for k, score in zip(model.candidates_, model.silhouettes_, strict=True):
            labels = fcluster(model.linkage_, k, "maxclust")
            assert score == pytest.approx(
                silhouette_score(D, labels, metric="precomputed"), abs=1e-5
            )
        assert model.candidates_.tolist() == [2, 3, 4, 5, 6, 7]
        assert sizes(model) == [30, 20]
        assert model.verdict_ == f"2 clusters, mean silhouette {model.silhouettes_[0]:.2f}"
        assert model.silhouette_ == model.silhouettes_[0]

    def test_a_large_cluster_is_split_again(self):
        model = GowerClustering().fit(self.X)
        assert sizes(model) == [20, 15, 15]
        assert [(s["rows"], s["sizes"], s["accepted"]) for s in model.splits_] == [
            (50, [20, 30], True),
            (30, [15, 15], True),
        ]

    def test_shares_are_of_all_rows(self):
        X = points((0, 40), (10, 24), (10.6, 36))  # 36 are more than half of 60, not of 100
        model = GowerClustering().fit(X)
        assert sizes(model) == [40, 36, 24]
        assert [s["rows"] for s in model.splits_] == [100, 60]

    def test_not_below_the_minimum_silhouette(self):
        first, second = (
            max(s["silhouettes"].values()) for s in GowerClustering().fit(self.X).splits_
        )
        between = (first + second) / 2
        assert second < first
        model = GowerClustering(min_silhouette=between).fit(self.X)
        assert sizes(model) == [30, 20]
        assert [s["accepted"] for s in model.splits_] == [True, False]
        assert GowerClustering(min_silhouette=1).fit(self.X).n_clusters_ == 1

    def test_a_small_cluster_is_merged(self):
        X = points((0, 30), (6, 30), (9, 3))
        assert sizes(GowerClustering(max_share=1, min_share=0).fit(X)) == [30, 30, 3]
        assert sizes(GowerClustering(max_share=1).fit(X)) == [33, 30]
        assert sizes(GowerClustering(max_share=1, min_share=0.04).fit(X)) == [30, 30, 3]

    def test_where_only_outliers_part_there_are_no_clusters(self):
        X = points((0, 60), (50, 2))
        model = GowerClustering(max_share=1).fit(X)
        assert model.n_clusters_ == 1
        assert model.verdict_ == (
            "no clusters found: of the parts of 62 rows all but one hold less than min_share=0.1 "
            "of them"
        )

    @pytest.mark.parametrize("method", ["average", "k-medoids", "k-means"])
    def test_a_number_asked_for_is_met(self, method):
        for k in (2, 3, 6):
            model = GowerClustering(k, method=method, random_state=0).fit(self.X)
            assert len(set(model.labels_)) == model.n_clusters_ == k
            assert model.candidates_.tolist() == [k]

    def test_ranges_learned_anew_weigh_numbers_more_in_a_part(self):
        X, _ = mixed(200)
        splits = {}
        for rescale in (False, True):
            model = GowerClustering(rescale=rescale, min_silhouette=-1, max_share=0.3).fit(X)
            splits[rescale] = model.splits_
        assert splits[False][0] == splits[True][0]
        assert splits[False][1]["silhouettes"] != splits[True][1]["silhouettes"]
        first = GowerClustering(3).fit(X)
        part = X[first.labels_ == sizes(first).index(splits[True][1]["rows"])]
        alone = GowerClustering(min_silhouette=-1, max_share=1).fit(part)
        expected = {str(k): s for k, s in zip(alone.candidates_, alone.silhouettes_, strict=True)}
        assert splits[True][1]["silhouettes"] == pytest.approx(expected, abs=1e-5)

    def test_weights_and_codes_reach_the_distance(self):
        X, _ = mixed()
        X["code"] = np.random.default_rng(0).integers(0, 2, len(X)) * 9
        weights = dict.fromkeys(set(X) - {"code"}, 0.0)
        model = GowerClustering(2, weights=weights, categories=["code"]).fit(X)
        assert adjusted_rand_score(X["code"], model.labels_) == 1
        assert model.columns_[-1]["kind"] == "category"
        assert model.columns_[-1]["weight"] == 1


class TestMethods:
    def test_medoids_are_the_best_of_the_restarts(self):
        X, _ = mixed()
        D = gower_distances(X)
        model = GowerClustering(4, method="k-medoids", n_init=4, random_state=1).fit(X)
        cost = D[:, model.medoid_indices_].min(axis=1).sum()
        single = [fasterpam(D, 4, random_state=s, n_cpu=1).loss for s in range(10)]
        assert cost <= np.median(single) + 1e-4
        assert model.medoid_agreement_ == 1

    def test_k_means_on_numbers_is_that_of_scikit_learn(self):
        X = mixed()[0][["income", "age"]]
        ours = GowerClustering(4, method="k-means", n_init=10, random_state=0).fit(X)
        theirs = KMeans(4, n_init=10, random_state=0).fit(StandardScaler().fit_transform(X))
        assert adjusted_rand_score(theirs.labels_, ours.labels_) == 1

    def test_k_means_names_the_column_with_missing_values(self):
        X, _ = mixed(missing=0.08)
        with pytest.raises(ValueError, match="column 'income' has missing values, which k-means"):
            GowerClustering(method="k-means").fit(X)


class TestAnswers:
    @pytest.fixture
    def X(self):
        """Return a table whose average linkage is no partition by the nearest medoid."""
        rng = np.random.default_rng(3)
        x, y = rng.normal(size=(2, 150))
        return pd.DataFrame({"x": x, "y": y, "c": rng.choice(["a", "b"], 150)})

    @pytest.fixture
    def model(self, X):
        return GowerClustering(4).fit(X)

    def test_rows_learned_from_keep_their_cluster_new_ones_go_to_the_nearest_medoid(self, X, model):
        nearest = model.transform(X).argmin(axis=1)
        assert model.medoid_agreement_ == np.mean(nearest == model.labels_) < 1
        np.testing.assert_array_equal(model.predict(X), model.labels_)
        moved = X.assign(x=X["x"] + 1e-9)
        np.testing.assert_array_equal(model.predict(moved), nearest)

    def test_or_to_the_nearest_neighbour(self, X):
        model = GowerClustering(4, assign="neighbour").fit(X)
        moved = X.assign(x=X["x"] + 1e-6)
        np.testing.assert_array_equal(model.predict(moved), model.labels_)

    def test_distances_to_medoids(self, X, model):
        np.testing.assert_array_equal(model.medoids_["x"], X["x"].iloc[model.medoid_indices_])
        expected = gower_distances(X)[:, model.medoid_indices_]
        np.testing.assert_allclose(model.transform(X), expected, atol=1e-6)
        assert list(model.get_feature_names_out()) == [f"gowerclustering{k}" for k in range(4)]

    def test_contributions_add_up_to_the_margin(self, X, model):
        why, distances = model.explain(X), model.transform(X)
        own = distances[np.arange(len(X)), model.labels_]
        others = (distances.sum(axis=1) - own) / 3
        np.testing.assert_allclose(why.sample.sum(axis=1), others - own, rtol=0, atol=1e-14)
        assert why.kind == "contribution"
        for k in range(4):
            mean = why.sample[model.labels_ == k].mean(axis=0)
            np.testing.assert_allclose(why.cluster[k], mean, atol=1e-14)
        np.testing.assert_allclose(why.overall, why.sample.mean(axis=0), atol=1e-14)

    def test_the_margin_of_two_clusters_is_negative_where_the_other_medoid_is_nearer(self, X):
        model = GowerClustering(2).fit(X[["x", "y"]])
        margin = model.explain(X[["x", "y"]]).sample.sum(axis=1)
        is_elsewhere = model.transform(X[["x", "y"]]).argmin(axis=1) != model.labels_
        assert is_elsewhere.any()
        np.testing.assert_array_equal(margin < 0, is_elsewhere)

    def test_many_rows_are_explained_in_parts(self, X, model, monkeypatch):
        whole = model.explain(X).sample
        monkeypatch.setattr("whycluster.gower.reading.ROWS_AT_ONCE", 7)
        np.testing.assert_array_equal(model.explain(X).sample, whole)

    def test_twins_share_a_cluster_even_if_a_missing_value_lies_at_0_from_two_others(self):
        X = pd.DataFrame({"a": [1, 9, np.nan, np.nan], "b": [5.0, 5, 5, 5], "c": [0, 0, 0, 0.0]})
        labels = GowerClustering(2).fit(X).labels_
        assert labels[2] == labels[3]

    def test_saved_and_loaded_with_everything(self, tmp_path):
        X, _ = mixed(missing=0.08)
        model = GowerClustering(weights={"age": 0.5}, random_state=0).fit(X)
        model.save(tmp_path)
        loaded = GowerClustering.load(tmp_path)
        new, _ = mixed(30, seed=5)
        np.testing.assert_array_equal(loaded.predict(new), model.predict(new))
        np.testing.assert_array_equal(loaded.transform(new), model.transform(new))
        np.testing.assert_array_equal(loaded.explain(X).sample, model.explain(X).sample)
        pd.testing.assert_frame_equal(loaded.medoids_, model.medoids_)
        for name in ("verdict_", "splits_", "medoid_agreement_", "columns_"):
            assert str(getattr(loaded, name)).replace("[", "(").replace("]", ")") == str(
                getattr(model, name)
            ).replace("[", "(").replace("]", ")")
        np.testing.assert_array_equal(loaded.linkage_, model.linkage_)


class TestSample:
    def test_the_others_are_assigned(self):
        X, cluster = mixed(400)
        model = GowerClustering(sample_size=60, random_state=0).fit(X)
        assert model.sample_indices_.shape == (60,)
        assert model.rows_.shape == (60, 6)
        assert adjusted_rand_score(cluster, model.labels_) == 1
        np.testing.assert_array_equal(model.predict(X), model.labels_)
        assert set(model.medoid_indices_) <= set(model.sample_indices_)
        pd.testing.assert_series_equal(
            model.medoids_["income"], X["income"].iloc[model.medoid_indices_], check_names=False
        )

    def test_another_seed_draws_other_rows(self):
        X, _ = mixed(400)
        drawn = [GowerClustering(sample_size=60, random_state=s).fit(X) for s in (0, 0, 1)]
        np.testing.assert_array_equal(drawn[0].sample_indices_, drawn[1].sample_indices_)
        assert (drawn[0].sample_indices_ != drawn[2].sample_indices_).any()

    def test_too_many_rows_are_refused_with_the_remedy_which_helps(self):
        X, cluster = mixed(400)
        with pytest.raises(
            MemoryError,
            match=r"400 rows takes 0\.0 GiB, more than max_memory=0.001.*"
            "sample_size=5000",
        ):
            GowerClustering(max_memory=0.001).fit(X)
        model = GowerClustering(max_memory=0.001, sample_size=100, random_state=0).fit(X)
        assert adjusted_rand_score(cluster, model.labels_) == 1


class TestBadInput:
    @pytest.fixture
    def model(self):
        return GowerClustering().fit(mixed()[0])

    def test_a_level_never_seen_is_counted_and_placed_by_the_other_columns(self, model):
        X, _ = mixed()
        with pytest.warns(UserWarning, match="column 'job': 120 rows with a level never seen"):
            labels = model.predict(X.assign(job="pilot"))
        np.testing.assert_array_equal(labels, model.labels_)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (
                {"income": "high"},
                r"'income' was number when learned and is category now \('high'\)",
            ),
            ({"job": 3}, "'job' was category when learned and is number now"),
            ({"income": np.inf}, "inf in column 'income', row 0"),
        ],
    )
    def test_a_column_that_changes_type_is_named(self, model, values, message):
        with pytest.raises(ValueError, match=message):
            model.predict(mixed()[0].assign(**values))

    def test_a_row_without_values_is_named(self, model):
        X, _ = mixed()
        X = X.astype(object)
        X.loc[7] = None
        with pytest.raises(ValueError, match="row 7 has no value in any column; drop it"):
            GowerClustering().fit(X)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"n_clusters": "many"}, "n_clusters='many' is not a whole number"),
            ({"n_clusters": 121}, "n_clusters=121 exceeds the 120 distinct rows"),
            ({"method": "ward"}, "The 'method' parameter"),
            ({"k_max": 1}, "The 'k_max' parameter"),
            ({"min_silhouette": 2}, "The 'min_silhouette' parameter"),
            ({"max_share": 0}, "The 'max_share' parameter"),
            ({"min_share": 1}, "The 'min_share' parameter"),
            ({"assign": "guess"}, "The 'assign' parameter"),
            ({"sample_size": 1}, "The 'sample_size' parameter"),
            ({"weights": {"agee": 1}}, "weights names 'agee', which is no column of X"),
            ({"device": "abacus"}, "device='abacus' is unknown"),
        ],
    )
    def test_impossible_settings(self, settings, message):
        with pytest.raises(ValueError, match=message):
            GowerClustering(**settings).fit(mixed()[0])

    def test_equal_rows_have_no_clusters_to_find(self):
        with pytest.raises(ValueError, match="all 2 columns are constant"):
            GowerClustering().fit(pd.DataFrame({"a": ["x", "x"], "b": [1, 1]}))

    def test_two_distinct_rows_are_two_clusters_at_most(self):
        X = pd.DataFrame({"a": ["x", "y"] * 5})
        model = GowerClustering().fit(X)
        assert model.candidates_.tolist() == [2]
        assert sizes(model) == [5, 5]

    def test_a_progress_bar_changes_nothing(self, model, capsys):
        seen = GowerClustering(verbose=1).fit(mixed()[0])
        np.testing.assert_array_equal(seen.labels_, model.labels_)
        assert "split" in capsys.readouterr().err


class TestSilhouette:
    def test_equal_to_scikit_learn(self):
        D = gower_distances(mixed()[0], dtype=float)
        labels = np.random.default_rng(0).integers(0, 5, 120)
        labels[:2] = [5, 6]  # alone in their clusters
        expected = silhouette_score(D, labels, metric="precomputed")
        assert silhouette_of_distances(D, labels) == pytest.approx(expected, abs=1e-12)
        in_float32 = silhouette_of_distances(D.astype(np.float32), labels)
        assert in_float32 == pytest.approx(expected, abs=1e-6)

    def test_limits(self):
        D = np.array([[0, 0, 1], [0, 0, 1], [1, 1, 0]])
        assert silhouette_of_distances(D, [0, 0, 1]) == pytest.approx(2 / 3)
        assert silhouette_of_distances(np.zeros((4, 4)), [0, 0, 1, 1]) == 0
        assert np.isnan(silhouette_of_distances(D, [0, 0, 0]))
        with pytest.raises(ValueError, match=r"distances have shape \(3, 3\) for 2 labels"):
            silhouette_of_distances(D, [0, 1])
