"""One training loop for stacks of models. It knows nothing of clustering."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm

from whycluster.training.plateau import Plateau

History = dict[str, np.ndarray]

SMALL_STEP = 1e9  # multiplications and additions of matrix products, forward and backward


def train(
    step: Callable[[Tensor, float], dict[str, Tensor]],
    optimizer: torch.optim.Optimizer,
    batches: Callable[[], Iterable[Tensor]],
    n_epochs: int,
    *,
    schedule: Callable[[float], float] | None = None,
    plateau: Plateau | None = None,
    before_epoch: Callable[[int], None] | None = None,
    on_epoch: Callable[[int, dict[str, list[float]]], None] | None = None,
) -> History:
    """Minimise the sum of the losses that `step` returns, over models and names.

    Models of a stack share no parameter, so the gradient of the sum is the gradient of each.

    Parameters
    ----------
    step : callable
        ``step(rows, progress)`` gets row indices (n_models, batch) and the share of epochs done,
        in [0, 1), and returns named losses of shape (n_models,), already weighted.
    optimizer : torch.optim.Optimizer
    batches : callable
        ``batches()`` returns the row indices of one epoch.
    n_epochs : int
    schedule : callable or None
        Factor on the initial learning rate as a function of progress.
    plateau : Plateau or None
        Slows down and stops models whose loss no longer falls, and restores their best weights.
    before_epoch : callable or None
        Called with the epoch number from 0, before its batches are drawn.
    on_epoch : callable or None
        Called with the epoch number from 0 and its mean losses.

    Returns
    -------
    dict of str to ndarray of shape (n_epochs, n_models)
        Per-sample mean of each loss in each epoch; fewer epochs where all models were stopped.

    Raises
    ------
    FloatingPointError
        If a loss was not finite in some epoch.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    history: list[dict[str, list[float]]] = []
    with _Steps(step, optimizer) as steps:
        for epoch in range(n_epochs):
            progress = epoch / n_epochs
            if before_epoch:
                before_epoch(epoch)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * (schedule(progress) if schedule else 1.0)
            history.append(_run_epoch(steps, batches(), progress))
            _check_finite(epoch, history[-1])
            if on_epoch:
                on_epoch(epoch, history[-1])
            if plateau and plateau.update(history[-1]):
                break
    if plateau:
        plateau.restore()
    names = dict.fromkeys(name for losses in history for name in losses)
    return {name: np.array([losses[name] for losses in history]) for name in names}


class _Steps:
    """Steps of the optimiser; small ones are taken on one thread, all without subnormal numbers.

    How small is counted, not timed, in the first step: results must not depend on what else the
    machine does. Two idle cores take a step of ten small networks a sixth faster than one core,
    two that other processes use take nearly twice as long, as they wait for each other
    (`bench_stack.py`).

    Where weights decay, gates close or memberships are sharp, numbers fall below the smallest
    normal one, 1e-38, and processors are slow with these: sixty epochs of IMN take three times as
    long (`bench_imn.py`). Here they are zero.
    """

    def __init__(self, step, optimizer):
        self.step, self.optimizer = step, optimizer
        self.is_first = True

    def __enter__(self) -> "_Steps":
        self.n_threads, self.was_flushing = torch.get_num_threads(), _flushes_subnormals()
        torch.set_flush_denormal(True)
        return self

    def __exit__(self, *_error) -> None:
        torch.set_num_threads(self.n_threads)
        torch.set_flush_denormal(self.was_flushing)

    def __call__(self, rows: Tensor, progress: float) -> dict[str, Tensor]:
        if not self.is_first:
            return self.take(rows, progress)
        self.is_first = False
        with FlopCounterMode(display=False) as work:
            losses = self.take(rows, progress)
        if work.get_total_flops() < SMALL_STEP:
            torch.set_num_threads(1)
        return losses

    def take(self, rows: Tensor, progress: float) -> dict[str, Tensor]:
        """Take a step on as many threads as there are."""
        losses = self.step(rows, progress)
        self.optimizer.zero_grad(set_to_none=True)
        sum(loss.sum() for loss in losses.values()).backward()
        self.optimizer.step()
        return losses


def _flushes_subnormals() -> bool:
    return not torch.tensor(1e-30).mul(1e-10).item()


def _run_epoch(take: _Steps, batches, progress) -> dict[str, list[float]]:
    """Take one step per batch; return the mean of each loss over samples, one value per model.

    As plain numbers: small tensors that live on between the large ones of each step keep the
    allocator from reusing its memory, by gigabytes over thousands of epochs.
    """
    totals: dict[str, Tensor] = {}
    n_seen = 0
    for rows in batches:
        losses = take(rows, progress)
        n_seen += rows.shape[1]
        for name, loss in losses.items():
            totals[name] = totals.get(name, 0.0) + loss.detach() * rows.shape[1]
    means = torch.stack(list(totals.values())).div(n_seen).tolist()
    return dict(zip(totals, means, strict=True))


def _check_finite(epoch: int, losses: dict[str, list[float]]) -> None:
    for name, values in losses.items():
        for bad in (value for value in values if not math.isfinite(value)):
            raise FloatingPointError(
                f"training diverged: {name!r} is {bad} in epoch {epoch}; "
                "scale the features or lower the learning rate"
            )


def cosine(floor: float) -> Callable[[float], float]:
    """Return a schedule from 1 down to `floor` along half a cosine."""
    return lambda progress: floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def geometric(last: float) -> Callable[[float], float]:
    """Return a schedule that falls from 1 to `last` by equal factors."""
    return lambda progress: last**progress


@contextlib.contextmanager
def progress_bar(n_epochs: int, verbose: int) -> Iterator[Callable | None]:
    """Yield an `on_epoch` callback that advances a progress bar; None unless `verbose`."""
    if not verbose:
        yield None
        return
    with tqdm(total=n_epochs, unit="epoch") as bar:
        yield lambda _epoch, _losses: bar.update()
