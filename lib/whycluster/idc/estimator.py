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

from whycluster.contract import validation
from whycluster.contract.explanation import Explanation
from whycluster.contract.mixins import Differentiable, Float32Transformer
from whycluster.idc.network import Network, open_gates
from whycluster.idc.phases import Stages
from whycluster.training.device import resolve_device
from whycluster.training.loop import History
from whycluster.training.stack import StackedEstimator, evaluate
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

    def _train(self, data: np.ndarray, seeds: list[int]) -> tuple["Network", History]:
        """Run the two stages, local gates and clusters, then the global gates."""
        device = resolve_device(self.device)
        streams = Streams(seeds, device)
        network = self._build(streams).to(device)
        stages = Stages(self, network, torch.as_tensor(data, device=device), streams)
        phases = (
            ("warm-up", self.warmup_epochs, stages.warm_up),
            ("gates", self.pretrain_epochs - self.warmup_epochs, stages.select_features),
            ("head", self.n_init * self.max_epochs, stages.compress_clusters),
            ("global gates", self.global_epochs, stages.explain_clusters),
        )
        keep = self._checkpoint(data, seeds)
        history = self._run_phases(phases, network, streams, keep)
        return network.cpu().eval(), history

    def _build(self, streams: Streams) -> "Network":
        return Network(
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
