"""TAO clustering trees: hard questions, one optimised at a time while the others stay as they are.

The squared distance of rows to the centre of their cluster is minimised under the condition that a
tree with one feature per question assigns the rows.

Gabidolla, Carreira-Perpiñán (2022). Optimal Interpretable Clustering Using Oblique Decision Trees.
KDD. As described by Upadhya and Cohen (2024), NeurCAM, Section 5.1, whose baseline it is.

Deviations from the papers
--------------------------
1. The tree itself assigns the rows at every step, so that every step lowers the distances that are
   reported. Gabidolla and Carreira-Perpiñán let assignments differ from the tree's under a growing
   penalty, which they need for oblique questions, whose best answer cannot be found.
2. Questions about one feature are optimised exactly, over all features and thresholds.
3. A row is explained by how much each question on its way changed the membership in its cluster.
   The papers print the tree only.
"""

from collections.abc import Iterator
from typing import Annotated

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin, clone
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import check_random_state
from tqdm.auto import tqdm

from whycluster import metrics
from whycluster.contract import validation
from whycluster.contract.persistence import Savable
from whycluster.contract.settings import (
    Checked,
    Count,
    Declared,
    NotNegative,
    RandomState,
    between,
    fitting,
    setting,
)
from whycluster.training.centres import first_centres
from whycluster.training.streams import restart_seeds
from whycluster.trees.reading import TreeReading, levels_of


class TAOClusteringTree(Declared, TreeReading, ClusterMixin, Savable, BaseEstimator):
    """Clustering tree by alternating optimisation: hard questions, each about one feature.

    Starts from a decision tree fitted to the clusters of mini-batch k-means. Then, in turn, every
    question and leaf is set to its optimum for the present centres and the rest of the tree, from
    the leaves up, and the centres move to the mean of their rows. The inertia never rises.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,)
    feature_, threshold_ : ndarray of shape (n_nodes,)
        Of each question `feature <= threshold`, level by level. An infinite threshold asks nothing.
    leaf_membership_ : ndarray of shape (n_leaves, n_clusters)
        1 for the cluster of the leaf, else 0.
    branch_share_ : ndarray of shape (n_nodes,)
        Share of the training rows at a question that answer "no".
    node_rows_ : ndarray of shape (n_nodes + n_leaves,)
        Training rows that come to a node.
    path_agreement_ : float
        1: the printed tree is the whole model.
    cluster_centers_ : ndarray of shape (n_clusters, n_dimensions)
        Means of the clusters in the space of the representation.
    inertia_ : float
        Sum of squared distances of rows to the mean of their cluster, in the representation.
    n_iter_ : int
        Rounds of the restart that was kept.
    history_ : ndarray of shape (n_iter_ + 1,)
        Inertia at the start and after each round; never rises.

    References
    ----------
    Gabidolla and Carreira-Perpiñán (2022), Optimal Interpretable Clustering Using Oblique Decision
    Trees, KDD; Carreira-Perpiñán and Tavallali (2018), Alternating Optimization of Decision Trees,
    NeurIPS.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.datasets import make_blobs
    >>> X, _ = make_blobs(90, centers=[[-2, 0], [2, -2], [2, 2]], cluster_std=0.3, random_state=0)
    >>> tree = TAOClusteringTree(3, depth=2, random_state=0)
    >>> print(tree.fit(pd.DataFrame(X, columns=["age", "income"])))
    TAOClusteringTree: 3 clusters, 3 leaves, 90 rows
    age ≤ 0.0959
    ├─ yes: cluster 1 (30 rows)
    └─ no:  income ≤ 0.0598
            ├─ yes: cluster 0 (30 rows)
            └─ no:  cluster 2 (30 rows)
    """

    n_clusters: Checked = setting(8, positional=True)
    n_init: Count = setting(
        1, "Restarts from other clusters of k-means; the one with the lowest inertia is kept."
    )
    depth: Annotated[int, between(1, 10)] = setting(
        5, "Questions on the way to a leaf; the paper compares 5 and 7."
    )
    max_iter: Count = setting(
        100, "Rounds of tree and centres; stops earlier when the inertia falls by less than `tol`."
    )
    tol: NotNegative = setting(1e-4, "Relative decrease of the inertia below which it has settled.")
    random_state: RandomState = setting(None)
    verbose: int = setting(0, "1: a progress bar.")

    def fit(self, X, y=None, *, representation=None):
        """Grow the tree.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            What the questions are about.
        y : None
            Ignored.
        representation : array-like of shape (n_samples, n_dimensions), optional
            The same rows where distances are taken. `X` if not given.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a value is missing or infinite, rows are too few or all alike, or the
            representation has another number of rows.
        """
        self._validate_params()
        with fitting(self) as twin:
            twin._fit(*validation.check_represented(twin, X, representation))
        validation.warn_of_empty_clusters(self, stacklevel=2)
        return self

    def _fit(self, X: np.ndarray, representation: np.ndarray) -> None:
        """Grow a tree from each start; keep the best."""
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        splits = _Splits(X)
        starts = restart_seeds([seed], self.n_init)
        runs = [self._optimise(splits, representation, start) for start in starts]
        best = min(runs, key=lambda run: run["history"][-1])
        self.feature_, self.threshold_ = best["feature"], best["threshold"]
        self.leaf_membership_ = np.eye(self.n_clusters)[best["leaf"]]
        self.cluster_centers_ = best["centers"]
        self.history_ = np.array(best["history"])
        self.n_iter_ = len(self.history_) - 1
        self._describe_tree(X, representation)

    def fit_seeds(self, X, random_states, representation=None) -> list["TAOClusteringTree"]:
        """Fit one copy per random state; see `fit`."""
        models = [clone(self).set_params(random_state=state) for state in random_states]
        if not models:
            raise ValueError("random_states is empty; give one for each model to fit")
        return [model.fit(X, representation=representation) for model in models]

    def _optimise(self, splits: "_Splits", representation: np.ndarray, seed: int) -> dict:
        """Alternate between tree and centres from one start, until the inertia settles."""
        centers = first_centres(representation, self.n_clusters, seed)
        nearest = _squared_distances(representation, centers).argmin(axis=1)
        tree = _cart(splits.X, nearest, self.depth, seed)
        centers, labels = _recentre(representation, tree.assign(splits.X), centers)
        history = [metrics.inertia(representation, labels)]
        rounds = tqdm(range(self.max_iter), disable=not self.verbose, unit="round")
        for _ in rounds:
            tree.improve(splits, _squared_distances(representation, centers))
            centers, labels = _recentre(representation, tree.assign(splits.X), centers)
            history.append(metrics.inertia(representation, labels))
            if history[-2] - history[-1] <= self.tol * history[-2]:
                break
        return {**vars(tree), "centers": centers, "history": history}

    def _answer(self, X: np.ndarray) -> np.ndarray:
        return (X[:, self.feature_] > self.threshold_).astype(float)


