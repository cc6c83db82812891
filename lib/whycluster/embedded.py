"""DEC, IDEC and DCN: clusters in the embedding of an autoencoder, learnt together with it.

DEC pulls soft assignments towards their sharpened selves; IDEC does so while the rows must still be
reconstructed; DCN pulls each embedded row to its centre and moves the centre as a running mean.
Each can be interrupted by BRB (`whycluster.brb`).

Xie, Girshick, Farhadi (2016). Unsupervised Deep Embedding for Clustering Analysis. ICML. (DEC)
Guo, Gao, Liu, Yin (2017). Improved Deep Embedded Clustering with Local Structure Preservation.
IJCAI. (IDEC)
Yang, Fu, Sidiropoulos, Hong (2017). Towards K-means-friendly Spaces. ICML. (DCN)
Miklautz et al. (2025). Breaking the Reclustering Barrier in Centroid-based Deep Clustering. ICLR.

=========  =====================  ===========================================================
paper      code                   shape
=========  =====================  ===========================================================
x          ``x``                  (n_models, batch, n_features)
z, f(x)    ``z``                  (n_models, batch, n_latent)
μ, M       ``centres``            (n_models, n_clusters, n_latent)
q          ``log_q``              soft assignments (n_models, batch, n_clusters); Eq. (1), DEC
p          `losses.dec_target`    shape of q; Eq. (3), DEC
s          ``labels``             (n_models, batch), hard assignments of DCN
γ, λ       ``cluster_weight``     of IDEC and of DCN
=========  =====================  ===========================================================

Deviations from the papers
--------------------------
1. The targets p are computed from each batch, as in the experiments of BRB; DEC and IDEC compute
   them from all rows every so many steps.
2. One autoencoder with batch normalisation, trained at once, as in the experiments of BRB; DEC and
   DCN pre-train theirs layer by layer.
3. Errors are means over rows and features. IDEC's γ = 0.1 is used with that mean in practice; DCN's
   λ belongs to the mean, too. The code behind BRB's results divides DCN's λ by the number of
   clusters once more: `cluster_weight=0.05 / n_clusters` is its setting.
4. DCN's centres are exact running means: after a batch, the old centre counts as often as rows went
   to it, from `center_count` on. In the code behind BRB's results the count stays at 100:
   `max_center_count=100`.
5. What was learnt answers `predict`: rows go to the nearest *learnt* centre. The code behind BRB's
   results clusters the final embedding anew by k-means.
6. Batch statistics are set once more from all rows at the end, so that `predict` sees rows as the
   last epoch of training did on average.
7. With `assignment="gaussian"` (ours), soft assignments of DEC and IDEC are the responsibilities of
   a mixture of Gaussians found by expectation maximisation. Its means are then trained as centres
   are; covariances and weights stay until the next reclustering.
"""

import copy
import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import ClusterMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from whycluster import brb as brb_module
from whycluster import centroids, distances, losses, modules, reclustering, streams, validation
from whycluster.attribution import attribute
from whycluster.brb import BRB, as_brb, soft_reset
from whycluster.centroids import GaussianCentres, RunningMeans, StudentCentres
from whycluster.checkpoint import Checkpoint, binding_settings, fingerprint
from whycluster.distances import exact_squared_distances
from whycluster.explanation import Explanation
from whycluster.metrics import match_clusters
from whycluster.modules import StackedAutoencoder, set_statistics
from whycluster.reclustering import draw_rows, recluster
from whycluster.stacked import ROWS_AT_ONCE, Differentiable, Float32Transformer, StackedEstimator
from whycluster.streams import Streams
from whycluster.training import History, resolve_device, train

MOST_ROWS = 100_000  # rows of the first clustering; more are sampled
BACKGROUND = 100  # rows that attributions compare with

