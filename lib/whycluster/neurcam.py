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
F̃, T, T₂        ``selection``            see `whycluster.additive`; ``temperatures``
s_c(x)          ``select``               (n_models, batch, n_channels, 1 or 2)
λ               ``mixing``               (n_models, n_channels, n_bases, n_clusters)
g               ``logits``               (n_models, batch, n_clusters)
w, w*           ``log_w``, ``target``    (n_models, batch, n_clusters); Eq. (6)
z̃               ``centres``              (n_models, n_clusters, n_dimensions)
m, γ            ``fuzziness``, ``kl_weight``
==============  =======================  ======================================================

Deviations from the paper
-------------------------
"""

from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.cluster import MiniBatchKMeans
from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from whycluster import losses
from whycluster.additive import StackedShapes
from whycluster.stacked import ROWS_AT_ONCE, StackedEstimator, evaluate
from whycluster.streams import Streams
from whycluster.training import History, Plateau, resolve_device, train
from whycluster.validation import check_fit, check_representation


class NeurCAM(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, StackedEstimator):
    """Neural clustering with additive, sparse explanations.

    Parameters
    ----------
    n_clusters : int, default=8
    n_shapes : int or None, default=None
        Shape functions of one feature (C), at most n_features. None: n_features.
    n_pairs : int, default=0
        Shape functions of two features (P of Neur2CAM).
    """

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
        "clustering_weight": [Interval(Real, 0, None, closed="left")],
        "kl_weight": [Interval(Real, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "precision": [StrOptions({"highest", "high", "medium"})],
    }

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
        clustering_weight=1.0,
        kl_weight=1.0,
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
            The same rows where distances are taken. `X` if not given.

        Returns
        -------
        self
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
        """Return the logits of Eq. (12), shape (n_samples, n_clusters)."""
        return self._evaluate(X)["logits"]

    # Training, for a stack of models

    def _validate(self, X, representation=None) -> "_Data":
        X_ = check_fit(self, X)
        self._check_counts()
        if representation is None:
            return _Data(X_, X_)
        return _Data(X_, check_representation(representation, len(X_)))

    def _check_counts(self) -> None:
        n_shapes, n_features = self._n_shapes, self.n_features_in_
        n_possible = n_features * (n_features - 1) // 2
        if n_shapes > n_features:
            raise ValueError(
                f"n_shapes={n_shapes} exceeds the {n_features} features of X; pass at most that"
            )
        if self.n_pairs > n_possible:
            raise ValueError(
                f"n_pairs={self.n_pairs} exceeds the {n_possible} pairs of {n_features} features; "
                "pass at most that"
            )
        if n_shapes + self.n_pairs == 0:
            raise ValueError("n_shapes=0 and n_pairs=0 leave no shape function; raise one of them")

    @property
    def _n_shapes(self) -> int:
        return self.n_features_in_ if self.n_shapes is None else self.n_shapes

    def _train(self, data: "_Data", seeds: list[int]) -> tuple["_Network", History]:
        """Train all restarts of all models as one stack and keep the best restart of each."""
        device = resolve_device(self.device)
        restarts = [s for seed in seeds for s in _restart_seeds(seed, self.n_init)]
        streams = Streams(restarts, device)
        network = self._build(streams, data.representation.shape[1]).to(device)
        stages = _Stages(self, network, data, restarts, streams)
        keep = self._checkpoint(np.hstack([data.X, data.representation]), restarts)
        history = self._run_phases(self._phases(stages), stages, streams, keep)
        inertia = stages.inertia()
        inertia_ = inertia.view(-1, self.n_init)
        best = (
            inertia_.argmin(dim=1) + torch.arange(len(seeds), device=device) * self.n_init
        ).tolist()
        weights = network.state_dict()
        chosen = self._build(Streams([0] * len(seeds)), data.representation.shape[1])
        chosen.load_state_dict({k: v[best].cpu() for k, v in weights.items()})
        history = {k: v[..., best] for k, v in history.items()}
        history["restart inertia"] = inertia_.T.cpu().numpy()
        return chosen.eval(), history

    def _phases(self, stages):
        phases = [("warm-up", self.warmup_epochs, stages.warm_up)]
        if self.n_pairs:
            phases.append(("pairs", self.anneal_epochs, stages.anneal_pairs))
        if self._n_shapes:
            phases.append(("shapes", self.anneal_epochs, stages.anneal_shapes))
        n_left = self.max_epochs - sum(n for _, n, _ in phases)
        return [*phases, ("final", n_left, lambda tick: stages.finish(n_left, tick))]

    def _build(self, streams: Streams, n_dimensions: int | None = None) -> "_Network":
        return _Network(
            self.n_features_in_,
            self._n_shapes,
            self.n_pairs,
            self.n_clusters,
            n_dimensions or self.cluster_centers_.shape[1],
            self.hidden_units,
            self.n_bases,
            streams,
        )

    def _restore(self, weights):
        network = self._build(Streams([0]), weights["centres"].shape[-1])
        network.load_state_dict(weights)
        return network.eval()

    def _describe(self, data) -> None:
        self.labels_ = evaluate(self.network_, data.X)["logits"].argmax(axis=1)
        centres = self.network_.centres[0].detach().double().numpy()
        self.cluster_centers_ = data.offset + data.scale * centres
        self.restart_inertia_ = self.history_.pop("restart inertia")
        d = data.representation - self.cluster_centers_[self.labels_]
        self.inertia_ = float((d.astype(float) ** 2).sum())

    @property
    def _n_features_out(self) -> int:
        return self.n_clusters

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


class _Data(NamedTuple):
    X: np.ndarray
    representation: np.ndarray

    @property
    def offset(self):
        return self.representation.mean(axis=0, dtype=float)

    @property
    def scale(self):
        return float(np.sqrt(self.representation.var(axis=0, dtype=float).mean())) or 1.0


def _restart_seeds(seed: int, n_init: int) -> list[int]:
    random = np.random.RandomState(seed)
    return [seed, *random.randint(2**31 - 1, size=n_init - 1).tolist()]


class _Network(nn.Module):
    def __init__(
        self, n_features, n_shapes, n_pairs, n_clusters, n_dimensions, n_hidden, n_bases, streams
    ):
        super().__init__()
        shape = dict(n_hidden=n_hidden, n_bases=n_bases, streams=streams)
        self.shapes = (
            StackedShapes(n_features, n_shapes, n_clusters, order=1, **shape) if n_shapes else None
        )
        self.pairs = (
            StackedShapes(n_features, n_pairs, n_clusters, order=2, **shape) if n_pairs else None
        )
        self.intercept = nn.Parameter(torch.zeros(len(streams), 1, n_clusters))
        self.centres = nn.Parameter(torch.zeros(len(streams), n_clusters, n_dimensions))

    def forward(self, x):
        return {"logits": self.logits(x, (0.0, 0.0))}

    def logits(self, x, temperatures):
        logits = self.intercept - self.intercept.mean(dim=-1, keepdim=True)
        for channels, temperature in zip((self.shapes, self.pairs), temperatures, strict=True):
            if channels is not None:
                logits = logits + channels(x, temperature)
        return logits


_COLDEST = 1e-5


class _Stages(nn.Module):
    def __init__(self, settings, network, data, seeds, streams):
        super().__init__()
        self.network = network
        self.settings = settings
        self.streams = streams
        device = streams.device
        self.x = torch.as_tensor(data.X, device=device)
        r = (data.representation - data.offset) / data.scale
        self.r = torch.as_tensor(r.astype(np.float32), device=device)
        self.register_buffer(
            "target", torch.zeros(len(streams), len(self.x), settings.n_clusters, device=device)
        )
        with torch.no_grad():
            for i, s in enumerate(seeds):
                km = MiniBatchKMeans(settings.n_clusters, n_init=3, random_state=s).fit(r)
                network.centres[i] = torch.as_tensor(km.cluster_centers_, dtype=torch.float32)

    def warm_up(self, tick):
        history = self._train(lambda p: (1.0, 1.0), self.settings.warmup_epochs, tick, guided=False)
        self.target.copy_(self._memberships((1.0, 1.0)))
        return history

    def anneal_pairs(self, tick):
        n = self.settings.anneal_epochs
        return self._train(lambda p: (1.0, _COLDEST**p), n, tick, watched=False)

    def anneal_shapes(self, tick):
        n = self.settings.anneal_epochs
        return self._train(lambda p: (_COLDEST**p, 0.0), n, tick, watched=False)

    def finish(self, n, tick):
        return self._train(lambda p: (0.0, 0.0), n, tick)

    def _train(self, temperatures, n_epochs, tick, guided=True, watched=True):
        s = self.settings
        opt = torch.optim.Adam(self.network.parameters(), lr=s.learning_rate, fused=True)
        plateau = (
            Plateau(
                self.network,
                opt,
                len(self.streams),
                patience=s.patience,
                decay_patience=s.decay_patience,
            )
            if watched
            else None
        )
        epochs = (self.streams.batches(len(self.x), s.batch_size) for _ in range(n_epochs))

        def step(rows, progress):
            log_w = self.network.logits(self.x[rows], temperatures(progress)).log_softmax(-1)
            d = losses.squared_distances(self.r[rows], self.network.centres) / self.r.shape[1]
            clustering = losses.fuzzy_clustering_loss(log_w, d, s.fuzziness)
            if not guided:
                return {"clustering": clustering}
            target = self.target.gather(1, rows[..., None].expand(-1, -1, s.n_clusters))
            return {
                "clustering": s.clustering_weight * clustering,
                "divergence": s.kl_weight * losses.membership_divergence(target, log_w),
            }

        history = train(step, opt, epochs, n_epochs, plateau=plateau, on_epoch=tick)
        if plateau:
            history["epochs"] = plateau.n_epochs
        return history

    @torch.no_grad()
    def _memberships(self, temperatures):
        parts = [
            self.network.logits(x.expand(len(self.streams), -1, -1), temperatures).softmax(-1)
            for x in self.x.split(ROWS_AT_ONCE)
        ]
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def inertia(self):
        labels = self._memberships((0.0, 0.0)).argmax(-1)
        total = []
        parts = zip(self.r.split(ROWS_AT_ONCE), labels.split(ROWS_AT_ONCE, 1), strict=True)
        for part, lab in parts:
            d = losses.squared_distances(
                part.expand(len(self.streams), -1, -1), self.network.centres
            )
            total.append(d.gather(2, lab[..., None]).sum((1, 2)))
        return sum(total)
