"""Reading a clustering tree: assigning rows, explaining them, rules, text and drawing.

It knows the arrays of a fitted complete binary tree, and not how it was grown. The nodes stand
level by level: the children of question i are 2i + 1, where "yes" leads to, and 2i + 2.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from whycluster import metrics
from whycluster.contract import validation
from whycluster.contract.explanation import Explanation
from whycluster.contract.mixins import Float32Transformer
from whycluster.training.stack import ROWS_AT_ONCE


class Node(NamedTuple):
    """A question or a leaf of a tree as it is read: without questions that change nothing.

    Attributes
    ----------
    parent : int
        Position of the question above in the list of nodes; -1 for the first.
    answer : {"", "yes", "no"}
        To that question.
    feature : int
        Asked for; -1 in a leaf.
    threshold : float
        The question is `feature <= threshold`; NaN in a leaf.
    cluster : int
        Of a leaf; -1 for a question.
    n_rows : int
        Training rows that came here.
    """

    parent: int
    answer: str
    feature: int
    threshold: float
    cluster: int
    n_rows: int


class Bounds(NamedTuple):
    """What a rule asks of a feature: low < feature ≤ high.

    Attributes
    ----------
    feature : int
    low, high : float
        Infinite where nothing is asked.
    """

    feature: int
    low: float
    high: float

    def sides(self) -> list[tuple[str, float]]:
        """Return the sides that are bounded, each as a sign and a threshold."""
        return [(s, t) for s, t in ((">", self.low), ("≤", self.high)) if np.isfinite(t)]


class TreeReading(Float32Transformer, ABC):
    """What a fitted tree answers, whichever way it was grown.

    It needs `feature_`, `threshold_`, `leaf_membership_`, `branch_share_` and `_answer`.
    """

    @abstractmethod
    def _answer(self, X: np.ndarray) -> np.ndarray:
        """Return P(no) of every question for checked rows, (n_rows, n_nodes)."""

    def predict(self, X) -> np.ndarray:
        """Return the cluster of each row, int of shape (n_samples,)."""
        return self.predict_proba(X).argmax(axis=1)

    def predict_proba(self, X) -> np.ndarray:
        """Return memberships of shape (n_samples, n_clusters)."""
        return np.concatenate(
            [reach_nodes(r)[-1] @ self.leaf_membership_ for r in self._in_parts(X)]
        )

    def transform(self, X) -> np.ndarray:
        """Return the probability of each leaf, shape (n_samples, n_leaves)."""
        parts = [reach_nodes(right)[-1].astype(np.float32) for right in self._in_parts(X)]
        return np.concatenate(parts)

    def explain(self, X) -> Explanation:
        """Say how much each feature changed each row's membership in its cluster.

        The sum over the features of a row is its membership in its cluster less the mean one.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)

        Returns
        -------
        Explanation
            Of kind "attribution", in units of membership.
        """
        parts = [self._attribute(right) for right in self._in_parts(X)]
        values = np.concatenate([values for values, _ in parts])
        labels = np.concatenate([labels for _, labels in parts])
        names = getattr(self, "feature_names_in_", None)
        n_clusters = self.leaf_membership_.shape[1]
        return Explanation.from_samples(values, labels, n_clusters, names, "attribution")

    def nodes(self) -> list[Node]:
        """Return the questions and leaves that training rows came to, parents first."""
        check_is_fitted(self)
        nodes: list[Node] = []
        self._grow(self._read(0), -1, "", nodes)
        return nodes

    def rules(self, say: Callable[[list[Bounds]], str] | None = None) -> pd.DataFrame:
        """Return one row per leaf: cluster, rows (of training), depth and the rule in words.

        Parameters
        ----------
        say : callable, optional
            Puts the features that a leaf asks for, each with its bounds, into words;
            `TableEncoder.say` does so in the units of a table.

        Returns
        -------
        DataFrame of shape (n_leaves, 4)
        """
        nodes, say = self.nodes(), say or self._say
        leaves = [node for node in nodes if node.feature < 0]
        paths = [list(_path(nodes, node)) for node in leaves]
        texts = [say(_bounds(path)) for path in paths]
        return pd.DataFrame(
            {
                "cluster": [leaf.cluster for leaf in leaves],
                "rows": [leaf.n_rows for leaf in leaves],
                "depth": [len(path) for path in paths],
                "rule": [text or "always" for text in texts],
            }
        )

    def plot(self, ax=None, max_depth: int | None = None):
        """Draw the tree: a question per box, `yes` to the left; leaves in their cluster's colour.

        Parameters
        ----------
        ax : matplotlib Axes, optional
        max_depth : int or None
            Questions below it are not drawn; None draws all of them.

        Returns
        -------
        matplotlib Axes
        """
        from whycluster import plots  # here, since most trees are read, not drawn

        nodes = self.nodes()
        labels = [self._question(node) if node.feature >= 0 else "" for node in nodes]
        parents = [node.parent for node in nodes]
        clusters = [node.cluster for node in nodes]
        rows = [node.n_rows for node in nodes]
        return plots.tree(parents, labels, clusters, rows, max_depth=max_depth, ax=ax)

    def __str__(self) -> str:
        """The tree in text, once it is fitted."""
        if not hasattr(self, "feature_"):
            return repr(self)
        nodes = self.nodes()
        leaves = [node for node in nodes if node.cluster >= 0]
        head = (
            f"{type(self).__name__}: {self.leaf_membership_.shape[1]} clusters, "
            f"{len(leaves)} leaves, {nodes[0].n_rows} rows"
        )
        return "\n".join([head, *self._lines(nodes, 0, "")])

    @property
    def _n_features_out(self) -> int:
        return len(self.leaf_membership_)

    def _in_parts(self, X) -> Iterator[np.ndarray]:
        """Yield the answers to a table, a bounded number of rows at a time."""
        check_is_fitted(self)
        yield from self._answers(validation.check_predict(self, X))

    def _answers(self, X: np.ndarray) -> Iterator[np.ndarray]:
        for start in range(0, len(X), ROWS_AT_ONCE):
            yield self._answer(X[start : start + ROWS_AT_ONCE])

    def _attribute(self, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the attributions (n_rows, n_features) and clusters of rows with these answers.

        With v the mean membership below a node, answer p of a row that comes with probability r
        to a question changes its membership by r (p - mean p) (v_no - v_yes); summed over all
        questions that is membership less v of the root, whatever the tree.
        """
        levels = reach_nodes(right)
        labels = (levels[-1] @ self.leaf_membership_).argmax(axis=1)
        reach = np.concatenate(levels[:-1], axis=1)
        value = self._mean_membership()
        n_nodes = len(self.feature_)
        gain = (value[2::2] - value[1::2])[:, labels].T  # (n_rows, n_nodes)
        change = reach * (right - self.branch_share_) * gain
        asked = np.zeros((n_nodes, self.n_features_in_), dtype=change.dtype)
        asked[np.arange(n_nodes), self.feature_] = 1
        return change @ asked, labels

    def _mean_membership(self) -> np.ndarray:
        """Return the mean membership below each node, (n_nodes + n_leaves, n_clusters)."""
        n_nodes = len(self.feature_)
        value = np.empty((2 * n_nodes + 1, self.leaf_membership_.shape[1]))
        value[n_nodes:] = self.leaf_membership_
        for i in reversed(range(n_nodes)):
            no = self.branch_share_[i]
            value[i] = (1 - no) * value[2 * i + 1] + no * value[2 * i + 2]
        return value

    def _describe_tree(self, X: np.ndarray, representation: np.ndarray) -> None:
        """Set what follows from the questions and the leaves for the training rows."""
        n_nodes = len(self.feature_)
        mass, no, visits = np.zeros(n_nodes), np.zeros(n_nodes), np.zeros(2 * n_nodes + 1, int)
        labels, on_path = [], []
        for right in self._answers(X):
            levels = reach_nodes(right)
            reach = np.concatenate(levels[:-1], axis=1)
            mass += reach.sum(axis=0)
            no += (reach * right).sum(axis=0)
            path = np.concatenate(reach_nodes((right > 0.5).astype(int)), axis=1).astype(bool)
            visits += path.sum(axis=0)
            labels.append((levels[-1] @ self.leaf_membership_).argmax(axis=1))
            on_path.append(self.leaf_membership_.argmax(axis=1)[path[:, n_nodes:].argmax(axis=1)])
        self.branch_share_ = np.divide(no, mass, out=np.full(n_nodes, 0.5), where=mass > 0)
        self.node_rows_ = visits
        self.labels_ = np.concatenate(labels)
        self.path_agreement_ = float((self.labels_ == np.concatenate(on_path)).mean())
        self.inertia_ = metrics.inertia(representation, self.labels_)

    def _read(self, i: int):
        """Return node i as nested tuples, without questions that no row tells apart."""
        n_nodes = len(self.feature_)
        rows = int(self.node_rows_[i])
        if i >= n_nodes:
            return rows, int(self.leaf_membership_[i - n_nodes].argmax())
        yes, no = 2 * i + 1, 2 * i + 2
        if not self.node_rows_[yes] or not self.node_rows_[no]:
            return self._read(no if self.node_rows_[no] else yes)
        below = self._read(yes), self._read(no)
        if len(below[0]) == len(below[1]) == 2 and below[0][1] == below[1][1]:
            return rows, below[0][1]  # two leaves of one cluster are one leaf
        return rows, int(self.feature_[i]), float(self.threshold_[i]), *below

    def _grow(self, tree: tuple, parent: int, answer: str, nodes: list[Node]) -> None:
        """Append `tree` and what is below it to `nodes`."""
        if len(tree) == 2:
            nodes.append(Node(parent, answer, -1, np.nan, tree[1], tree[0]))
            return
        nodes.append(Node(parent, answer, tree[1], tree[2], -1, tree[0]))
        here = len(nodes) - 1
        self._grow(tree[3], here, "yes", nodes)
        self._grow(tree[4], here, "no", nodes)

    def _lines(self, nodes, i: int, indent: str) -> Iterator[str]:
        """Yield the lines of node i and of what is below it."""
        node = nodes[i]
        mark = {"": "", "yes": "├─ yes: ", "no": "└─ no:  "}[node.answer]
        if node.feature < 0:
            yield f"{indent}{mark}cluster {node.cluster} ({node.n_rows} rows)"
            return
        yield f"{indent}{mark}{self._question(node)}"
        bar = {"": "", "yes": "│       ", "no": "        "}[node.answer]
        for j, child in enumerate(nodes):
            if child.parent == i:
                yield from self._lines(nodes, j, indent + bar)

    def _question(self, node: Node) -> str:
        return self._say([Bounds(node.feature, -np.inf, node.threshold)])

    def _say(self, conditions: list[Bounds]) -> str:
        names = self._names()
        sides = [(names[b.feature], sign, t) for b in conditions for sign, t in b.sides()]
        return " and ".join(f"{name} {sign} {_number(t)}" for name, sign, t in sides)

    def _names(self) -> list[str]:
        n = self.n_features_in_
        return list(getattr(self, "feature_names_in_", [f"x{j}" for j in range(n)]))


