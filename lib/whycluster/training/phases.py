"""What the phases of every method share: settings, network, rows, random numbers, and the loop."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from whycluster.training.loop import History, train
from whycluster.training.streams import Streams


class Phase(NamedTuple):
    """One phase of training: a row of an estimator's `_phases`.

    Attributes
    ----------
    name : str
        Of its checkpoint, and of its losses in `history_`: "name/loss".
    n_epochs : int
        For the progress bar, and what `run` gets.
    run : callable
        ``run(n_epochs, tick)`` trains and returns the history; `tick` is an `on_epoch` callback.
    module : Module or None
        What the phase starts from and changes; the rest of the network must not matter to it.
        None: the whole network.
    bound : object
        What it depends on besides, for its checkpoint. None: the estimator's class; estimators of
        one folder that name the same thing share the phase.
    replay : callable or None
        Called with the history when the phase was restored instead of run.
    """

    name: str
    n_epochs: int
    run: Callable[[int, Callable | None], History]
    module: nn.Module | None = None
    bound: Any = None
    replay: Callable[[History], None] | None = None


class Phases:
    """The phases of training on one data set, as methods that a `Phase` runs.

    Settings are read where they are needed, while a phase runs: that is how a checkpoint knows
    what the phase depends on. The constructor reads none.

    Parameters
    ----------
    settings : estimator
    network : Module
        A stack with one model per stream.
    data : Tensor of shape (n_samples, n_features)
        On the device of the streams.
    streams : Streams
    """

    def __init__(self, settings: Any, network: Any, data: Tensor, streams: Streams):
        self.settings = settings
        self.network = network
        self.data = data
        self.streams = streams

    def rows(self) -> Iterable[Tensor]:
        """Yield the row numbers of one epoch, each (n_models, batch)."""
        return self.streams.batches(len(self.data), self.settings.batch_size)

    def train(self, module: nn.Module, step, optimizer, n_epochs: int, tick, **options) -> History:
        """Minimise what `step` returns over epochs of shuffled rows, `module` in training mode.

        Parameters
        ----------
        module : Module
        step, optimizer, **options
            As `whycluster.training.loop.train` takes them.
        n_epochs : int
        tick : callable or None
            Called after every epoch.
        """
        module.train()
        return train(step, optimizer, self.rows, n_epochs, on_epoch=tick, **options)

    @torch.no_grad()
    def over_rows(self, answer: Callable[[Tensor], Tensor], at_once: int) -> Tensor:
        """Return ``answer(x)`` of all rows, x of shape (n_models, at most at_once, n_features)."""
        n_models = len(self.streams)
        parts = [answer(x.expand(n_models, -1, -1)) for x in self.data.split(at_once)]
        return torch.cat(parts, dim=1)


def adam(*groups, lr: float | None = None) -> torch.optim.Optimizer:
    """Return fused Adam over modules or parameters; pairs (module, rate) have rates of their own.

    Examples
    --------
    >>> len(adam((nn.Linear(2, 2), 0.1), (nn.Linear(2, 1), 0.2)).param_groups)
    2
    """
    pairs = [group if isinstance(group, tuple) else (group, lr) for group in groups]
    rows = [{"params": _parameters(part), "lr": rate} for part, rate in pairs]
    return torch.optim.Adam(rows, fused=True)


def _parameters(part) -> list[nn.Parameter]:
    if isinstance(part, nn.Module):
        return list(part.parameters())
    return [part] if isinstance(part, nn.Parameter) else list(part)