_SHARED = """
    hidden_layers : sequence of int, default=(1024, 512, 256)
        Widths of the encoder, mirrored in the decoder.
    n_latent : int or None, default=None
        Width of the embedding. None: n_clusters.
    pretrain_epochs : int, default=250
        Epochs of reconstruction alone; 0: the first clusters are those of a random embedding.
    pretrain_mask : float in [0, 1), default=0
        Share of the entries set to zero in pre-training (a denoising autoencoder).
    max_epochs : int, default=400
        Epochs of clustering.
    batch_size : int, default=256
        Rows per step.
    learning_rate : float, default=1e-3
        Adam, in both phases.
    brb : BRB, dict of its settings, or None, default=None
        Interventions while clustering.
    n_init : int, default=10
        Restarts of every k-means; the one with the lowest inertia is kept.
    random_state : int, RandomState or None, default=None
    device : str, default="auto"
    precision : {"highest", "high", "medium"}, default="highest"
        Float32 matrix products, see `torch.set_float32_matmul_precision`.
    checkpoint : path or None, default=None
        Folder for finished phases: a fit that was cut off resumes after the last of them. DEC, IDEC
        and DCN with one folder share their pre-training, seed by seed, where its settings agree.
    verbose : int, default=0
        1: a progress bar.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,)
    cluster_centers_ : ndarray of shape (n_clusters, n_latent)
        Learnt centres, in the embedding.
    embedding_ : ndarray of shape (n_samples, n_latent)
    inertia_ : float
        Mean squared distance of embedded rows to their centre.
    interventions_ : ndarray of int
        Epochs before which BRB intervened, from 0.
    background_ : ndarray of shape (at most 100, n_features)
        Training rows that explanations compare with.
    history_ : dict of str to ndarray of shape (n_epochs,)
        "phase/loss": means per row. While clustering also, of the embedding that the steps of the
        epoch saw: "inertia", mean squared distance to the own centre; "intra", mean distance to
        it; "inter", mean distance between centres; "changed", share of rows in another cluster
        than in the epoch before.
    fit_seconds_ : float
        Time that the phases took, for all models of the stack together, also when they were
        restored from a checkpoint.
"""


def _with_shared_settings(cls):
    """Put the documentation of what the three methods share in place of the word "shared"."""
    said, shared = map(inspect.cleandoc, (cls.__doc__, _SHARED))
    cls.__doc__ = said.replace("\nshared\n", f"\n{shared}\n")
    return cls


