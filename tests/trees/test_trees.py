"""Clustering trees: what they find, what they say, and that every step is the optimum it claims."""

import itertools
import types

import numpy as np
import pytest
import torch
from planted import corners
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

from whycluster import SoftClusteringTree, TAOClusteringTree, metrics
from whycluster.training.streams import Streams
from whycluster.trees import reading, tao
from whycluster.trees import soft as soft_trees

SOFT = SoftClusteringTree(
    4, depth=3, max_epochs=60, batch_size=128, learning_rate=0.05, random_state=1, device="cpu"
)
TAO = TAOClusteringTree(4, depth=3, random_state=0)


@pytest.fixture(scope="module")
def planted():
    return corners()


@pytest.fixture(scope="module", params=[SOFT, TAO], ids=["soft", "TAO"])
def tree(request, planted):
    return clone(request.param).fit(planted[0])


@pytest.fixture(scope="module")
def iris():
    scaler = StandardScaler().set_output(transform="pandas")
    return scaler.fit_transform(load_iris(as_frame=True).data)


class TestBoth:
    def test_planted_clusters_are_found_by_the_planted_features(self, tree, planted):
        X, y = planted
        assert metrics.clustering_accuracy(y, tree.labels_) > 0.99
        asked = {X.columns[node.feature] for node in tree.nodes() if node.feature >= 0}
        assert {"age", "income"} <= asked
        why = tree.explain(X)
        assert set(why.top(2, "overall")["feature"]) == {"age", "income"}

    def test_attributions_add_up_to_the_membership_less_the_mean(self, tree, planted):
        X, _ = planted
        membership = tree.predict_proba(X)
        gap = (membership - membership.mean(axis=0))[np.arange(len(X)), tree.labels_]
        np.testing.assert_allclose(tree.explain(X).sample.sum(axis=1), gap, atol=2e-6)

    def test_a_feature_that_is_not_asked_for_explains_nothing(self, tree, planted):
        X, _ = planted
        asked = np.unique(tree.feature_[np.isfinite(tree.threshold_)])
        others = np.setdiff1d(np.arange(X.shape[1]), asked)
        assert not tree.explain(X).sample[:, others].any()

    def test_rules_cover_every_row_once_and_agree_with_the_path(self, tree, planted):
        X, _ = planted
        rules = tree.rules()
        hits = np.array([_follow(X, rule) for rule in rules["rule"]])
        np.testing.assert_array_equal(hits.sum(axis=0), 1)
        np.testing.assert_array_equal(hits.sum(axis=1), rules["rows"])
        said = rules["cluster"].to_numpy()[hits.argmax(axis=0)]
        assert (said == tree.labels_).mean() == pytest.approx(tree.path_agreement_)

    def test_rules_can_be_put_in_other_words_each_feature_once(self, tree, planted):
        X, _ = planted
        rules = tree.rules(lambda bounds: ";".join(f"{f},{low},{high}" for f, low, high in bounds))
        for rule, n_rows in zip(rules["rule"], rules["rows"], strict=True):
            bounds = np.array([part.split(",") for part in rule.split(";")], float)
            asked = X.to_numpy(np.float32)[:, bounds[:, 0].astype(int)]
            assert len(np.unique(bounds[:, 0])) == len(bounds)
            assert ((asked > bounds[:, 1]) & (asked <= bounds[:, 2])).all(axis=1).sum() == n_rows

    def test_the_text_names_features_and_ends_in_every_cluster(self, tree):
        text = str(tree)
        first, *lines = text.splitlines()
        assert first.startswith(f"{type(tree).__name__}: 4 clusters")
        assert "age ≤" in text
        assert {k for k in range(4) if f"cluster {k} (" in text} == set(range(4))
        assert len([line for line in lines if "cluster" in line]) == len(tree.rules())

    def test_an_unfitted_tree_prints_its_settings(self, tree):
        assert str(clone(tree)) == repr(clone(tree))

    def test_a_drawing_has_a_box_for_every_node(self, tree):
        ax = tree.plot()
        assert len(ax.texts) == len(tree.nodes())
        assert len(ax.lines) == len(tree.nodes()) - 1

    def test_distances_are_taken_in_the_representation(self, tree, planted):
        X, _ = planted
        income = X[["income"]].to_numpy() * 100
        two = clone(tree).set_params(n_clusters=2).fit(X, representation=income)
        high = X["income"].to_numpy() > 0
        assert metrics.clustering_accuracy(high, two.labels_) > 0.99
        assert two.cluster_centers_.shape == (2, 1)
        np.testing.assert_allclose(np.sort(two.cluster_centers_[:, 0]), [-200, 200], rtol=0.1)
        assert two.inertia_ == pytest.approx(metrics.inertia(income, two.labels_), rel=1e-4)

    def test_restarts_keep_the_lowest_inertia(self, tree, planted):
        X, _ = planted
        best = clone(tree).set_params(n_init=3).fit(X)
        assert best.inertia_ <= tree.inertia_ * (1 + 1e-6)

    def test_several_seeds_equal_single_fits(self, tree, planted):
        X, _ = planted
        for model, state in zip(tree.fit_seeds(X, [0, 5]), [0, 5], strict=True):
            alone = clone(tree).set_params(random_state=state).fit(X)
            np.testing.assert_array_equal(model.labels_, alone.labels_)

    def test_no_seed_is_refused(self, tree, planted):
        with pytest.raises(ValueError, match="random_states is empty"):
            tree.fit_seeds(planted[0], [])

    def test_a_representation_of_other_rows_is_refused(self, tree, planted):
        X, _ = planted
        with pytest.raises(ValueError, match=r"representation has 199 rows and X 200") as error:
            clone(tree).fit(X, representation=X[1:])
        assert "\n" not in str(error.value)

    def test_clusters_without_rows_are_announced(self, tree, planted):
        shallow = clone(tree).set_params(n_clusters=7, depth=1)
        with pytest.warns(ConvergenceWarning, match="found . clusters, n_clusters=7"):
            shallow.fit(planted[0])
        assert len(set(shallow.labels_)) < 7

    def test_a_saved_tree_still_prints_and_draws(self, tree, tmp_path):
        tree.save(tmp_path)
        assert str(type(tree).load(tmp_path)) == str(tree)

    @pytest.mark.parametrize("depth", [0, 11, 2.5])
    def test_impossible_depths_are_refused(self, tree, planted, depth):
        with pytest.raises(ValueError, match="'depth' parameter"):
            clone(tree).set_params(depth=depth).fit(planted[0])


