"""IDC: interpretable deep clustering with stochastic gates.

An autoencoder learns to reconstruct each row from the few features that its own gates let through;
a head then splits the embedding into clusters that are cheap to code; global gates say which
features tell each cluster from the others.

Svirsky, Lindenbaum (2024). Interpretable Deep Clustering for Tabular Data. ICML.

=========  ==================  =====================================================
paper      code                shape
=========  ==================  =====================================================
x          ``x``               (n_models, batch, n_features)
μ          ``mu``              (n_models, batch, n_features), in (-1, 1)
z          ``z``               gates, shape of ``mu``, in [0, 1]; Eq. (1)
h          ``h``               (n_models, batch, n_latent), unit length in the head
π          ``logits``          (n_models, batch, n_clusters); Eq. (5)
ŷ          ``membership``      shape of ``logits``
Z_G        ``global_gates``    (n_models, n_clusters, n_features)
λ_t        ``gate_weight``     reached along half a cosine
=========  ==================  =====================================================

Deviations from the paper
-------------------------
1. Eq. (3) is a mean over features, not a sum: ``gate_weight`` then means the same for 13 features
   and for 7,000.
2. Eqs. (6), (8) weigh each cluster by its size, as Yu et al. (2020) do: printed without weights,
   the loss is least when all rows fall in one cluster.
3. Batch statistics are set once more from the noiseless gated rows before clustering, and the
   embedding is then fixed: the paper fixes the encoder's weights in that stage, the released code
   lets its batch statistics drift. The head trains on stored embeddings, at a small part of the
   cost, and ``predict`` sees exactly what the head saw.
4. The head sees (h, ``head_offset``), h in units of its typical length, scaled to unit length.
   Coding rates cannot tell h from -h, so that two clusters on either side of the mean, where an
   autoencoder of centred data puts them, would cost nothing to merge. Notebook 13 measures it.
5. Global gates: every row passes the gates of every cluster, and the auxiliary classifier scores
   cluster k from the row seen through gates k. In the paper a row passes only the gates of its own
   cluster, so that *which* features are zero already tells the cluster, whatever their values.
   They are trained by Adam after the head; by plain gradient descent, as published, they stay at
   their initial 0.5.
6. The head is restarted ``n_init`` times on the same embedding, where the coding losses of the
   final hard clusters compare like with like; the restart with the lowest is kept.
"""

from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import ClusterMixin
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn
from torch.nn import functional as F

from whycluster.contract import validation
from whycluster.contract.explanation import Explanation
from whycluster.contract.mixins import Differentiable, Float32Transformer
from whycluster.training import losses
from whycluster.training.device import resolve_device
from whycluster.training.layers import StackedGating, StackedMLP, set_statistics, take
from whycluster.training.loop import History, cosine, train
from whycluster.training.stack import ROWS_AT_ONCE, StackedEstimator, evaluate
from whycluster.training.streams import Streams


