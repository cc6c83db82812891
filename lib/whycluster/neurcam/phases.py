"""The phases of training NeurCAM, Algorithm 1."""

import numpy as np
import torch
from torch import Tensor, nn

from whycluster.contract.validation import Represented
from whycluster.neurcam.network import Network
from whycluster.training import losses
from whycluster.training.centres import fast_squared_distances, first_centres
from whycluster.training.loop import History, geometric
from whycluster.training.phases import Phases, adam
from whycluster.training.plateau import Plateau
from whycluster.training.stack import ROWS_AT_ONCE
from whycluster.training.streams import Streams

COLDEST = 1e-5  # last temperature of a gate before it is made one-hot
COOLING = geometric(COLDEST)

Weights = tuple[float, float]  # of the two terms of Eq. (17)
HELD: Weights = (1.0, 0.1)  # while the centres are held
FREE: Weights = (1.0, 0.0)  # Eq. (15)


class Followed(nn.Module):
    """A network and the memberships w* that it follows: what a phase starts from."""

    target: Tensor

    def __init__(self, network: Network, n_rows: int):
        super().__init__()
        self.network = network
        n_models, n_clusters, _ = network.centres.shape
        empty = torch.zeros(n_models, n_rows, n_clusters, device=network.centres.device)
        self.register_buffer("target", empty)


class NeurCAMPhases(Phases):
    """The phases of training on one data set; each returns its history."""

    def __init__(self, settings, network: Network, data: Represented, streams: Streams):
        x, representation = (
            torch.as_tensor(part, device=streams.device) for part in (data.X, data.scaled())
        )
        super().__init__(settings, network, x, streams)
        self.representation = representation
        self.followed = Followed(network, len(x))

    def start(self, n_epochs: int, tick) -> History:
        """Put the centres where mini-batch k-means finds them; minimise Eq. (17) around them.

        While the centres are held, the memberships that minimise Eq. (15) are known: these are w*.
        """
        centres, rows = self.network.centres, self.representation.cpu().numpy()
        for own, seed in zip(centres.data, self.streams.seeds, strict=True):
            own.copy_(torch.from_numpy(first_centres(rows, len(own), seed)))
        spread = self.representation.expand(len(centres), -1, -1)
        distances = fast_squared_distances(spread, centres.data)
        memberships = losses.fuzzy_memberships(distances, self.settings.fuzziness)
        self.followed.target.copy_(memberships)
        centres.requires_grad_(False)
        history = self._minimise((1.0, 1.0), n_epochs, tick, HELD)
        centres.requires_grad_(True)
        return history

    def warm_up(self, n_epochs: int, tick) -> History:
        """Minimise Eq. (15) with soft gates; keep the memberships w* that come out."""
        history = self._minimise((1.0, 1.0), n_epochs, tick, FREE)
        self.followed.target.copy_(self._logits((1.0, 1.0)).softmax(dim=-1))
        return history

    def anneal_pairs(self, n_epochs: int, tick) -> History:
        """Let T₂ fall to next to nothing, minimising Eq. (17)."""
        return self._minimise((1.0, COOLING), n_epochs, tick, self._weights)

    def anneal_shapes(self, n_epochs: int, tick) -> History:
        """Let T fall to next to nothing, minimising Eq. (17) with the pairs selected."""
        return self._minimise((COOLING, 0.0), n_epochs, tick, self._weights)

    def finish(self, n_epochs: int, tick) -> History:
        """Minimise Eq. (17) with every gate one-hot."""
        return self._minimise((0.0, 0.0), n_epochs, tick, self._weights)

    @property
    def _weights(self) -> Weights:
        return self.settings.clustering_weight, self.settings.kl_weight

    def _minimise(self, temperatures, n_epochs: int, tick, weights: Weights) -> History:
        """Train at given temperatures; early stopping must not end one that falls."""

        def step(rows: Tensor, progress: float) -> dict[str, Tensor]:
            now = tuple(t(progress) if callable(t) else t for t in temperatures)
            return self._losses(rows, now, weights)

        optimizer, plateau = self._adam(), None
        if COOLING not in temperatures:
            waits = {name: getattr(self.settings, name) for name in ("patience", "decay_patience")}
            plateau = Plateau(self.network, optimizer, len(self.streams), **waits)
        history = self.train(self.network, step, optimizer, n_epochs, tick, plateau=plateau)
        trained = plateau.n_epochs if plateau else np.full(len(self.streams), n_epochs)
        return history | {"epochs": trained}

    def _losses(self, rows: Tensor, temperatures, weights: Weights) -> dict[str, Tensor]:
        """Return the terms of Eq. (17)."""
        s, network = self.settings, self.network
        log_w = network.logits(self.data[rows], temperatures).log_softmax(dim=-1)
        distances = fast_squared_distances(self.representation[rows], network.centres)
        distances = distances / self.representation.shape[1]
        target = self.followed.target
        target = target.gather(1, rows[..., None].expand(-1, -1, target.shape[2]))
        return {
            "clustering": weights[0] * losses.fuzzy_clustering_loss(log_w, distances, s.fuzziness),
            "divergence": weights[1] * losses.assignment_divergence(target, log_w),
        }

    def _adam(self) -> torch.optim.Optimizer:
        gates = [part.selection for part in self.network.parts]
        rest = [p for p in self.network.parameters() if not any(p is gate for gate in gates)]
        rest = [p for p in rest if p.requires_grad]
        return adam((rest, self.settings.learning_rate), (gates, self.settings.gate_learning_rate))

    def _logits(self, temperatures: tuple[float, float]) -> Tensor:
        """Return logits of all rows, (n_models, n_samples, n_clusters)."""
        at_once = max(1, ROWS_AT_ONCE // len(self.streams))
        return self.over_rows(lambda x: self.network.logits(x, temperatures), at_once)

    @torch.no_grad()
    def inertia(self) -> Tensor:
        """Return Eq. (22) of the hard clusters, in the unit of training, (n_models,)."""
        labels = self._logits((0.0, 0.0)).argmax(dim=-1)
        own = self.network.centres[torch.arange(len(labels))[:, None], labels]
        return (self.representation - own).square().sum(dim=(1, 2), dtype=torch.float64)
