"""Clustering trees: a row answers a few questions about single features and is in a cluster.

Baselines that explain themselves. Both minimise the squared distance of rows to the centre of
their cluster, under the condition that a tree with one feature per question assigns the rows. The
questions look at ``X``; distances are taken in a ``representation`` of the same rows, which may be
another space.

Soft clustering trees (SCT): questions are answered by probabilities, everything is trained by
gradient descent. Cohen (2023). Interpretable Clustering via Soft Clustering Trees. CPAIOR.
TAO clustering trees: hard questions, one optimised at a time while the others stay as they are.
Gabidolla, Carreira-Perpiñán (2022). Optimal Interpretable Clustering Using Oblique Decision Trees.
KDD. Both as described by Upadhya and Cohen (2024), NeurCAM, Section 5.1, whose baselines they are.

=========  ======================  ==========================================================
symbol     code                    shape
=========  ======================  ==========================================================
x          ``x``                   (n_models, batch, n_features)
x̃          ``representation``      (n_models, batch, n_dimensions)
p          ``right``               P(no | x, node), (n_models, batch, n_nodes), nodes level by
                                   level: the children of node i are 2i + 1 (yes), 2i + 2 (no)
P(l | x)   ``leaf``                (n_models, batch, n_leaves)
π          ``leaf_membership_``    (n_leaves, n_clusters)
w          ``membership``          Σ_l P(l | x) π_l
z_k        ``centers``             (n_models, n_clusters, n_dimensions)
=========  ======================  ==========================================================

Deviations from the papers
--------------------------
1. SCT: one feature per question comes from a softmax over features whose temperature falls until
   each question keeps its strongest feature for good; the rest of training then tunes thresholds
   and leaves for these very features. Cohen (2023) gets sparse questions from penalties.
2. SCT: a penalty on questions that all rows answer alike (`imbalance`), while features are mixed.
   Without it gradient descent leaves most leaves empty: mean squared distance of three seeds on
   Pendigits, depth 5, 20 epochs, 8.9 without and 7.4 with it; k-means reaches 5.6.
3. TAO: the tree itself assigns the rows at every step, so that every step lowers the distances that
   are reported. Gabidolla and Carreira-Perpiñán let assignments differ from the tree's under a
   growing penalty, which they need for oblique questions, whose best answer cannot be found.
4. TAO: questions about one feature are optimised exactly, over all features and thresholds.
5. Reading: a row is explained by how much each question on its way changed the membership in its
   cluster. The papers print the tree only.
"""

from collections.abc import Iterator
from numbers import Integral, Real

import numpy as np
import torch
from scipy.special import expit
from sklearn.base import BaseEstimator, ClusterMixin, clone
from sklearn.cluster import MiniBatchKMeans
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn
from tqdm.auto import tqdm

from whycluster import losses, metrics, validation
from whycluster.distances import Represented, fast_squared_distances
from whycluster.modules import take
from whycluster.persistence import Savable
from whycluster.stacked import StackedEstimator, evaluate
from whycluster.streams import Streams, restart_seeds
from whycluster.training import History, cosine, resolve_device, train
from whycluster.tree_reading import TreeReading, levels_of


