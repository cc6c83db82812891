"""What DEC, IDEC, DCN and contrastive clustering share: settings, checkpoints and answers."""

import copy
import inspect
from abc import abstractmethod
from collections.abc import Callable
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import ClusterMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from whycluster.contract import validation
from whycluster.contract.attribution import attribute
from whycluster.contract.explanation import Explanation
from whycluster.contract.mixins import Differentiable, Float32Transformer
from whycluster.embedded import centres as cluster_centres
from whycluster.embedded import reclustering
from whycluster.embedded.brb import BRB, as_brb
from whycluster.embedded.phases import Phases
from whycluster.training import centres, layers, losses, streams
from whycluster.training.checkpoint import Checkpoint, binding_settings, fingerprint
from whycluster.training.device import resolve_device
from whycluster.training.layers import StackedAutoencoder, set_statistics
from whycluster.training.loop import History
from whycluster.training.stack import StackedEstimator
from whycluster.training.streams import Streams

BACKGROUND = 100  # rows that attributions compare with
PRETRAINING = (
    "hidden_layers",
    "pretrain_epochs",
    "pretrain_mask",
    "batch_size",
    "learning_rate",
    "precision",
)
# The files that the checkpoints of the two phases depend on.
PRETRAINING_SOURCES = tuple(module.__file__ for module in (losses, layers, streams))
SOURCES = (
    *PRETRAINING_SOURCES,
    *(inspect.getfile(part) for part in (Phases, BRB)),
    *(module.__file__ for module in (cluster_centres, reclustering, centres)),
)

SHARED = """
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


def with_shared_settings(cls):
    """Put the documentation of what the three methods share in place of the word "shared"."""
    said, shared = map(inspect.cleandoc, (cls.__doc__, SHARED))
    cls.__doc__ = said.replace("\nshared\n", f"\n{shared}\n")
    return cls


class Embedded(Float32Transformer, ClusterMixin, Differentiable, StackedEstimator):
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
            Of `whycluster.contract.attribution.attribute`. The background is by default a sample of
            the training rows, so that the answer for a row does not depend on the others.

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
    def _objective(self, network: "Network", x: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Return the losses of a batch, its embedding and its logits."""

    def _check_settings(self) -> None:
        super()._check_settings()
        as_brb(self.brb)
        validation.check_hidden_layers(self.hidden_layers)

    def _validate(self, X, on_epoch=None):
        return validation.check_fit(self, X), on_epoch

    def _train(self, data, seeds: list[int]) -> tuple["Network", History]:
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
        shared = {name: settings[name] for name in PRETRAINING} | {"latent": self._latent()}
        sources = (*SOURCES, inspect.getfile(type(self)))
        parts = (shared, PRETRAINING_SOURCES), (settings, sources)
        return tuple(
            Checkpoint(self.checkpoint, fingerprint(s, X, seeds, files)) for s, files in parts
        )

    def _resume(self, weights: dict[str, Tensor]) -> None:
        self.brb = as_brb(self.brb)
        super()._resume(weights)

    def _latent(self) -> int:
        return self.n_latent or self.n_clusters

    def _new_phases(self, network, data: Tensor, streams_: Streams, on_epoch=None) -> Phases:
        return Phases(self, network, data, streams_, on_epoch)

    def _new_encoder(self, streams_: Streams) -> nn.Module:
        """Return a freshly initialised encoder, for a soft reset."""
        return self._new_autoencoder(streams_).encoder

    def _new_autoencoder(self, streams_: Streams) -> StackedAutoencoder:
        widths = tuple(self.hidden_layers)
        return StackedAutoencoder(self.n_features_in_, widths, self._latent(), streams_)

    def _build(self, streams_: Streams) -> "Network":
        return Network(self._new_autoencoder(streams_), self._new_clusters(len(streams_)))

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


class Network(nn.Module):
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
