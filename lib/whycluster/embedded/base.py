"""What DEC, IDEC, DCN and contrastive clustering share: settings, checkpoints and answers."""

import copy
from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
from sklearn.base import ClusterMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from whycluster.contract import validation
from whycluster.contract.attribution import attribute
from whycluster.contract.explanation import Explanation
from whycluster.contract.mixins import Differentiable, Float32Transformer
from whycluster.contract.settings import (
    Checked,
    Count,
    CountOrZero,
    Positive,
    Widths,
    at_least,
    setting,
)
from whycluster.embedded.brb import BRB, as_brb
from whycluster.embedded.objectives import Distance, Divergence
from whycluster.embedded.phases import EmbeddedPhases
from whycluster.training.layers import set_statistics
from whycluster.training.stack import StackedEstimator
from whycluster.training.streams import Streams

BACKGROUND = 100  # rows that attributions compare with


class Embedded(Float32Transformer, ClusterMixin, Differentiable, StackedEstimator):
    """What DEC, IDEC, DCN and contrastive clustering share: settings and answers.

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

    n_clusters: Checked = setting(8, positional=True)
    n_latent: Count | None = setting(None, "Width of the embedding. None: n_clusters.")
    hidden_layers: Widths = setting(
        (1024, 512, 256), "Widths of the encoder, mirrored in the decoder."
    )
    # Pre-training
    pretrain_epochs: CountOrZero = setting(
        250,
        """Epochs of reconstruction alone; 0: the first clusters are those of a random
        embedding.""",
    )
    # Clustering
    max_epochs: Count = setting(400, "Epochs of clustering.")
    batch_size: Annotated[int, at_least(3)] = setting(256, "Rows per step.")
    learning_rate: Positive = setting(1e-3, "Adam, in both phases.")
    brb: BRB | dict | None = setting(None, "Interventions while clustering.")
    n_init: Count = setting(
        10, "Restarts of every k-means; the one with the lowest inertia is kept."
    )
    _first_clusters = "k-means"
    _reconstructs = True  # while clustering
    _run_of = EmbeddedPhases
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
            None: the default settings, with the clustering that the first clusters came from.
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
        rows = torch.from_numpy(data)
        run = self._run_of(changed, changed.network_, rows, Streams([seed]))
        run.labels = torch.from_numpy(self.predict(X))[None]
        run.intervene(brb or BRB(recluster=self._first_clusters), optimizer=None)
        set_statistics(changed.network_.encoder, run.passes())
        changed._describe((data, None))
        return changed

    @property
    @abstractmethod
    def _objective(self) -> Divergence | Distance:
        """What pulls the embedding to its clusters."""

    @property
    def _weight(self) -> float:
        """Weight of the objective."""
        return self.cluster_weight

    def _check_settings(self) -> None:
        super()._check_settings()
        as_brb(self.brb)
        validation.check_hidden_layers(self.hidden_layers)

    def _validate(self, X, on_epoch=None):
        return validation.check_fit(self, X), on_epoch

    def _resume(self, weights: dict[str, Tensor]) -> None:
        self.brb = as_brb(self.brb)
        super()._resume(weights)

    @abstractmethod
    def _new_encoder(self, streams: Streams) -> nn.Module:
        """Return a freshly initialised encoder, for a soft reset."""

    def _describe(self, data) -> None:
        X, _ = data
        self.history_.pop("clustering/labels", None)
        found = self._answer(X)
        self.labels_ = found["logits"].argmax(axis=1)
        self.embedding_ = found["z"]
        self.cluster_centers_ = self.network_.clusters.centres.detach()[0].numpy().copy()
        to_own = self.embedding_ - self.cluster_centers_[self.labels_]
        self.inertia_ = float(np.square(to_own).sum(axis=1).mean())
        brb = as_brb(self.brb)
        due = [epoch for epoch in range(self.max_epochs) if brb and brb.is_due(epoch)]
        self.interventions_ = np.array(due, dtype=int)
        self.background_ = X[np.random.default_rng(0).permutation(len(X))[:BACKGROUND]]

    @property
    def _n_features_out(self) -> int:
        return self.embedding_.shape[1]
