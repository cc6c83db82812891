"""One contract for every estimator, and scikit-learn's own checks."""

import importlib
import inspect
import pkgutil
from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
from sklearn.base import (
    ClassifierMixin,
    ClusterMixin,
    MetaEstimatorMixin,
    RegressorMixin,
    clone,
)
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import whycluster
from whycluster import (
    BRB,
    DCN,
    DEC,
    IDC,
    IDEC,
    ClusterwiseIMN,
    ContrastiveClustering,
    Explanation,
    GowerClustering,
    IMNClassifier,
    IMNRegressor,
    NeurCAM,
    SoftClusteringTree,
    TabResNetClassifier,
    TabResNetRegressor,
    TAOClusteringTree,
)
from whycluster.table.methods import METHODS
from whycluster.training.stack import StackedEstimator

# Every public estimator, at a size that trains in a blink.
SMALL_EMBEDDING = dict(
    hidden_layers=(16,), pretrain_epochs=3, max_epochs=4, n_init=2, random_state=0, device="cpu"
)
ESTIMATORS = [
    IDC(
        3,
        hidden_layers=(32,),
        gate_units=16,
        head_units=32,
        warmup_epochs=1,
        pretrain_epochs=5,
        max_epochs=20,
        global_epochs=2,
        n_init=5,
        random_state=0,
        device="cpu",
    ),
    DEC(3, brb=BRB(interval=2), **SMALL_EMBEDDING),
    IDEC(3, **SMALL_EMBEDDING),
    DCN(3, brb=BRB(interval=2), **SMALL_EMBEDDING),
    ContrastiveClustering(
        3,
        width=2,
        n_latent=4,
        projection_units=8,
        brb=BRB(interval=1),
        **SMALL_EMBEDDING | {"pretrain_epochs": 0, "max_epochs": 2},
    ),
    SoftClusteringTree(
        3, depth=2, max_epochs=10, n_init=2, batch_size=32, random_state=0, device="cpu"
    ),
    TAOClusteringTree(3, depth=2, n_init=2, random_state=0),
    GowerClustering(3, random_state=0, device="cpu"),
    NeurCAM(
        3,
        n_pairs=1,
        hidden_units=16,
        n_bases=8,
        warmup_epochs=16,
        anneal_epochs=3,
        max_epochs=30,
        learning_rate=0.01,
        n_init=2,
        random_state=0,
        device="cpu",
    ),
]
SMALL_NET = dict(
    hidden_units=16, n_blocks=1, max_epochs=12, warmup_epochs=1, learning_rate=0.03, random_state=0
)
SUPERVISED = [
    IMNClassifier(weight_penalty=0.01, device="cpu", **SMALL_NET),
    IMNRegressor(weight_penalty=0.01, device="cpu", **SMALL_NET),
    TabResNetClassifier(device="cpu", **SMALL_NET),
    TabResNetRegressor(device="cpu", **SMALL_NET),
    ClusterwiseIMN(
        KMeans(2, random_state=0, n_init=1),
        IMNClassifier(weight_penalty=0.01, device="cpu", **SMALL_NET),
        min_rows=8,
        min_class_rows=2,
    ),
    ClusterwiseIMN(
        KMeans(2, random_state=0, n_init=1),
        IMNRegressor(weight_penalty=0.01, device="cpu", **SMALL_NET),
        min_rows=8,
    ),
]

# Checks of scikit-learn that cannot hold, by class; what else they check is checked below.
EXPECTED_FAILED_CHECKS = {
    "ContrastiveClustering": {
        "check_clustering": "two columns are no image: random views of them have nothing in common",
    },
    "GowerClustering": {
        "check_estimators_pickle": "blanks so many values that two rows share none: no distance",
        "check_pipeline_consistency": "rounds the rows to two distinct ones: no three clusters",
    },
}


