"""ClustRecNet: which of ten clustering algorithms suits this table?

A network is trained on synthetic tables with known clusters to say which algorithms find them, and
is then asked about a table whose clusters nobody knows.

Bakhtyari, Mazoure, Cordeiro de Amorim, Rabusseau, Makarenkov (2026). ClustRecNet: a novel
end-to-end deep learning framework for clustering algorithm recommendation. IEEE Access 14.

=====================  ====================  ================================================
paper                  code                  shape
=====================  ====================  ================================================
data set               ``datasets[i]``       (n_samples, n_features), any numbers of both
ARI of an algorithm    ``scores``            (n_datasets, n_algorithms)
ARI > 0.8              ``target``            (n_datasets, n_algorithms), several may be true
padded data set        ``images``            (n_models, batch, 2000, 50)
logits                 ``logits``            (n_models, batch, n_algorithms)
=====================  ====================  ================================================

Deviations from the paper
-------------------------
1. The default network sees distances between rows (`descriptors`), as a set, instead of the table
   as an image. The published network, in which neighbouring pixels are rows that happen to follow
   each other, is ``network="cnn-residual-attention"``. Its authors' own runs change the answer for
   23 % of shuffled tables; the default one never does, and learns from fewer tables: of 192, micro
   F1 0.76 on 60 others, against 0.53 of the published one after ten epochs at ten times its
   published learning rate. At the published scale the two are not compared yet.
2. ``ordered=True`` puts rows and columns in an order set by their values before anything else, for
   every network; the authors keep the order of the file, in which UCI tables are sorted by class.
3. Folds are trained side by side and their probabilities averaged. The authors keep the last fold.
4. Tables of more than 2,000 rows are sampled with a seed and those of more than 50 columns reduced
   by principal components; `recommend` says so. The first version of the authors' code fails there.
5. Images are padded batch by batch, and attention is computed without the matrix of all pairs of
   positions.
6. The settings of the algorithms are those of `algorithms`, for every table. The published settings
   of the ten UCI tables differ from table to table.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.resources import as_file, files
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.metrics import f1_score, hamming_loss
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.nn import functional as F

from whycluster.contract.persistence import Savable
from whycluster.contract.settings import (
    Count,
    Declared,
    NotNegative,
    Positive,
    RandomState,
    at_least,
    between,
    fitting,
    setting,
)
from whycluster.recommender import descriptors, selection
from whycluster.recommender.algorithms import ALGORITHMS, NAMES, reach
from whycluster.recommender.inputs import Descriptions, Images, check_table
from whycluster.recommender.networks import NETWORKS
from whycluster.training.device import resolve_device
from whycluster.training.loop import cosine, progress_bar, train
from whycluster.training.streams import Streams

# The settings behind the published numbers.
PUBLISHED: Mapping = {
    "network": "cnn-residual-attention",
    "ordered": False,
    "n_folds": 10,
    "max_epochs": 30,
    "batch_size": 32,
    "learning_rate": 1e-4,
    "weight_decay": 7e-3,
}


class ClustRecNet(Declared, Savable, BaseEstimator):
    """Recommends clustering algorithms for a table.

    Attributes
    ----------
    folds_ : ndarray of int of shape (n_datasets,)
        The network that did not see the data set in training.
    fold_probabilities_ : ndarray of shape (n_datasets, n_algorithms)
        What that network says of it.
    fold_scores_ : dict of str to ndarray of shape (n_folds,)
        micro F1, Hamming loss, ARI (mean, of the algorithm with the highest probability), by fold.
    history_ : dict of str to ndarray of shape (n_epochs, n_folds)
        Mean loss per epoch.
    n_datasets_ : int
        How many data sets it has learnt from.

    References
    ----------
    Bakhtyari et al. (2026), ClustRecNet, IEEE Access; Zaheer et al. (2017), Deep Sets, NeurIPS.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> recommendation = ClustRecNet.pretrained().recommend(load_iris().data)
    >>> list(recommendation.columns)
    ['algorithm', 'probability', 'n_clusters', 'settings']
    >>> len(recommendation)
    10
    """

    network: Literal[
        "set", "cnn-residual-attention", "no cnn", "no residual", "no attention", "plain cnn"
    ] = setting(
        "set",
        """"cnn-residual-attention" is the published network, the four after it its ablations.""",
    )
    ordered: bool = setting(
        True,
        "Whether rows and columns are put in an order set by their values; False: as they come.",
    )
    threshold: Annotated[float, between(-1, 1)] = setting(
        0.8, "Adjusted Rand index above which an algorithm counts as suitable."
    )
    # Training
    n_folds: Annotated[int, at_least(2)] = setting(
        5, "Networks, each trained without one fold of the data sets. Published: 10."
    )
    max_epochs: Count = setting(30)
    batch_size: Annotated[int, at_least(3)] = setting(32, "Data sets per step.")
    learning_rate: Positive = setting(2e-3, "Published: see `PUBLISHED`.")
    weight_decay: NotNegative = setting(
        1e-2,
        """Adam with decoupled weight decay for the set network; with an L2 penalty, as published,
        for the others.""",
    )
    random_state: RandomState = setting(None)
    device: str = setting("auto", """"auto": the GPU where there is one.""")
    n_jobs: int = setting(1, "Processes that describe data sets, through joblib.")
    verbose: int = setting(0, "1: progress bars.")

    def fit(self, datasets: Sequence, scores) -> "ClustRecNet":
        """Learn which algorithms find the clusters of data sets.

        Parameters
        ----------
        datasets : sequence of array-like of shape (n_samples, n_features), or what `read` returns
            Tables; `generation.DataSets` makes them when they are asked for, so that no more than a
            batch is ever in memory.
        scores : array-like or DataFrame of shape (n_datasets, n_algorithms)
            Adjusted Rand index of every algorithm, in the order of `algorithms.NAMES`; NaN where it
            failed, which counts as unsuitable. From `labelling.wide`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `scores` do not fit the data sets, or there are fewer than two data sets per fold.
        """
        self._validate_params()
        scores = self._check_scores(datasets, scores)
        with fitting(self) as twin:
            twin._fit(datasets, scores)
        return self

    def _fit(self, datasets: Sequence, scores: np.ndarray) -> None:
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        self.folds_ = np.random.default_rng(seed).permutation(len(scores)) % self.n_folds
        inputs = self.read(datasets)
        network, self.history_ = self._train(inputs, scores > self.threshold, seed)
        self.network_ = network.cpu().eval()
        self.n_datasets_ = len(scores)
        self.fold_probabilities_ = self._judge(inputs)[self.folds_, np.arange(len(scores))]
        self.fold_scores_ = self._score_folds(scores)

    def read(self, datasets: Sequence) -> Descriptions | Images:
        """Prepare tables for several models that see them in the same way.

        Parameters
        ----------
        datasets : sequence of array-like of shape (n_samples, n_features)

        Returns
        -------
        Descriptions or Images
            For `fit` and `predict_proba` of models with the same `network` and `ordered`; a slice
            of it holds some of the tables.

        Raises
        ------
        ValueError
            If `datasets` were read already, for a network that sees them in the other way; if one
            of them has text, missing values, fewer than 10 rows or only constant columns.
        """
        kind = Descriptions if self.network == "set" else Images
        if isinstance(datasets, kind):
            return datasets
        if isinstance(datasets, Descriptions | Images):
            was, now = type(datasets).__name__.lower(), kind.__name__.lower()
            raise ValueError(
                f"network={self.network!r} sees {now}, these data sets were read as {was}"
            )
        if kind is Images:
            return Images(datasets, ordered=self.ordered)
        how: dict[str, Any] = {
            "ordered": self.ordered,
            "n_jobs": self.n_jobs,
            "verbose": self.verbose,
        }
        return Descriptions.of(datasets, **how)

    def predict_proba(self, X) -> np.ndarray:
        """Return the probability that each algorithm finds the clusters of the table `X`.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features), or what `read` returns

        Returns
        -------
        ndarray of shape (n_algorithms,), or (n_datasets, n_algorithms) for what `read` returns
            In the order of `algorithms.NAMES`; they do not add up to 1, as several may do.
        """
        check_is_fitted(self)
        if isinstance(X, Descriptions | Images):
            return self._judge(X).mean(axis=0)
        return self._judge_table(descriptors.sample(check_table(X), ordered=self.ordered))

    def recommend(self, X, *, index: str = "silhouette", n_clusters: int | None = None):
        """Say which algorithms to try on a table, and how.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Numbers without gaps, at least 10 rows; `table.TableEncoder` makes them of any table.
        index : {"silhouette", "Calinski-Harabasz"}, default="silhouette"
            What the number of clusters is chosen by.
        n_clusters : int, optional
            If it is known.

        Returns
        -------
        DataFrame of shape (n_algorithms, 4)
            algorithm, probability of suiting the table, n_clusters (missing for those that find it
            themselves), settings (a dict; columns are standardised first); best first. The number
            of clusters, from 2 to 15, is the one that the best algorithm to take one scores highest
            with. ``attrs["table"]`` says which part of the table was looked at.

        Raises
        ------
        ValueError
            If `X` has text, missing values, fewer than 10 rows or only constant columns.
        """
        check_is_fitted(self)
        X_ = check_table(X)
        table = descriptors.sample(X_, ordered=self.ordered)
        ranking = np.argsort(-(probability := self._judge_table(table)), kind="stable")
        candidates = [ALGORITHMS[NAMES[i]] for i in ranking]
        if n_clusters is None:
            first = next(a for a in candidates if a.takes_n_clusters)
            n_clusters = int(selection.score_candidates(table.Z, first, index).idxmax())
        reaches = reach(descriptors.standardise(X_))
        rows = {
            "algorithm": [a.name for a in candidates],
            "probability": probability[ranking],
            "n_clusters": [n_clusters if a.takes_n_clusters else None for a in candidates],
            "settings": [a.settings_for(reaches) for a in candidates],
        }
        out = pd.DataFrame(rows).astype({"n_clusters": "Int64"})
        out.attrs |= {"table": str(table), "index": index}
        return out

    def cluster(self, X, *, index: str = "silhouette", n_clusters: int | None = None) -> np.ndarray:
        """Cluster a table by the algorithm that is recommended for it.

        Parameters
        ----------
        X, index, n_clusters
            See `recommend`.

        Returns
        -------
        ndarray of int of shape (n_samples,)
            Clusters from 0; -1 is noise. Of more than 10,000 rows a sample is clustered, and each
            other row joins the sampled row next to it.
        """
        best = self.recommend(X, index=index, n_clusters=n_clusters).iloc[0]
        Z = descriptors.standardise(check_table(X))
        n_clusters = None if pd.isna(best["n_clusters"]) else int(best["n_clusters"])
        return selection.cluster(Z, ALGORITHMS[best["algorithm"]], n_clusters)

    @classmethod
    def pretrained(cls) -> "ClustRecNet":
        """Return the model that comes with the package; `n_datasets_` says what it has seen."""
        with as_file(files("whycluster.recommender") / "pretrained" / "clustrecnet") as folder:
            return cls.load(folder)

    def _resume(self, weights: dict[str, Tensor]) -> None:
        if any(len(weight) != self.n_folds for weight in weights.values()):
            raise ValueError(f"n_folds={self.n_folds}, but there are weights of another number")
        network = NETWORKS[self.network](len(NAMES), Streams(range(self.n_folds)))
        network.load_state_dict(weights)
        self.network_ = network.eval()

    # Training

    def _train(self, inputs, suits: np.ndarray, seed: int):
        """Train one network per fold, on what the fold leaves."""
        device = resolve_device(self.device)
        streams = Streams(range(seed, seed + self.n_folds), device)
        network = NETWORKS[self.network](len(NAMES), streams).to(device)
        target = torch.as_tensor(suits, dtype=torch.float32, device=device)
        known = torch.as_tensor(self._training_rows(), device=device)

        def step(places: Tensor, _progress: float) -> dict[str, Tensor]:
            rows = known.gather(1, places)
            logits = network(*inputs.batch(rows, device))
            each = F.binary_cross_entropy_with_logits(logits, target[rows], reduction="none")
            return {"cross-entropy": each.mean(dim=(1, 2))}

        batches = partial(streams.batches, known.shape[1], self.batch_size)
        with progress_bar(self.max_epochs, self.verbose) as tick:
            optimizer, schedule = self._optimizer(network)
            history = train(
                step, optimizer, batches, self.max_epochs, schedule=schedule, on_epoch=tick
            )
        return network, history

    def _optimizer(self, network):
        settings = {"lr": self.learning_rate, "weight_decay": self.weight_decay, "fused": True}
        if self.network == "set":
            return torch.optim.AdamW(network.parameters(), **settings), cosine(0.01)
        return torch.optim.Adam(network.parameters(), **settings), None

    def _training_rows(self) -> np.ndarray:
        """Data sets that each fold trains on; folds short of one see one of theirs twice."""
        rows = [np.flatnonzero(self.folds_ != fold) for fold in range(self.n_folds)]
        longest = max(map(len, rows))
        return np.stack([np.resize(r, longest) for r in rows])

    def _score_folds(self, scores: np.ndarray) -> dict[str, np.ndarray]:
        folds = [self.folds_ == fold for fold in range(self.n_folds)]
        each = [score(self.fold_probabilities_[f], scores[f], self.threshold) for f in folds]
        return {name: np.array([one[name] for one in each]) for name in each[0]}

    def _check_scores(self, datasets, scores) -> np.ndarray:
        if isinstance(scores, pd.DataFrame) and list(scores.columns) != list(NAMES):
            raise ValueError(f"columns of scores are {list(scores.columns)}; expected {NAMES}")
        scores = np.asarray(scores, dtype=float)
        if scores.shape != (len(datasets), len(NAMES)):
            raise ValueError(
                f"scores have shape {scores.shape} for {len(datasets)} data sets; "
                f"expected ({len(datasets)}, {len(NAMES)})"
            )
        if len(scores) < 2 * self.n_folds:
            raise ValueError(
                f"{len(scores)} data sets are too few for n_folds={self.n_folds}; "
                "give two per fold or more"
            )
        return scores

    # Judging a table

    def _judge_table(self, table: descriptors.Sample) -> np.ndarray:
        return self._judge(self.read([table])).mean(axis=0)[0]

    @torch.no_grad()
    def _judge(self, inputs: Descriptions | Images) -> np.ndarray:
        """Return what each fold says: probabilities of shape (n_folds, n_tables, n_algorithms)."""
        batches = torch.arange(len(inputs)).split(self.batch_size)
        rows = (batch.expand(self.n_folds, -1) for batch in batches)
        logits = [self.network_(*inputs.batch(r, "cpu")) for r in rows]
        return torch.sigmoid(torch.cat(logits, dim=1)).numpy()


def score(probability: np.ndarray, scores: np.ndarray, threshold: float = 0.8) -> dict[str, float]:
    """Score recommendations for data sets whose clusters are known.

    Parameters
    ----------
    probability : ndarray of shape (n_datasets, n_algorithms), in [0, 1]
    scores : ndarray of shape (n_datasets, n_algorithms)
        Adjusted Rand index of every algorithm; NaN where it failed.
    threshold : float, default=0.8
        Above which an algorithm is suitable.

    Returns
    -------
    dict of str to float
        "micro F1" and "Hamming loss" of calling suitable what has a probability above 0.5, "ARI":
        mean index of the algorithm with the highest probability.

    Examples
    --------
    >>> score(np.array([[0.9, 0.2], [0.4, 0.6]]), np.array([[1.0, 0.9], [0.1, 0.2]]))
    {'micro F1': 0.5, 'Hamming loss': 0.5, 'ARI': 0.6}
    """
    said, true = probability > 0.5, scores > threshold
    chosen = scores[np.arange(len(scores)), probability.argmax(axis=1)]
    return {
        "micro F1": float(f1_score(true, said, average="micro", zero_division=0.0)),
        "Hamming loss": float(hamming_loss(true, said)),
        "ARI": float(np.nan_to_num(chosen).mean()),
    }
