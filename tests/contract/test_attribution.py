"""Post-hoc explanations: exact where they can be, seeded, and right about planted features."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.cluster import BisectingKMeans, KMeans
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture

from whycluster.contract.attribution import attribute

RNG = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2], 20)
X = RNG.normal(size=(60, 5))
X[:, 1] += np.array([0, 9, 9])[LABELS]
X[:, 3] += np.array([0, 0, 9])[LABELS]
NAMES = ["noise a", "planted 1", "noise b", "planted 2", "noise c"]


@pytest.fixture(scope="module")
def kmeans():
    return KMeans(3, n_init=5, random_state=0).fit(X)


class Linear(ClusterMixin, BaseEstimator):
    """Clusters by the largest of linear logits: attributions are known in closed form."""

    def fit(self, X, y=None):
        self.weights_ = RNG.normal(size=(X.shape[1], 3)).astype("f4")
        self.labels_ = self.predict(X)
        return self

    def predict(self, X):
        return (np.asarray(X, dtype="f4") @ self.weights_).argmax(axis=1)

    def decision_module(self):
        layer = torch.nn.utils.skip_init(torch.nn.Linear, *self.weights_.shape, bias=False)
        layer.weight.data = torch.from_numpy(self.weights_.T.copy())
        return layer


class KMeansByEvaluation(KMeans):
    """Not KMeans itself, so that it goes through the shap library."""


class TestExact:
    def test_contributions_add_up_to_the_margin(self, kmeans):
        distances = kmeans.transform(X) ** 2
        own = distances[np.arange(60), kmeans.labels_]
        margin = (distances.sum(axis=1) - own) / 2 - own
        why = attribute(kmeans, X, "exact")
        np.testing.assert_allclose(why.sample.sum(axis=1), margin)
        assert why.kind == "contribution"

    def test_by_hand(self):
        X = np.array([[0.0, 0.0], [4.0, 2.0]])
        model = KMeans(2, n_init=1, random_state=0).fit(X)
        assert attribute(model, X, "exact").sample.tolist() == [[16, 4], [16, 4]]

    def test_refused_where_rows_are_not_at_their_nearest_centre(self, kmeans):
        broken = KMeans(3, n_init=1, random_state=0).fit(X)
        broken.predict = lambda X: (kmeans.predict(X) + 1) % 3
        with pytest.raises(TypeError, match=r"row . is not in the cluster of its nearest centre"):
            attribute(broken, X, "exact")
        with pytest.raises(TypeError, match="GaussianMixture has no cluster_centers_"):
            attribute(GaussianMixture(3).fit(X), X, "exact")

    def test_nothing_sets_the_rows_of_one_cluster_apart(self):
        why = attribute(KMeans(1, n_init=1).fit(X), X, "exact")
        assert why.n_clusters == 1
        assert not why.sample.any()


class TestShap:
    def test_values_add_up_to_membership_minus_that_of_the_background(self, kmeans):
        background = X[::3]
        why = attribute(kmeans, X, background=background, n_permutations=2)
        share = np.eye(3)[kmeans.predict(background)].mean(axis=0)
        np.testing.assert_allclose(why.sample.sum(axis=1), 1 - share[kmeans.labels_])

    def test_kmeans_shortcut_is_exact_shapley_for_all_orders(self):
        # Two features: the two orders are all there are, so one pair of orders is exact.
        corner = np.array([[0.0, 0.0], [0.0, 4.0], [4.0, 0.0], [4.0, 4.0]])
        model = KMeans(2, n_init=1, init=np.array([[0.0, 0.0], [4.0, 4.0]])).fit(corner)
        model.cluster_centers_ = np.array([[0.0, 0.0], [4.0, 4.0]])
        rows, background = np.array([[3.0, 2.5], [3.0, 4.5]]), np.zeros((1, 2))
        # Row 0: neither feature alone moves (0, 0) over the line x + y = 4; together they do.
        # Row 1: the second feature does it alone and the first adds nothing.
        with pytest.warns(UserWarning, match="clusters without rows are explained by zeros: 0"):
            why = attribute(model, rows, background=background, n_permutations=1)
        assert why.sample.tolist() == [[0.5, 0.5], [0, 1]]

    def test_kmeans_shortcut_agrees_with_the_shap_library(self, kmeans):
        slow = KMeansByEvaluation(3, n_init=5, random_state=0).fit(X)
        options = dict(background=X[::4], n_permutations=60)
        rows = X[::6]
        fast = attribute(kmeans, rows, **options).sample
        np.testing.assert_allclose(fast, attribute(slow, rows, **options).sample, atol=0.06)

    def test_memberships_of_a_soft_clustering_add_up(self):
        frame = pd.DataFrame(X, columns=NAMES)
        model = GaussianMixture(3, random_state=0).fit(frame)
        rows = frame.iloc[::10]
        why = attribute(model, rows, background=X[::6], n_permutations=1)
        labels = model.predict(rows)
        membership = model.predict_proba(rows)[np.arange(len(rows)), labels]
        mean = model.predict_proba(frame.iloc[::6]).mean(axis=0)[labels]
        np.testing.assert_allclose(why.sample.sum(axis=1), membership - mean, atol=1e-9)


@pytest.fixture(scope="module")
def linear():
    return Linear().fit(X)


class TestGradients:
    def test_integrated_gradients_of_a_linear_decision_are_weight_times_distance(self, linear):
        why = attribute(linear, X, "integrated_gradients", background=X[:10])
        expected = (X - X[:10].mean(axis=0)) * linear.weights_.T[linear.labels_]
        np.testing.assert_allclose(why.sample, expected, atol=1e-4)

    def test_gradient_shap_of_one_background_row_is_exact_for_a_linear_decision(self, linear):
        why = attribute(linear, X, "gradient_shap", background=X[:1])
        expected = (X - X[:1]) * linear.weights_.T[linear.labels_]
        np.testing.assert_allclose(why.sample, expected, atol=1e-4)

    def test_frames_are_not_written_to(self, linear, recwarn):
        frame = pd.DataFrame(X, columns=NAMES)
        why = attribute(linear, frame, "integrated_gradients")
        assert why.feature_names == tuple(NAMES)
        np.testing.assert_array_equal(frame, X)
        assert not [w for w in recwarn if "not writable" in str(w.message)]

    def test_batches_do_not_change_the_answer(self, linear):
        whole = attribute(linear, X, "integrated_gradients").sample
        parts = attribute(linear, X, "integrated_gradients", batch_size=7).sample
        np.testing.assert_allclose(whole, parts, atol=1e-5)

    def test_refused_without_a_differentiable_decision(self, kmeans):
        with pytest.raises(TypeError, match=r"KMeans has no decision_module\(\), so no gradients"):
            attribute(kmeans, X, "integrated_gradients")


@pytest.mark.parametrize("method", ["shap", "exact"])
def test_planted_features_are_found_by_name(kmeans, method):
    why = attribute(kmeans, pd.DataFrame(X, columns=NAMES).to_numpy(), method)
    assert why.n_features == 5
    frame = pd.DataFrame(X, columns=NAMES)
    named = attribute(KMeans(3, n_init=5, random_state=0).fit(frame), frame, method)
    assert set(named.top(2, "overall")["feature"]) == {"planted 1", "planted 2"}


def test_names_come_from_the_fitted_model_where_rows_have_none():
    model = KMeans(3, n_init=1, random_state=0).fit(pd.DataFrame(X, columns=NAMES))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        assert attribute(model, X, "exact").feature_names == tuple(NAMES)


@pytest.mark.parametrize(
    ("make", "method"),
    [
        (lambda: KMeans(3, n_init=1, random_state=0), "shap"),
        (lambda: GaussianMixture(3, random_state=0), "shap"),
        (Linear, "gradient_shap"),
    ],
)
def test_same_seed_same_answer_and_global_states_stay(make, method):
    model = make().fit(X)
    rows = X[::5]
    np.random.seed(7)  # noqa: NPY002
    torch.manual_seed(7)
    options = dict(n_permutations=1, background=5)
    first = attribute(model, rows, method, **options).sample
    after = np.random.random(), torch.rand(1).item()  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002
    torch.manual_seed(7)
    assert after == (np.random.random(), torch.rand(1).item())  # noqa: NPY002
    np.testing.assert_array_equal(first, attribute(model, rows, method, **options).sample)
    other = attribute(model, rows, method, **options, random_state=1).sample
    assert (first != other).any()


def test_hard_clusterings_by_other_rules_go_through_predict():
    model = BisectingKMeans(3, random_state=0).fit(X)
    why = attribute(model, X[::10], background=X[::6], n_permutations=1)
    assert set(why.top(2, "overall")["feature"]) == {"x1", "x3"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(method="lime"), "method is 'lime'; choose one of shap, integrated_gradients"),
        (dict(background=0), "background is 0; draw at least 1 row"),
        (dict(background=X[:, :2]), r"background has shape \(60, 2\); give rows of 5 features"),
    ],
)
def test_bad_options_are_named(kmeans, options, message):
    with pytest.raises(ValueError, match=message):
        attribute(kmeans, X, **options)


def test_unfitted_models_and_rows_without_cluster_are_refused(kmeans):
    with pytest.raises(NotFittedError):
        attribute(KMeans(3), X)
    noisy = Linear().fit(X)
    noisy.predict = lambda X: np.array([0, -1])
    with pytest.raises(ValueError, match="row 1 is in no cluster; leave such rows out"):
        attribute(noisy, X[:2])