def _follow(X, rule):
    """Evaluate a rule as printed, whose thresholds have three digits, on the rows of X."""
    hit = np.ones(len(X), bool)
    for part in rule.replace("−", "-").split(" and "):
        name, sign, threshold = part.rsplit(" ", 2)
        below = X[name].to_numpy() <= float(threshold)
        hit &= below if sign == "≤" else ~below
    return hit


class TestSoft:
    def test_a_soft_path_is_the_product_of_its_answers(self):
        right = np.array([[0.25, 0.5, 0.1]])
        leaves = reading.reach_nodes(right)[-1]
        np.testing.assert_allclose(leaves, [[0.375, 0.375, 0.225, 0.025]], rtol=1e-6)

    def test_network_and_reading_agree(self, planted):
        X, _ = planted
        tree = clone(SOFT).fit(X)
        scaled = StandardScaler().fit_transform(X).astype(np.float32)
        with torch.no_grad():
            found = tree.network_(torch.as_tensor(scaled)[None])
        np.testing.assert_allclose(tree.predict_proba(X), found["membership"][0], atol=1e-5)

    def test_units_of_features_do_not_matter(self, planted):
        X, _ = planted
        units = np.array([1e-3, 10, 1, 0.01, 1e3])
        tree, other = clone(SOFT).fit(X), clone(SOFT).fit(X * units + 5, representation=X)
        assert (tree.labels_ == other.labels_).mean() > 0.97

    def test_answers_are_logistic_in_one_feature(self, planted):
        X, _ = planted
        tree = clone(SOFT).fit(X)
        asked = X.to_numpy()[:, tree.feature_]
        expected = 1 / (1 + np.exp(-tree.sharpness_ * (asked - tree.threshold_)))
        np.testing.assert_allclose(tree._answer(np.array(X, np.float32)), expected, atol=1e-5)

    def test_imbalance_is_zero_for_halves_and_known_by_hand(self):
        assert soft_trees.imbalance(torch.full((2, 4, 3), 0.5)).abs().max() < 1e-6
        # all rows: first question 1/4 no; below it, halves
        right = torch.tensor([0.25, 0.5, 0.5]).expand(1, 6, 3)
        expected = -0.5 * np.log(4 * 0.25 * 0.75)
        assert soft_trees.imbalance(right).item() == pytest.approx(expected, rel=1e-5)

    def test_imbalance_weighs_rows_by_how_surely_they_come(self):
        right = torch.zeros(1, 4, 3)
        right[0, :2, 0] = 1  # two rows go to the second question, which halves them
        right[0, 0, 2] = 1
        right[0, 2, 1] = 1  # so does the first with the other two
        assert soft_trees.imbalance(right).item() == pytest.approx(0, abs=1e-5)

    def test_the_balance_penalty_keeps_branches_in_use(self, planted):
        X, _ = planted
        rows = X.to_numpy()
        uneven = []
        for balance in (SOFT.balance, 0.0):
            soft = clone(SOFT).set_params(depth=4, max_epochs=30, balance=balance)
            answers = np.stack([m._answer(rows) for m in soft.fit_seeds(X, range(8))])
            uneven.append(soft_trees.imbalance(torch.as_tensor(answers)).mean().item())
        assert uneven[0] < 0.7 * uneven[1]

    def test_gradients_of_the_network_match_finite_differences(self):
        network = soft_trees._SoftTree(3, 2, 2, 3, 2.0, Streams([0])).double()
        x = torch.randn(1, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

        def membership(selection, threshold, leaves):
            parameters = {"selection": selection, "threshold": threshold, "leaf_logits": leaves}
            call = torch.func.functional_call(network, parameters, (x, 0.7))
            return call["membership"]

        inputs = (network.selection, network.threshold, network.leaf_logits)
        assert torch.autograd.gradcheck(membership, inputs)

    def test_history_has_every_phase(self, planted):
        tree = clone(SOFT).fit(planted[0])
        lengths = {name: len(values) for name, values in tree.history_.items()}
        assert lengths["soft/distance"] == 24
        assert lengths["anneal/distance"] == 12
        assert lengths["one feature/distance"] == 24
        last = tree.history_["one feature/distance"]
        assert last[-1] < 0.5 * tree.history_["soft/distance"][0]

    def test_a_fit_that_was_cut_off_resumes(self, planted, tmp_path, monkeypatch):
        X, _ = planted
        model = clone(SOFT).set_params(checkpoint=tmp_path, max_epochs=10)
        whole = model.fit(X).labels_

        def fail(*_):
            raise AssertionError("trained again")

        monkeypatch.setattr(soft_trees.TreePhases, "_minimise", fail)
        np.testing.assert_array_equal(clone(model).fit(X).labels_, whole)


class TestTAO:
    def test_inertia_never_rises(self, iris):
        for depth, seed in itertools.product((1, 2, 4), range(3)):
            tree = TAOClusteringTree(3, depth=depth, tol=0.0, random_state=seed).fit(iris)
            assert (np.diff(tree.history_) <= 1e-6 * tree.history_[0]).all()
            assert tree.history_[-1] == pytest.approx(tree.inertia_)

    def test_centers_are_means_and_inertia_is_their_distance(self, iris):
        tree = TAOClusteringTree(3, depth=3, random_state=0).fit(iris)
        means = [iris[tree.labels_ == k].mean() for k in range(3)]
        np.testing.assert_allclose(tree.cluster_centers_, means, atol=1e-5)
        assert tree.inertia_ == pytest.approx(metrics.inertia(iris, tree.labels_))

    def test_a_deep_tree_nears_kmeans_and_a_deeper_one_is_better(self, iris):
        kmeans = KMeans(3, n_init=10, random_state=0).fit(iris).inertia_
        shallow, deep = (
            TAOClusteringTree(3, depth=d, n_init=3, random_state=0).fit(iris).inertia_
            for d in (2, 6)
        )
        assert kmeans * (1 - 1e-6) <= deep <= 1.02 * kmeans
        assert deep < shallow

    def test_the_best_question_is_the_best_of_all(self):
        rng = np.random.default_rng(0)
        X = rng.integers(0, 4, (60, 3)).astype(np.float32)  # many ties
        gain, node = rng.normal(size=60), rng.integers(0, 3, 60)
        found = tao._Splits(X).best(gain, node, 3)
        for i in range(3):
            rows, own = X[node == i], gain[node == i]
            thresholds = (-np.inf, 0.5, 1.5, 2.5, np.inf)
            sums = [own[rows[:, j] > t].sum() for j in range(3) for t in thresholds]
            assert found[2][i] == pytest.approx(min(sums))
            said = own[rows[:, found[0][i]] > found[1][i]].sum()
            assert said == pytest.approx(found[2][i])

    def test_a_node_without_rows_asks_nothing(self):
        feature, threshold, value = tao._Splits(np.zeros((2, 1), np.float32)).best(
            np.array([1.0, 2.0]), np.array([1, 1]), 3
        )
        assert np.isposinf(threshold).all()
        assert not value.any()
        assert not feature.any()

    def test_a_bad_tree_is_improved_until_no_single_change_helps(self, iris):
        X = iris.to_numpy(np.float32)
        cost = tao._squared_distances(X, X[[0, 60, 120]])
        rng = np.random.default_rng(0)
        hard = tao._HardTree(
            rng.integers(0, 4, 3), rng.normal(size=3).astype(np.float32), rng.integers(0, 3, 4)
        )
        rows = np.arange(len(X))
        costs = [cost[rows, hard.assign(X)].sum()]
        for _ in range(10):
            hard.improve(tao._Splits(X), cost)
            costs.append(cost[rows, hard.assign(X)].sum())
        assert (np.diff(costs) <= 1e-6 * costs[0]).all()
        assert costs[-1] < 0.7 * costs[0]
        for i, j in itertools.product(range(3), range(4)):
            for threshold in np.unique(X[:, j]):
                other = tao._HardTree(hard.feature.copy(), hard.threshold.copy(), hard.leaf)
                other.feature[i], other.threshold[i] = j, threshold
                assert cost[rows, other.assign(X)].sum() >= costs[-1] * (1 - 1e-6)

    def test_thresholds_part_neighbouring_numbers(self):
        low = np.float32(1)
        high = np.nextafter(low, np.float32(2))
        assert low <= tao._between(low, high) < high
        assert tao._between(np.float32(0), np.float32(1)) == 0.5

    def test_neighbouring_leaves_of_one_cluster_are_read_as_one(self, iris):
        tree = TAOClusteringTree(3, depth=3, random_state=0).fit(iris)
        assert len(tree.rules()) > 2
        tree.leaf_membership_ = np.eye(3)[np.zeros(8, int)]
        assert tree.rules()["rule"].tolist() == ["always"]
        assert str(tree).endswith("cluster 0 (150 rows)")

    def test_a_million_answers_are_given_in_parts(self, iris, monkeypatch):
        tree = TAOClusteringTree(3, depth=3, random_state=0).fit(iris)
        monkeypatch.setattr(reading, "ROWS_AT_ONCE", 7)
        seen = []
        answer = tree._answer
        counting = types.MethodType(lambda _, X: seen.append(len(X)) or answer(X), tree)
        monkeypatch.setattr(tree, "_answer", counting)
        np.testing.assert_array_equal(tree.predict(iris), tree.labels_)
        assert max(seen) == 7