class IDC(Float32Transformer, ClusterMixin, Differentiable, StackedEstimator):
    """Interpretable deep clustering: clusters, the gates of every row, the gates of every cluster.

    Expects features of comparable scale: standardise them first.

    Parameters
    ----------
    n_clusters : int, default=8
    gated : bool, default=True
        False: the paper's variant without local gates; every gate is 1.
    hidden_layers : sequence of int, default=(512, 512, 2048)
        Widths of the encoder, mirrored in the decoder (App. B).
    n_latent : int or None, default=None
        Width of the embedding. None: n_clusters (App. B), at least 2.
    gate_units, head_units : int, default=784, 2048
        Hidden width of the gating network; of the clustering head and the auxiliary classifier.
    warmup_epochs : int, default=10
        Epochs of the autoencoder with all gates open.
    pretrain_epochs : int, default=300
        Epochs of the first stage, warm-up included (Table 7).
    max_epochs : int, default=600
        Epochs of the clustering head (Table 7).
    global_epochs : int, default=100
        Epochs of the global gates.
    batch_size : int, default=256
        Rows per step; all rows when there are fewer (small-sample mode).
    learning_rate, head_learning_rate, global_learning_rate : float, default=1e-3, 1e-2, 1e-2
        Adam, for the autoencoder with its gating network; the head; the global gates.
    gate_noise : float, default=0.5
        σ of Eq. (1). The released code draws with 0.25.
    penalty_noise : float or None, default=None
        σ of Eq. (3). None: `gate_noise`. The released code uses 1.
    gate_weight : float, default=1.0
        λ of Eq. (2), for the mean over features.
    gate_coding_weight : float, default=0.01
        Weight of Eq. (4).
    gate_eps, cluster_eps : float, default=1.0, 0.1
        Squared coding errors of Eqs. (7) and (8).
    n_projections : int or None, default=None
        Random directions onto which gates are projected before Eq. (4) when features are more.
    mask_fraction : float in [0, 1), default=0.9
        Share of features that input denoising hides (App. G).
    latent_noise : float, default=0.01
        Standard deviation of the factor of latent denoising (App. G).
    reconstruction_order : {1, 2}, default=2
        1: absolute error, as printed; 2: squared error, as in the released code.
    temperature : float, default=1
        τ of Eq. (5). The released code keeps 100, where heads end in worse optima (notebook 13).
    head_offset : float, default=1
        What is appended to the embedding for the head, see deviation 4. 0: nothing, as published.
    global_weight : float, default=0.1
        λ of the global gates.
    weight_std : float or None, default=None
        Standard deviation of the initial weights. None: torch's default. Released code: 0.001.
    n_init : int, default=5
        Restarts of the clustering head; the one with the lowest coding loss is kept.
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
    gates_ : ndarray of shape (n_samples, n_features)
        Local gates in [0, 1].
    global_gates_ : ndarray of shape (n_clusters, n_features)
        Global gates in [0, 1].
    embedding_ : ndarray of shape (n_samples, n_latent)
    n_selected_ : dict
        Features selected per row: "open" counts gates > 0, "sum" adds gate values up (the paper's
        ``|S|``); both are means over rows.
    coding_loss_ : float
        Eq. (8) of the hard clusters that were kept.
    restart_coding_loss_ : ndarray of shape (n_init,)
    restart_labels_ : ndarray of shape (n_init, n_samples)
        Clusters of every restart.
    history_ : dict of str to ndarray
        "phase/loss": per-epoch means.
    fit_seconds_ : float
        Time that the phases took, for all models of the stack together, also when they were
        restored from a checkpoint.

    References
    ----------
    Svirsky and Lindenbaum (2024); Yu et al. (2020), Learning Diverse and Discriminative
    Representations via the Principle of Maximal Coding Rate Reduction.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn.preprocessing import StandardScaler
    >>> X, _ = make_blobs(90, n_features=4, centers=3, random_state=0)
    >>> X = StandardScaler().fit_transform(X)
    >>> idc = IDC(3, hidden_layers=(32,), head_units=32, pretrain_epochs=40, max_epochs=60,
    ...           global_epochs=20, random_state=0).fit(X)
    >>> idc.gates_.shape, idc.global_gates_.shape
    ((90, 4), (3, 4))
    """

    # n_clusters is checked against the data
    _parameter_constraints = {  # noqa: RUF012
        "gated": ["boolean"],
        "hidden_layers": ["array-like"],
        "n_latent": [Interval(Integral, 1, None, closed="left"), None],
        "gate_units": [Interval(Integral, 1, None, closed="left")],
        "head_units": [Interval(Integral, 1, None, closed="left")],
        "warmup_epochs": [Interval(Integral, 0, None, closed="left")],
        "pretrain_epochs": [Interval(Integral, 0, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "global_epochs": [Interval(Integral, 0, None, closed="left")],
        "batch_size": [Interval(Integral, 3, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "head_learning_rate": [Interval(Real, 0, None, closed="neither")],
        "global_learning_rate": [Interval(Real, 0, None, closed="neither")],
        "gate_noise": [Interval(Real, 0, None, closed="neither")],
        "penalty_noise": [Interval(Real, 0, None, closed="neither"), None],
        "gate_weight": [Interval(Real, 0, None, closed="left")],
        "gate_coding_weight": [Interval(Real, 0, None, closed="left")],
        "gate_eps": [Interval(Real, 0, None, closed="neither")],
        "cluster_eps": [Interval(Real, 0, None, closed="neither")],
        "n_projections": [Interval(Integral, 1, None, closed="left"), None],
        "mask_fraction": [Interval(Real, 0, 1, closed="left")],
        "latent_noise": [Interval(Real, 0, None, closed="left")],
        "reconstruction_order": [Interval(Integral, 1, 2, closed="both")],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "head_offset": [Interval(Real, 0, None, closed="left")],
        "global_weight": [Interval(Real, 0, None, closed="left")],
        "weight_std": [Interval(Real, 0, None, closed="neither"), None],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "precision": [StrOptions({"highest", "high", "medium"})],
    }

    def __init__(
        self,
        n_clusters=8,
        *,
        gated=True,
        hidden_layers=(512, 512, 2048),
        n_latent=None,
        gate_units=784,
        head_units=2048,
        warmup_epochs=10,
        pretrain_epochs=300,
        max_epochs=600,
        global_epochs=100,
        batch_size=256,
        learning_rate=1e-3,
        head_learning_rate=1e-2,
        global_learning_rate=1e-2,
        gate_noise=0.5,
        penalty_noise=None,
        gate_weight=1.0,
        gate_coding_weight=0.01,
        gate_eps=1.0,
        cluster_eps=0.1,
        n_projections=None,
        mask_fraction=0.9,
        latent_noise=0.01,
        reconstruction_order=2,
        temperature=1.0,
        head_offset=1.0,
        global_weight=0.1,
        weight_std=None,
        n_init=5,
        random_state=None,
        device="auto",
        precision="highest",
        checkpoint=None,
        verbose=0,
    ):
        self.n_clusters = n_clusters
        self.gated = gated
        self.hidden_layers = hidden_layers
        self.n_latent = n_latent
        self.gate_units = gate_units
        self.head_units = head_units
        self.warmup_epochs = warmup_epochs
        self.pretrain_epochs = pretrain_epochs
        self.max_epochs = max_epochs
        self.global_epochs = global_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.head_learning_rate = head_learning_rate
        self.global_learning_rate = global_learning_rate
        self.gate_noise = gate_noise
        self.penalty_noise = penalty_noise
        self.gate_weight = gate_weight
        self.gate_coding_weight = gate_coding_weight
        self.gate_eps = gate_eps
        self.cluster_eps = cluster_eps
        self.n_projections = n_projections
        self.mask_fraction = mask_fraction
        self.latent_noise = latent_noise
        self.reconstruction_order = reconstruction_order
        self.temperature = temperature
        self.head_offset = head_offset
        self.global_weight = global_weight
        self.weight_std = weight_std
        self.n_init = n_init
        self.random_state = random_state
        self.device = device
        self.precision = precision
        self.checkpoint = checkpoint
        self.verbose = verbose

    def fit(self, X, y=None):
        """Find clusters and gates.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `X` has missing or infinite values, too few distinct rows, or only constant columns.
        """
        self._fit_stack(X, [self])
        return self

    def predict(self, X) -> np.ndarray:
        """Return the cluster of each row, int of shape (n_samples,)."""
        return self._evaluate(X)["logits"].argmax(axis=1)

    def predict_proba(self, X) -> np.ndarray:
        """Return memberships of shape (n_samples, n_clusters): Eq. (5) without noise."""
        logits = torch.from_numpy(self._evaluate(X)["logits"])
        return torch.softmax(logits / self.temperature, dim=1).numpy()

    def transform(self, X) -> np.ndarray:
        """Return the embedding of the gated rows, shape (n_samples, n_latent)."""
        return self._evaluate(X)["h"]

    def explain(self, X) -> Explanation:
        """Say which features drive each row, each cluster and all of them.

        A row is explained by its local gates times the global gates of its cluster, the input
        ``z ⊙ z_G`` of the paper's auxiliary classifier: features that the row needs *and* that
        tell its cluster from the others. A cluster is explained by its global gates.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)

        Returns
        -------
        Explanation
            Of kind "gate".
        """
        evaluation = self._evaluate(X)
        gates = evaluation["z"] * self.global_gates_[evaluation["logits"].argmax(axis=1)]
        names = getattr(self, "feature_names_in_", None)
        return Explanation(gates, self.global_gates_, gates.mean(axis=0), names, "gate")

    def _check_settings(self) -> None:
        super()._check_settings()
        validation.check_hidden_layers(self.hidden_layers)
        if self.warmup_epochs > self.pretrain_epochs:
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs} exceeds pretrain_epochs="
                f"{self.pretrain_epochs}, which include them; pass at most that"
            )

    def _train(self, data: np.ndarray, seeds: list[int]) -> tuple["_Network", History]:
        """Run the two stages, local gates and clusters, then the global gates."""
        device = resolve_device(self.device)
        streams = Streams(seeds, device)
        network = self._build(streams).to(device)
        stages = _Stages(self, network, torch.as_tensor(data, device=device), streams)
        phases = (
            ("warm-up", self.warmup_epochs, stages.warm_up),
            ("gates", self.pretrain_epochs - self.warmup_epochs, stages.select_features),
            ("head", self.n_init * self.max_epochs, stages.compress_clusters),
            ("global gates", self.global_epochs, stages.explain_clusters),
        )
        keep = self._checkpoint(data, seeds)
        history = self._run_phases(phases, network, streams, keep)
        return network.cpu().eval(), history

    def _build(self, streams: Streams) -> "_Network":
        return _Network(
            self.n_features_in_,
            self.n_latent or max(2, self.n_clusters),
            self.n_clusters,
            tuple(self.hidden_layers),
            self.gate_units if self.gated else 0,
            self.head_units,
            streams,
            self.weight_std,
            self.head_offset,
        )

    def _describe(self, data: np.ndarray) -> None:
        evaluation = evaluate(self.network_, data)
        self.labels_ = evaluation["logits"].argmax(axis=1)
        self.gates_ = evaluation["z"]
        self.embedding_ = evaluation["h"]
        self.global_gates_ = open_gates(self.network_.global_mu()).detach()[0].numpy()
        self.n_selected_ = {
            "open": float((self.gates_ > 0).sum(axis=1).mean()),
            "sum": float(self.gates_.sum(axis=1).mean()),
        }
        self.restart_labels_ = self.history_.pop("head/restart labels")
        self.restart_coding_loss_ = self.history_.pop("head/restart loss")
        self.coding_loss_ = float(self.restart_coding_loss_.min())

    @property
    def _n_features_out(self) -> int:
        return self.embedding_.shape[1]


class _Network(nn.Module):
    """Gating network, autoencoder, clustering head, auxiliary classifier and global gates."""

    def __init__(
        self,
        n_features,
        n_latent,
        n_clusters,
        hidden,
        gate_units,
        head_units,
        streams,
        weight_std,
        head_offset,
    ):
        super().__init__()
        build = (streams, weight_std)
        self.gating = StackedGating(n_features, gate_units, *build) if gate_units else None
        self.encoder = StackedMLP((n_features, *hidden, n_latent), *build)
        self.decoder = StackedMLP((n_latent, *hidden[::-1], n_features), *build)
        self.head_widths = (n_latent + 1, head_units, n_clusters)
        self.weight_std = weight_std
        self.head_offset = head_offset
        self.head = self.new_head(streams)
        self.classifier = StackedMLP((n_features, head_units, n_clusters), *build)
        self.global_logits = nn.Parameter(0.01 * streams.normal(n_clusters, n_features))
        self.register_buffer("radius", torch.ones(len(streams), 1, 1))

    def new_head(self, streams: Streams) -> StackedMLP:
        return StackedMLP(self.head_widths, streams, self.weight_std)

    def gate_means(self, x: Tensor) -> Tensor:
        """Return μ; without local gates a μ that opens every gate."""
        return self.gating(x) if self.gating is not None else torch.full_like(x, 0.5)

    def global_mu(self) -> Tensor:
        return torch.tanh(self.global_logits)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Evaluate without noise: gates ``z``, embedding ``h``, ``logits``."""
        z = open_gates(self.gate_means(x))
        h = self.encoder(x * z)
        return {"z": z, "h": h, "logits": self.head(self.direct(h))}

    def direct(self, h: Tensor) -> Tensor:
        """Append the offset to h, in units of its typical length; scale to unit length."""
        return F.normalize(F.pad(h / self.radius, (0, 1), value=self.head_offset), dim=-1)


class _Stages:
    """The phases of training on one data set; each returns its history."""

    def __init__(self, settings: IDC, network: _Network, data: Tensor, streams: Streams):
        self.settings = settings
        self.network = network
        self.data = data
        self.streams = streams

    def warm_up(self, tick) -> History:
        """Reconstruct with all gates open (Sec. 4.2, App. G)."""
        return self._autoencode(self._step_open, self.settings.warmup_epochs, tick)

    def select_features(self, tick) -> History:
        """Minimise Eq. (2) with Eqs. (3) and (4), then set the batch statistics (deviation 3)."""
        step = self._step_gated if self.settings.gated else self._step_open
        n_epochs = self.settings.pretrain_epochs - self.settings.warmup_epochs
        history = self._autoencode(step, n_epochs, tick, cosine(1e-3))
        self._set_statistics()
        return history

    def compress_clusters(self, tick) -> History:
        """Train heads on the fixed embedding by Eq. (8); keep the best of `n_init` per model."""
        h = self.network.direct(self._embed())
        runs = [self._train_head(h, tick) for _ in range(self.settings.n_init)]
        loss = torch.stack([run["loss"] for run in runs])  # (n_init, n_models)
        best = loss.argmin(dim=0).tolist()
        chosen = [take(runs[b]["weights"], i) for i, b in enumerate(best)]
        self.network.head.load_state_dict({k: torch.cat([c[k] for c in chosen]) for k in chosen[0]})
        return {
            "coding": np.stack([runs[b]["coding"][:, i] for i, b in enumerate(best)], axis=1),
            "restart loss": loss.cpu().numpy(),
            "restart labels": torch.stack([run["labels"] for run in runs]).mT.cpu().numpy(),
        }

    def _train_head(self, h: Tensor, tick) -> dict:
        """Train one new head per model; return its weights, history, hard clusters and loss."""
        s = self.settings
        head = self.network.new_head(self.streams)

        def step(rows: Tensor, _progress: float) -> dict[str, Tensor]:
            batch = h.gather(1, rows[..., None].expand(-1, -1, h.shape[2]))
            logits = head(batch)
            noisy = logits.log_softmax(dim=-1) + self.streams.gumbel(*logits.shape[1:])
            membership = torch.softmax(noisy / s.temperature, dim=-1)  # Eq. (5)
            return {"coding": losses.cluster_coding_loss(batch, membership, s.cluster_eps)}

        optimizer = torch.optim.Adam(head.parameters(), lr=s.head_learning_rate, fused=True)
        history = self._train(step, optimizer, s.max_epochs, tick, cosine(1e-4))
        labels = _assign(head.eval(), h)
        membership = F.one_hot(labels, s.n_clusters).float()
        loss = losses.cluster_coding_loss(h, membership, s.cluster_eps)
        return history | {"weights": head.state_dict(), "labels": labels, "loss": loss}

    def explain_clusters(self, tick) -> History:
        """Train the global gates against the clusters that the head found (Sec. 4.3)."""
        s = self.settings
        labels = _assign(self.network.head.eval(), self.network.direct(self._embed()))

        def step(rows: Tensor, _progress: float) -> dict[str, Tensor]:
            x = self.data[rows]
            x = x * open_gates(self.network.gate_means(x)).detach()
            mu = self.network.global_mu()
            logits = self._score_through_gates(x, mu)
            target = labels.gather(1, rows)
            cross_entropy = F.cross_entropy(logits.mT, target, reduction="none").mean(dim=1)
            penalty = losses.gate_penalty(mu, s.penalty_noise or s.gate_noise)
            return {"cross-entropy": cross_entropy, "open gates": s.global_weight * penalty}

        network = self.network
        optimizer = torch.optim.Adam(
            [
                {"params": network.classifier.parameters(), "lr": s.learning_rate},
                {"params": [network.global_logits], "lr": s.global_learning_rate},
            ],
            fused=True,
        )
        return self._train(step, optimizer, s.global_epochs, tick)

    def _score_through_gates(self, x: Tensor, mu: Tensor) -> Tensor:
        """Score cluster k from the rows seen through global gates k (deviation 5)."""
        n_models, n_rows, n_features = x.shape
        n_clusters = mu.shape[1]
        noise = self.settings.gate_noise * self.streams.normal(n_rows, n_clusters, n_features)
        z = (0.5 + mu[:, None] + noise).clamp(0, 1)  # Eq. (1)
        seen = (x[:, :, None] * z).flatten(1, 2)  # (n_models, batch * n_clusters, n_features)
        scores = self.network.classifier(seen).view(n_models, n_rows, n_clusters, n_clusters)
        return scores.diagonal(dim1=2, dim2=3)

    def _step_open(self, rows: Tensor, _progress: float) -> dict[str, Tensor]:
        x = self.data[rows]
        return self._reconstruct(x, torch.ones_like(x))

    def _step_gated(self, rows: Tensor, progress: float) -> dict[str, Tensor]:
        s = self.settings
        x = self.data[rows]
        mu = self.network.gate_means(x)
        z = (0.5 + mu + s.gate_noise * self.streams.normal(*x.shape[1:])).clamp(0, 1)  # Eq. (1)
        penalty = losses.gate_penalty(mu, s.penalty_noise or s.gate_noise)
        coding = losses.gate_coding_loss(self._project(z), s.gate_eps)
        weight = s.gate_weight * (1 - cosine(0.0)(progress))  # λ_t
        return self._reconstruct(x, z) | {
            "open gates": weight * penalty,
            "gate coding": s.gate_coding_weight * coding,
        }

    def _reconstruct(self, x: Tensor, z: Tensor) -> dict[str, Tensor]:
        """Reconstruct four views of the batch in one pass: gated, clean, masked, latent noise."""
        s = self.settings
        shown = (self.streams.uniform(*x.shape[1:]) >= s.mask_fraction).to(x.dtype)
        h = self.network.encoder(torch.cat([x * z, x, x * shown], dim=1), n_views=3)
        own = h[:, : x.shape[1]]
        shaken = own * (1 + s.latent_noise * self.streams.normal(*own.shape[1:]))
        views = self.network.decoder(torch.cat([h, shaken], dim=1), n_views=4).chunk(4, dim=1)
        names = ("gated", "clean", "masked", "latent noise")
        error = losses.reconstruction_error
        return {n: error(v, x, s.reconstruction_order) for n, v in zip(names, views, strict=True)}

    def _project(self, z: Tensor) -> Tensor:
        """Project the gates of wide data onto fixed random directions."""
        n = self.settings.n_projections
        if n is None or n >= z.shape[2]:
            return z
        if not hasattr(self, "_directions"):
            self._directions = self.streams.normal(z.shape[2], n) / n**0.5
        return z @ self._directions

    def _autoencode(self, step, n_epochs: int, tick, schedule=None) -> History:
        network = self.network
        parts = [network.encoder, network.decoder, network.gating or nn.Module()]
        parameters = [p for part in parts for p in part.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=self.settings.learning_rate, fused=True)
        return self._train(step, optimizer, n_epochs, tick, schedule)

    def _train(self, step, optimizer, n_epochs: int, tick, schedule=None) -> History:
        self.network.train()
        n_samples, batch_size = len(self.data), self.settings.batch_size
        epochs = (self.streams.batches(n_samples, batch_size) for _ in range(n_epochs))
        return train(step, optimizer, epochs, n_epochs, schedule=schedule, on_epoch=tick)

    @torch.no_grad()
    def _set_statistics(self) -> None:
        """Set batch statistics and typical length of h from the noiseless gated rows."""
        batches = self.streams.batches(len(self.data), self.settings.batch_size)
        set_statistics(self.network.encoder, (self._gate(self.data[rows]) for rows in batches))
        self.network.radius = self._embed().square().sum(dim=2).mean(dim=1).sqrt()[:, None, None]

    @torch.no_grad()
    def _embed(self) -> Tensor:
        """Embed all rows without noise: (n_models, n_samples, n_latent)."""
        self.network.encoder.eval()
        n_models = len(self.streams)
        parts = [
            self.network.encoder(self._gate(x.expand(n_models, -1, -1)))
            for x in self.data.split(ROWS_AT_ONCE)
        ]
        return torch.cat(parts, dim=1)

    def _gate(self, x: Tensor) -> Tensor:
        return x * open_gates(self.network.gate_means(x))


def open_gates(mu: Tensor) -> Tensor:
    """Return gates without noise, Eq. (1) with ε = 0: closed for μ <= -0.5, open for μ >= 0.5."""
    return (0.5 + mu).clamp(0, 1)


@torch.no_grad()
def _assign(head: nn.Module, h: Tensor) -> Tensor:
    """Return hard clusters (n_models, n_samples), a bounded number of rows at a time."""
    return torch.cat([head(part).argmax(dim=-1) for part in h.split(ROWS_AT_ONCE, dim=1)], dim=1)
