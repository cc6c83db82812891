"""What estimators that train as a stack of models share: random states, checkpoints, files.

It knows no method. A subclass says how its network is built, in which phases it is trained, and
which attributes describe the result.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    clone,
    is_clusterer,
)
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from whycluster.contract import validation
from whycluster.contract.persistence import Savable
from whycluster.training import centres, layers, losses, streams
from whycluster.training.checkpoint import Checkpoint, binding_settings, fingerprint
from whycluster.training.device import matmul_precision
from whycluster.training.loop import History, progress_bar
from whycluster.training.streams import Streams

ROWS_AT_ONCE = 4096

Phase = tuple[str, int, Callable[[Callable | None], History]]


class StackedEstimator(Savable, BaseEstimator, ABC):
    """An estimator with one network, several of which train as one stack.

    Of the settings it reads `random_state`, `precision`, `checkpoint`, `verbose` and, through its
    subclass, `device`. Fitted, it has `network_` (a stack of one, on the CPU), `history_` ("phase/
    loss": per-epoch means) and `fit_seconds_` (what the phases took, for the whole stack).
    """

    _sources: tuple[str, ...] = ()  # further files that a checkpoint depends on

    def fit_seeds(self, X, random_states: Sequence[int], **fit_args) -> list:
        """Fit one copy per random state, all of them as one stack.

        Equal to fitting them one after another, up to rounding, in less time.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
        random_states : sequence of int
        **fit_args
            What else `fit` takes.

        Returns
        -------
        list of fitted estimators
        """
        models = [clone(self).set_params(random_state=state) for state in random_states]
        if not models:
            raise ValueError("random_states is empty; give one for each model to fit")
        self._fit_stack(X, models, **fit_args)
        return models

    # What a subclass writes

    @abstractmethod
    def _build(self, streams: Streams) -> nn.Module:
        """Return an untrained network for `n_features_in_` features, one model per stream."""

    @abstractmethod
    def _train(self, data, seeds: list[int]) -> tuple[nn.Module, History]:
        """Build and train one model per seed on what `_validate` returned."""

    @abstractmethod
    def _describe(self, data) -> None:
        """Set the fitted attributes from `network_` and `history_`."""

    def _validate(self, X, **fit_args):
        """Check the input and set `n_features_in_`; return the data in the form of `_train`."""
        return validation.check_fit(self, X, **fit_args)

    # What it gets

    def _fit_stack(self, X, models: Sequence["StackedEstimator"], **fit_args) -> None:
        """Train `models`, which differ in their random state, as one stack."""
        self._check_settings()
        for model in models:
            data = model._validate(X, **fit_args)
        seeds = [check_random_state(m.random_state).randint(2**31 - 1) for m in models]
        with matmul_precision(self.precision):
            network, history = models[0]._train(data, seeds)
        seconds = sum(history.pop(name) for name in list(history) if name.endswith("/seconds"))
        weights = network.state_dict()
        for i, model in enumerate(models):
            model.network_ = model._restore(layers.take(weights, i))
            model.history_ = {name: values[..., i] for name, values in history.items()}
            model.fit_seconds_ = float(seconds[i])
            model._describe(data)
            if is_clusterer(model):
                validation.warn_of_empty_clusters(model, stacklevel=3)

    def _check_settings(self) -> None:
        self._validate_params()

    def _run_phases(self, phases: Iterable[Phase], network: nn.Module, streams: Streams, keep):
        """Run (name, n_epochs, run) in turn; each may be restored from a checkpoint instead."""
        history = {}
        with progress_bar(sum(n for _, n, _ in phases), self.verbose) as tick:
            for name, _, run in phases:
                losses_ = keep.phase(name, network, streams, lambda: run(tick))  # noqa: B023
                history |= {f"{name}/{loss}": values for loss, values in losses_.items()}
        return history

    def _checkpoint(self, data: np.ndarray, seeds: list[int]) -> Checkpoint:
        """Return the checkpoint of this training: same settings, data, seeds and sources."""
        settings = binding_settings(self)
        shared = (m.__file__ for m in (losses, layers, streams, centres))
        sources = [inspect.getfile(type(self)), *self._sources, *shared]
        return Checkpoint(self.checkpoint, fingerprint(settings, data, seeds, sources))

    def _resume(self, weights: dict[str, Tensor]) -> None:
        self.network_ = self._restore(weights)

    def _restore(self, weights: dict[str, Tensor]) -> nn.Module:
        """Return a single network with these weights, ready for prediction."""
        network = self._build(Streams([0]))
        network.load_state_dict(weights)
        return network.eval()

    def _evaluate(self, X) -> dict[str, np.ndarray]:
        """Return what the network computes for rows of `X`, by name."""
        check_is_fitted(self)
        return self._answer(validation.check_predict(self, X))

    def _answer(self, X: np.ndarray) -> dict[str, np.ndarray]:
        """Return what the network computes for checked rows, by name."""
        return evaluate(self.network_, X)


@torch.no_grad()
def evaluate(network: nn.Module, X: np.ndarray, at_once=ROWS_AT_ONCE) -> dict[str, np.ndarray]:
    """Evaluate a stack of one, whose forward returns tensors by name, in bounded memory.

    Parameters
    ----------
    network : Module
        ``network(x)`` gets (1, batch, n_features).
    X : ndarray of shape (n_samples, n_features), float32
    at_once : int
        Rows, which bounds the memory.

    Returns
    -------
    dict of str to ndarray of shape (n_samples, ...)
    """
    network.eval()
    device = next(network.parameters()).device
    parts = [network(x[None].to(device)) for x in torch.from_numpy(X).split(at_once)]
    return {name: torch.cat([p[name][0] for p in parts]).cpu().numpy() for name in parts[0]}
