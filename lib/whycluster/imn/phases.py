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
from whycluster.training.loop import History
from whycluster.training.phases import Phases
from whycluster.training.streams import Streams


class Task(NamedTuple):
    """Rows and targets, and which of them each model of the stack learns from."""

    X: np.ndarray  # (n_samples, n_features)
    target: np.ndarray  # (n_samples, n_classes) of 0 and 1, or (n_samples, 1)
    rows: list[np.ndarray]  # in the order of falling length


class IMNPhases(Phases):
    """Training of a stack whose models have rows of their own."""

    def __init__(self, settings, network: Ensemble, task: Task, streams: Streams):
        device = streams.device
        super().__init__(settings, network, torch.as_tensor(task.X, device=device), streams)
        self.task = task
        self.live = network.members[-1]
        self.own_rows = [torch.as_tensor(own, device=device) for own in task.rows]

    def rows(self):
        """Yield batches of the own rows of each model."""
        return self.streams.batches_within(self.own_rows, self.settings.batch_size)

    def learn(self, n_epochs: int, tick) -> History:
        """Warm up, then take a snapshot at the end of each cosine cycle."""
        s = self.settings
        self.plan(n_epochs)
        self._place()
        n_batches = [-(-len(own) // s.batch_size) for own in self.own_rows]
        sizes = [len(list(equal)) for _, equal in groupby(n_batches)]
        decay = {"lr": s.learning_rate, "weight_decay": s.weight_decay}
        self.optimizer = StackedAdam(self.live.parameters(), sizes, **decay)
        self.leaves = {len(self.own_rows): list(self.live.parameters())}

        def on_epoch(epoch: int, losses_: dict) -> None:
            self._activate(len(self.own_rows))
            self._keep_snapshot(epoch + 1)
            if tick:
                tick(epoch, losses_)

        rate = {"schedule": self.rate}
        history = self.train(self.network, self._step, self.optimizer, n_epochs, on_epoch, **rate)
        share = n_batches[0] / np.array(n_batches)  # models that sit out count as 0
        return {name: values * share for name, values in history.items()}

    def plan(self, n_epochs: int) -> None:
        """Lay out the cosine cycles."""
        s = self.settings
        self.n_epochs = n_epochs
        self.ends = cycle_ends(n_epochs, s.warmup_epochs, s.n_cycles, s.cycle_multiplier)

    def _place(self) -> None:
        """Put targets, scales and weights of classes where the network is."""
        task, head, device = self.task, self.settings._head, self.streams.device
        self.head = head
        self.target = torch.as_tensor(task.target, device=device)
        scales = np.array([head.scale_of(task.target[own]) for own in task.rows])
        offset, scale = torch.as_tensor(scales, dtype=torch.float32, device=device).unbind(1)
        self.network.offset, self.network.scale = offset[..., None], scale[..., None]
        if self.settings._centers:
            centers = np.stack([task.X[own].mean(axis=0, dtype=float) for own in task.rows])
            self.network.center.copy_(torch.as_tensor(centers)[:, None])
        weights = np.stack([head.weights_of(task.target[own]) for own in task.rows])
        self.class_weight = torch.as_tensor(weights, device=device)[:, None]

    def rate(self, progress: float) -> float:
        """Return the learning rate in the middle of an epoch, as a share of the highest."""
        s = self.settings
        epoch = round(progress * self.n_epochs) + 0.5
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
            everyone = self.leaves[len(self.own_rows)]
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
        found = self.head.loss(answer["output"], target, self.class_weight[: len(rows)])
        if "w" in answer:
            found["weights"] = s.weight_penalty * losses.weight_penalty(answer["w"])
        n_idle = len(self.own_rows) - len(rows)
        return {name: F.pad(loss, (0, n_idle)) for name, loss in found.items()}

    def _standardised(self, rows: Tensor) -> Tensor:
        offset, scale = self.network.offset[: len(rows)], self.network.scale[: len(rows)]
        return ((self.target[rows] - offset) / scale).float()

    def _loss_at_rest(self, x: Tensor, target: Tensor) -> Tensor:
        """Return the loss in evaluation mode, for the gradient of FGSM."""
        self.live.eval()
        output = self.live(x)["output"]
        self.live.train()
        (loss,) = self.head.loss(output, target, self.class_weight[: len(x)]).values()
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
