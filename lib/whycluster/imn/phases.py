"""How a stack of IMN or TabResNet models is trained, each on rows of its own."""

from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from whycluster.imn.augmentation import augment
from whycluster.imn.network import Ensemble
from whycluster.training import losses
from whycluster.training.adam import StackedAdam
from whycluster.training.loop import History, train
from whycluster.training.streams import Streams


class Task(NamedTuple):
    """Rows and targets, and which of them each model of the stack learns from."""

    X: np.ndarray  # (n_samples, n_features)
    target: np.ndarray  # (n_samples, n_classes) of 0 and 1, or (n_samples, 1)
    rows: list[np.ndarray]  # in the order of falling length


class Training:
    """Training of a stack whose models have rows of their own."""

    def __init__(self, settings, network: Ensemble, task: Task, streams: Streams):
        self.settings = settings
        self.network = network
        self.live = network.members[-1]
        self.streams = streams
        self.rows = [torch.as_tensor(own, device=streams.device) for own in task.rows]
        self.n_batches = [-(-len(own) // settings.batch_size) for own in self.rows]
        s = settings
        self.ends = cycle_ends(s.max_epochs, s.warmup_epochs, s.n_cycles, s.cycle_multiplier)
        self._place(task)

    def _place(self, task: Task) -> None:
        """Put data, scales and weights of classes where the network is."""
        s, device = self.settings, self.streams.device
        self.data = torch.as_tensor(task.X, device=device)
        self.target = torch.as_tensor(task.target, device=device)
        scales = np.array([s._scale_of(task.target[own]) for own in task.rows])
        offset, scale = torch.as_tensor(scales, dtype=torch.float32, device=device).unbind(1)
        self.network.offset, self.network.scale = offset[..., None], scale[..., None]
        if s._is_centered:
            centers = np.stack([task.X[own].mean(axis=0, dtype=float) for own in task.rows])
            self.network.center.copy_(torch.as_tensor(centers)[:, None])
        weights = np.stack([s._weights_of(task.target[own]) for own in task.rows])
        self.class_weight = torch.as_tensor(weights, device=device)[:, None]

    def run(self, tick) -> History:
        """Warm up, then take a snapshot at the end of each cosine cycle."""
        s = self.settings
        sizes = [len(list(equal)) for _, equal in groupby(self.n_batches)]
        decay = {"lr": s.learning_rate, "weight_decay": s.weight_decay}
        self.optimizer = StackedAdam(self.live.parameters(), sizes, **decay)
        self.leaves = {len(self.rows): list(self.live.parameters())}
        batches = self.streams.batches_within
        epochs = (batches(self.rows, s.batch_size) for _ in range(s.max_epochs))

        def on_epoch(epoch: int, losses_: dict) -> None:
            self._activate(len(self.rows))
            self._keep_snapshot(epoch + 1)
            if tick:
                tick(epoch, losses_)

        self.network.train()
        plan = {"schedule": self._rate, "on_epoch": on_epoch}
        history = train(self._step, self.optimizer, epochs, s.max_epochs, **plan)
        share = self.n_batches[0] / np.array(self.n_batches)  # models that sit out count as 0
        return {name: values * share for name, values in history.items()}

    def _rate(self, progress: float) -> float:
        """Return the learning rate in the middle of an epoch, as a share of the highest."""
        s = self.settings
        epoch = round(progress * s.max_epochs) + 0.5
        if epoch < s.warmup_epochs:
            return epoch / s.warmup_epochs
        bounds = pairwise([s.warmup_epochs, *self.ends])
        start, end = next((a, b) for a, b in bounds if epoch < b)
        return 0.5 * (1 + float(np.cos(np.pi * (epoch - start) / (end - start))))

    def _keep_snapshot(self, n_done: int) -> None:
        if n_done in self.ends[:-1]:
            member = self.network.members[self.ends.index(n_done)]
            member.load_state_dict(self.live.state_dict())

    def _activate(self, n_models: int) -> None:
        """Give the network the parameters of the first models, in the memory of those of all.

        Slices of them inside a step would cost a gradient for all models, zeros for the idle.
        """
        if self.optimizer.n_active == n_models:
            return
        if n_models not in self.leaves:
            everyone = self.leaves[len(self.rows)]
            self.leaves[n_models] = [nn.Parameter(p.detach()[:n_models]) for p in everyone]
        places = [(m, name) for m in self.live.modules() for name in m._parameters]
        for (module, name), leaf in zip(places, self.leaves[n_models], strict=True):
            setattr(module, name, leaf)
        self.optimizer.stacked, self.optimizer.n_active = self.leaves[n_models], n_models

    def _step(self, rows: Tensor, _progress: float) -> dict[str, Tensor]:
        s, streams = self.settings, self.streams.head(len(rows))
        self._activate(len(rows))
        x = self.data[rows] - self.network.center[: len(rows)]
        target = self._standardised(rows)
        if s.augmentation:
            x, target = augment(x, target, streams, s.augmentation, self._loss_at_rest)
        answer = self.live(x, streams)
        found = s._loss(answer["output"], target, self.class_weight[: len(rows)])
        if "w" in answer:
            found["weights"] = s.weight_penalty * losses.weight_penalty(answer["w"])
        n_idle = len(self.rows) - len(rows)
        return {name: F.pad(loss, (0, n_idle)) for name, loss in found.items()}

    def _standardised(self, rows: Tensor) -> Tensor:
        offset, scale = self.network.offset[: len(rows)], self.network.scale[: len(rows)]
        return ((self.target[rows] - offset) / scale).float()

    def _loss_at_rest(self, x: Tensor, target: Tensor) -> Tensor:
        """Return the loss in evaluation mode, for the gradient of FGSM."""
        self.live.eval()
        output = self.live(x)["output"]
        self.live.train()
        (loss,) = self.settings._loss(output, target, self.class_weight[: len(x)]).values()
        return loss


def cycle_ends(n_epochs: int, n_warmup: int, n_cycles: int, multiplier: int) -> list[int]:
    """Return the number of epochs done at the end of each cosine cycle.

    Each cycle is `multiplier` times as long as the one before and at least one epoch; together
    they fill the epochs after the warm-up.

    Parameters
    ----------
    n_epochs, n_warmup, n_cycles, multiplier : int
        ``n_epochs - n_warmup`` is at least `n_cycles`.

    Returns
    -------
    list of int of length n_cycles, increasing

    Examples
    --------
    >>> cycle_ends(75, 5, 3, 2)
    [15, 35, 75]
    """
    total = np.cumsum([multiplier**i for i in range(n_cycles)])
    shares = (n_epochs - n_warmup) * total / total[-1]
    return [n_warmup + max(round(float(end)), i + 1) for i, end in enumerate(shares)]
