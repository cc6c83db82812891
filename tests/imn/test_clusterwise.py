"""ClusterwiseIMN: planted drivers are named, rows are routed, and small clusters are reported."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.cluster import KMeans
from sklearn.frozen import FrozenEstimator

from whycluster import ClusterwiseIMN, GowerClustering, IMNClassifier
from whycluster.contract.column_shap import shap_of_columns
from whycluster.datasets.planted import make_planted_drivers
from whycluster.table import TableEncoder, TableError

MODEL = IMNClassifier(hidden_units=32, max_epochs=30, warmup_epochs=2, device="cpu")
QUICK = IMNClassifier(hidden_units=8, n_blocks=0, max_epochs=6, warmup_epochs=1, device="cpu")


class Given(ClusterMixin, BaseEstimator):
    """A clusterer that reads the cluster off the first column."""

    def fit(self, X, y=None):
        assert y is None
        self.is_fitted_ = True
        return self

    def predict(self, X):
        return np.asarray(X)[:, 0].astype(int)


def given(sizes, ones, seed=0):
    """Clusters of these sizes, with so many rows of class 1 in each."""
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    y = np.concatenate([np.arange(n) < m for n, m in zip(sizes, ones, strict=True)]).astype(int)
    noise = np.random.default_rng(seed).normal(size=(len(clusters), 2))
    return np.column_stack([clusters, noise]), y


@pytest.fixture(scope="module")
def planted():
    return make_planted_drivers(800, random_state=1)


@pytest.fixture(scope="module")
def fitted(planted):
    X, y, _ = planted
    model = ClusterwiseIMN(GowerClustering(2), MODEL, encoder=TableEncoder(), random_state=0)
    return model.fit(X, y)


class TestTruth:
    def test_clusters_are_found(self, fitted, planted):
        assert (fitted.clusters_ == planted[2]).mean() > 0.99

    def test_imn_names_the_driver_of_each_cluster(self, fitted, planted):
        top = fitted.explain(planted[0]).top(1)
        assert top["feature"].tolist() == ["income", "visits"]

    def test_shap_names_the_driver_of_each_cluster(self, fitted, planted):
        encoded = fitted.encoder_.transform(planted[0])
        for k, driver in enumerate(["income", "visits"]):
            rows = encoded[fitted.clusters_ == k]
            values, _ = shap_of_columns(
                fitted.models_[k].decision_function,
                rows.iloc[:10],
                rows.iloc[-10:],
                fitted.encoder_.source_,
                n_permutations=1,
            )
            assert fitted.encoder_.used_[np.abs(values).mean(axis=0).argmax()] == driver

    def test_a_model_fails_in_the_cluster_where_another_column_decides(self, fitted):
        X, y, _ = make_planted_drivers(500, random_state=2)
        scores = fitted.transfer(X, y)
        assert scores.loc[0, 0] > 0.8
        assert scores.loc[1, 1] > 0.8
        assert scores.loc[0, 1] < 0.65
        assert scores.loc["whole", "whole"] > 0.75

    def test_contributions_of_columns_are_those_of_their_features(self, fitted, planted):
        X = planted[0].iloc[:30]
        encoded = fitted.encoder_.transform(X)
        by_feature = fitted.whole_.explain(encoded).sample.sum(axis=1)
        np.testing.assert_allclose(
            fitted.contributions(X, by="whole").sum(axis=1), by_feature, atol=1e-4
        )


class TestRouting:
    def test_each_row_is_answered_by_the_model_of_its_cluster(self, fitted, planted):
        X = planted[0].sample(60, random_state=0)
        encoded, clusters = fitted.encoder_.transform(X), fitted.predict_cluster(X)
        chance = fitted.predict_proba(X)
        for k, model in enumerate(fitted.models_):
            own = clusters == k
            np.testing.assert_allclose(chance[own], model.predict_proba(encoded[own]), rtol=1e-4)
        np.testing.assert_array_equal(fitted.predict(X), fitted.classes_[chance.argmax(axis=1)])

    def test_rows_in_no_cluster_are_answered_by_the_whole(self):
        X, y = given([60, 60], [30, 30])
        model = ClusterwiseIMN(Given(), QUICK, random_state=0).fit(X, y)
        X[:, 0] = -1
        np.testing.assert_array_equal(model.predict_proba(X), model.whole_.predict_proba(X))

    def test_by_names_one_of_two(self, fitted, planted):
        with pytest.raises(ValueError, match="by='all' is neither 'cluster' nor 'whole'"):
            fitted.explain(planted[0], by="all")


class TestSmallClusters:
    def test_clusters_that_cannot_be_learnt_are_answered_by_the_whole_and_reported(self):
        X, y = given([80, 20, 60, 60], [40, 10, 0, 2])
        model = ClusterwiseIMN(Given(), QUICK, random_state=0).fit(X, y)
        assert [m is model.whole_ for m in model.models_] == [False, True, True, True]
        assert model.report_["because"].tolist() == [
            "",
            "",
            "20 rows, fewer than min_rows=50",
            "all rows are of class 0",
            "2 rows of 1, below min_class_rows=5",
        ]
        assert model.report_["answered by"].tolist() == ["whole", "itself"] + 3 * ["whole"]
        scores = model.transfer(X, y)
        assert scores.loc[[1, 2, 3]].isna().all(axis=None)
        assert np.isnan(scores.loc[0, 2])

    def test_one_cluster_is_the_whole(self):
        X, y = given([80], [40])
        model = ClusterwiseIMN(Given(), QUICK, random_state=0).fit(X, y)
        assert model.models_ == [model.whole_]
        assert model.report_["because"].iloc[1] == "it is the only cluster"


class TestSeeds:
    def test_seeds_with_rows_of_their_own_equal_single_fits(self):
        X, y = given([120, 70], [60, 30])
        rows = [np.arange(0, 190, 2), np.arange(5, 180)]
        template = ClusterwiseIMN(Given(), QUICK, min_rows=20)
        for fit, seed, own in zip(
            template.fit_seeds(X, [3, 4], y=y, rows=rows), [3, 4], rows, strict=True
        ):
            (alone,) = template.fit_seeds(X, [seed], y=y, rows=[own])
            assert fit.report_.equals(alone.report_)
            np.testing.assert_allclose(fit.predict_proba(X), alone.predict_proba(X), atol=1e-3)

    def test_no_seed_is_refused(self):
        with pytest.raises(ValueError, match="random_states is empty"):
            ClusterwiseIMN(Given(), QUICK).fit_seeds(np.zeros((4, 2)), [], y=[0, 1, 0, 1])


class TestMixedTables:
    def test_unseen_categories_are_counted_in_a_warning(self, fitted, planted):
        X = planted[0].iloc[:5].assign(region="abroad")
        with pytest.warns(UserWarning, match="region") as caught:
            assert len(fitted.predict(X)) == 5
        assert {str(warning.message) for warning in caught} == {
            "'region': 5 never seen when fitted ('abroad'), in none of its levels",
            "column 'region': 5 rows with a level never seen, which lies at 1 from all others",
        }

    def test_unseen_categories_count_as_no_level_and_the_answer_stays(self, fitted, planted):
        encoded = fitted.encoder_.transform(planted[0].iloc[:5])
        encoded.loc[:, fitted.encoder_.source_ == "region"] = 0.0
        with pytest.warns(UserWarning, match="region"):
            chance = fitted.predict_proba(planted[0].iloc[:5].assign(region="abroad"))
        clusters = fitted.clusters_[:5]
        expected = [
            fitted.models_[k].predict_proba(encoded.iloc[[i]])[0] for i, k in enumerate(clusters)
        ]
        np.testing.assert_allclose(chance, expected, rtol=1e-4)

    @pytest.mark.parametrize(
        ("column", "value", "message"),
        [
            ("income", "much", "column 'income', row 1: 'much' is not a number; correct it"),
            ("plan", 3.5, "column 'plan' was category when learned and is number now"),
        ],
    )
    @pytest.mark.filterwarnings("ignore:'plan'")
    def test_a_column_that_changes_its_type_is_named(self, fitted, planted, column, value, message):
        X = planted[0].iloc[:5].assign(**{column: value})
        for answer in (fitted.predict, fitted.predict_proba, fitted.explain):
            with pytest.raises((TableError, ValueError), match=message) as error:
                answer(X)
            assert "\n" not in str(error.value)

    def test_a_target_with_one_class_is_refused(self, planted):
        X = planted[0].iloc[:100]
        model = ClusterwiseIMN(GowerClustering(2), QUICK, encoder=TableEncoder())
        with pytest.raises(ValueError, match=r"y has one class, 'no', in the 100 rows") as error:
            model.fit(X, ["no"] * 100)
        assert "\n" not in str(error.value)

    def test_text_without_an_encoder_is_refused(self, planted):
        X, y, _ = planted
        with pytest.raises(ValueError, match=r"column 'plan' is not numeric.*encode it first"):
            ClusterwiseIMN(GowerClustering(), QUICK).fit(X.iloc[:100], y.iloc[:100])


class TestFiles:
    def test_answers_after_loading_are_the_same_bits(self, fitted, planted, tmp_path):
        X = planted[0].iloc[:80]
        fitted.save(tmp_path)
        loaded = ClusterwiseIMN.load(tmp_path)
        np.testing.assert_array_equal(loaded.predict(X), fitted.predict(X))
        np.testing.assert_array_equal(loaded.predict_proba(X), fitted.predict_proba(X))
        np.testing.assert_array_equal(loaded.predict_cluster(X), fitted.predict_cluster(X))
        for level in ("sample", "cluster", "overall"):
            before, after = (m.explain(X).to_frame(level) for m in (fitted, loaded))
            pd.testing.assert_frame_equal(after, before)
        pd.testing.assert_frame_equal(loaded.report_, fitted.report_)

    def test_a_loaded_estimator_can_be_fitted_again(self, fitted, planted, tmp_path):
        fitted.save(tmp_path)
        loaded, (X, y, _) = ClusterwiseIMN.load(tmp_path), planted
        assert loaded.clusterer.n_clusters == fitted.clusterer.n_clusters == 2
        again = loaded.set_params(model__max_epochs=6).fit(X, y)
        assert again.model.get_params() == MODEL.get_params() | {"max_epochs": 6}
        assert len(again.models_) == 2

    def test_frozen_clusters_and_clusters_answered_by_the_whole(self, planted, tmp_path):
        X, y, _ = planted
        clusterer = FrozenEstimator(GowerClustering(2).fit(X))
        model = ClusterwiseIMN(
            clusterer, QUICK, encoder=TableEncoder(), min_rows=400, random_state=0
        ).fit(X, y)
        model.save(tmp_path)
        loaded = ClusterwiseIMN.load(tmp_path)
        assert [m is loaded.whole_ for m in loaded.models_] == [False, True]
        assert loaded.clusterer is loaded.clusterer_
        np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))

    def test_without_encoder(self, tmp_path):
        X, y = given([60, 60], [30, 30])
        model = ClusterwiseIMN(GowerClustering(2), QUICK, random_state=0).fit(X, y)
        model.save(tmp_path)
        np.testing.assert_array_equal(
            ClusterwiseIMN.load(tmp_path).predict_proba(X), model.predict_proba(X)
        )

    @pytest.mark.parametrize("part", [KMeans(2, n_init=1, random_state=0), Given()])
    def test_a_clusterer_that_only_pickle_could_store_is_refused(self, part, tmp_path):
        X, y = given([60, 60], [30, 30])
        model = ClusterwiseIMN(part, QUICK, random_state=0).fit(X, y)
        name = type(part).__name__
        with pytest.raises(TypeError, match=f"cannot save a {name} without pickle") as error:
            model.save(tmp_path / "model")
        assert "\n" not in str(error.value)
        assert not (tmp_path / "model").exists()

    def test_no_file_is_a_pickle_and_no_class_of_a_stranger_is_made(self, fitted, tmp_path):
        fitted.save(tmp_path)
        assert {p.suffix for p in tmp_path.rglob("*") if p.is_file()} == {
            ".json",
            ".npz",
            ".safetensors",
        }
        for path in tmp_path.rglob("*.npz"):
            with np.load(path, allow_pickle=False) as arrays:
                assert all(arrays[name].dtype != object for name in arrays)
        description = tmp_path / "clusterer" / "estimator.json"
        description.write_text(description.read_text().replace("GowerClustering", "Popen"))
        with pytest.raises(ValueError, match=r"clusterer/estimator\.json is damaged or altered"):
            ClusterwiseIMN.load(tmp_path)

    def test_before_fit(self, tmp_path):
        with pytest.raises(ValueError, match="is not fitted yet"):
            ClusterwiseIMN().save(tmp_path)


def test_shap_values_that_do_not_add_up_are_refused(monkeypatch):
    import shap

    class Wrong:
        def __init__(self, *_, **__):
            pass

        def __call__(self, rows, **_):
            return shap.Explanation(np.zeros((len(rows), 2)))

    monkeypatch.setattr(shap, "PermutationExplainer", Wrong)
    X = pd.DataFrame({"a": [1.0, 2], "b": [0.0, 1]})
    with pytest.raises(ArithmeticError, match="they must add up"):
        shap_of_columns(lambda rows: rows["a"], X, X * 0, ["a", "b"])


def test_shap_of_a_sum_is_exact_and_keeps_features_of_a_column_together():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(6, 3)), columns=["a", "b = 0", "b = 1"])
    background = pd.DataFrame(rng.normal(size=(9, 3)), columns=X.columns)
    weights = np.array([1.0, -2, 3])
    values, base = shap_of_columns(
        lambda rows: rows.to_numpy() @ weights, X, background, ["a", "b", "b"], n_permutations=1
    )
    parts = (X - background.mean()) * weights
    expected = np.column_stack([parts["a"], parts["b = 0"] + parts["b = 1"]])
    np.testing.assert_allclose(values, expected, atol=1e-6)
    assert base == pytest.approx(background.to_numpy().mean(axis=0) @ weights)


def test_kmeans_is_a_clusterer_too():
    X, y = given([60, 60], [30, 30])
    model = ClusterwiseIMN(KMeans(2, n_init=1, random_state=0), QUICK, random_state=0).fit(X, y)
    assert len(model.models_) == 2