@parametrize_with_checks(
    [*ESTIMATORS, *SUPERVISED],
    expected_failed_checks=lambda e: EXPECTED_FAILED_CHECKS.get(type(e).__name__, {}),
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def public_estimators():
    """Return every clusterer, classifier and regressor that a module of whycluster defines."""
    found = set()
    for module in pkgutil.walk_packages(whycluster.__path__, "whycluster."):
        if module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            is_ours = inspect.isclass(value) and value.__module__ == module.name
            if is_ours and not name.startswith("_"):
                found.add(value)
    kinds = ClusterMixin | ClassifierMixin | RegressorMixin | MetaEstimatorMixin
    return {c for c in found if issubclass(c, kinds) and not inspect.isabstract(c)}


def test_every_public_estimator_is_under_contract():
    assert public_estimators() == {type(e) for e in (*ESTIMATORS, *SUPERVISED)}


def test_every_public_estimator_can_be_imported_from_the_top():
    names = {c.__name__ for c in public_estimators()}
    assert names <= set(whycluster.__all__)
    assert [name for name in names if not hasattr(whycluster, name)] == []


def test_every_registered_method_of_ours_is_under_contract():
    built = [type(method.build(3, 0, 100, 5)) for method in METHODS]
    ours = {c for c in built if c.__module__.startswith("whycluster.")}
    assert ours
    assert ours <= {type(estimator) for estimator in ESTIMATORS}


@pytest.fixture(scope="module")
def X():
    rows, _ = make_blobs(60, n_features=4, centers=3, random_state=0)
    names = ["age", "income", "height", "weight"]
    return pd.DataFrame(StandardScaler().fit_transform(rows), columns=names)


@pytest.fixture(params=ESTIMATORS, ids=lambda estimator: type(estimator).__name__)
def estimator(request):
    return clone(request.param)


@pytest.fixture(scope="module")
def fitted(X):
    return {}


@pytest.fixture
def model(estimator, fitted, X):
    """Return the fitted estimator, which all tests of it share."""
    if type(estimator) not in fitted:
        fitted[type(estimator)] = clone(estimator).fit(X)
    return fitted[type(estimator)]


def need(model, method):
    """Skip what a method without memberships, or an embedding, cannot answer."""
    if not hasattr(model, method):
        pytest.skip(f"{type(model).__name__} has no {method}")


def certainty(model, X):
    """Return memberships, or distances to centres where there are no memberships."""
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.transform(X)


def skip_if_welcome(estimator, message):
    """Skip a complaint about missing values or text for an estimator that takes them."""
    tags = estimator.__sklearn_tags__().input_tags
    if ("NaN" in message and tags.allow_nan) or ("not numeric" in message and tags.categorical):
        pytest.skip(f"{type(estimator).__name__} takes mixed tables")


class TestConstructor:
    def test_only_the_number_of_clusters_is_positional(self, estimator):
        first, *others = inspect.signature(type(estimator)).parameters.values()
        assert first.name == "n_clusters"
        assert {p.kind for p in others} == {inspect.Parameter.KEYWORD_ONLY}

    def test_shared_settings_are_there(self, estimator):
        shared = {"n_init", "random_state", "verbose"}
        if isinstance(estimator, StackedEstimator):
            shared |= {"max_epochs", "batch_size", "device", "precision", "checkpoint"}
        assert shared <= estimator.get_params().keys()

    def test_every_setting_and_attribute_is_documented(self, estimator, model):
        text = inspect.getdoc(type(estimator))
        fitted = {n for n in vars(model) if n.endswith("_") and not n.startswith("_")}
        fitted -= {"network_", "n_features_in_", "feature_names_in_"}
        missing = {n for n in estimator.get_params().keys() | fitted if n not in text}
        assert not missing


class TestAnswers:
    def test_labels_are_whole_numbers_below_the_number_of_clusters(self, model, X):
        assert model.labels_.shape == (len(X),)
        assert np.issubdtype(model.labels_.dtype, np.integer)
        assert set(model.labels_) <= set(range(model.n_clusters))

    def test_labels_are_predicted(self, model, X):
        np.testing.assert_array_equal(model.predict(X), model.labels_)

    def test_fit_predict_is_fit_then_labels(self, estimator, model, X):
        np.testing.assert_array_equal(estimator.fit_predict(X), model.labels_)

    def test_memberships_sum_to_one_and_agree_with_labels(self, model, X):
        need(model, "predict_proba")
        memberships = model.predict_proba(X)
        assert memberships.shape == (len(X), model.n_clusters)
        np.testing.assert_allclose(memberships.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_array_equal(memberships.argmax(axis=1), model.labels_)

    def test_rows_are_answered_one_by_one_and_in_any_order(self, model, X):
        shuffled = X.sample(frac=1, random_state=0)
        np.testing.assert_array_equal(model.predict(shuffled), model.labels_[shuffled.index])
        alone = [model.predict(X.iloc[[i]])[0] for i in range(10)]
        np.testing.assert_array_equal(alone, model.labels_[:10])
        whole = model.transform(X)
        alone = np.vstack([model.transform(X.iloc[[i]]) for i in range(10)])
        np.testing.assert_allclose(alone, whole[:10], rtol=1e-4, atol=1e-5)

    def test_explanation_covers_rows_clusters_and_names(self, model, X):
        why = model.explain(X[:7])
        assert isinstance(why, Explanation)
        assert why.sample.shape == (7, 4)
        assert why.cluster.shape == (model.n_clusters, 4)
        assert why.overall.shape == (4,)
        assert why.feature_names == tuple(X.columns)

    def test_explanation_without_names(self, estimator, X):
        why = estimator.fit(X.to_numpy()).explain(X.to_numpy())
        assert why.feature_names == ("x0", "x1", "x2", "x3")

    def test_works_behind_a_scaler(self, estimator, X):
        pipeline = make_pipeline(StandardScaler().set_output(transform="pandas"), estimator)
        pipeline.fit(X * 10 + 3)
        assert pipeline[-1].explain(pipeline[:-1].transform(X)).feature_names == tuple(X.columns)

    def test_embedding_becomes_a_frame_on_request(self, estimator, model, X):
        frame = estimator.set_output(transform="pandas").fit(X).transform(X)
        assert list(frame.columns) == list(model.get_feature_names_out())
        np.testing.assert_array_equal(frame, model.transform(X))


class TestOneCluster:
    """Where one cluster is asked for, all rows are in it and nothing sets them apart."""

    @pytest.fixture(scope="class")
    def single(self, X):
        return {type(e): clone(e).set_params(n_clusters=1).fit(X) for e in ESTIMATORS}

    def test_all_rows_are_in_it(self, estimator, single, X):
        model = single[type(estimator)]
        assert not model.labels_.any()
        assert not model.predict(X * 2).any()
        if hasattr(model, "predict_proba"):
            np.testing.assert_allclose(model.predict_proba(X), np.ones((len(X), 1)))

    def test_the_explanation_is_zero(self, estimator, single, X):
        why = single[type(estimator)].explain(X[:5])
        assert why.cluster.shape == (1, 4)
        np.testing.assert_allclose(why.sample, 0, atol=1e-12)
        np.testing.assert_allclose(why.cluster, 0, atol=1e-12)

    def test_rows_that_are_all_alike_are_one_cluster(self, estimator, X):
        model = estimator.set_params(n_clusters=1).fit(X * 0 + 1)
        assert not model.labels_.any()


class TestRefit:
    def test_a_refused_fit_leaves_what_was_learnt(self, model, X):
        copy, other = deepcopy(model), X.rename(columns={"age": "years"})
        before = dict(vars(copy))
        with pytest.raises(ValueError, match=r"exceeds|constant"):
            copy.fit(other * 0 + 1)
        assert vars(copy).keys() == before.keys()
        assert all(vars(copy)[name] is value for name, value in before.items())
        np.testing.assert_array_equal(copy.predict(X), model.labels_)

    def test_an_interrupted_fit_leaves_what_was_learnt(self, model, X, monkeypatch):
        def interrupted(*_):
            raise KeyboardInterrupt

        copy = deepcopy(model)
        last = "_describe_tree" if hasattr(copy, "_describe_tree") else "_describe"
        monkeypatch.setattr(type(copy), last, interrupted)
        with pytest.raises(KeyboardInterrupt):
            copy.fit(X.rename(columns={"age": "years"}))
        np.testing.assert_array_equal(copy.predict(X), model.labels_)

    def test_nothing_of_another_table_stays(self, model, estimator, X):
        copy = deepcopy(model)
        narrow = X[["age", "income"]]
        again, fresh = copy.fit(narrow), estimator.fit(narrow)
        assert vars(again).keys() == vars(fresh).keys()
        np.testing.assert_array_equal(again.predict(narrow), fresh.labels_)


class TestRepeatability:
    def test_same_seed_same_labels_and_memberships(self, estimator, model, X):
        again = estimator.fit(X)
        np.testing.assert_array_equal(again.labels_, model.labels_)
        np.testing.assert_array_equal(certainty(again, X), certainty(model, X))

    def test_true_labels_are_ignored(self, estimator, model, X):
        y = np.random.default_rng(0).integers(0, 3, len(X))
        np.testing.assert_array_equal(estimator.fit(X, y).labels_, model.labels_)

    def test_settings_are_left_alone(self, estimator, X):
        before = estimator.get_params()
        assert estimator.fit(X) is estimator
        assert estimator.get_params() == before

    def test_fit_adds_no_public_attribute_but_results(self, estimator, model):
        added = vars(model).keys() - vars(estimator).keys()
        assert [n for n in added if not n.startswith("_") and not n.endswith("_")] == []

    def test_saved_and_loaded(self, model, X, tmp_path):
        model.save(tmp_path)
        loaded = type(model).load(tmp_path)
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
        np.testing.assert_array_equal(certainty(loaded, X), certainty(model, X))
        np.testing.assert_array_equal(loaded.explain(X).sample, model.explain(X).sample)


class TestBadInput:
    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda X: X.assign(age=X["age"].where(X.index != 3)), "NaN in column 'age', row 3"),
            (lambda X: X.assign(height=np.inf), "inf in column 'height', row 0"),
            (lambda X: X * 0 + 1, "all 4 columns are constant"),
            (lambda X: X[:1], "1 sample"),
            (lambda X: X[:0], "0 sample"),
            (lambda X: X.iloc[[0, 1, 0, 1]], "n_clusters=3 exceeds the 2 distinct rows"),
            (lambda X: X.assign(age="old"), "column 'age' is not numeric"),
            (lambda X: X.set_axis(list("abca"), axis=1), "column name 'a' is repeated"),
        ],
    )
    def test_fit_names_the_offender(self, estimator, X, spoil, message):
        skip_if_welcome(estimator, message)
        with pytest.raises(ValueError, match=message):
            estimator.fit(spoil(X))

    @pytest.mark.parametrize("n_clusters", [0, -2, 61, 2.5, None])
    def test_impossible_numbers_of_clusters(self, estimator, X, n_clusters):
        with pytest.raises(ValueError, match=f"n_clusters={n_clusters}") as error:
            estimator.set_params(n_clusters=n_clusters).fit(X)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("method", ["predict", "predict_proba", "transform", "explain"])
    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda X: X.rename(columns={"age": "Age"}), "unseen at fit time:\n- Age"),
            (lambda X: X.drop(columns="income"), "now missing:\n- income"),
            (lambda X: X[X.columns[::-1]], "same order"),
            (lambda X: X.to_numpy()[:, :2], "X has 2 features, but .* expecting 4"),
            (lambda X: X.to_numpy()[0], "1D array"),
            (lambda X: X.assign(age=X["age"].where(X.index != 3)), "NaN in column 'age', row 3"),
        ],
    )
    @pytest.mark.filterwarnings("ignore:X does not have valid feature names")
    def test_prediction_names_the_offender(self, model, X, method, spoil, message):
        need(model, method)
        skip_if_welcome(model, message)
        with pytest.raises(ValueError, match=message):
            getattr(model, method)(spoil(X))

    @pytest.mark.parametrize("method", ["predict", "predict_proba", "transform", "explain"])
    def test_prediction_before_fit(self, estimator, X, method):
        need(estimator, method)
        with pytest.raises(ValueError, match="is not fitted yet"):
            getattr(estimator, method)(X)