class SoftClusteringTree(TreeReading, ClusterMixin, StackedEstimator):
    """Soft clustering tree: a tree of probabilistic questions, each about one feature.

    Parameters
    ----------
    n_clusters : int, default=8
    depth : int from 1 to 10, default=5
        Questions on the way to a leaf; the paper compares 5 and 7.
    fuzziness : float, at least 1, default=1.0
        Exponent m of the memberships, Eq. (15) of NeurCAM. 1: the expected squared distance.
    sharpness : float, default=4.0
        Initial slope of each question, per standard deviation of its feature.
    balance : float, default=0.1
        Weight of `imbalance`, in units of the variance of the representation; fades out while the
        temperature falls. 0: none, and trees end with few leaves in use (deviation 2).
    max_epochs : int, default=300
        Two fifths with mixed features, one fifth annealing, two fifths with one feature per
        question.
    min_temperature : float, default=0.01
        Of the softmax over features, at the end of annealing.
    batch_size : int, default=512
    learning_rate : float, default=0.02
        Adam; falls along half a cosine.
    n_init : int, default=1
        Restarts; the one with the lowest inertia is kept.
    random_state : int, RandomState or None, default=None
    device : str, default="auto"
    precision : {"highest", "high", "medium"}, default="highest"
        Float32 matrix products, see `torch.set_float32_matmul_precision`.
    checkpoint : path or None, default=None
        Folder for finished phases: a fit that was cut off resumes after the last of them.
    verbose : int, default=0
        1: a progress bar.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,)
        The cluster of largest membership.
    feature_, threshold_ : ndarray of shape (n_nodes,)
        Of each question `feature <= threshold`, level by level.
    sharpness_ : ndarray of shape (n_nodes,)
        Slope of the logistic answer, per unit of the feature.
    leaf_membership_ : ndarray of shape (n_leaves, n_clusters)
        Rows sum to one.
    branch_share_ : ndarray of shape (n_nodes,)
        Mean answer "no" of the training rows that come to a question.
    node_rows_ : ndarray of shape (n_nodes + n_leaves,)
        Training rows on whose most probable path a node is.
    path_agreement_ : float in [0, 1]
        Share of training rows whose most probable path ends in a leaf of their cluster: how far
        the printed tree, which is hard, tells what the soft one does.
    cluster_centers_ : ndarray of shape (n_clusters, n_dimensions)
        As trained, in the space of the representation.
    inertia_ : float
        Sum of squared distances of rows to the mean of their cluster, in the representation.
    n_dimensions_ : int
        Of the representation.
    history_ : dict of str to ndarray
        "phase/loss": per-epoch means.
    fit_seconds_ : float
        Time that the phases took, for all models of the stack together.

    References
    ----------
    Cohen (2023), Interpretable Clustering via Soft Clustering Trees, CPAIOR.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> X, _ = make_blobs(150, centers=[[-2, 0], [2, -2], [2, 2]], cluster_std=0.5, random_state=0)
    >>> tree = SoftClusteringTree(3, depth=2, max_epochs=100, random_state=0).fit(X)
    >>> sorted(tree.rules()["rows"].tolist())
    [50, 50, 50]
    """

    _parameter_constraints = {  # noqa: RUF012
        "depth": [Interval(Integral, 1, 10, closed="both")],
        "fuzziness": [Interval(Real, 1, None, closed="left")],
        "sharpness": [Interval(Real, 0, None, closed="neither")],
        "balance": [Interval(Real, 0, None, closed="left")],
        "max_epochs": [Interval(Integral, 5, None, closed="left")],
        "min_temperature": [Interval(Real, 0, 1, closed="neither")],
        "batch_size": [Interval(Integral, 3, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "precision": [StrOptions({"highest", "high", "medium"})],
    }

    def __init__(
        self,
        n_clusters=8,
        *,
        depth=5,
        fuzziness=1.0,
        sharpness=4.0,
        balance=0.1,
        max_epochs=300,
        min_temperature=0.01,
        batch_size=512,
        learning_rate=0.02,
        n_init=1,
        random_state=None,
        device="auto",
        precision="highest",
        checkpoint=None,
        verbose=0,
    ):
        self.n_clusters = n_clusters
        self.depth = depth
        self.fuzziness = fuzziness
        self.sharpness = sharpness
        self.balance = balance
        self.max_epochs = max_epochs
        self.min_temperature = min_temperature
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.n_init = n_init
        self.random_state = random_state
        self.device = device
        self.precision = precision
        self.checkpoint = checkpoint
        self.verbose = verbose

    def fit(self, X, y=None, *, representation=None):
        """Train the tree.

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
        self._fit_stack(X, [self], representation=representation)
        return self

    def _validate(self, X, representation=None):
        data = _Data(*validation.check_represented(self, X, representation))
        self.n_dimensions_ = data.representation.shape[1]
        return data

    def _build(self, streams: Streams) -> "_SoftTree":
        sizes = self.n_features_in_, self.depth, self.n_clusters, self.n_dimensions_
        return _SoftTree(*sizes, self.sharpness, streams)

    def _train(self, data, seeds: list[int]) -> tuple["_SoftTree", History]:
        """Train `n_init` models per seed; keep the one of lowest inertia for each."""
        X, representation = data.scaled_features(), data.scaled()
        device = resolve_device(self.device)
        starts = restart_seeds(seeds, self.n_init)
        streams = Streams(starts, device)
        network = self._build(streams)
        network.place_centers([_centers(representation, self.n_clusters, s) for s in starts])
        network = network.to(device)
        rows = (torch.as_tensor(part, device=device) for part in (X, representation))
        phases = self._phases(_Stages(self, network, *rows, streams))
        keep = self._checkpoint(np.hstack([X, representation]), starts)
        history = self._run_phases(phases, network, streams, keep)
        best = self._best(network.cpu().eval(), X, representation)
        weights = network.state_dict()
        chosen = self._build(Streams([0] * len(seeds)))
        chosen.load_state_dict({name: tensor[best] for name, tensor in weights.items()})
        return chosen.eval(), {name: values[..., best] for name, values in history.items()}

    def _phases(self, stages: "_Stages") -> list:
        n = self.max_epochs
        n_soft, n_anneal = round(0.4 * n), round(0.2 * n)
        n_settle = n - n_soft - n_anneal
        return [
            ("soft", n_soft, lambda tick: stages.mix(n_soft, tick)),
            ("anneal", n_anneal, lambda tick: stages.anneal(n_anneal, tick)),
            ("one feature", n_settle, lambda tick: stages.settle(n_settle, tick)),
        ]

    def _best(self, network: "_SoftTree", X, representation) -> list[int]:
        """Return the position of the best restart of each seed."""
        inertias = []
        for i in range(len(network.threshold)):
            single = self._restore(take(network.state_dict(), i))
            labels = evaluate(single, X)["membership"].argmax(axis=1)
            inertias.append(metrics.inertia(representation, labels))
        inertias = np.reshape(inertias, (-1, self.n_init))
        return (inertias.argmin(axis=1) + np.arange(len(inertias)) * self.n_init).tolist()

    def _describe(self, data) -> None:
        network = self.network_
        self.feature_ = network.feature[0].numpy()
        mean, deviation = (values[self.feature_] for values in data.feature_scale())
        self.threshold_ = mean + deviation * network.threshold[0].detach().numpy()
        self.sharpness_ = network.log_sharpness[0].detach().double().exp().numpy() / deviation
        self.leaf_membership_ = network.leaf_logits[0].detach().double().softmax(dim=-1).numpy()
        centers = network.centers[0].detach().double().numpy()
        self.cluster_centers_ = data.offset + data.scale * centers
        self._describe_tree(data.X, data.representation)

    def _answer(self, X: np.ndarray) -> np.ndarray:
        # in double precision: single-precision vector units round the last rows differently
        return expit(self.sharpness_ * (X[:, self.feature_].astype(float) - self.threshold_))


class TAOClusteringTree(TreeReading, ClusterMixin, Savable, BaseEstimator):
    """Clustering tree by alternating optimisation: hard questions, each about one feature.

    Starts from a decision tree fitted to the clusters of mini-batch k-means. Then, in turn, every
    question and leaf is set to its optimum for the present centres and the rest of the tree, from
    the leaves up, and the centres move to the mean of their rows. The inertia never rises.

    Parameters
    ----------
    n_clusters : int, default=8
    depth : int from 1 to 10, default=5
        Questions on the way to a leaf; the paper compares 5 and 7.
    max_iter : int, default=100
        Rounds of tree and centres; stops earlier when the inertia falls by less than `tol`.
    tol : float, default=1e-4
        Relative decrease of the inertia below which it has settled.
    n_init : int, default=1
        Restarts from other clusters of k-means; the one with the lowest inertia is kept.
    random_state : int, RandomState or None, default=None
    verbose : int, default=0
        1: a progress bar.

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

    _parameter_constraints = {  # noqa: RUF012
        "depth": [Interval(Integral, 1, 10, closed="both")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        n_clusters=8,
        *,
        depth=5,
        max_iter=100,
        tol=1e-4,
        n_init=1,
        random_state=None,
        verbose=0,
    ):
        self.n_clusters = n_clusters
        self.depth = depth
        self.max_iter = max_iter
        self.tol = tol
        self.n_init = n_init
        self.random_state = random_state
        self.verbose = verbose

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
        X_, representation = validation.check_represented(self, X, representation)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        splits = _Splits(X_)
        starts = restart_seeds([seed], self.n_init)
        runs = [self._optimise(splits, representation, start) for start in starts]
        best = min(runs, key=lambda run: run["history"][-1])
        self.feature_, self.threshold_ = best["feature"], best["threshold"]
        self.leaf_membership_ = np.eye(self.n_clusters)[best["leaf"]]
        self.cluster_centers_ = best["centers"]
        self.history_ = np.array(best["history"])
        self.n_iter_ = len(self.history_) - 1
        self._describe_tree(X_, representation)
        return self

    def fit_seeds(self, X, random_states, representation=None) -> list["TAOClusteringTree"]:
        """Fit one copy per random state; see `fit`."""
        models = [clone(self).set_params(random_state=state) for state in random_states]
        if not models:
            raise ValueError("random_states is empty; give one for each model to fit")
        return [model.fit(X, representation=representation) for model in models]

    def _optimise(self, splits: "_Splits", representation: np.ndarray, seed: int) -> dict:
        """Alternate between tree and centres from one start, until the inertia settles."""
        centers = _centers(representation, self.n_clusters, seed)
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


# Soft trees


class _Data(Represented):
    """Rows of the table and of the representation; trees train on both in their own units."""

    def feature_scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of each feature, 1 for a constant one."""
        deviation = self.X.std(axis=0, dtype=float)
        return self.X.mean(axis=0, dtype=float), np.where(deviation > 0, deviation, 1.0)

    def scaled_features(self) -> np.ndarray:
        """Return features without mean and in units of their standard deviation, float32."""
        mean, deviation = self.feature_scale()
        return ((self.X - mean) / deviation).astype(np.float32)


class _SoftTree(nn.Module):
    """A stack of complete binary trees with logistic questions and soft leaves."""

    def __init__(self, n_features, depth, n_clusters, n_dimensions, sharpness, streams: Streams):
        super().__init__()
        n_models, n_nodes = len(streams), 2**depth - 1
        self.n_nodes = n_nodes
        self.selection = nn.Parameter(streams.uniform(n_nodes, n_features))
        self.threshold = nn.Parameter(0.1 * streams.normal(n_nodes))
        start = torch.full((n_models, n_nodes), sharpness, device=streams.device)
        self.log_sharpness = nn.Parameter(start.log())
        self.leaf_logits = nn.Parameter(0.1 * streams.normal(n_nodes + 1, n_clusters))
        self.centers = nn.Parameter(streams.normal(n_clusters, n_dimensions))
        self.register_buffer("feature", torch.zeros(n_models, n_nodes, dtype=torch.long))

    def place_centers(self, centers: list[np.ndarray]) -> None:
        self.centers.data.copy_(torch.from_numpy(np.stack(centers)))

    def forward(self, x: Tensor, temperature: float | None = None) -> dict[str, Tensor]:
        """Evaluate rows; `temperature` mixes features, None asks for one feature per question."""
        right = torch.sigmoid(self._logits(x, temperature))
        leaf = x.new_ones(*x.shape[:2], 1)
        for nodes in levels_of(self.n_nodes):
            leaf = _split(leaf, right[..., nodes])
        return {"right": right, "membership": leaf @ self.leaf_logits.softmax(dim=-1)}

    def _logits(self, x: Tensor, temperature: float | None) -> Tensor:
        if temperature is None:
            rows = self.feature[:, None].expand(-1, x.shape[1], -1)
            asked = x.expand(len(self.feature), -1, -1).gather(2, rows)
        else:
            asked = x @ torch.softmax(self.selection / temperature, dim=-1).mT
        return self.log_sharpness.exp()[:, None] * (asked - self.threshold[:, None])


class _Stages:
    """The phases of training a stack of soft trees; each returns its history.

    Rows come as `_Data` scales them; thresholds and centres are in the same units.
    """

    def __init__(self, settings: SoftClusteringTree, network, x, representation, streams: Streams):
        self.settings = settings
        self.network = network
        self.x, self.representation = x, representation
        self.streams = streams

    def mix(self, n_epochs: int, tick) -> History:
        """Train with mixed features, at temperature 1."""
        balance = self.settings.balance
        return self._train(lambda _: 1.0, lambda _: balance, n_epochs, tick)

    def anneal(self, n_epochs: int, tick) -> History:
        """Lower the temperature geometrically; then let every question keep one feature."""
        last, balance = self.settings.min_temperature, self.settings.balance
        history = self._train(lambda t: last**t, lambda t: (1 - t) * balance, n_epochs, tick)
        self.network.feature.copy_(self.network.selection.argmax(dim=-1))
        return history

    def settle(self, n_epochs: int, tick) -> History:
        """Train thresholds, slopes, leaves and centres of the features chosen."""
        return self._train(lambda _: None, lambda _: 0.0, n_epochs, tick, cosine(0.01))

    def _train(self, temperature, balance, n_epochs: int, tick, schedule=None) -> History:
        s, network = self.settings, self.network

        def step(rows: Tensor, progress: float) -> dict[str, Tensor]:
            found = network(self.x[rows], temperature(progress))
            goal = self.representation[rows]
            distances = fast_squared_distances(goal, network.centers) / goal.shape[2]
            log_w = found["membership"].log()
            return {
                "distance": losses.fuzzy_clustering_loss(log_w, distances, s.fuzziness),
                "balance": balance(progress) * imbalance(found["right"]),
            }

        optimizer = torch.optim.Adam(network.parameters(), lr=s.learning_rate, fused=True)
        batches = (self.streams.batches(len(self.x), s.batch_size) for _ in range(n_epochs))
        return train(step, optimizer, batches, n_epochs, schedule=schedule, on_epoch=tick)


# Hard trees


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


# Both


def _split(reach: Tensor, p: Tensor) -> Tensor:
    """Divide what comes to each node of a level between its two children."""
    return torch.stack([reach * (1 - p), reach * p], dim=-1).flatten(-2)


def imbalance(right: Tensor) -> Tensor:
    """Say how unevenly questions divide the rows that come to them; 0 if all halve them.

    With α the share of "no" among the rows that come to a question, the mean over the questions of
    a level of ``-log(2 √(α (1 - α)))``, summed over levels with weight 2^-level, as Frosst and
    Hinton (2017) weigh it.

    Parameters
    ----------
    right : Tensor of shape (n_models, batch, n_nodes)
        P(no), level by level.

    Returns
    -------
    Tensor of shape (n_models,)
    """
    reach = right.new_ones(*right.shape[:2], 1)
    total = right.new_zeros(len(right))
    for depth, nodes in enumerate(levels_of(right.shape[2])):
        p = right[..., nodes]
        share = (reach * p).sum(dim=1) / reach.sum(dim=1).clamp_min(1e-6)
        share = share.clamp(1e-4, 1 - 1e-4)
        total = total - 0.5 ** (depth + 1) * (4 * share * (1 - share)).log().mean(dim=1)
        reach = _split(reach, p)
    return total


def _centers(representation: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
    """Return the centres of mini-batch k-means, float32 of shape (n_clusters, n_dimensions)."""
    kmeans = MiniBatchKMeans(n_clusters, n_init=3, random_state=seed)
    return kmeans.fit(representation).cluster_centers_.astype(np.float32)


def _squared_distances(rows: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Return squared distances (n_rows, n_clusters) up to a constant per row, which is added."""
    squares = (rows.astype(float) ** 2).sum(axis=1)[:, None]
    return squares - 2 * (rows @ centers.T) + (centers.astype(float) ** 2).sum(axis=1)
