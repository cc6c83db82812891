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

from typing import Annotated

import numpy as np
import torch
from sklearn.base import ClusterMixin

from whycluster.contract import validation
from whycluster.contract.explanation import Explanation
from whycluster.contract.mixins import Differentiable, Float32Transformer
from whycluster.contract.settings import (
    Checked,
    Count,
    CountOrZero,
    NotNegative,
    Positive,
    Widths,
    at_least,
    between,
    setting,
)
from whycluster.idc.network import Network, open_gates
from whycluster.idc.phases import IDCPhases
from whycluster.training.phases import Phase
from whycluster.training.stack import StackedEstimator, evaluate
from whycluster.training.streams import Streams


class IDC(Float32Transformer, ClusterMixin, Differentiable, StackedEstimator):
    """Interpretable deep clustering: clusters, the gates of every row, the gates of every cluster.

    Expects features of comparable scale: standardise them first.

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

    n_clusters: Checked = setting(8, positional=True)
    n_init: Count = setting(
        5, "Restarts of the clustering head; the one with the lowest coding loss is kept."
    )
    # Autoencoder
    hidden_layers: Widths = setting(
        (512, 512, 2048), "Widths of the encoder, mirrored in the decoder (App. B)."
    )
    n_latent: Count | None = setting(
        None, "Width of the embedding. None: n_clusters (App. B), at least 2."
    )
    warmup_epochs: CountOrZero = setting(10, "Epochs of the autoencoder with all gates open.")
    pretrain_epochs: CountOrZero = setting(
        300, "Epochs of the first stage, warm-up included (Table 7)."
    )
    batch_size: Annotated[int, at_least(3)] = setting(
        256, "Rows per step; all rows when there are fewer (small-sample mode)."
    )
    learning_rate: Positive = setting(1e-3, "Adam, for the autoencoder with its gating network.")
    mask_fraction: Annotated[float, between(0, 1, "left")] = setting(
        0.9, "Share of features that input denoising hides (App. G)."
    )
    latent_noise: NotNegative = setting(
        0.01, "Standard deviation of the factor of latent denoising (App. G)."
    )
    # Local gates
    gated: bool = setting(True, "False: the paper's variant without local gates; every gate is 1.")
    gate_units: Count = setting(784, "Hidden width of the gating network.")
    gate_noise: Positive = setting(0.5, "σ of Eq. (1). The released code draws with 0.25.")
    gate_weight: NotNegative = setting(1.0, "λ of Eq. (2), for the mean over features.")
    gate_coding_weight: NotNegative = setting(0.01, "Weight of Eq. (4).")
    gate_eps: Positive = setting(1.0, "Squared coding error of Eq. (7).")
    n_projections: Count | None = setting(
        None,
        "Random directions onto which gates are projected before Eq. (4) when features are more.",
    )
    # Head
    head_units: Count = setting(
        2048, "Hidden width of the clustering head and of the auxiliary classifier."
    )
    max_epochs: Count = setting(600, "Epochs of the clustering head (Table 7).")
    head_learning_rate: Positive = setting(1e-2, "Adam, for the head.")
    cluster_eps: Positive = setting(0.1, "Squared coding error of Eq. (8).")
    temperature: Positive = setting(
        1.0,
        "τ of Eq. (5). The released code keeps 100, where heads end in worse optima (notebook 13).",
    )
    head_offset: NotNegative = setting(
        1.0,
        """What is appended to the embedding for the head, see deviation 4. 0: nothing, as
        published.""",
    )
    # Global gates
    global_epochs: CountOrZero = setting(100, "Epochs of the global gates.")
    global_learning_rate: Positive = setting(1e-2, "Adam, for the global gates.")
    global_weight: NotNegative = setting(0.1, "λ of the global gates.")
    # What reproduces the released code
    penalty_noise: Positive | None = setting(
        None, "σ of Eq. (3). None: `gate_noise`. The released code uses 1."
    )
    reconstruction_order: Annotated[int, between(1, 2)] = setting(
        2, "1: absolute error, as printed; 2: squared error, as in the released code."
    )
    weight_std: Positive | None = setting(
        None,
        "Standard deviation of the initial weights. None: torch's default. Released code: 0.001.",
    )

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

    def _phases(self, network: Network, data: np.ndarray, streams: Streams) -> list[Phase]:
        """Return the two stages, local gates and clusters, then the global gates."""
        run = IDCPhases(self, network, torch.as_tensor(data, device=streams.device), streams)
        first, n_gated = network.autoencoder, self.pretrain_epochs - self.warmup_epochs
        return [
            Phase("warm-up", self.warmup_epochs, run.warm_up, first),
            Phase("gates", n_gated, run.select_features, first),
            Phase("head", self.n_init * self.max_epochs, run.compress_clusters),
            Phase("global gates", self.global_epochs, run.explain_clusters),
        ]

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
        tell its cluster from the others. A cluster is explained by its global gates. Where there
        is one cluster, nothing tells it from others: all is zero.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)

        Returns
        -------
        Explanation
            Of kind "gate".
        """
        evaluation = self._evaluate(X)
        cluster = self.global_gates_ if self.n_clusters > 1 else 0 * self.global_gates_
        gates = evaluation["z"] * cluster[evaluation["logits"].argmax(axis=1)]
        names = getattr(self, "feature_names_in_", None)
        return Explanation(gates, cluster, gates.mean(axis=0), names, "gate")

    def _check_settings(self) -> None:
        super()._check_settings()
        validation.check_hidden_layers(self.hidden_layers)
        if self.warmup_epochs > self.pretrain_epochs:
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs} exceeds pretrain_epochs="
                f"{self.pretrain_epochs}, which include them; pass at most that"
            )

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
