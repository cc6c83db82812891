"""ClusterwiseIMN: planted drivers are named, rows are routed, and small clusters are reported."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.base import BaseEstimator, ClusterMixin, clone, is_regressor
from sklearn.cluster import KMeans
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import brier_score_loss, r2_score

from whycluster import ClusterwiseIMN, GowerClustering, IMNClassifier, IMNRegressor
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
            expected = model.predict_proba(encoded[own])
            np.testing.assert_allclose(chance[own], expected, rtol=1e-4)
        np.testing.assert_array_equal(fitted.predict(X), fitted.classes_[chance.argmax(axis=1)])

    def test_rows_in_no_cluster_are_answered_by_the_whole(self):
        X, y = given([60, 60], [30, 30])
        model = ClusterwiseIMN(Given(), QUICK, random_state=0).fit(X, y)
        X[:, 0] = -1
        np.testing.assert_array_equal(model.predict_proba(X), model.predict_proba(X, by="whole"))

    def test_by_names_one_of_two(self, fitted, planted):
        with pytest.raises(ValueError, match="by='all' is neither 'cluster' nor 'whole'"):
            fitted.explain(planted[0], by="all")


def silent(model):
    """Make every model inside answer 0, as one does that was trained with balanced classes
    on features that say nothing.
    """
    for inside in {id(m): m for m in (model.whole_, *model.models_)}.values():
        for parameter in inside.network_.parameters():
            parameter.data.zero_()
    return model


def weighted(class_weight):
    return clone(QUICK).set_params(class_weight=class_weight)


class TestBaseRates:
    def test_features_that_say_nothing_leave_the_base_rate_of_the_cluster_and_of_the_whole(self):
        X, y = given([100, 60], [10, 24])  # 10 % and 40 %; of the whole 34 / 160
        model = silent(ClusterwiseIMN(Given(), weighted("balanced"), random_state=0).fit(X, y))
        chance = model.predict_proba(X)[:, 1]
        np.testing.assert_allclose(chance[:100], 0.1)
        np.testing.assert_allclose(chance[100:], 0.4)
        np.testing.assert_allclose(model.predict_proba(X, by="whole")[:, 1], 0.2125)

    def test_it_is_learned_from_features_that_say_nothing(self):
        X, y = given([100, 60], [10, 24])
        X[:, 1:] = 0
        model = clone(MODEL).set_params(class_weight="balanced", max_epochs=60)
        chance = ClusterwiseIMN(Given(), model, random_state=0).fit(X, y).predict_proba(X)[:, 1]
        assert chance[0] == pytest.approx(0.1, abs=0.02)
        assert chance[-1] == pytest.approx(0.4, abs=0.04)

    def test_a_logit_and_a_base_rate_add_up(self):
        X, y = given([100, 60], [10, 24])
        model = ClusterwiseIMN(Given(), weighted("balanced"), random_state=0).fit(X, y)
        logits = model.models_[0].decision_function(X[:100])
        expected = expit(logits + np.log(10 / 90))
        np.testing.assert_allclose(model.predict_proba(X[:100])[:, 1], expected, rtol=1e-6)

    def test_three_classes(self):
        X, _ = given([100, 60], [0, 0])
        y = np.repeat(["a", "b", "c"] * 2, [70, 20, 10, 10, 20, 30])
        model = silent(ClusterwiseIMN(Given(), weighted("balanced"), random_state=0).fit(X, y))
        chance = model.predict_proba(X)
        np.testing.assert_allclose(chance[0], [0.7, 0.2, 0.1])
        np.testing.assert_allclose(chance[-1], [1 / 6, 2 / 6, 3 / 6])
        assert (model.predict(X) == np.repeat(["a", "c"], [100, 60])).all()

    def test_weights_given_by_hand_are_divided_out(self):
        X, y = given([100, 60], [10, 24])
        fit = ClusterwiseIMN(Given(), weighted({0: 1, 1: 4}), random_state=0).fit(X, y)
        np.testing.assert_allclose(fit.log_rates_, [[0, -np.log(4)]] * 3, rtol=1e-6)
        np.testing.assert_allclose(silent(fit).predict_proba(X)[:, 1], 0.2)  # (1/4) / (1 + 1/4)

    def test_without_class_weights_nothing_is_added(self):
        X, y = given([100, 60], [10, 24])
        model = ClusterwiseIMN(Given(), QUICK, random_state=0).fit(X, y)
        assert not model.log_rates_.any()
        own = model.models_[1].predict_proba(X[100:])
        np.testing.assert_allclose(model.predict_proba(X[100:]), own, rtol=1e-5)

    def test_a_cluster_without_a_model_has_the_rate_of_the_rows_that_its_answer_was_learned_from(
        self,
    ):
        X, y = given([100, 20], [30, 18])  # of the whole 48 / 120
        model = ClusterwiseIMN(Given(), weighted("balanced"), random_state=0).fit(X, y)
        chance = silent(model).predict_proba(X)[:, 1]
        assert chance[[0, -1]] == pytest.approx([0.3, 0.4])

    def test_a_class_that_a_cluster_lacks_has_probability_0_there(self):
        X, _ = given([100, 60], [0, 0])
        y = np.repeat([0, 1, 0, 1, 2], [50, 50, 20, 20, 20])
        settings = {"min_class_rows": 0, "random_state": 0}
        model = ClusterwiseIMN(Given(), weighted("balanced"), **settings).fit(X, y)
        np.testing.assert_allclose(silent(model).predict_proba(X)[0], [0.5, 0.5, 0])

    def test_explanations_are_those_of_the_models(self):
        X, y = given([100, 60], [10, 24])
        model = ClusterwiseIMN(Given(), weighted("balanced"), random_state=0).fit(X, y)
        expected = model.models_[1].explain(X[100:]).sample
        np.testing.assert_array_equal(model.contributions(X[100:]), expected)

    def test_transfer_scores_probabilities_with_the_base_rate_of_the_rows_learned_from(self):
        X, y = given([100, 60], [10, 24])
        model = silent(ClusterwiseIMN(Given(), weighted("balanced"), random_state=0).fit(X, y))
        scores = -model.transfer(X, y, scoring="neg_brier_score")
        assert scores.loc[0, 0] == pytest.approx(brier_score_loss(y[:100], np.full(100, 0.1)))
        assert scores.loc[0, 1] == pytest.approx(brier_score_loss(y[100:], np.full(60, 0.1)))
        assert scores.loc["whole", 1] == pytest.approx(brier_score_loss(y[100:], [0.2125] * 60))

    def test_a_class_that_weighs_nothing_is_refused(self):
        X, y = given([100, 60], [10, 24])
        with pytest.raises(ValueError, match="class_weight gives 1 the weight 0, which") as error:
            ClusterwiseIMN(Given(), weighted({0: 1, 1: 0})).fit(X, y)
        assert "\n" not in str(error.value)

    def test_what_was_saved_before_rates_were_kept_answers_with_them(self, tmp_path):
        X, y = given([100, 60], [10, 24])
        model = ClusterwiseIMN(GowerClustering(2), weighted("balanced"), random_state=0).fit(X, y)
        expected = model.predict_proba(X)
        del model.log_rates_
        model.save(tmp_path)
        np.testing.assert_array_equal(ClusterwiseIMN.load(tmp_path).predict_proba(X), expected)


@pytest.fixture(scope="module")
def numbers():
    """A target of numbers: x1 in one cluster, 100 - x2 in the other."""
    X, _ = given([150, 150], [0, 0])
    return X, np.where(X[:, 0] == 0, X[:, 1], 100 - X[:, 2])


@pytest.fixture(scope="module")
def regressor(numbers):
    model = IMNRegressor(hidden_units=32, max_epochs=40, weight_penalty=0.01, device="cpu")
    return ClusterwiseIMN(Given(), model, random_state=0).fit(*numbers)


class TestNumbers:
    def test_it_is_a_regressor(self, regressor):
        assert is_regressor(regressor)
        assert not hasattr(regressor, "predict_proba")
        assert not hasattr(regressor, "classes_")

    def test_each_row_is_answered_by_the_model_of_its_cluster(self, regressor, numbers):
        X, y = numbers
        assert regressor.score(X, y) == pytest.approx(r2_score(y, regressor.predict(X)))
        for k in (0, 1):
            own = X[:, 0] == k
            assert r2_score(y[own], regressor.predict(X[own])) > 0.9
            expected = regressor.models_[k].predict(X[own])
            np.testing.assert_allclose(regressor.predict(X[own]), expected, rtol=1e-5)
        np.testing.assert_array_equal(regressor.predict(X, by="whole"), regressor.whole_.predict(X))

    def test_the_driver_of_each_cluster_is_named(self, regressor, numbers):
        assert regressor.explain(numbers[0]).top(1)["feature"].tolist() == ["x1", "x2"]

    def test_the_report_counts_rows(self, regressor):
        assert regressor.report_["rows"].tolist() == [300, 150, 150]
        assert regressor.report_["answered by"].tolist() == ["whole", "itself", "itself"]

    def test_a_small_cluster_is_answered_by_the_whole(self):
        X, _ = given([80, 20], [0, 0])
        model = IMNRegressor(hidden_units=8, n_blocks=0, max_epochs=6, warmup_epochs=1)
        fit = ClusterwiseIMN(Given(), model, random_state=0).fit(X, X[:, 1])
        assert fit.models_[1] is fit.whole_
        assert fit.report_["because"].tolist()[2] == "20 rows, fewer than min_rows=50"

    def test_transfer_is_by_r2(self, regressor, numbers):
        X, y = numbers
        scores, other = regressor.transfer(X, y), X[:, 0] == 1
        expected = r2_score(y[other], regressor.models_[0].predict(X[other]))
        assert scores.loc[0, 1] == pytest.approx(expected)
        assert scores.loc[1, 1] > 0.9

    def test_saved_and_loaded(self, numbers, tmp_path):
        X, y = numbers
        model = IMNRegressor(hidden_units=8, n_blocks=0, max_epochs=6, warmup_epochs=1)
        fit = ClusterwiseIMN(GowerClustering(2), model, random_state=0).fit(X, y)
        fit.save(tmp_path)
        loaded = ClusterwiseIMN.load(tmp_path)
        np.testing.assert_array_equal(loaded.predict(X), fit.predict(X))
        pd.testing.assert_frame_equal(loaded.report_, fit.report_)


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
