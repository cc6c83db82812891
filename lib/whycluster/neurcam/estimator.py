"""NeurCAM and Neur2CAM: clusters that are sums of shape functions.

A neural additive model with selection gates assigns rows to clusters; each shape function reads
one feature (or a pair) of the table, while distances to the centres may be taken in another
representation of the same rows.

Upadhya, Cohen (2024). NeurCAM: Interpretable Neural Clustering via Additive Models. ECAI.

==============  =======================  ======================================================
paper           code                     shape
==============  =======================  ======================================================
x               ``x``                    (n_models, batch, n_features)
x̃               ``data.representation``  (n_samples, n_dimensions)
F̃, T, T₂        ``selection``            see `whycluster.neurcam.additive`; ``temperatures``
s_c(x)          ``select``               (n_models, batch, n_channels, 1 or 2)
λ               ``mixing``               (n_models, n_channels, n_bases, n_clusters)
g               ``logits``               (n_models, batch, n_clusters)
w, w*           ``log_w``, ``target``    (n_models, batch, n_clusters); Eq. (6)
z̃               ``centres``              (n_models, n_clusters, n_dimensions)
m, γ            ``fuzziness``, ``kl_weight``
==============  =======================  ======================================================

Deviations from the paper
-------------------------
1. For the first half of the warm-up the centres are held where k-means put them, and Eq. (17) is
   minimised with γ = 0.1 and, for w*, the memberships that are best for these centres: those of
   fuzzy c-means. The gradient of Eq. (15) alone vanishes with a membership: clusters near each
   other are merged, and stay so. On a spectral embedding of Pendigits (notebook 20, 350 epochs)
   three runs come to 1.00 times the inertia of k-means, by Eq. (15) to 3.8 times on average. Of 20
   single runs on planted clusters (those of tests/neurcam) 14 select the planted features, 11 by
   Eq. (15), 10 with free centres besides. Inertia on Letters (notebook 22) is 6.1 instead of 7.1 a
   row, on AG News (notebook 21) the same. Where 24 words must do (its quick run) Eq. (15) selects
   better: 1.03 times the inertia of k-means instead of 1.05.
2. Gates have a learning rate of their own, five times that of the rest: 14 of those 20 runs then
   select the planted features, 10 with equal rates.
3. Both terms of Eq. (17) are means over rows, and squared distances are in units of the total
   variance of the representation. γ then means the same in any unit and for any number of
   dimensions; in Eq. (17) as printed the KL term is lost for 768 dimensions and rules for 2. The
   released code divides the clustering loss by the number of clusters instead.
4. Temperatures fall over a fixed number of epochs, geometrically from 1 to 1e-5 (ε is 0.977 for
   500 epochs). Then every gate is one-hot, exactly, by Eq. (8); the released code may stop with
   gates still soft.
5. Learning rates decay per epoch and per model of the stack, and start anew in each phase. The
   released code counts batches, so that the rate is next to zero before gates are annealed.
6. Shape functions of a channel sum to zero over the clusters: a function added to all clusters
   changes no membership, so that without this the graphs would not be determined. The biases of
   the basis network's output and of the channels are one intercept.
"""

from collections.abc import Iterator
from numbers import Integral, Real

import numpy as np
import pandas as pd
import torch
from sklearn.base import ClusterMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from tqdm.auto import tqdm

from whycluster.contract.explanation import Explanation
from whycluster.contract.mixins import Float32Transformer
from whycluster.contract.validation import Represented, check_predict, check_represented
from whycluster.neurcam import additive, phases
from whycluster.neurcam.phases import Network, Stages
from whycluster.neurcam.terms import N_KNOTS, N_VALUES, Terms, knots, shares, tabulate
from whycluster.training.device import resolve_device
from whycluster.training.loop import History
from whycluster.training.stack import ROWS_AT_ONCE, StackedEstimator
from whycluster.training.streams import Streams, restart_seeds

_READ_ROWS = 20_000  # rows that centring, purification and importance are measured on, at most
_PAIR_POINTS = 33  # evenly spaced points along each side of an exported pair, beside its knots


