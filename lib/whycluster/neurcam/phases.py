"""The network of NeurCAM and the phases in which it is trained, Algorithm 1."""

import numpy as np
import torch
from torch import Tensor, nn

from whycluster.contract.validation import Represented
from whycluster.neurcam.additive import StackedShapes
from whycluster.training import losses
from whycluster.training.centres import fast_squared_distances, first_centres
from whycluster.training.loop import History, train
from whycluster.training.plateau import Plateau
from whycluster.training.stack import ROWS_AT_ONCE
from whycluster.training.streams import Streams

COLDEST = 1e-5  # last temperature of a gate before it is made one-hot

Weights = tuple[float, float]  # of the two terms of Eq. (17)
HELD: Weights = (1.0, 0.1)  # while the centres are held
FREE: Weights = (1.0, 0.0)  # Eq. (15)


class Network(nn.Module):
    """Channels of one feature, channels of two, an intercept, and the centres."""

    def __init__(
        self, n_features, n_shapes, n_pairs, n_clusters, n_dimensions, n_hidden, n_bases, streams
    ):
        super().__init__()
        basis = {"n_hidden": n_hidden, "n_bases": n_bases, "streams": streams}
        self.shapes, self.pairs = (
            StackedShapes(n_features, n, n_clusters, order=order, **basis) if n else None
            for order, n in ((1, n_shapes), (2, n_pairs))
        )
        self.intercept = nn.Parameter(torch.zeros(len(streams), 1, n_clusters))
        self.centres = nn.Parameter(torch.zeros(len(streams), n_clusters, n_dimensions))

    @property
    def parts(self) -> list[StackedShapes]:
        """Channels of one feature and of two, as far as there are any."""
        return [part for part in (self.shapes, self.pairs) if part is not None]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Evaluate with one-hot gates."""
        return {"logits": self.logits(x, (0.0, 0.0))}

    def logits(self, x: Tensor, temperatures: tuple[float, float]) -> Tensor:
        """Return g of Eq. (12), (n_models, batch, n_clusters), at temperatures T and T₂."""
        logits = self.intercept - self.intercept.mean(dim=-1, keepdim=True)
        for part, temperature in zip((self.shapes, self.pairs), temperatures, strict=True):
            if part is not None:
                logits = logits + part(x, temperature)
        return logits

    def contributions(self, x: Tensor) -> Tensor:
        """Return f of Eq. (11), (n_models, batch, n_channels, n_clusters), with one-hot gates."""
        return torch.cat([part.contributions(part.select(x, 0.0)) for part in self.parts], dim=2)

    def channels(self) -> list[tuple[int, ...]]:
        """Return the features that each channel of the first model reads."""
        return [tuple(channel) for part in self.parts for channel in part.chosen()[0].tolist()]

    def centred_intercept(self) -> np.ndarray:
        """Return the intercept of the first model, which sums to zero over the clusters."""
        intercept = self.intercept[0, 0].detach().double().numpy()
        return intercept - intercept.mean()


class Stages(nn.Module):
    """The phases of training on one data set; each returns its history.

    A module so that a checkpoint of a phase holds the memberships w* that a later phase follows.
    """

    def __init__(self, settings, network: Network, data: Represented, streams: Streams):
        super().__init__()
        self.settings, self.network, self.streams = settings, network, streams
        self.x = torch.as_tensor(data.X, device=streams.device)
        self.representation = torch.as_tensor(data.scaled(), device=streams.device)
        shape = len(streams), len(data.X), settings.n_clusters
        self.register_buffer("target", torch.zeros(shape, device=streams.device))

    def start(self, seeds: list[int], n_epochs: int, tick) -> History:
        """Put the centres where mini-batch k-means finds them; minimise Eq. (17) around them.

        While the centres are held, the memberships that minimise Eq. (15) are known: these are w*.
        """
        rows = self.representation.cpu().numpy()
        for centres, seed in zip(self.network.centres.data, seeds, strict=True):
            found = first_centres(rows, self.settings.n_clusters, seed)
            centres.copy_(torch.from_numpy(found))
        distances = fast_squared_distances(
            self.representation.expand(len(seeds), -1, -1), self.network.centres.data
        )
        self.target.copy_(losses.fuzzy_memberships(distances, self.settings.fuzziness))
        self.network.centres.requires_grad_(False)
        history = self._train((1.0, 1.0), n_epochs, tick, HELD)
        self.network.centres.requires_grad_(True)
        return history

    def warm_up(self, tick) -> History:
        """Minimise Eq. (15) with soft gates; keep the memberships w* that come out."""
        n_epochs = self.settings.warmup_epochs - self.settings.warmup_epochs // 2
        history = self._train((1.0, 1.0), n_epochs, tick, FREE)
        self.target.copy_(self._logits((1.0, 1.0)).softmax(dim=-1))
        return history

    def anneal_pairs(self, tick) -> History:
        """Let T₂ fall to next to nothing, minimising Eq. (17)."""
        return self._train((1.0, None), self.settings.anneal_epochs, tick, self._weights)

    def anneal_shapes(self, tick) -> History:
        """Let T fall to next to nothing, minimising Eq. (17) with the pairs selected."""
        return self._train((None, 0.0), self.settings.anneal_epochs, tick, self._weights)

    def finish(self, n_epochs: int, tick) -> History:
        """Minimise Eq. (17) with every gate one-hot."""
        return self._train((0.0, 0.0), n_epochs, tick, self._weights)

    @property
    def _weights(self) -> Weights:
        return self.settings.clustering_weight, self.settings.kl_weight

    def _train(self, temperatures, n_epochs: int, tick, weights: Weights) -> History:
        """Train at given temperatures; None: one that falls, which early stopping must not end."""
        s = self.settings

        def step(rows: Tensor, progress: float) -> dict[str, Tensor]:
            now = tuple(COLDEST**progress if t is None else t for t in temperatures)
            return self._losses(rows, now, weights)

        optimizer = self._adam()
        waits = {"patience": s.patience, "decay_patience": s.decay_patience}
        falling = None in temperatures
        plateau = None if falling else Plateau(self.network, optimizer, len(self.streams), **waits)
        epochs = (self.streams.batches(len(self.x), s.batch_size) for _ in range(n_epochs))
        history = train(step, optimizer, epochs, n_epochs, plateau=plateau, on_epoch=tick)
        trained = plateau.n_epochs if plateau else np.full(len(self.streams), n_epochs)
        return history | {"epochs": trained}

    def _losses(self, rows: Tensor, temperatures, weights: Weights) -> dict[str, Tensor]:
        """Return the terms of Eq. (17)."""
        s, network = self.settings, self.network
        log_w = network.logits(self.x[rows], temperatures).log_softmax(dim=-1)
        distances = fast_squared_distances(self.representation[rows], network.centres)
        distances = distances / self.representation.shape[1]
        target = self.target.gather(1, rows[..., None].expand(-1, -1, s.n_clusters))
        return {
            "clustering": weights[0] * losses.fuzzy_clustering_loss(log_w, distances, s.fuzziness),
            "divergence": weights[1] * losses.assignment_divergence(target, log_w),
        }

    def _adam(self) -> torch.optim.Optimizer:
        gates = [part.selection for part in self.network.parts]
        rest = [p for p in self.network.parameters() if not any(p is gate for gate in gates)]
        s = self.settings
        groups = [
            {"params": [p for p in rest if p.requires_grad], "lr": s.learning_rate},
            {"params": gates, "lr": s.gate_learning_rate},
        ]
        return torch.optim.Adam(groups, fused=True)

    @torch.no_grad()
    def _logits(self, temperatures: tuple[float, float]) -> Tensor:
        """Return logits of all rows, (n_models, n_samples, n_clusters)."""
        blocks = self.x.split(max(1, ROWS_AT_ONCE // len(self.streams)))
        models = len(self.streams)
        parts = [self.network.logits(x.expand(models, -1, -1), temperatures) for x in blocks]
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def inertia(self) -> Tensor:
        """Return Eq. (22) of the hard clusters, in the unit of training, (n_models,)."""
        labels = self._logits((0.0, 0.0)).argmax(dim=-1)
        own = self.network.centres[torch.arange(len(labels))[:, None], labels]
        return (self.representation - own).square().sum(dim=(1, 2), dtype=torch.float64)
