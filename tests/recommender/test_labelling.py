"""Ten algorithms, and how they are scored on known clusters."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from scipy.spatial.distance import cdist
from sklearn.cluster import OPTICS
from sklearn.datasets import make_blobs, make_moons
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import StandardScaler

from whycluster.recommender import labelling
from whycluster.recommender.algorithms import ALGORITHMS, NAMES, _optics, knee, order_rows, reach
from whycluster.recommender.generation import generate, manifest
from whycluster.recommender.labelling import label, wide

FEW = {name: ALGORITHMS[name] for name in ("k-means", "DBSCAN")}


@pytest.fixture(scope="module")
def small():
    """Return a manifest of small data sets."""
    table = manifest(120)
    return table[(table["cluster_size"] == 50) & (table["n_clusters"] == 2)].iloc[:6]


@pytest.fixture(scope="module")
def blobs():
    X, y = make_blobs(240, n_features=3, centers=4, cluster_std=0.4, random_state=0)
    return StandardScaler().fit_transform(X), y


class TestAlgorithms:
    def test_are_the_ten_of_the_publication(self):
        assert len(ALGORITHMS) == 10
        told = [name for name, algorithm in ALGORITHMS.items() if not algorithm.takes_n_clusters]
        assert told == ["DBSCAN", "HDBSCAN", "OPTICS"]

    @pytest.mark.parametrize("name", [n for n in NAMES if n != "agglomerative"])
    def test_finds_clusters_that_are_far_apart(self, blobs, name):
        Z, y = blobs
        found = ALGORITHMS[name].cluster(Z, reach(Z), 4, 0)
        assert found.shape == y.shape
        clustered = found >= 0  # the density-based ones take the outermost rows for noise
        assert clustered.mean() > 0.6
        assert adjusted_rand_score(y[clustered], found[clustered]) > 0.95

    def test_cosine_linkage_finds_directions(self):
        random = np.random.default_rng(0)
        y = np.arange(120) % 3
        Z = np.eye(3)[y] * random.uniform(1, 9, (120, 1)) + random.normal(0, 0.05, (120, 3))
        assert adjusted_rand_score(y, ALGORITHMS["agglomerative"].cluster(Z, reach(Z), 3, 0)) == 1

    @pytest.mark.parametrize("name", ["DBSCAN", "HDBSCAN", "spectral"])
    def test_some_find_clusters_that_are_not_round(self, name):
        X, y = make_moons(400, noise=0.05, random_state=0)
        Z = StandardScaler().fit_transform(X)
        assert adjusted_rand_score(y, ALGORITHMS[name].cluster(Z, reach(Z), 2, 0)) > 0.9
        k_means = ALGORITHMS["k-means"].cluster(Z, reach(Z), 2, 0)
        assert adjusted_rand_score(y, k_means) < 0.6

    @pytest.mark.parametrize("name", NAMES)
    def test_copes_with_ten_rows(self, name):
        Z = np.random.default_rng(0).standard_normal((10, 2))
        assert len(ALGORITHMS[name].cluster(Z, reach(Z), 2, 0)) == 10

    def test_k_medians_ends_where_no_row_and_no_median_moves(self, blobs):
        Z, _ = blobs
        labels = ALGORITHMS["k-medians"].cluster(Z, reach(Z), 4, 0)
        medians = np.stack([np.median(Z[labels == k], axis=0) for k in range(4)])
        np.testing.assert_array_equal(cdist(Z, medians, "cityblock").argmin(axis=1), labels)

    def test_the_length_scale_follows_the_data(self, blobs):
        Z, _ = blobs
        for name, setting in (("DBSCAN", "eps"), ("BIRCH", "threshold")):
            one, other = (ALGORITHMS[name].settings_for(reach(s * Z)) for s in (1, 7))
            assert other[setting] == pytest.approx(7 * one[setting], rel=1e-3)

    def test_the_knee_is_where_the_curve_bends(self):
        assert knee(np.array([1.0, 1.1, 1.2, 1.3, 5.0])) == pytest.approx(1.3)
        assert knee(np.full(5, 2.0)) == 2.0


class TestOptics:
    @pytest.mark.parametrize("n_features", [1, 2, 8])
    def test_is_that_of_scikit_learn(self, n_features):
        random = np.random.default_rng(n_features)
        Z = np.vstack(
            [random.normal(c, s, (60, n_features)) for c, s in ((0, 1), (6, 0.3), (9, 2))]
        )
        theirs = OPTICS(min_samples=7, xi=0.05, min_cluster_size=9).fit(Z)
        order, reachability, predecessor = order_rows(Z, 7)
        np.testing.assert_array_equal(order, theirs.ordering_)
        np.testing.assert_allclose(reachability, theirs.reachability_)
        np.testing.assert_array_equal(predecessor, theirs.predecessor_)
        np.testing.assert_array_equal(_optics(Z, 0, 7, 0.05, 0.05), theirs.labels_)

    def test_repeated_rows_are_no_obstacle(self):
        Z = np.repeat(np.arange(5.0), 20)[:, None]
        assert sorted(order_rows(Z, 7)[0]) == list(range(100))


def _fail(_Z, _random_state, **_settings):
    raise RuntimeError("no\nluck")


class TestLabel:
    def test_scores_are_adjusted_rand_indices(self, small):
        table = label(small.iloc[:1], algorithms=FEW)
        X, y = generate(small.iloc[0])
        Z = StandardScaler().fit_transform(X)
        seed = small.iloc[0]["seed"] % 2**31
        expected = [adjusted_rand_score(y, a.cluster(Z, reach(Z), 2, seed)) for a in FEW.values()]
        assert table["algorithm"].tolist() == list(FEW)
        assert table["ari"].tolist() == pytest.approx(expected, abs=1e-5)
        assert wide(table).shape == (1, 2)

    def test_a_failure_is_recorded_and_the_rest_goes_on(self, small):
        algorithms = {"broken": replace(ALGORITHMS["k-means"], run=_fail), **FEW}
        table = label(small.iloc[:2], algorithms=algorithms).set_index("algorithm")
        assert (table.loc["broken", "error"] == "RuntimeError: no").all()
        assert table.loc["broken", "ari"].isna().all()
        assert table.loc["k-means", "ari"].notna().all()
        assert (table.loc["k-means", "error"] == "").all()

    def test_indices_come_on_request(self, small):
        table = label(small.iloc[:1], algorithms=FEW, with_indices=True)
        assert {"silhouette", "Calinski-Harabasz", "Davies-Bouldin", "Dunn"} <= set(table)

    def test_workers_change_nothing(self, small):
        with parallel_config(backend="threading"):
            one, two = (label(small, algorithms=FEW, n_jobs=n) for n in (1, 2))
        pd.testing.assert_frame_equal(one.drop(columns="seconds"), two.drop(columns="seconds"))

    def test_a_longer_manifest_adds_to_the_file(self, small, tmp_path, monkeypatch):
        path = tmp_path / "labels.parquet"
        label(small.iloc[:4], path, algorithms=FEW)
        done = _count_calls(monkeypatch)
        table = label(small, path, algorithms=FEW)
        assert sorted(done) == sorted(small.index[4:])
        assert list(table["dataset"].unique()) == sorted(small.index)
        pd.testing.assert_frame_equal(label(small, path, algorithms=FEW), table)

    def test_scores_of_other_data_or_settings_are_not_mixed(self, small, tmp_path):
        path = tmp_path / "labels.parquet"
        label(small.iloc[:2], path, algorithms=FEW)
        with pytest.raises(ValueError, match="scores of another manifest"):
            label(small.iloc[:2].assign(seed=1), path, algorithms=FEW)
        other = FEW | {"k-means": replace(FEW["k-means"], settings={"n_init": 2})}
        with pytest.raises(ValueError, match="labelled with other settings"):
            label(small.iloc[:2], path, algorithms=other)

    def test_a_damaged_file_of_scores_is_named_and_kept(self, small, tmp_path):
        path = tmp_path / "labels.parquet"
        label(small.iloc[:1], path, algorithms=FEW)
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(ValueError, match=r"labels\.parquet cannot be read") as error:
            label(small.iloc[:1], path, algorithms=FEW)
        assert "\n" not in str(error.value)
        assert [p.name for p in tmp_path.iterdir()] == ["labels.parquet"]


def _count_calls(monkeypatch):
    done = []
    original = labelling.label_one

    def counted(number, *args):
        done.append(number)
        return original(number, *args)

    monkeypatch.setattr(labelling, "label_one", counted)
    return done


KILLED = """
import sys
from whycluster.recommender.generation import manifest
from whycluster.recommender.labelling import label
label(manifest(200), sys.argv[1], save_every=0)
"""


def test_a_killed_run_goes_on_where_it_was(tmp_path, monkeypatch):
    path = tmp_path / "labels.parquet"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)])
    deadline = time.monotonic() + 120
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = set(pd.read_parquet(path)["dataset"])
    assert finished
    done = _count_calls(monkeypatch)
    some = max(finished) + 2
    table = label(manifest(some), path)
    assert not finished & set(done)
    assert table["dataset"].nunique() == some
