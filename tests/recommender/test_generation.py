"""Manifests and the data sets they describe."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from whycluster.recommender import generation
from whycluster.recommender.generation import DataSets, generate, manifest, overlaps


@pytest.fixture(scope="module")
def table():
    return manifest(60, random_state=3)


def settings(**changes):
    shared = {"seed": 5, "n_clusters": 5, "n_features": 3, "cluster_size": 50}
    factor = {"scenario": "factor", "alpha": 4.0}
    return shared | factor | changes


def archetype(**changes):
    own = {
        "scenario": "archetype",
        "max_overlap": 0.01,
        "min_overlap": 0.001,
        "aspect": 2.0,
        "radius": 3.0,
        "imbalance": 4.0,
        "distribution": "normal",
    }
    return settings(**own | changes)


class TestManifest:
    def test_a_longer_manifest_begins_with_the_shorter_one(self, table):
        pd.testing.assert_frame_equal(manifest(10, random_state=3), table.iloc[:10])

    def test_every_data_set_has_its_own_seed(self, table):
        assert table["seed"].is_unique
        assert not set(table["seed"]) & set(manifest(60, random_state=4)["seed"])

    def test_settings_are_those_of_the_scenario(self, table):
        of = table.groupby("scenario")
        assert of.size().to_dict() == {"archetype": 30, "factor": 30}
        assert of["alpha"].count().to_dict() == {"archetype": 0, "factor": 30}
        assert of["max_overlap"].count().to_dict() == {"archetype": 30, "factor": 0}

    def test_all_published_sizes_occur(self, table):
        assert set(table["n_clusters"]) == {2, 5, 10}
        assert set(table["n_features"]) == {2, 5, 10, 50}
        assert set(table["cluster_size"]) == {50, 200}

    def test_survives_a_file(self, table, tmp_path):
        table.to_parquet(tmp_path / "m.parquet")
        again = pd.read_parquet(tmp_path / "m.parquet")
        for number in (0, 1):
            np.testing.assert_array_equal(
                generate(again.loc[number])[0], generate(table.loc[number])[0]
            )

    def test_an_empty_one_is_refused(self):
        with pytest.raises(ValueError, match="n_datasets=0 draws nothing"):
            manifest(0)


class TestDataSet:
    @pytest.mark.parametrize("number", range(6))
    def test_has_the_announced_size_and_is_the_same_every_time(self, table, number):
        row = table.loc[number]
        X, y = generate(row)
        assert X.shape == (len(y), row["n_features"])
        assert set(y) == set(range(row["n_clusters"]))
        assert abs(len(y) / row["n_clusters"] - row["cluster_size"]) <= 1
        np.testing.assert_array_equal(generate(row)[0], X)

    def test_other_seeds_make_other_data(self):
        """The authors' generator repeats one realisation."""
        first, second = (generate(archetype(seed=seed))[0] for seed in (1, 2))
        assert not np.isin(first, second).any()

    def test_rows_are_in_no_order(self):
        for one in (settings(), archetype()):
            _, y = generate(one)
            assert (np.diff(y) == 0).mean() < 0.5

    def test_factor_clusters_tighten_with_alpha(self):
        spread = [_within(*generate(settings(alpha=a, cluster_size=200))) for a in (1.0, 5.0)]
        assert spread[0] / spread[1] == pytest.approx(5, rel=0.01)

    def test_factor_clusters_lie_in_four_dimensions(self):
        X, y = generate(settings(n_features=10))
        assert np.linalg.matrix_rank(X[y == 0] - X[y == 0].mean(axis=0), tol=1e-8) == 4

    def test_imbalance_is_the_ratio_of_cluster_sizes(self):
        sizes = np.bincount(generate(archetype(cluster_size=200))[1])
        assert sizes.max() / sizes.min() == pytest.approx(4, rel=0.05)

    @pytest.mark.parametrize("distribution", generation.DISTRIBUTIONS)
    def test_rows_of_every_distribution_are_equally_far_from_the_centre(self, distribution):
        random = np.random.default_rng(0)
        far = np.linalg.norm(generation._rows(4000, 50, distribution, random), axis=1)
        assert np.median(far) == pytest.approx(np.sqrt(50), rel=0.05)

    def test_an_unknown_scenario_is_refused(self):
        with pytest.raises(ValueError, match="scenario 'moons' is unknown"):
            generate(settings(scenario="moons"))


def _within(X, y):
    return np.sqrt(np.mean([X[y == k].var(axis=0).sum() for k in set(y)]))


class TestOverlap:
    def test_of_two_round_clusters_is_the_normal_tail(self):
        one = np.eye(2)
        found = overlaps(np.array([[3.0, 0.0]]), one, one[None])
        assert found[0] == pytest.approx(2 * norm.sf(1.5))

    def test_is_what_the_best_linear_border_gets_wrong(self):
        random = np.random.default_rng(0)
        root = np.array([[1.0, 0.0], [1.5, 0.5]])
        a = random.standard_normal((200_000, 2))
        b = random.standard_normal((200_000, 2)) @ root.T + [2.0, 1.0]
        offset, pooled = np.array([2.0, 1.0]), (np.eye(2) + root @ root.T) / 2
        axis = np.linalg.solve(pooled, offset)
        borders = np.linspace(0, axis @ offset, 400)
        wrong = [max((a @ axis > t).mean(), (b @ axis < t).mean()) for t in borders]
        expected = overlaps(offset[None], np.eye(2), (root @ root.T)[None])[0]
        assert 2 * min(wrong) == pytest.approx(expected, abs=0.01)

    @pytest.mark.parametrize("n_features", [2, 10])
    def test_stays_within_its_bounds_for_every_cluster(self, n_features):
        for seed in range(5):
            random = np.random.default_rng(seed)
            roots = [2 * generation._shape(n_features, 3.0, random) for _ in range(10)]
            covariances = np.stack([root @ root.T for root in roots])
            centres = generation._place(covariances, 0.05, 0.005, random)
            for k in range(10):
                other = np.arange(10) != k
                found = overlaps(centres[k] - centres[other], covariances[k], covariances[other])
                assert 0.005 - 1e-9 <= found.max() <= 0.05 + 1e-9


def test_data_sets_are_made_on_demand(table):
    datasets = DataSets(table)
    assert len(datasets) == 60
    np.testing.assert_array_equal(datasets[7], generate(table.loc[7])[0])
