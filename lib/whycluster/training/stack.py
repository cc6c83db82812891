"""What estimators that train as a stack of models share: everything around their phases.

It knows no method. A subclass says how its network is built, in which phases it is trained, and
which attributes describe the result; device, random numbers, checkpoints, restarts and files are
seen to here.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone, is_clusterer
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from whycluster.contract import validation
from whycluster.contract.persistence import Savable
from whycluster.contract.settings import Declared, Precision, RandomState, fitting, setting
from whycluster.training import layers
from whycluster.training.checkpoint import Checkpoint, reading
from whycluster.training.device import matmul_precision, resolve_device
from whycluster.training.loop import History, progress_bar
from whycluster.training.phases import Phase
from whycluster.training.streams import Streams, restart_seeds

ROWS_AT_ONCE = 4096


class StackedEstimator(Declared, Savable, BaseEstimator, ABC):
    """An estimator with one network, several of which train as one stack.

    Fitted, it has `network_` (a stack of one, on the CPU), `history_` ("phase/loss": per-epoch
    means) and `fit_seconds_` (what the phases took, for the whole stack).
    """

    random_state: RandomState = setting(None)
    device: str = setting("auto", """"auto": the GPU where there is one.""")
    precision: Precision = setting(
        "highest", "Float32 matrix products, see `torch.set_float32_matmul_precision`."
    )
    checkpoint: Annotated[Any, "path or None"] = setting(
        None,
        """Folder for finished phases: a fit that was cut off resumes after the last of them. A
        phase is used again where the settings that it reads, rows, seeds and code are the same.""",
    )
    verbose: int = setting(0, "1: a progress bar.")

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
    def _phases(self, network, data, streams: Streams) -> list[Phase]:
        """Return the phases that train `network` on what `_validate` returned, in their order."""

    @abstractmethod
    def _describe(self, data) -> None:
        """Set the fitted attributes from `network_` and `history_`."""

    def _validate(self, X, **fit_args):
        """Check the input and set `n_features_in_`; return the data in the form of `_phases`."""
        return validation.check_fit(self, X, **fit_args)

    def _check_settings(self) -> None:
        self._validate_params()

    # Restarts: several models per seed, of which one is kept

    @property
    def _n_restarts(self) -> int:
        return 1

    def _judge(self, network, data) -> np.ndarray:
        """Return what each model (n_models,) of a trained stack is judged by; least is best."""
        raise NotImplementedError

    # What it gets

    def _fit_stack(self, X, models: Sequence["StackedEstimator"], **fit_args) -> None:
        """Train `models`, which differ in their random state, as one stack.

        They are set when all is done: an error leaves them as they were.
        """
        self._check_settings()
        with contextlib.ExitStack() as all_at_once:
            twins = [all_at_once.enter_context(fitting(model)) for model in models]
            for twin in twins:
                data = twin._validate(X, **fit_args)
            seeds = [check_random_state(twin.random_state).randint(2**31 - 1) for twin in twins]
            network, history = twins[0]._train(data, seeds)
            seconds = sum(history.pop(name) for name in list(history) if name.endswith("/seconds"))
            weights = network.state_dict()
            for i, twin in enumerate(twins):
                twin.network_ = twin._restore(layers.take(weights, i))
                twin.history_ = {name: values[..., i] for name, values in history.items()}
                twin.fit_seconds_ = float(seconds[i])
                twin._describe(data)
        for model in models:
            if is_clusterer(model):
                validation.warn_of_empty_clusters(model, stacklevel=3)

    def _train(self, data, seeds: list[int]) -> tuple[nn.Module, History]:
        """Train the models of all seeds, each with its restarts; keep the best of each."""
        device = resolve_device(self.device)
        reader = reading(self)  # notes which settings a phase reads
        streams = Streams(restart_seeds(seeds, self._n_restarts), device)
        network = self._build(streams).to(device)
        phases = reader._phases(network, data, streams)
        with matmul_precision(self.precision):
            history = self._run(phases, network, streams, reader, data)
        return self._keep_best(network.eval(), history, data, len(seeds))

    def _run(self, phases: list[Phase], network, streams: Streams, reader, data) -> History:
        """Run phases in turn; each may be restored from a checkpoint instead."""
        keep = Checkpoint(self.checkpoint, type(self), data, self.precision)
        history: History = {}
        with progress_bar(sum(phase.n_epochs for phase in phases), self.verbose) as tick:
            for phase in phases:
                found = keep.phase(phase, network, streams, reader, tick)
                history |= {f"{phase.name}/{loss}": values for loss, values in found.items()}
        return history

    def _keep_best(self, network, history: History, data, n_seeds: int):
        """Keep the restart of each seed that is judged best; the history gets all judgements."""
        if self._n_restarts == 1 and type(self)._judge is StackedEstimator._judge:
            return network.cpu(), history
        judged = self._judge(network, data).reshape(n_seeds, -1)
        best = judged.argmin(axis=1) + np.arange(n_seeds) * self._n_restarts
        chosen = self._build(Streams([0] * n_seeds))
        weights = network.cpu().state_dict()
        chosen.load_state_dict({name: part[best] for name, part in weights.items()})
        kept = {name: values[..., best] for name, values in history.items()}
        return chosen.eval(), kept | {"restarts": judged.T}

    def _resume(self, weights: dict[str, Tensor]) -> None:
        self.network_: Any = self._restore(weights)  # of a class of its own in each method

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