def reach_nodes(right: np.ndarray) -> list[np.ndarray]:
    """Return the probability of coming to each node, one array (n_rows, 2**level) per level."""
    levels = [np.ones((len(right), 1), right.dtype)]
    for nodes in levels_of(right.shape[1]):
        p = right[:, nodes]
        both = np.stack([levels[-1] * (1 - p), levels[-1] * p], axis=-1)
        levels.append(both.reshape(len(right), -1))
    return levels


def levels_of(n_nodes: int) -> Iterator[slice]:
    """Yield the nodes of every level of a complete tree."""
    start = 0
    while start < n_nodes:
        yield slice(start, 2 * start + 1)
        start = 2 * start + 1


def _bounds(path: list[tuple[int, str, float]]) -> list[Bounds]:
    """Return the features of a path in the order of their first question, with their bounds.

    The last of several questions about one side of a feature is the strictest.
    """
    ends = {(feature, sign): threshold for feature, sign, threshold in path}
    features = dict.fromkeys(feature for feature, _, _ in path)
    return [Bounds(f, ends.get((f, ">"), -np.inf), ends.get((f, "≤"), np.inf)) for f in features]


def _path(nodes: list[Node], node: Node) -> Iterator[tuple[int, str, float]]:
    """Yield feature, sign and threshold of the questions above a node, from the top."""
    if node.parent >= 0:
        above = nodes[node.parent]
        yield from _path(nodes, above)
        yield above.feature, "≤" if node.answer == "yes" else ">", above.threshold


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")