class _HardTree:
    """A complete binary tree in arrays: `feature`, `threshold` by node, `leaf` clusters."""

    def __init__(self, feature: np.ndarray, threshold: np.ndarray, leaf: np.ndarray):
        self.feature, self.threshold, self.leaf = feature, threshold, leaf

    def descend(self, X: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """Return the leaf below `nodes`, all of one level, for each row."""
        nodes = nodes.copy()
        while nodes[0] < len(self.feature):
            no = X[np.arange(len(X)), self.feature[nodes]] > self.threshold[nodes]
            nodes = 2 * nodes + 1 + no
        return nodes - len(self.feature)

    def assign(self, X: np.ndarray) -> np.ndarray:
        """Return the cluster of each row."""
        return self.leaf[self.descend(X, np.zeros(len(X), int))]

    def improve(self, splits: "_Splits", cost: np.ndarray) -> None:
        """Set leaves, then questions from the bottom up, to their optimum for the rest.

        Parameters
        ----------
        splits : _Splits
        cost : ndarray of shape (n_rows, n_clusters)
            Of putting a row into a cluster.
        """
        leaves = self.descend(splits.X, np.zeros(len(cost), int))
        totals = np.zeros((len(self.leaf), cost.shape[1]))
        np.add.at(totals, leaves, cost)
        is_used = np.bincount(leaves, minlength=len(self.leaf)) > 0
        self.leaf = np.where(is_used, totals.argmin(axis=1), self.leaf)
        for level in reversed(list(levels_of(len(self.feature)))):
            self._improve_level(level, splits, cost)

    def _improve_level(self, level: slice, splits: "_Splits", cost: np.ndarray) -> None:
        """Set the questions of one level, which see disjoint rows, to their optimum."""
        node = self._at(splits.X, level.start)
        rows = np.arange(len(node))
        yes, no = (self.leaf[self.descend(splits.X, 2 * node + 1 + i)] for i in (0, 1))
        gain = cost[rows, no] - cost[rows, yes]  # what a row loses by answering no
        feature, threshold, value = splits.best(gain, node - level.start, level.stop - level.start)
        answer = splits.X[rows, self.feature[node]] > self.threshold[node]
        now = np.bincount(node - level.start, np.where(answer, gain, 0), len(value))
        better = value < now - 1e-9 * np.abs(now)
        self.feature[level] = np.where(better, feature, self.feature[level])
        self.threshold[level] = np.where(better, threshold, self.threshold[level])

    def _at(self, X: np.ndarray, start: int) -> np.ndarray:
        """Return the node that each row comes to in the level that begins with node `start`."""
        node = np.zeros(len(X), int)
        while node[0] < start:
            node = 2 * node + 1 + (X[np.arange(len(X)), self.feature[node]] > self.threshold[node])
        return node


class _Splits:
    """The rows in the order of every feature, for exact splits of all nodes of a level at once."""

    def __init__(self, X: np.ndarray):
        self.X = X
        self.order = np.argsort(X, axis=0, kind="stable").T.astype(np.int32)  # (n_features, n_rows)

    def best(self, gain: np.ndarray, node: np.ndarray, n_nodes: int):
        """Find, per node, the question with the least summed `gain` of the rows that answer no.

        Returns feature, threshold and that sum, each of shape (n_nodes,). Asking nothing (an
        infinite threshold, sum 0) and answering no always (minus infinity) are among the choices.
        """
        total = np.bincount(node, gain, n_nodes)
        value = np.minimum(total, 0.0)
        threshold = np.where(total < 0, -np.inf, np.inf)
        feature = np.zeros(n_nodes, int)
        narrow = node.astype(np.int16)  # numpy sorts these in linear time
        for j, order in enumerate(self.order):
            order = order[np.argsort(narrow[order], kind="stable")]
            found = _scan(self.X[order, j], gain[order], node[order], total, value)
            for i, at, least in found:
                feature[i], threshold[i], value[i] = j, at, least
        return feature, threshold, value


def _scan(x, gain, node, total, value) -> Iterator[tuple[int, np.float32, float]]:
    """Yield node, threshold and sum of splits by one feature that beat the `value` of their node.

    Rows come node by node, and within a node in the order of the feature.
    """
    last = np.flatnonzero(np.diff(node, append=-1))  # last row of each node
    first = np.concatenate([[0], last[:-1] + 1])
    passed = np.cumsum(gain)
    before = np.repeat(np.concatenate([[0.0], passed[last[:-1]]]), last - first + 1)
    rest = total[node] - (passed - before)  # of the rows after this one, which answer no
    is_between = np.append(x[1:] > x[:-1], False)
    is_between[last] = False
    rest[~is_between] = np.inf
    least = np.minimum.reduceat(rest, first)
    for k in np.flatnonzero(least < value[node[first]]):
        at = first[k] + int(rest[first[k] : last[k] + 1].argmin())
        yield int(node[at]), _between(x[at], x[at + 1]), rest[at]


def _between(low: np.float32, high: np.float32) -> np.float32:
    """Return a threshold that `low` does not exceed and `high` does."""
    middle = np.float32(low + (high - low) / 2)
    return middle if low <= middle < high else low


def _cart(X: np.ndarray, labels: np.ndarray, depth: int, seed: int) -> _HardTree:
    """Return a decision tree fitted to `labels`, filled up to a complete one."""
    fitted = DecisionTreeClassifier(max_depth=depth, random_state=seed).fit(X, labels).tree_
    n_nodes = 2**depth - 1
    tree = _HardTree(
        np.zeros(n_nodes, int), np.full(n_nodes, np.inf, np.float32), np.zeros(n_nodes + 1, int)
    )
    classes = np.unique(labels)
    pending = [(0, 0)]  # node here, node there
    while pending:
        i, j = pending.pop()
        if i >= n_nodes:
            tree.leaf[i - n_nodes] = classes[fitted.value[j, 0].argmax()]
            continue
        is_leaf = fitted.children_left[j] < 0
        if not is_leaf:
            tree.feature[i], tree.threshold[i] = fitted.feature[j], fitted.threshold[j]
        pending.append((2 * i + 1, j if is_leaf else fitted.children_left[j]))
        pending.append((2 * i + 2, j if is_leaf else fitted.children_right[j]))
    return tree


def _recentre(representation, labels, centers) -> tuple[np.ndarray, np.ndarray]:
    """Return the means of the clusters, an empty one staying where it is, and the labels."""
    n = np.bincount(labels, minlength=len(centers))[:, None]
    total = np.zeros(centers.shape)
    np.add.at(total, labels, representation)
    return np.where(n > 0, total / np.maximum(n, 1), centers).astype(np.float32), labels


def _squared_distances(rows: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Return squared distances (n_rows, n_clusters) up to a constant per row, which is added."""
    squares = (rows.astype(float) ** 2).sum(axis=1)[:, None]
    return squares - 2 * (rows @ centers.T) + (centers.astype(float) ** 2).sum(axis=1)
