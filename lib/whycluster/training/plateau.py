"""Early stopping of the models of a stack, each by its own training loss."""

import numpy as np
import torch


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