class NeurCAM(Float32Transformer, ClusterMixin, StackedEstimator):
    """Neural clustering by a sum of shape functions, each of one feature or of a pair.

    Expects features of comparable scale: standardise them first.

    Parameters
    ----------
    n_clusters : int, default=8
    n_shapes : int or None, default=None
        Shape functions of one feature (C), 0 to n_features. Several may select the same feature,
        so this bounds the number of features used. None: n_features.
    n_pairs : int, default=0
        Shape functions of two features (P of Neur2CAM), 0 to the number of pairs.
    fuzziness : float, at least 1, default=1.05
        m of Eq. (15). Paper: 1.05 for tables, 1.025 for text.
    hidden_units, n_bases : int, default=128, 64
        Widths of the two hidden layers of the basis network, and of its output (B).
    warmup_epochs : int, default=2000
        Epochs at temperature 1, at most; centres are free from half of them on.
    anneal_epochs : int, default=500
        Epochs in which the temperature of the gates of pairs falls; then as many for the others.
    max_epochs : int, default=5000
        Epochs in all, at most (E_total of Algorithm 1).
    patience : int, default=100
        Epochs without a lower training loss after which warm-up and final phase end early.
    decay_patience : int, default=25
        Epochs without a lower training loss after which the learning rate is halved.
    batch_size : int, default=512
        Rows per step; all rows when there are fewer.
    learning_rate, gate_learning_rate : float, default=2e-3, 1e-2
        Adam, for the shape functions and centres; for the selection gates.
    clustering_weight : float, default=1
        Weight of Eq. (15) after the warm-up. 0 ablates it ("No CL" of Table 3).
    kl_weight : float, default=0.1
        γ of Eq. (17) after the warm-up. 0 ablates the divergence ("No KL" of Table 3).
    n_init : int, default=5
        Restarts; the one of lowest inertia is kept, as in the paper (Sec. 5.1).
    random_state : int, RandomState or None, default=None
    device : str, default="auto"
    precision : {"highest", "high", "medium"}, default="highest"
        Float32 matrix products, see `torch.set_float32_matmul_precision`.
    checkpoint : path or None, default=None
        Folder for finished phases: a fit that was cut off resumes after the last of them.
    verbose : int, default=0
        1: a progress bar in fit and in prediction.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,)
    cluster_centers_ : ndarray of shape (n_clusters, n_dimensions)
        The learnt centres, in the representation.
    inertia_ : float
        Sum of squared distances of the rows to the centre of their cluster, Eq. (22).
    restart_inertia_ : ndarray of shape (n_init,)
    selected_features_ : ndarray of str
        Names of the features that shape functions of one feature read, in the order of the table.
    selected_pairs_ : ndarray of str of shape (n_selected, 2)
        Names of the pairs that shape functions of two features read.
    importances_ : dict of str to float
        Mean absolute area under the shape graph, in logits, by term, largest first. Pairs are
        called "a × b"; each of their features has a term of its own, which purification fills.
    intercept_ : ndarray of shape (n_clusters,)
        Logits where every term is zero, its mean over the data.
    n_iter_ : int
        Epochs trained.
    history_ : dict of str to ndarray
        "phase/loss": per-epoch means.
    fit_seconds_ : float
        Time that the phases took, for all models of the stack together, also when they were
        restored from a checkpoint.

    References
    ----------
    Upadhya and Cohen (2024); Lengerich et al. (2020), Purifying Interaction Effects with the
    Functional ANOVA; Lou et al. (2013), Accurate Intelligible Models with Pairwise Interactions.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> X, _ = make_blobs(90, n_features=2, centers=[[0, 0], [4, 0], [8, 0]], random_state=0)
    >>> X = pd.DataFrame(X, columns=["width", "noise"])
    >>> neurcam = NeurCAM(3, n_shapes=1, hidden_units=16, n_bases=8, warmup_epochs=120,
    ...                   anneal_epochs=30, max_epochs=200, n_init=2, random_state=0).fit(X)
    >>> neurcam.selected_features_.tolist()
    ['width']
    """

    # n_clusters is checked against the data
    _parameter_constraints = {  # noqa: RUF012
        "n_shapes": [Interval(Integral, 0, None, closed="left"), None],
        "n_pairs": [Interval(Integral, 0, None, closed="left")],
        "fuzziness": [Interval(Real, 1, None, closed="left")],
        "hidden_units": [Interval(Integral, 1, None, closed="left")],
        "n_bases": [Interval(Integral, 1, None, closed="left")],
        "warmup_epochs": [Interval(Integral, 0, None, closed="left")],
        "anneal_epochs": [Interval(Integral, 0, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "decay_patience": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 3, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "gate_learning_rate": [Interval(Real, 0, None, closed="neither")],
        "clustering_weight": [Interval(Real, 0, None, closed="left")],
        "kl_weight": [Interval(Real, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "precision": [StrOptions({"highest", "high", "medium"})],
    }
    _sources = (additive.__file__, phases.__file__)

    def __init__(
        self,
        n_clusters=8,
        *,
        n_shapes=None,
        n_pairs=0,
        fuzziness=1.05,
        hidden_units=128,
        n_bases=64,
        warmup_epochs=2000,
        anneal_epochs=500,
        max_epochs=5000,
        patience=100,
        decay_patience=25,
        batch_size=512,
        learning_rate=2e-3,
        gate_learning_rate=1e-2,
        clustering_weight=1.0,
        kl_weight=0.1,
        n_init=5,
        random_state=None,
        device="auto",
        precision="highest",
        checkpoint=None,
        verbose=0,
    ):
        self.n_clusters = n_clusters
        self.n_shapes = n_shapes
        self.n_pairs = n_pairs
        self.fuzziness = fuzziness
        self.hidden_units = hidden_units
        self.n_bases = n_bases
        self.warmup_epochs = warmup_epochs
        self.anneal_epochs = anneal_epochs
        self.max_epochs = max_epochs
        self.patience = patience
        self.decay_patience = decay_patience
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.gate_learning_rate = gate_learning_rate
        self.clustering_weight = clustering_weight
        self.kl_weight = kl_weight
        self.n_init = n_init
        self.random_state = random_state
        self.device = device
        self.precision = precision
        self.checkpoint = checkpoint
        self.verbose = verbose

    def fit(self, X, y=None, *, representation=None):
        """Find clusters and shape functions.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            What the shape functions read.
        y : None
            Ignored.
        representation : array-like of shape (n_samples, n_dimensions), optional
            The same rows where distances to the centres are taken. `X` if not given.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `X` or `representation` has missing or infinite values or they differ in rows; too
            few distinct rows, only constant columns, or more shape functions than can be.
        """
        self._fit_stack(X, [self], representation=representation)
        return self

    def predict(self, X) -> np.ndarray:
        """Return the cluster of each row, int of shape (n_samples,)."""
        return self.transform(X).argmax(axis=1)

    def predict_proba(self, X) -> np.ndarray:
        """Return memberships of shape (n_samples, n_clusters): Eq. (6)."""
        return torch.softmax(torch.from_numpy(self.transform(X)), dim=1).numpy()

    def transform(self, X) -> np.ndarray:
        """Return the logits of Eq. (12), shape (n_samples, n_clusters); rows sum to zero."""
        check_is_fitted(self)
        return self._logits(check_predict(self, X))

    def explain(self, X) -> Explanation:
        """Say what each feature adds to the logit of the row's cluster.

        A pair's purified contribution is split evenly between its two features, as Shapley values
        split what two have in common. Clusters are explained by the mean absolute contributions
        over their training rows, the whole by those over `X`.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)

        Returns
        -------
        Explanation
            Of kind "contribution".
        """
        check_is_fitted(self)
        X_ = check_predict(self, X)
        sample = self._own_contributions(X_, self._logits(X_).argmax(axis=1))
        names = getattr(self, "feature_names_in_", None)
        overall = np.abs(sample).mean(axis=0)
        return Explanation(sample, self._by_cluster_, overall, names, "contribution")

    def contributions(self, X) -> np.ndarray:
        """Return every term of every row: with `intercept_` they add up to the logits.

        Returns
        -------
        ndarray of shape (n_samples, n_terms, n_clusters)
            Terms in the order of `term_names`.
        """
        check_is_fitted(self)
        return np.concatenate([part for _, part in self._read(check_predict(self, X))])

    def term_names(self) -> list[str]:
        """Return names of the terms: features in the order of the table, then pairs "a × b"."""
        check_is_fitted(self)
        return [self._name(features) for features in self._terms.terms]

    def shape_functions(self) -> pd.DataFrame:
        """Return all shape graphs as a tidy table.

        Returns
        -------
        DataFrame
            term; feature, value; feature_2, value_2 (missing for one feature); cluster;
            contribution (logits, centred); density (share of the training rows nearest to the
            value or pair of values). Values are all that occur, or 256 quantiles (up to 32
            along each side of a pair).
        """
        check_is_fitted(self)
        frames = [self._graph(features) for features in self._terms.terms]
        return pd.concat(frames, ignore_index=True)

    def export_table(self, path=None, *, tolerance: float = 1e-3) -> pd.DataFrame:
        """Write the fitted model as a table that a spreadsheet can evaluate.

        The logit of a cluster is the sum over terms of its column, interpolated linearly between
        the two values that enclose the row's (in both directions for a pair), plus the row
        "intercept"; the row is in the cluster of the largest. A feature's table reaches beyond the
        training values by their range on either side, a pair's ends with them; further out the
        last value holds.

        Parameters
        ----------
        path : path, optional
            A CSV file to write.
        tolerance : float, default=1e-3
            Largest error in the term of one feature, in logits. A term of two features is tabulated
            at 33 even points and up to 32 quantiles along each side.

        Returns
        -------
        DataFrame
            term, feature, value, feature_2, value_2, and one column per cluster.
        """
        check_is_fitted(self)
        intercept = pd.DataFrame([self.intercept_], columns=self._cluster_columns())
        intercept.insert(0, "term", "intercept")
        terms = self._terms.terms
        frames = [self._table(features, tolerance) for features in terms]
        columns = ["term", "feature", "value", "feature_2", "value_2", *self._cluster_columns()]
        table = pd.concat([intercept, *frames], ignore_index=True).reindex(columns=columns)
        if path is not None:
            table.to_csv(path, index=False)
        return table

    # Training, for a stack of models

    def _validate(self, X, representation=None) -> Represented:
        data = Represented(*check_represented(self, X, representation))
        self._check_counts()
        return data

    def _check_settings(self) -> None:
        super()._check_settings()
        n_annealed = bool(self.n_pairs) + (self.n_shapes != 0)
        n_epochs = self.warmup_epochs + n_annealed * self.anneal_epochs
        if n_epochs > self.max_epochs:
            raise ValueError(
                f"max_epochs={self.max_epochs} is less than the {n_epochs} epochs of warm-up and "
                "annealing; raise it or lower warmup_epochs or anneal_epochs"
            )

    def _check_counts(self) -> None:
        n_features = self.n_features_in_
        n_possible = n_features * (n_features - 1) // 2
        if self._n_shapes > n_features:
            raise ValueError(
                f"n_shapes={self.n_shapes} exceeds the {n_features} features of X; "
                "pass at most that"
            )
        if self.n_pairs > n_possible:
            raise ValueError(
                f"n_pairs={self.n_pairs} exceeds the {n_possible} pairs of {n_features} features; "
                "pass at most that"
            )
        if self._n_shapes + self.n_pairs == 0:
            raise ValueError("n_shapes=0 and n_pairs=0 leave no shape function; raise one of them")

    @property
    def _n_shapes(self) -> int:
        return self.n_features_in_ if self.n_shapes is None else self.n_shapes

    def _train(self, data: Represented, seeds: list[int]) -> tuple[Network, History]:
        """Run Algorithm 1 for all restarts of all models; keep the best restart of each."""
        device = resolve_device(self.device)
        restarts = restart_seeds(seeds, self.n_init)
        streams = Streams(restarts, device)
        network = self._build(streams, data.representation.shape[1]).to(device)
        stages = Stages(self, network, data, streams)
        keep = self._checkpoint(np.hstack([data.X, data.representation]), restarts)
        history = self._run_phases(self._phases(stages, restarts), stages, streams, keep)
        inertia = stages.inertia().view(-1, self.n_init)
        first = torch.arange(len(seeds), device=device) * self.n_init
        best = (first + inertia.argmin(dim=1)).cpu()
        chosen = self._build(Streams([0] * len(seeds)), data.representation.shape[1])
        chosen.load_state_dict({k: v.cpu()[best] for k, v in network.state_dict().items()})
        history = {name: values[..., best.numpy()] for name, values in history.items()}
        history["restart inertia"] = inertia.T.cpu().numpy() * data.scale**2
        return chosen.eval(), history

    def _phases(self, stages: Stages, seeds: list[int]) -> list:
        held = self.warmup_epochs // 2
        phases = [
            ("centres held", held, lambda tick: stages.start(seeds, held, tick)),
            ("warm-up", self.warmup_epochs - held, stages.warm_up),
        ]
        if self.n_pairs:
            phases.append(("pair gates", self.anneal_epochs, stages.anneal_pairs))
        if self._n_shapes:
            phases.append(("gates", self.anneal_epochs, stages.anneal_shapes))
        n_left = self.max_epochs - sum(n for _, n, _ in phases)
        return [*phases, ("final", n_left, lambda tick: stages.finish(n_left, tick))]

    def _build(self, streams: Streams, n_dimensions: int) -> Network:
        return Network(
            self.n_features_in_,
            self._n_shapes,
            self.n_pairs,
            self.n_clusters,
            n_dimensions,
            self.hidden_units,
            self.n_bases,
            streams,
        )

    def _restore(self, weights: dict[str, Tensor]) -> Network:
        network = self._build(Streams([0]), weights["centres"].shape[-1])
        network.load_state_dict(weights)
        return network.eval()

    def _describe(self, data: Represented) -> None:
        self.restart_inertia_ = self.history_.pop("restart inertia")
        self.n_iter_ = self._cut_history()
        self.labels_ = self._logits(data.X).argmax(axis=1)
        centres = self.network_.centres[0].detach().double().numpy()
        self.cluster_centers_ = data.offset + data.scale * centres
        apart = data.representation - self.cluster_centers_[self.labels_]
        self.inertia_ = float(np.square(apart).sum())
        self._describe_terms(data.X)

    def _cut_history(self) -> int:
        """Cut the losses of each phase where this model stopped; return the epochs trained."""
        total = 0
        for name in [name for name in self.history_ if name.endswith("/epochs")]:
            phase, n_epochs = name.removesuffix("epochs"), int(self.history_.pop(name))
            total += n_epochs
            for loss in self.history_:
                if loss.startswith(phase):
                    self.history_[loss] = self.history_[loss][:n_epochs]
        return total

    # Reading the shape functions

    def _describe_terms(self, X: np.ndarray) -> None:
        rows = _spread(len(X), _READ_ROWS)
        X = X[rows]
        channels = self.network_.channels()
        terms = Terms(channels, self.n_clusters).fit(self._channel_contributions(X), X)
        self._knots_ = {str(i): values for i, values in terms.knots.items()}
        self._moved_ = {_key(key): table for key, table in terms.moved.items()}
        self._offset_ = terms.offset
        self.intercept_ = self.network_.centred_intercept() + terms.intercept
        names = self._feature_names()
        single = {i for features in channels for i in features if len(set(features)) == 1}
        self.selected_features_ = names[sorted(single)]
        self.selected_pairs_ = names[np.array(terms.pairs, dtype=int).reshape(-1, 2)]
        self._describe_density(terms, X)
        self._describe_importance(terms, X, self.labels_[rows])

    def _describe_importance(self, terms: Terms, X: np.ndarray, labels: np.ndarray) -> None:
        area = sum(np.abs(part).sum(axis=(0, 2)) for _, part in self._read(X))
        area /= len(X) * self.n_clusters
        order = np.argsort(-area, kind="stable")
        self.importances_ = {self._name(terms.terms[t]): float(area[t]) for t in order}
        sample = np.abs(self._own_contributions(X, labels))
        self._by_cluster_ = np.zeros((self.n_clusters, self.n_features_in_))
        for k in np.unique(labels):
            self._by_cluster_[k] = sample[labels == k].mean(axis=0)

    def _describe_density(self, terms: Terms, X: np.ndarray) -> None:
        """Keep where the training rows are: the values of graphs and tables, and their shares."""
        self._values_, self._shares_ = {}, {}
        side = int(np.clip(len(X) // 10, 8, N_KNOTS))
        for features in terms.terms:
            size = N_VALUES if len(features) == 1 else side
            columns = [X[:, i] for i in features]
            grids = [knots(column, size) for column in columns]
            self._shares_[_key(features)] = shares(columns, grids)
            for i, grid in zip(features, grids, strict=True):
                self._values_[_key((i, len(features)))] = grid

    @property
    def _terms(self) -> Terms:
        terms = Terms(self.network_.channels(), self.n_clusters)
        knots_, moved = getattr(self, "_knots_", {}), getattr(self, "_moved_", {})  # no pairs
        terms.knots = {int(i): values for i, values in knots_.items()}
        terms.moved = {tuple(map(int, key.split())): table for key, table in moved.items()}
        terms.offset = self._offset_
        return terms

    def _feature_names(self) -> np.ndarray:
        unnamed = [f"x{i}" for i in range(self.n_features_in_)]
        return np.array(getattr(self, "feature_names_in_", unnamed), dtype=str)

    def _name(self, features: tuple[int, ...]) -> str:
        return " × ".join(self._feature_names()[list(features)])

    def _cluster_columns(self) -> list[str]:
        return [f"cluster {k}" for k in range(self.n_clusters)]

    def _read(self, X: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the first row of each block of rows and its terms, in bounded memory."""
        terms = self._terms
        n_rows = max(1, 2**22 // (len(terms.of_channel) * max(self.n_clusters, self.hidden_units)))
        for start in range(0, len(X), n_rows):
            block = X[start : start + n_rows]
            yield start, terms.read(self._channel_contributions(block), block)

    @torch.no_grad()
    def _channel_contributions(self, X: np.ndarray) -> np.ndarray:
        parts = [self.network_.contributions(x[None])[0] for x in torch.from_numpy(X).split(1024)]
        return torch.cat(parts).numpy()

    def _own_contributions(self, X: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return what each feature adds to the logit of the row's cluster, pairs split evenly."""
        terms, parts = self._terms.terms, []
        for start, contributions in self._read(X):
            own = labels[start : start + len(contributions), None, None]
            parts.append(np.take_along_axis(contributions, own, axis=2)[..., 0])
        split = np.zeros((len(terms), self.n_features_in_))
        for t, features in enumerate(terms):
            split[t, list(features)] = 1 / len(features)
        return np.concatenate(parts) @ split

    def _evaluate_term(self, features: tuple[int, ...], *values: np.ndarray) -> np.ndarray:
        """Return the term of these features at given values, (n_values, n_clusters)."""
        X = np.zeros((len(values[0]), self.n_features_in_), dtype=np.float32)
        for feature, column in zip(features, values, strict=True):
            X[:, feature] = column
        t = self._terms.terms.index(features)
        return np.concatenate([part[:, t] for _, part in self._read(X)])

    def _graph(self, features: tuple[int, ...]) -> pd.DataFrame:
        grids = [self._values_[_key((i, len(features)))] for i in features]
        frame = self._frame(features, *_mesh(grids))
        wide = frame.assign(density=self._shares_[_key(features)].ravel())
        tidy = wide.melt(
            [c for c in wide if c not in self._cluster_columns()],
            var_name="cluster",
            value_name="contribution",
        )
        tidy["cluster"] = tidy["cluster"].str.removeprefix("cluster ").astype(int)
        order = ["term", "feature", "value", "feature_2", "value_2"]
        return tidy.reindex(columns=[*order, "cluster", "contribution", "density"])

    def _table(self, features: tuple[int, ...], tolerance: float) -> pd.DataFrame:
        if len(features) == 1:
            values = self._values_[_key((*features, 1))]
            kept = tabulate(lambda x: self._evaluate_term(features, x), values, tolerance)[0]
            return self._frame(features, kept)
        grids = []
        for i in features:
            values = [self._values_[_key((i, 2))], self._knots_[str(i)]]
            fine = np.linspace(values[0][0], values[0][-1], _PAIR_POINTS, dtype=np.float32)
            grids.append(np.unique(np.concatenate([fine, *values])))
        return self._frame(features, *_mesh(grids))

    def _frame(self, features: tuple[int, ...], *values: np.ndarray) -> pd.DataFrame:
        """Return a term at given values, one column per cluster."""
        contributions = self._evaluate_term(features, *values)
        frame = pd.DataFrame(contributions, columns=self._cluster_columns())
        for i, (feature, column) in enumerate(zip(features, values, strict=True), start=1):
            suffix = "" if i == 1 else f"_{i}"
            frame[f"feature{suffix}"] = self._feature_names()[feature]
            frame[f"value{suffix}"] = column
        return frame.assign(term=self._name(features))

    @torch.no_grad()
    def _logits(self, X: np.ndarray) -> np.ndarray:
        """Return logits (n_samples, n_clusters), a bounded number of rows at a time."""
        blocks = torch.from_numpy(X).split(ROWS_AT_ONCE)
        with tqdm(total=len(X), unit="row", unit_scale=True, disable=not self.verbose) as bar:
            parts = []
            for block in blocks:
                parts.append(self.network_(block[None])["logits"][0].numpy())
                bar.update(len(block))
        return np.concatenate(parts)

    @property
    def _n_features_out(self) -> int:
        return self.n_clusters


def _spread(n_rows: int, n_most: int) -> np.ndarray:
    """Return at most `n_most` rows, evenly spread."""
    return np.unique(np.linspace(0, n_rows - 1, min(n_rows, n_most)).astype(int))


def _key(numbers: tuple[int, ...]) -> str:
    """Return numbers as the key of a fitted dict, which files keep as text."""
    return " ".join(map(str, numbers))


def _mesh(grids: list[np.ndarray]) -> list[np.ndarray]:
    """Return the coordinates of all points of a grid, the last running fastest."""
    return [axis.ravel() for axis in np.meshgrid(*grids, indexing="ij")]
