"""One training loop for stacks of models. It knows nothing of clustering."""

import contextlib
import hashlib
import json
import math
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm

History = dict[str, np.ndarray]

SMALL_STEP = 2e9  # multiplications and additions of matrix products, forward and backward


def train(
    step: Callable[[Tensor, float], dict[str, Tensor]],
    optimizer: torch.optim.Optimizer,
    epochs: Iterable[Iterable[Tensor]],
    n_epochs: int,
    *,
    schedule: Callable[[float], float] | None = None,
    plateau: "Plateau | None" = None,
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
    epochs : iterable
        Yields, for each epoch, an iterable of row indices.
    n_epochs : int
    schedule : callable or None
        Factor on the initial learning rate as a function of progress.
    plateau : Plateau or None
        Slows down and stops models whose loss no longer falls, and restores their best weights.
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
    with _Steps(step, optimizer) as take:
        for epoch, batches in zip(range(n_epochs), epochs, strict=False):
            progress = epoch / n_epochs
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * (schedule(progress) if schedule else 1.0)
            history.append(_run_epoch(take, batches, progress))
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
    """Steps of the optimiser; small ones are taken on one thread.

    How small is counted, not timed, in the first step: results must not depend on what else the
    machine does. Handing out pieces of less work costs more than it brings: pre-training 64-wide
    networks on breast cancer takes eight times as long on two threads as on one.
    """

    def __init__(self, step, optimizer):
        self.step, self.optimizer = step, optimizer
        self.is_first = True

    def __enter__(self) -> "_Steps":
        self.n_threads = torch.get_num_threads()
        return self

    def __exit__(self, *_error) -> None:
        torch.set_num_threads(self.n_threads)

    def __call__(self, rows: Tensor, progress: float) -> dict[str, Tensor]:
        if not self.is_first:
            return self._take(rows, progress)
        self.is_first = False
        with FlopCounterMode(display=False) as work:
            losses = self._take(rows, progress)
        if work.get_total_flops() < SMALL_STEP:
            torch.set_num_threads(1)
        return losses

    def _take(self, rows: Tensor, progress: float) -> dict[str, Tensor]:
        losses = self.step(rows, progress)
        self.optimizer.zero_grad(set_to_none=True)
        sum(loss.sum() for loss in losses.values()).backward()
        self.optimizer.step()
        return losses


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


class StackedAdam(torch.optim.Adam):
    """Adam for a stack of which only the first models may take part in a step.

    A model that sits a step out is left as it is: weights, moments and number of steps.

    Parameters
    ----------
    parameters : iterable of Parameter
        With a leading model axis.
    sizes : sequence of int
        Numbers of neighbouring models that always take part together; their sum is n_models.
    **options
        Of `torch.optim.Adam`.

    Attributes
    ----------
    n_active : int
        How many models take part in the next step; set it before each.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], sizes: Sequence[int], **options):
        self.stacked = list(parameters)
        self.n_active = sum(sizes)
        ends = np.cumsum(sizes).tolist()
        self.bounds = list(zip([0, *ends], ends, strict=False))
        # The same memory as the parameters: a leaf for each group, which Adam skips without grad.
        self.parts = [[p.detach()[a:b] for a, b in self.bounds] for p in self.stacked]
        super().__init__([part for parts in self.parts for part in parts], fused=True, **options)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all models."""
        for parameter in self.stacked:
            parameter.grad = None

    def step(self, closure=None) -> None:
        """Take a step with the first `n_active` models."""
        for parameter, parts in zip(self.stacked, self.parts, strict=True):
            for part, (start, end) in zip(parts, self.bounds, strict=True):
                part.grad = parameter.grad[start:end] if end <= self.n_active else None
        super().step(closure)


class Plateau:
    """Early stopping for each model of a stack: slow it down, then stop it, then restore its best.

    Watches the sum of the training losses of each model. After `decay_patience` epochs in a row
    without improvement its learning rate is halved, after `patience` it stands still. The weights
    kept are those after the epoch of lowest loss: a copy, not a reference.

    Parameters
    ----------
    module : nn.Module
        All parameters and buffers have a leading model axis.
    optimizer : torch.optim.Optimizer
        Of parameters of `module`, of a kind whose step is proportional to the learning rate.
    n_models : int
    patience : int
        At least 1.
    decay_patience : int
        At least 1; no decay where it is above `patience`.
    tolerance : float
        Relative fall of the loss that counts as improvement.

    Attributes
    ----------
    n_epochs : ndarray of shape (n_models,)
        How many epochs each model was trained.
    """

    def __init__(self, module, optimizer, n_models, *, patience, decay_patience, tolerance=1e-4):
        self.module = module
        self.patience, self.decay_patience = patience, decay_patience
        self.tolerance = tolerance
        self.rate = np.ones(n_models)
        self.n_epochs = np.zeros(n_models, dtype=int)
        self.lowest = np.full(n_models, np.inf)
        self.reference = np.full(n_models, np.inf)
        self.n_waited = np.zeros(n_models, dtype=int)
        self.best = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        optimizer.register_step_pre_hook(self._remember)
        optimizer.register_step_post_hook(self._shorten)

    def update(self, losses: dict[str, list[float]]) -> bool:
        """Take note of an epoch; return whether every model has stopped."""
        loss = np.sum(list(losses.values()), axis=0)
        active = self.rate > 0
        self.n_epochs += active
        self._keep(active & (loss < self.lowest))
        self.lowest = np.where(active, np.minimum(loss, self.lowest), self.lowest)
        improved = loss < self.reference - self.tolerance * np.abs(loss)
        self.reference = np.where(improved, loss, self.reference)
        self.n_waited = np.where(improved, 0, self.n_waited + 1)
        self.rate[(self.n_waited > 0) & (self.n_waited % self.decay_patience == 0)] /= 2
        self.rate[self.n_waited >= self.patience] = 0
        return not self.rate.any()

    def restore(self) -> None:
        """Give every model the weights it had after its best epoch."""
        self.module.load_state_dict(self.best)

    def _keep(self, models: np.ndarray) -> None:
        if models.any():
            chosen = torch.from_numpy(models)
            for name, tensor in self.module.state_dict().items():
                mask = chosen.to(tensor.device)
                self.best[name][mask] = tensor[mask]

    def _remember(self, *_) -> None:
        if (self.rate < 1).any():
            self.before = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def _shorten(self, *_) -> None:
        """Shorten the step of each model to its share of the learning rate."""
        if (self.rate == 1).all():
            return
        rate = torch.as_tensor(self.rate, dtype=torch.float32)
        for parameter, before in zip(self.parameters, self.before, strict=True):
            share = rate.to(parameter).view(-1, *[1] * (parameter.dim() - 1))
            parameter.copy_(torch.lerp(before, parameter, share))


def cosine(floor: float) -> Callable[[float], float]:
    """Return a schedule from 1 down to `floor` along half a cosine."""
    return lambda progress: floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


@contextlib.contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """Set torch's float32 matmul precision ("highest", "high", "medium") for a block."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextlib.contextmanager
def progress_bar(n_epochs: int, verbose: int) -> Iterator[Callable | None]:
    """Yield an `on_epoch` callback that advances a progress bar; None unless `verbose`."""
    if not verbose:
        yield None
        return
    with tqdm(total=n_epochs, unit="epoch") as bar:
        yield lambda _epoch, _losses: bar.update()


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the torch device; "auto" is the GPU when there is one, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device={device!r} is unknown; use 'cpu', 'cuda' or 'auto'") from None
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={str(device)!r}: torch sees no GPU here; use 'cpu' or 'auto'")
    return resolved


class Checkpoint:
    """Finished phases on disk, so that training that was cut off resumes at the last of them.

    Each phase is one safetensors file, written aside and renamed. A phase is reused only when its
    fingerprint (settings, data, seeds) is that of the present training.

    Parameters
    ----------
    folder : path or None
        None: nothing is kept.
    fingerprint : str
        See `fingerprint`.
    """

    def __init__(self, folder: str | os.PathLike | None, fingerprint: str):
        self.folder = Path(folder) if folder is not None else None
        self.fingerprint = fingerprint

    def phase(self, name: str, module: nn.Module, streams, run: Callable[[], History]) -> History:
        """Restore phase `name` into `module` and `streams`, or `run` it and keep the result.

        The history also gets "seconds" of shape (n_models,): what the phase took for the whole
        stack when it ran.
        """
        path = self.folder and self.folder / f"{name}-{self.fingerprint}.safetensors"
        tensors = self._read(path, streams) if path and path.exists() else None
        if tensors:
            return self._restore(tensors, module, streams)
        started = time.perf_counter()
        history = run()
        history["seconds"] = np.full(len(streams), time.perf_counter() - started)
        if path:
            self._keep(path, module, streams, history)
        return history

    def _keep(self, path: Path, module: nn.Module, streams, history: History) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"weight/{k}": v.contiguous() for k, v in module.state_dict().items()}
        tensors |= {f"history/{k}": torch.as_tensor(v).contiguous() for k, v in history.items()}
        partial = path.with_suffix(".partial")
        save_file(tensors | {"streams": streams.state()}, partial)
        os.replace(partial, path)

    def _read(self, path: Path, streams) -> dict[str, Tensor] | None:
        """Return the content of a checkpoint, None with a warning if it cannot be used."""
        try:
            tensors = load_file(path)
        except SafetensorError as error:
            warnings.warn(f"{path} is damaged ({error}); this phase runs again", stacklevel=4)
            return None
        if tensors["streams"].shape != streams.state().shape:
            warnings.warn(
                f"{path} was written on another kind of device, whose random numbers cannot be "
                "continued here; this phase runs again",
                stacklevel=4,
            )
            return None
        return tensors

    def _restore(self, tensors: dict[str, Tensor], module: nn.Module, streams) -> History:
        streams.restore(tensors.pop("streams"))
        split = {"weight": {}, "history": {}}
        for key, tensor in tensors.items():
            kind, name = key.split("/", 1)
            split[kind][name] = tensor
        module.load_state_dict(split["weight"])
        return {name: tensor.numpy() for name, tensor in split["history"].items()}


def fingerprint(
    settings: dict, data: np.ndarray, seeds: list[int], sources: Iterable[str] = ()
) -> str:
    """Return a short hash of settings, data, seeds and the source files that do the training."""
    digest = hashlib.sha256(np.ascontiguousarray(data).tobytes())
    for source in (__file__, *sources):
        digest.update(Path(source).read_bytes())
    digest.update(json.dumps([settings, data.shape, seeds], sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]