class _Embedded(Float32Transformer, ClusterMixin, Differentiable, StackedEstimator):
    """What DEC, IDEC and DCN share: the phases and the answers."""

    # n_clusters is checked against the data
    _parameter_constraints = {  # noqa: RUF012
        "hidden_layers": ["array-like"],
        "n_latent": [Interval(Integral, 1, None, closed="left"), None],
        "pretrain_epochs": [Interval(Integral, 0, None, closed="left")],
        "pretrain_mask": [Interval(Real, 0, 1, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 3, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "brb": [BRB, dict, None],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "precision": [StrOptions({"highest", "high", "medium"})],
    }
    _first_clusters = "k-means"
    _explained_at_once = 256  # rows

    def fit(self, X, y=None, on_epoch: Callable[[int, np.ndarray], None] | None = None):
        """Pre-train the autoencoder, then find clusters in its embedding.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
        y : None
            Ignored.
        on_epoch : callable or None
            Called after each epoch of clustering with its number from 0 and the clusters that the
            steps of this epoch saw, int of shape (n_models, n_samples); one model unless called by
            `fit_seeds`. When training is restored from a checkpoint, called for each epoch then.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `X` has missing or infinite values, too few distinct rows, or only constant columns.
        """
        self._fit_stack(X, [self], on_epoch=on_epoch)
        return self

    def predict(self, X) -> np.ndarray:
        """Return the cluster of each row, int of shape (n_samples,)."""
        return self._evaluate(X)["logits"].argmax(axis=1)

    def predict_proba(self, X) -> np.ndarray:
        """Return soft assignments of shape (n_samples, n_clusters); rows sum to one."""
        return torch.from_numpy(self._evaluate(X)["logits"]).softmax(dim=1).numpy()

    def transform(self, X) -> np.ndarray:
        """Return the embedding, shape (n_samples, n_latent)."""
        return self._evaluate(X)["z"]

    def explain(self, X, method: str = "integrated_gradients", **options) -> Explanation:
        """Attribute the cluster of each row to its features, after the fact.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Time grows with the number of rows: pass a sample where there are many.
        method : {"integrated_gradients", "gradient_shap", "shap"}
        **options
            Of `whycluster.attribution.attribute`. The background is by default a sample of the
            training rows, so that the answer for a row does not depend on the others.

        Returns
        -------
        Explanation
            Of kind "attribution", of the logit of each row's own cluster.
        """
        check_is_fitted(self)
        validation.check_predict(self, X)
        defaults = {"background": self.background_, "batch_size": self._explained_at_once}
        return attribute(self, X, method, **defaults | options)

    def intervene(self, X, brb: BRB | None = None, random_state=0):
        """Return a copy of this fitted estimator as an intervention of BRB would leave it.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            The training rows.
        brb : BRB or None
            None: the default settings.
        random_state : int or RandomState
            Of the fresh weights and of the reclustering.

        Returns
        -------
        fitted estimator, without training after the intervention
        """
        check_is_fitted(self)
        data = validation.check_predict(self, X)
        changed = copy.deepcopy(self)
        seed = check_random_state(random_state).randint(2**31 - 1)
        rows, streams_ = torch.from_numpy(data), Streams([seed])
        phases = changed._new_phases(changed.network_, rows, streams_)
        phases.labels = torch.from_numpy(self.predict(X))[None]
        phases.intervene(brb or BRB(), optimizer=None)
        set_statistics(changed.network_.encoder, phases.passes())
        changed._describe((data, None))
        return changed

    # The two phases, for a stack of models

    @abstractmethod
    def _new_clusters(self, n_models: int) -> nn.Module:
        """Return a module from embeddings to logits, with `centres`, `place` and `follow`."""

    @abstractmethod
    def _objective(
        self, network: "_Network", x: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Return the losses of a batch, its embedding and its logits."""

    def _check_settings(self) -> None:
        super()._check_settings()
        as_brb(self.brb)
        validation.check_hidden_layers(self.hidden_layers)

    def _validate(self, X, on_epoch=None):
        return validation.check_fit(self, X), on_epoch

    def _train(self, data, seeds: list[int]) -> tuple["_Network", History]:
        X, on_epoch = data
        device = resolve_device(self.device)
        streams_ = Streams(seeds, device)
        network = self._build(streams_).to(device)
        phases = self._new_phases(network, torch.as_tensor(X, device=device), streams_, on_epoch)
        first, second = self._checkpoints(X, seeds, with_labels=on_epoch is not None)
        pretraining = [("pretraining", self.pretrain_epochs, phases.pretrain)]
        history = self._run_phases(pretraining, network.autoencoder, streams_, first)
        clustering = [("clustering", self.max_epochs, phases.cluster)]
        history |= self._run_phases(clustering, network, streams_, second)
        phases.replay(history.pop("clustering/labels", ()))
        return network.cpu().eval(), history

    def _checkpoints(self, X, seeds, with_labels: bool) -> tuple[Checkpoint, Checkpoint]:
        """Return those of the two phases; the first depends on what pre-training does, only."""
        settings = binding_settings(self) | {"class": type(self).__name__, "labels": with_labels}
        settings["brb"] = as_brb(self.brb)
        shared = {name: settings[name] for name in _PRETRAINING} | {"latent": self._latent()}
        parts = (shared, _SOURCES[:3]), (settings, _SOURCES)
        return tuple(
            Checkpoint(self.checkpoint, fingerprint(s, X, seeds, files)) for s, files in parts
        )

    def _resume(self, weights: dict[str, Tensor]) -> None:
        self.brb = as_brb(self.brb)
        super()._resume(weights)

    def _latent(self) -> int:
        return self.n_latent or self.n_clusters

    def _new_phases(self, network, data: Tensor, streams_: Streams, on_epoch=None) -> "_Phases":
        return _Phases(self, network, data, streams_, on_epoch)

    def _new_encoder(self, streams_: Streams) -> nn.Module:
        """Return a freshly initialised encoder, for a soft reset."""
        return self._new_autoencoder(streams_).encoder

    def _new_autoencoder(self, streams_: Streams) -> StackedAutoencoder:
        widths = tuple(self.hidden_layers)
        return StackedAutoencoder(self.n_features_in_, widths, self._latent(), streams_)

    def _build(self, streams_: Streams) -> "_Network":
        return _Network(self._new_autoencoder(streams_), self._new_clusters(len(streams_)))

    def _describe(self, data) -> None:
        X, _ = data
        found = self._answer(X)
        self.labels_ = found["logits"].argmax(axis=1)
        self.embedding_ = found["z"]
        self.cluster_centers_ = self.network_.clusters.centres.detach()[0].numpy().copy()
        to_own = self.embedding_ - self.cluster_centers_[self.labels_]
        self.inertia_ = float(np.square(to_own).sum(axis=1).mean())
        brb = as_brb(self.brb)
        epochs = range(self.max_epochs) if brb else ()
        self.interventions_ = np.array([e for e in epochs if brb.is_due(e)], dtype=int)
        self.background_ = X[np.random.default_rng(0).permutation(len(X))[:BACKGROUND]]

    @property
    def _n_features_out(self) -> int:
        return self.embedding_.shape[1]


@_with_shared_settings
class DEC(_Embedded):
    """Deep embedded clustering: assignments pulled towards their sharpened selves.

    Expects features of comparable scale: standardise them first.

    Parameters
    ----------
    n_clusters : int, default=8
    assignment : {"student", "gaussian"}, default="student"
        Soft assignments: Student's t kernel around the centres, Eq. (1) of DEC; or the
        responsibilities of a mixture of Gaussians, whose reclustering must be "em".
    shared

    Notes
    -----
    The loss is KL(P || Q), Eq. (2) of Xie et al. (2016), a mean over rows.

    References
    ----------
    Xie, Girshick and Farhadi (2016); Miklautz et al. (2025).

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from whycluster import BRB
    >>> X, _ = make_blobs(90, n_features=4, centers=3, random_state=0)
    >>> dec = DEC(3, hidden_layers=(16,), pretrain_epochs=20, max_epochs=10,
    ...           brb=BRB(interval=5), random_state=0).fit(X)
    >>> dec.embedding_.shape, dec.cluster_centers_.shape, dec.interventions_
    ((90, 3), (3, 3), array([5]))
    """

    _parameter_constraints = {  # noqa: RUF012
        **_Embedded._parameter_constraints,
        "assignment": [StrOptions({"student", "gaussian"})],
    }

    def __init__(
        self,
        n_clusters=8,
        *,
        assignment="student",
        hidden_layers=(1024, 512, 256),
        n_latent=None,
        pretrain_epochs=250,
        pretrain_mask=0.0,
        max_epochs=400,
        batch_size=256,
        learning_rate=1e-3,
        brb=None,
        n_init=10,
        random_state=None,
        device="auto",
        precision="highest",
        checkpoint=None,
        verbose=0,
    ):
        self.n_clusters = n_clusters
        self.assignment = assignment
        self.hidden_layers = hidden_layers
        self.n_latent = n_latent
        self.pretrain_epochs = pretrain_epochs
        self.pretrain_mask = pretrain_mask
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.brb = brb
        self.n_init = n_init
        self.random_state = random_state
        self.device = device
        self.precision = precision
        self.checkpoint = checkpoint
        self.verbose = verbose

    @property
    def _first_clusters(self) -> str:
        return "em" if self.assignment == "gaussian" else "k-means"

    def _check_settings(self) -> None:
        super()._check_settings()
        brb = as_brb(self.brb)
        if self.assignment == "gaussian" and brb and brb.recluster not in ("em", None):
            raise ValueError(
                f"assignment='gaussian' needs covariances, which recluster={brb.recluster!r} does "
                "not give; use BRB(recluster='em')"
            )

    def _new_clusters(self, n_models: int) -> nn.Module:
        kind = GaussianCentres if self.assignment == "gaussian" else StudentCentres
        return kind(n_models, self.n_clusters, self._latent())

    def _objective(self, network, x):
        z = network.autoencoder.encoder(x)
        logits = network.clusters(z)
        log_q = logits.log_softmax(dim=2)
        p = losses.dec_target(log_q.exp())
        return {"divergence": losses.assignment_divergence(p, log_q)}, z, logits


@_with_shared_settings
class IDEC(DEC):
    """Improved deep embedded clustering: DEC that still has to reconstruct the rows.

    Expects features of comparable scale: standardise them first.

    Parameters
    ----------
    n_clusters : int, default=8
    cluster_weight : float, default=0.1
        γ, weight of the loss of DEC beside the reconstruction error.
    assignment : {"student", "gaussian"}, default="student"
        See `DEC`.
    shared

    Notes
    -----
    The loss is Eq. (5) of Guo et al. (2017): reconstruction error plus γ KL(P || Q).

    References
    ----------
    Guo, Gao, Liu and Yin (2017); Miklautz et al. (2025).
    """

    _parameter_constraints = {  # noqa: RUF012
        **DEC._parameter_constraints,
        "cluster_weight": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        n_clusters=8,
        *,
        cluster_weight=0.1,
        assignment="student",
        hidden_layers=(1024, 512, 256),
        n_latent=None,
        pretrain_epochs=250,
        pretrain_mask=0.0,
        max_epochs=400,
        batch_size=256,
        learning_rate=1e-3,
        brb=None,
        n_init=10,
        random_state=None,
        device="auto",
        precision="highest",
        checkpoint=None,
        verbose=0,
    ):
        super().__init__(
            n_clusters,
            assignment=assignment,
            hidden_layers=hidden_layers,
            n_latent=n_latent,
            pretrain_epochs=pretrain_epochs,
            pretrain_mask=pretrain_mask,
            max_epochs=max_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            brb=brb,
            n_init=n_init,
            random_state=random_state,
            device=device,
            precision=precision,
            checkpoint=checkpoint,
            verbose=verbose,
        )
        self.cluster_weight = cluster_weight

    def _objective(self, network, x):
        parts, z, logits = super()._objective(network, x)
        error = losses.reconstruction_error(network.autoencoder.decoder(z), x)
        divergence = self.cluster_weight * parts["divergence"]
        return {"reconstruction": error, "divergence": divergence}, z, logits


@_with_shared_settings
class DCN(_Embedded):
    """Deep clustering network: k-means in an embedding that is trained to suit it.

    Expects features of comparable scale: standardise them first.

    Parameters
    ----------
    n_clusters : int, default=8
    cluster_weight : float, default=0.05
        λ, twice the weight of the mean squared distance to the own centre.
    center_count : int, at least 1, default=100
        Rows that each first centre counts for in the running mean that it becomes.
    max_center_count : int or None, default=None
        Where that count stops to grow, so that centres keep following. None: nowhere.
    shared

    Notes
    -----
    The loss is Eq. (3) of Yang et al. (2017): reconstruction error plus λ/2 ‖z - μ_s‖². Memberships
    of DCN are hard; `predict_proba` gives those of DEC's kernel around the same centres.

    References
    ----------
    Yang, Fu, Sidiropoulos and Hong (2017); Miklautz et al. (2025).
    """

    _parameter_constraints = {  # noqa: RUF012
        **_Embedded._parameter_constraints,
        "cluster_weight": [Interval(Real, 0, None, closed="left")],
        "center_count": [Interval(Integral, 1, None, closed="left")],
        "max_center_count": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        n_clusters=8,
        *,
        cluster_weight=0.05,
        center_count=100,
        max_center_count=None,
        hidden_layers=(1024, 512, 256),
        n_latent=None,
        pretrain_epochs=250,
        pretrain_mask=0.0,
        max_epochs=400,
        batch_size=256,
        learning_rate=1e-3,
        brb=None,
        n_init=10,
        random_state=None,
        device="auto",
        precision="highest",
        checkpoint=None,
        verbose=0,
    ):
        self.n_clusters = n_clusters
        self.cluster_weight = cluster_weight
        self.center_count = center_count
        self.max_center_count = max_center_count
        self.hidden_layers = hidden_layers
        self.n_latent = n_latent
        self.pretrain_epochs = pretrain_epochs
        self.pretrain_mask = pretrain_mask
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.brb = brb
        self.n_init = n_init
        self.random_state = random_state
        self.device = device
        self.precision = precision
        self.checkpoint = checkpoint
        self.verbose = verbose

    def _new_clusters(self, n_models: int) -> nn.Module:
        counts = (self.center_count, self.max_center_count or float("inf"))
        return RunningMeans(n_models, self.n_clusters, self._latent(), *counts)

    def _objective(self, network, x):
        z = network.autoencoder.encoder(x)
        logits = network.clusters(z)
        distance = losses.centre_distance(z, network.clusters.centres, logits.argmax(dim=2))
        parts = {
            "reconstruction": losses.reconstruction_error(network.autoencoder.decoder(z), x),
            "distance": 0.5 * self.cluster_weight * distance,
        }
        return parts, z, logits


class _Network(nn.Module):
    """An autoencoder and the clusters in its embedding."""

    def __init__(self, autoencoder: StackedAutoencoder, clusters: nn.Module):
        super().__init__()
        self.autoencoder = autoencoder
        self.clusters = clusters

    @property
    def encoder(self) -> nn.Module:
        """The map from rows to embeddings."""
        return self.autoencoder.encoder

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the embedding ``z`` and ``logits`` of (n_models, batch, n_features)."""
        z = self.autoencoder.encoder(x)
        return {"z": z, "logits": self.clusters(z)}


class _Phases:
    """The phases of training on one data set; each returns its history."""

    rows_at_once = ROWS_AT_ONCE  # when all are embedded
    schedule = None  # of the learning rate while clustering

    def __init__(self, settings, network: _Network, data: Tensor, streams_, on_epoch=None):
        self.settings = settings
        self.network = network
        self.data = data
        self.streams = streams_
        self.on_epoch = on_epoch
        self.has_clustered = False
        self.labels: Tensor | None = None  # present clusters (n_models, n_samples)

    def pretrain(self, tick) -> History:
        """Reconstruct all rows."""
        s, autoencoder = self.settings, self.network.autoencoder

        def step(rows: Tensor, _progress: float) -> dict[str, Tensor]:
            x = self.data[rows]
            if s.pretrain_mask:
                shown = x * (self.streams.uniform(*x.shape[1:]) >= s.pretrain_mask)
            else:
                shown = x
            return {"reconstruction": losses.reconstruction_error(autoencoder(shown), x)}

        optimizer = torch.optim.Adam(autoencoder.parameters(), lr=s.learning_rate, fused=True)
        autoencoder.train()
        epochs = (self.rows() for _ in range(s.pretrain_epochs))
        return train(step, optimizer, epochs, s.pretrain_epochs, on_epoch=tick)

    def cluster(self, tick) -> History:
        """Find first clusters, then improve embedding and clusters together."""
        self.has_clustered = True
        s, network = self.settings, self.network
        self.place(s._first_clusters, MOST_ROWS)
        self.labels = self.assign()
        watch = _Watch(self.labels, network.clusters, self.on_epoch)
        optimizer = torch.optim.Adam(network.parameters(), lr=s.learning_rate, fused=True)
        epochs = self.interrupted(optimizer)
        run = {"schedule": self.schedule, "on_epoch": watch.closing(tick)}
        history = train(self.step(watch), optimizer, epochs, s.max_epochs, **run)
        set_statistics(network.encoder, self.passes())
        return history | watch.history()

    def step(self, watch: "_Watch") -> Callable[[Tensor, float], dict[str, Tensor]]:
        """Return a step of clustering for the training loop."""
        clusters = self.network.clusters

        def step(rows: Tensor, _progress: float) -> dict[str, Tensor]:
            parts, z, logits = self.settings._objective(self.network, self.batch(rows))
            z, labels = z.detach(), logits.argmax(dim=2)
            watch.see(rows, z, labels)
            clusters.follow(z, labels)
            return parts

        return step

    def batch(self, rows: Tensor) -> Tensor:
        """Return what a step of clustering sees of these rows."""
        return self.data[rows]

    def interrupted(self, optimizer) -> Iterator[Iterator[Tensor]]:
        """Yield the batches of each epoch; intervene before those that BRB names."""
        s, brb = self.settings, as_brb(self.settings.brb)
        for epoch in range(s.max_epochs):
            if brb and brb.is_due(epoch):
                self.intervene(brb, optimizer)
            self.network.train()
            yield self.rows()

    def intervene(self, brb: BRB, optimizer) -> None:
        """Reset the encoder softly, cluster anew, forget the momentum of the centres."""
        if brb.reset:
            soft_reset(self.network.encoder, self.settings._new_encoder(self.streams), brb)
        if brb.recluster:
            self.place(brb.recluster, brb.n_rows)
            self.renumber()
            if brb.momentum and optimizer:
                self.network.clusters.forget(optimizer)

    def place(self, method: str, n_rows: int) -> None:
        """Cluster the embedding of at most `n_rows` random rows and put the centres there."""
        s = self.settings
        set_statistics(self.network.encoder, self.passes())
        z = draw_rows(self.embed(), n_rows, self.streams)
        self.network.clusters.place(recluster(z, s.n_clusters, method, self.streams, s.n_init))

    def renumber(self) -> None:
        """Give new clusters the numbers of the old ones that they share most rows with."""
        pairs = zip(self.labels.cpu().numpy(), self.assign().cpu().numpy(), strict=True)
        numbers = [match_clusters(old, new, self.settings.n_clusters) for old, new in pairs]
        order = torch.as_tensor(np.argsort(numbers, axis=1), device=self.data.device)
        self.network.clusters.reorder(order)

    def rows(self) -> Iterator[Tensor]:
        """Yield the row numbers of one epoch."""
        return self.streams.batches(len(self.data), self.settings.batch_size)

    def passes(self) -> Iterator[Tensor]:
        """Yield all rows in random batches."""
        return (self.data[rows] for rows in self.rows())

    @torch.no_grad()
    def embed(self) -> Tensor:
        """Embed all rows as `predict` does: (n_models, n_samples, n_latent)."""
        encoder, n_models = self.network.encoder.eval(), len(self.streams)
        parts = [encoder(x.expand(n_models, -1, -1)) for x in self.data.split(self.rows_at_once)]
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def assign(self) -> Tensor:
        """Return the cluster of each row, (n_models, n_samples)."""
        parts = [self.network.clusters(z) for z in self.embed().split(ROWS_AT_ONCE, dim=1)]
        return torch.cat([logits.argmax(dim=2) for logits in parts], dim=1)

    def replay(self, labels: Iterable[np.ndarray]) -> None:
        """Tell `on_epoch` of epochs that were restored from a checkpoint instead of run."""
        if self.on_epoch and not self.has_clustered:
            for epoch, found in enumerate(labels):
                self.on_epoch(epoch, found.T)


class _Watch:
    """What each epoch of clustering looked like to its own steps: costs no pass over the rows."""

    def __init__(self, labels: Tensor, clusters: nn.Module, on_epoch):
        self.labels = labels  # (n_models, n_samples)
        self.before = labels.clone()
        self.clusters = clusters
        self.on_epoch = on_epoch
        self.sums = torch.zeros(2, len(labels), device=labels.device)
        self.epochs: list[dict[str, list[float]]] = []
        self.kept: list[np.ndarray] = []

    def see(self, rows: Tensor, z: Tensor, labels: Tensor) -> None:
        """Note where a batch was, before the step."""
        own = self.clusters.centres.detach().gather(1, labels[..., None].expand_as(z))
        squared = (z - own).square().sum(dim=2)
        self.sums += torch.stack([squared.sum(dim=1), squared.sqrt().sum(dim=1)])
        self.labels.scatter_(1, rows, labels)

    def closing(self, tick: Callable | None) -> Callable:
        """Return an `on_epoch` for the training loop that closes the epoch, then calls `tick`."""

        def close(epoch: int, epoch_losses: dict) -> None:
            self._close(epoch)
            if tick:
                tick(epoch, epoch_losses)

        return close

    def _close(self, epoch: int) -> None:
        inertia, intra = self.sums / self.labels.shape[1]
        changed = (self.labels != self.before).float().mean(dim=1)
        values = {"inertia": inertia, "intra": intra, "inter": self._inter(), "changed": changed}
        self.epochs.append({name: value.tolist() for name, value in values.items()})
        self.sums.zero_()
        self.before.copy_(self.labels)
        if self.on_epoch:
            small = self.clusters.centres.shape[1] <= 256
            self.kept.append(self.labels.cpu().numpy().astype(np.uint8 if small else np.int32))
            self.on_epoch(epoch, self.kept[-1])

    def _inter(self) -> Tensor:
        """Mean distance between two different centres, (n_models,)."""
        centres = self.clusters.centres.detach()
        n_clusters = centres.shape[1]
        total = exact_squared_distances(centres, centres).sqrt().sum(dim=(1, 2))
        return total / (n_clusters * (n_clusters - 1))

    def history(self) -> History:
        """Return arrays (n_epochs, n_models); if told, labels (n_epochs, n_samples, n_models)."""
        names = self.epochs[0] if self.epochs else ()
        found = {name: np.array([e[name] for e in self.epochs]) for name in names}
        return found | ({"labels": np.stack(self.kept).swapaxes(1, 2)} if self.kept else {})


_PRETRAINING = (
    "hidden_layers",
    "pretrain_epochs",
    "pretrain_mask",
    "batch_size",
    "learning_rate",
    "precision",
)
_SOURCES = (
    losses.__file__,
    modules.__file__,
    streams.__file__,
    __file__,
    centroids.__file__,
    reclustering.__file__,
    brb_module.__file__,
    distances.__file__,
)
